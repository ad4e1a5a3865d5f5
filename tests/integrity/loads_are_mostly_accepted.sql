-- A load of which nearly all rows are rejected is not what somebody meant to bring, unless its
-- users are still to come. Without it a file that was misread would go by as "0 accepted".
with issue_counts as (
    select * from {{ ref('issue_counts') }}
),

input_reconciliation as (
    select
        *,
        records_read - rejected_lines as rows_read
    from {{ ref('input_reconciliation') }}
),

rejected_rows as (
    select
        input,
        load_id,
        sum(open_issues) as rejected_rows,
        min(rule) as first_rule,
        min(remedy) as remedy
    from issue_counts
    where
        severity = 'error'
        -- of no line, and of no user who is not there yet
        and column_name is not null and rule <> 'unknown_user'
    group by input, load_id
)

select
    input_reconciliation.input,
    input_reconciliation.load_id,
    input_reconciliation.file,
    input_reconciliation.rows_read,
    rejected_rows.rejected_rows,
    rejected_rows.first_rule,
    rejected_rows.remedy
from input_reconciliation
inner join rejected_rows
    on
        input_reconciliation.input = rejected_rows.input
        and input_reconciliation.load_id is not distinct from rejected_rows.load_id
where
    input_reconciliation.rows_read >= 20
    and 100 * rejected_rows.rejected_rows
    >= {{ var('rejected_percent') }} * input_reconciliation.rows_read
