with loaded as (
    select * from {{ source('raw', 'users') }}
),

seeded as (
    select * from {{ ref('users') }}
),

load_files as (
    select load_id from {{ ref('stg_input_files') }}
    where input = 'users' and load_id is not null
),

seed_files as (
    select input from {{ ref('stg_input_files') }}
    where input = 'users' and load_id is null
),

source as (
    {{ input_cells(['user_id', 'name', 'email', 'signup_date']) }}
),

parsed as (
    select
        load_id,
        line,
        seed_order,
        {{ trim_cell('user_id') }} as user_id_cell,
        {{ parse_id('user_id', is_plain=is_plain_id('user_id')) }} as user_id,
        {{ trim_cell('name') }} as name,
        {{ trim_cell('email') }} as email,
        {{ trim_cell('signup_date') }} as signup_date_cell,
        {{ parse_date('signup_date') }} as signup_date
    from source
    {{ evaluate_once() }}
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
