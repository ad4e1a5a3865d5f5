-- user_features straight from the raw text, as fast as we could make it on PostgreSQL 18. No rule
-- is checked: a cell that is no number stops it.
--
-- Counting 25 million items by user and compound makes more than ten million groups, too many for
-- the processor's caches, whether they are hashed or sorted. Here all lists of a user are joined
-- into one text first, which PostgreSQL 16 and later do in parallel; then each user's few hundred
-- items are counted by themselves. The text of one user is limited to 1 GB.
create table user_features as
with experiments_per_user as (
    select
        cast(user_id as bigint) as user_id,
        count(*) as experiments,
        sum(cast(experiment_run_time as numeric(18, 6))) as total_run_time,
        avg(cast(experiment_run_time as numeric(18, 6))) as mean_run_time,
        string_agg(experiment_compound_ids, ';') as compound_list
    from user_experiments
    group by cast(user_id as bigint)
),

compounds_per_user as (
    select
        experiments_per_user.*,
        counted.*
    from experiments_per_user
    cross join lateral (
        select
            count(*) as distinct_compounds,
            max(times_listed) as most,
            min(compound_id) filter (where times_listed = highest) as first_of_most,
            string_agg(cast(compound_id as text), ';' order by compound_id)
                filter (where times_listed = highest) as all_of_most
        from (
            select
                cast(item as bigint) as compound_id,
                count(*) as times_listed,
                max(count(*)) over () as highest
            from string_to_table(experiments_per_user.compound_list, ';') as item
            group by cast(item as bigint)
        ) as usage
    ) as counted
),

laboratory as (
    select
        cast(sum(experiments) as numeric) / (select count(*) from users) as mean_experiments,
        avg(experiments) as mean_of_the_active
    from experiments_per_user
)

select
    cast(users.user_id as bigint) as user_id,
    coalesce(compounds_per_user.experiments, 0) as total_exp_per_user,
    cast(laboratory.mean_experiments as numeric(18, 6)) as avg_experiment_count,
    cast(compounds_per_user.mean_run_time as numeric(18, 6)) as avg_exp_time_per_user,
    compounds_per_user.first_of_most as most_consumed_compound,
    compounds.compound_name as most_consumed_compound_name,
    compounds_per_user.all_of_most as most_consumed_compounds,
    coalesce(compounds_per_user.most, 0) as most_consumed_compound_count,
    coalesce(compounds_per_user.distinct_compounds, 0) as distinct_compounds,
    cast(coalesce(compounds_per_user.total_run_time, 0) as numeric(38, 6))
        as total_exp_time_per_user,
    cast(laboratory.mean_of_the_active as numeric(18, 6)) as avg_experiments_per_active_user,
    users.name as user_name,
    cast(users.signup_date as date) as signup_date
from users
cross join laboratory
left join compounds_per_user on cast(users.user_id as bigint) = compounds_per_user.user_id
left join compounds
    on compounds_per_user.first_of_most = cast(compounds.compound_id as bigint)
