-- user_features straight from the files, as fast as we could make it on DuckDB. No rule is checked:
-- a cell that is no number stops it. Run in the folder of the files. Means are quotients of whole
-- millionths: DuckDB divides decimals as floating point numbers, and some of the 100,000 come out
-- wrong.
create table user_features as
with experiments as (
    select *
    from read_csv(
        'user_experiments.csv',
        columns = {
            'experiment_id': 'bigint',
            'user_id': 'bigint',
            'experiment_compound_ids': 'varchar',
            'experiment_run_time': 'decimal(18, 6)'
        },
        header = true
    )
),

users as (
    select *
    from read_csv('users.csv', header = true, columns = {
        'user_id': 'bigint', 'name': 'varchar', 'email': 'varchar', 'signup_date': 'date'
    })
),

compounds as (
    select *
    from read_csv('compounds.csv', header = true, columns = {
        'compound_id': 'bigint', 'compound_name': 'varchar', 'compound_structure': 'varchar'
    })
),

experiments_per_user as (
    select
        user_id,
        count(*) as experiments,
        sum(experiment_run_time) as total_run_time,
        count(experiment_run_time) as timed
    from experiments
    group by user_id
),

usage as (
    select
        user_id,
        compound_id,
        count(*) as times_listed
    from (
        select
            user_id,
            unnest(cast(string_split(experiment_compound_ids, ';') as bigint[])) as compound_id
        from experiments
    )
    group by user_id, compound_id
),

compounds_per_user as (
    select
        user_id,
        count(*) as distinct_compounds,
        max(times_listed) as most,
        min(compound_id) filter (where times_listed = highest) as first_of_most,
        string_agg(compound_id, ';' order by compound_id)
            filter (where times_listed = highest) as all_of_most
    from (
        select
            *,
            max(times_listed) over (partition by user_id) as highest
        from usage
    )
    group by user_id
),

laboratory as (
    select
        sum(experiments) as experiments,
        count(*) as active,
        (select count(*) from users) as users
    from experiments_per_user
)

select
    users.user_id,
    coalesce(experiments_per_user.experiments, 0) as total_exp_per_user,
    cast(
        (2 * cast(laboratory.experiments * 1000000 as hugeint) + laboratory.users)
        // (2 * laboratory.users)
        * cast(0.000001 as decimal(7, 6)) as decimal(18, 6)
    ) as avg_experiment_count,
    cast(
        (2 * cast(total_run_time * 1000000 as hugeint) + timed) // (2 * timed)
        * cast(0.000001 as decimal(7, 6)) as decimal(18, 6)
    ) as avg_exp_time_per_user,
    compounds_per_user.first_of_most as most_consumed_compound,
    compounds.compound_name as most_consumed_compound_name,
    compounds_per_user.all_of_most as most_consumed_compounds,
    coalesce(compounds_per_user.most, 0) as most_consumed_compound_count,
    coalesce(compounds_per_user.distinct_compounds, 0) as distinct_compounds,
    coalesce(experiments_per_user.total_run_time, 0) as total_exp_time_per_user,
    cast(
        (2 * cast(laboratory.experiments * 1000000 as hugeint) + laboratory.active)
        // (2 * laboratory.active)
        * cast(0.000001 as decimal(7, 6)) as decimal(18, 6)
    ) as avg_experiments_per_active_user,
    users.name as user_name,
    users.signup_date
from users
cross join laboratory
left join experiments_per_user on users.user_id = experiments_per_user.user_id
left join compounds_per_user on users.user_id = compounds_per_user.user_id
left join compounds on compounds_per_user.first_of_most = compounds.compound_id
