{{ config(materialized='view') }}

with int_users as (
    select * from {{ ref('int_users') }}
),

users as (
    select
        *,
        coalesce({{ as_text('user_id') }}, user_id_cell) as record_key
    from int_users
),

rejected_rows as (
    select
        rule,
        load_id,
        line,
        record_key,
        'user_id' as column_name,
        user_id_cell as value
    from users
    where fate = 'rejected'
),

invalid_signup_dates as (
    select
        'invalid_signup_date' as rule,
        load_id,
        line,
        record_key,
        'signup_date' as column_name,
        signup_date_cell as value
    from users
    where fate = 'accepted' and signup_date is null and signup_date_cell is not null
)

select * from rejected_rows
union all
select * from invalid_signup_dates
