-- A load of which nearly all rows are rejected is not what somebody meant to bring, unless its
-- users are still to come. Without it a file that was misread would go by as "0 accepted".
with input_issues as (
    select * from {{ ref('input_issues') }}
),

input_reconciliation as (
    select * from {{ ref('input_reconciliation') }}
),

rejected_rows as (
    select
        input,
        load_id,
        count(*) as rejected_rows,
        min(rule) as first_rule,
        min(message) as first_message
    from input_issues
    where
        severity = 'error' and status = 'open'
        -- no row, and no user yet
        and column_name is not null and rule <> 'unknown_user'
    group by input, load_id
)

select
    input_reconciliation.input,
    input_reconciliation.load_id,
    input_reconciliation.file,
    input_reconciliation.records_read - input_reconciliation.rejected_lines as rows_read,
    rejected_rows.rejected_rows,
    rejected_rows.first_rule,
    rejected_rows.first_message
from input_reconciliation
inner join rejected_rows
    on
        input_reconciliation.input = rejected_rows.input
        and input_reconciliation.load_id is not distinct from rejected_rows.load_id
where
    input_reconciliation.records_read - input_reconciliation.rejected_lines >= 20
    and 100 * rejected_rows.rejected_rows >= {{ var('rejected_percent') }} * (
        input_reconciliation.records_read - input_reconciliation.rejected_lines
    )
