-- user_features has every accepted user once, with experiments or without, and nobody else.
with users as (
    select user_id from {{ ref('users') }}
),

user_features as (
    select user_id from {{ ref('user_features') }}
)

select
    users.user_id,
    user_features.user_id as user_id_in_features
from users
full outer join user_features on users.user_id = user_features.user_id
where users.user_id is null or user_features.user_id is null
