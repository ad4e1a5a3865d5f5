with users as (
    select * from {{ ref('int_users') }} where fate = 'accepted'
)

select
    cast(user_id as bigint) as user_id,
    cast(name as text) as name,
    cast(email as text) as email,
    cast(signup_date as date) as signup_date,
    cast(load_id as bigint) as load_id,
    cast(line as bigint) as line
from users
