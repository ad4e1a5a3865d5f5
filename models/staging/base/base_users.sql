-- The rows of the input's current loads, or of its seed, cells as they were written.
with current_loads as (
    select load_id from {{ ref('stg_input_files') }} where input = 'users'
),

loaded as (
    select * from {{ source('raw', 'users') }}
),

seeded as (
    select * from {{ ref('raw_users') }}
),

numbered_seed as (
    select
        user_id,
        name,
        email,
        signup_date,
        cast(0 as bigint) as load_id,
        {{ seed_line(['user_id', 'name', 'email', 'signup_date']) }} as line
    from seeded
),

loaded_rows as (
    select
        loaded.user_id,
        loaded.name,
        loaded.email,
        loaded.signup_date,
        loaded.load_id,
        loaded.line
    from loaded
    inner join current_loads on loaded.load_id = current_loads.load_id
),

seeded_rows as (
    select
        numbered_seed.user_id,
        numbered_seed.name,
        numbered_seed.email,
        numbered_seed.signup_date,
        numbered_seed.load_id,
        numbered_seed.line
    from numbered_seed
    inner join current_loads on numbered_seed.load_id = current_loads.load_id
),

input_rows as (
    select * from loaded_rows
    union all
    select * from seeded_rows
)

select * from input_rows
