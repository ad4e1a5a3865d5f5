-- Per compound, the users' usage adds up: users, experiments and listings.
with user_compound_usage as (
    select * from {{ ref('user_compound_usage') }}
),

compound_usage as (
    select * from {{ ref('compound_usage') }}
),

usage_per_compound as (
    select
        compound_id,
        count(*) as users,
        sum(experiments) as experiments,
        sum(times_listed) as times_listed
    from user_compound_usage
    group by compound_id
)

select
    compound_usage.*,
    usage_per_compound.users as users_of_users,
    usage_per_compound.experiments as experiments_of_users,
    usage_per_compound.times_listed as times_listed_of_users
from compound_usage
full outer join usage_per_compound on compound_usage.compound_id = usage_per_compound.compound_id
where
    compound_usage.compound_id is null
    or compound_usage.users <> coalesce(usage_per_compound.users, 0)
    or compound_usage.experiments <> coalesce(usage_per_compound.experiments, 0)
    or compound_usage.times_listed <> coalesce(usage_per_compound.times_listed, 0)
