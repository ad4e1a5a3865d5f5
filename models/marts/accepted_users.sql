with users as (
    select * from {{ ref('int_users') }} where fate = 'accepted'
)

select
    cast(user_id as bigint) as user_id,
    {{ as_text('name') }} as name,
    {{ as_text('email') }} as email,
    cast(signup_date as date) as signup_date,
    cast(load_id as bigint) as load_id,
    cast(line as bigint) as line
from users
