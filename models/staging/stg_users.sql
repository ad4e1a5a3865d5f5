with source as (
    select * from {{ ref('base_users') }}
),

plain as (
    select
        *,
        {{ plain_id('user_id', 'numbers', 'id_prefixes') }} as plain_user_id,
        {{ plain_date(trim_cell('signup_date'), 'dates') }} as plain_signup_date
    from source
),

parsed as (
    select
        load_id,
        line,
        {{ trim_cell('user_id') }} as user_id_cell,
        case when is_plain then {{ to_id('user_id') }} else {{ to_id('plain_user_id') }} end
            as user_id,
        {{ trim_cell('name') }} as name,
        {{ trim_cell('email') }} as email,
        {{ trim_cell('signup_date') }} as signup_date_cell,
        case
            when is_plain then {{ to_date('signup_date') }} else {{ to_date('plain_signup_date') }}
        end as signup_date
    from plain
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
