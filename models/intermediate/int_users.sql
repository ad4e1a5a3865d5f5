with users as (
    select * from {{ ref('stg_users') }}
),

judged as (
    {{ row_status('users', key='user_id') }}
),

users_with_status as (
    select
        load_id,
        line,
        user_id,
        user_id_cell,
        name,
        email,
        signup_date,
        signup_date_cell,
        row_status,
        rule,
        superseded_by_load_id
    from judged
)

select * from users_with_status
