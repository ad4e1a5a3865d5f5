with users as (
    select * from {{ ref('stg_users') }}
),

judged as (
    {{ row_fates('users', key='user_id') }}
)

select
    load_id,
    line,
    user_id,
    user_id_cell,
    name,
    email,
    signup_date,
    signup_date_cell,
    fate,
    rule
from judged
