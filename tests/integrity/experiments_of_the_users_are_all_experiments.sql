-- Counts and run times per user add up to those of all experiments: a join that drops or doubles
-- rows shows here.
with user_features as (
    select
        coalesce(sum(total_exp_per_user), 0) as experiments,
        coalesce(sum(total_exp_time_per_user), 0) as run_time
    from {{ ref('user_features') }}
),

experiments as (
    select
        count(*) as experiments,
        coalesce(sum(run_time), 0) as run_time
    from {{ ref('experiments') }}
)

select
    user_features.experiments as experiments_of_users,
    experiments.experiments,
    user_features.run_time as run_time_of_users,
    experiments.run_time
from user_features
cross join experiments
where
    user_features.experiments <> experiments.experiments
    or user_features.run_time <> experiments.run_time
