with source as (
    select * from {{ ref('base_users') }}
),

parsed as (
    select
        load_id,
        line,
        {{ trim_cell('user_id') }} as user_id_cell,
        {{ to_id('user_id', 'numbers', 'id_prefixes') }} as user_id,
        {{ trim_cell('name') }} as name,
        {{ trim_cell('email') }} as email,
        {{ trim_cell('signup_date') }} as signup_date_cell,
        {{ to_date('signup_date', 'dates') }} as signup_date
    from source
),

checked as (
    select
        *,
        case
            when user_id is not null then null
            when user_id_cell is null then 'missing_id'
            else 'invalid_id'
        end as error_rule
    from parsed
)

select * from checked
