-- user_features straight from the raw text, as a good engineer writes it down at once: one
-- statement, each step a CTE. No rule is checked: a cell that is no number stops it.
create table user_features as
with experiments as (
    select
        cast(user_id as bigint) as user_id,
        cast(experiment_run_time as numeric(18, 6)) as run_time
    from user_experiments
),

items as (
    select
        cast(user_id as bigint) as user_id,
        cast(unnest(string_to_array(experiment_compound_ids, ';')) as bigint) as compound_id
    from user_experiments
),

experiments_per_user as (
    select
        user_id,
        count(*) as experiments,
        sum(run_time) as total_run_time,
        avg(run_time) as mean_run_time
    from experiments
    group by user_id
),

usage as (
    select
        user_id,
        compound_id,
        count(*) as times_listed
    from items
    group by user_id, compound_id
),

ranked as (
    select
        usage.*,
        rank() over (partition by user_id order by times_listed desc) as place
    from usage
),

compounds_per_user as (
    select
        user_id,
        count(*) as distinct_compounds,
        max(times_listed) as most,
        min(compound_id) filter (where place = 1) as first_of_most,
        string_agg(cast(compound_id as text), ';' order by compound_id)
            filter (where place = 1) as all_of_most
    from ranked
    group by user_id
),

laboratory as (
    select
        cast(sum(experiments) as numeric) / (select count(*) from users) as mean_experiments,
        avg(experiments) as mean_of_the_active
    from experiments_per_user
)

select
    cast(users.user_id as bigint) as user_id,
    coalesce(experiments_per_user.experiments, 0) as total_exp_per_user,
    cast(laboratory.mean_experiments as numeric(18, 6)) as avg_experiment_count,
    cast(experiments_per_user.mean_run_time as numeric(18, 6)) as avg_exp_time_per_user,
    compounds_per_user.first_of_most as most_consumed_compound,
    compounds.compound_name as most_consumed_compound_name,
    compounds_per_user.all_of_most as most_consumed_compounds,
    coalesce(compounds_per_user.most, 0) as most_consumed_compound_count,
    coalesce(compounds_per_user.distinct_compounds, 0) as distinct_compounds,
    cast(coalesce(experiments_per_user.total_run_time, 0) as numeric(38, 6))
        as total_exp_time_per_user,
    cast(laboratory.mean_of_the_active as numeric(18, 6)) as avg_experiments_per_active_user,
    users.name as user_name,
    cast(users.signup_date as date) as signup_date
from users
cross join laboratory
left join experiments_per_user on cast(users.user_id as bigint) = experiments_per_user.user_id
left join compounds_per_user on cast(users.user_id as bigint) = compounds_per_user.user_id
left join compounds
    on compounds_per_user.first_of_most = cast(compounds.compound_id as bigint)
