-- Every rejected row and line is reported once, as an error. Without this, somebody would miss a
-- row, or look for two where only one is wrong.
with input_issues as (
    select * from {{ ref('input_issues') }}
),

input_reconciliation as (
    select * from {{ ref('input_reconciliation') }}
),

errors as (
    select
        input,
        load_id,
        count(*) as errors
    from input_issues
    where severity = 'error'
    group by input, load_id
)

select
    input_reconciliation.*,
    errors.errors
from input_reconciliation
left join errors
    on
        input_reconciliation.input = errors.input
        and input_reconciliation.load_id is not distinct from errors.load_id
where
    coalesce(errors.errors, 0)
    <> input_reconciliation.rejected_lines + input_reconciliation.rejected_rows
