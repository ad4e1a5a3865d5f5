{#- In a row of its own: in the table of users each experiment would change these in every row. -#}
{{ config(materialized='table') }}

with users as (
    select user_id from {{ ref('int_users') }} where row_status = 'accepted'
),

user_totals as (
    {{ whole('int_user_totals') }}
),

laboratory as (
    select
        {{ divide_half_up('coalesce(sum(user_totals.experiments), 0)', 'count(*)') }}
            as mean_experiments,
        {{ divide_half_up('sum(user_totals.experiments)', 'count(user_totals.user_id)') }}
            as mean_experiments_of_the_active
    from users
    left join user_totals on users.user_id = user_totals.user_id
)

select * from laboratory
