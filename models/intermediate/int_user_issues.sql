with int_users as (
    select * from {{ ref('int_users') }}
),

users as (
    select
        *,
        coalesce(cast(user_id as {{ dbt.type_string() }}), user_id_cell) as record_key
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
    where row_status = 'rejected'
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
    where row_status = 'accepted' and signup_date is null and signup_date_cell is not null
),

user_issues as (
    select * from rejected_rows
    union all
    select * from invalid_signup_dates
)

select * from user_issues
