-- Nobody means to bring a load of which nearly all rows are rejected, unless its users are still to
-- come. Without this, a misread file would pass as "0 accepted".
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
        -- rows, not lines; and not those that wait for their user
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
