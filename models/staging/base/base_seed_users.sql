{#- A table: PostgreSQL numbers rows in one process, and would run whatever reads them there. -#}
{{ config(materialized='table') }}

with seeded as (
    select * from {{ ref('raw_users') }}
),

numbered as (
    select
        user_id,
        name,
        email,
        signup_date,
        cast(0 as bigint) as load_id,
        {{ seed_line(['user_id', 'name', 'email', 'signup_date']) }} as line
    from seeded
)

select * from numbered
