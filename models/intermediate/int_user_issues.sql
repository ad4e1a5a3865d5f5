with int_users as (
    select * from {{ ref('int_users') }}
),

input_files as (
    select * from {{ ref('stg_input_files') }} where input = 'users'
),

users as (
    select
        *,
        coalesce(cast(user_id as {{ dbt.type_string() }}), user_id_cell) as record_key,
        'user_id' as column_name,
        user_id_cell as value
    from int_users
),

accepted_users as (
    select * from users where row_status = 'accepted'
),

rejected_users as (
    select * from users where row_status = 'rejected'
),

superseded_users as (
    select * from users where row_status = 'superseded'
),

errors as (
    {{ resolved_errors(
        'rejected_users',
        'accepted_users',
        key='user_id',
        cells=['user_id_cell', 'name', 'email', 'signup_date_cell']
    ) }}
),

invalid_signup_dates as (
    select
        'invalid_signup_date' as rule,
        'warning' as severity,
        load_id,
        line,
        record_key,
        'signup_date' as column_name,
        signup_date_cell as value,
        cast(null as bigint) as resolved_by_load_id
    from accepted_users
    where signup_date is null and signup_date_cell is not null
),

in_two_sheets as (
    {{ ids_in_two_sheets(
        'superseded_users',
        'accepted_users',
        key='user_id',
        cells=['name', 'email', 'signup_date_cell']
    ) }}
),

garbled_names as (
    {{ garbled_texts('accepted_users', 'name') }}
),

user_issues as (
    select * from errors
    union all
    select * from in_two_sheets
    union all
    select * from garbled_names
    union all
    select * from invalid_signup_dates
)

select * from user_issues
