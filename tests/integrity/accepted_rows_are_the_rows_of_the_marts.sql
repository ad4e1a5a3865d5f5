-- The rows that the reconciliation calls accepted are those of the input's mart, no more and no
-- fewer.
with input_reconciliation as (
    select * from {{ ref('input_reconciliation') }}
),

accepted as (
    select
        input,
        sum(accepted_rows) as accepted_rows
    from input_reconciliation
    group by input
),

users as (
    select count(*) as mart_rows from {{ ref('users') }}
),

experiments as (
    select count(*) as mart_rows from {{ ref('experiments') }}
),

compounds as (
    select count(*) as mart_rows from {{ ref('compounds') }}
),

mart_rows as (
    select
        'users' as input,
        mart_rows
    from users
    union all
    select
        'user_experiments' as input,
        mart_rows
    from experiments
    union all
    select
        'compounds' as input,
        mart_rows
    from compounds
)

select
    mart_rows.input,
    mart_rows.mart_rows,
    accepted.accepted_rows
from mart_rows
left join accepted on mart_rows.input = accepted.input
where mart_rows.mart_rows <> coalesce(accepted.accepted_rows, 0)
