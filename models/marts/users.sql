{{ config(indexes=unique_index(['user_id'])) }}

with accepted_users as (
    select * from {{ ref('int_users') }} where row_status = 'accepted'
),

typed as (
    select
        cast(user_id as bigint) as user_id,
        cast(name as {{ dbt.type_string() }}) as name,
        cast(email as {{ dbt.type_string() }}) as email,
        cast(signup_date as date) as signup_date,
        cast({{ shown_load_id() }} as bigint) as load_id,
        cast({{ shown_line() }} as bigint) as line
    from accepted_users
)

select * from typed
