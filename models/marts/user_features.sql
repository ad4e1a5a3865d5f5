{{ config(indexes=unique_index(['user_id'])) }}

with users as (
    select * from {{ ref('users') }}
),

experiments as (
    select * from {{ ref('experiments') }}
),

compounds as (
    select
        compound_id,
        compound_name
    from {{ ref('compounds') }}
),

user_compounds as (
    select * from {{ ref('int_user_compounds') }}
),

-- Imported apart: PostgreSQL would store a step that two others read.
ranked_compounds as (
    select * from {{ ref('int_user_compounds') }}
),

experiments_per_user as (
    select
        user_id,
        count(*) as experiments,
        sum(run_time) as total_run_time,
        {{ divide_half_up('sum(run_time)', 'count(run_time)') }} as mean_run_time
    from experiments
    group by user_id
),

laboratory as (
    select
        {{ divide_half_up('coalesce(sum(experiments_per_user.experiments), 0)', 'count(*)') }}
            as mean_experiments,
        {{ divide_half_up(
            'sum(experiments_per_user.experiments)', 'count(experiments_per_user.user_id)'
        ) }} as mean_experiments_of_the_active
    from users
    left join experiments_per_user on users.user_id = experiments_per_user.user_id
),

compounds_per_user as (
    select
        user_id,
        count(*) as distinct_compounds,
        max(times_listed) as most_consumed_compound_count
    from user_compounds
    group by user_id
),

-- The rank would need a sort of all pairs; the greatest count is found without.
most_consumed_per_user as (
    select
        ranked_compounds.user_id,
        min(ranked_compounds.compound_id) as most_consumed_compound,
        {{ dbt.listagg(
            measure='cast(ranked_compounds.compound_id as ' ~ dbt.type_string() ~ ')',
            delimiter_text="';'",
            order_by_clause='order by ranked_compounds.compound_id'
        ) }} as most_consumed_compounds
    from ranked_compounds
    inner join compounds_per_user
        on
            ranked_compounds.user_id = compounds_per_user.user_id
            and ranked_compounds.times_listed = compounds_per_user.most_consumed_compound_count
    group by ranked_compounds.user_id
),

typed as (
    select
        cast(users.user_id as bigint) as user_id,
        cast(coalesce(experiments_per_user.experiments, 0) as bigint) as total_exp_per_user,
        cast(laboratory.mean_experiments as numeric(18, 6)) as avg_experiment_count,
        cast(experiments_per_user.mean_run_time as numeric(18, 6)) as avg_exp_time_per_user,
        cast(most_consumed_per_user.most_consumed_compound as bigint) as most_consumed_compound,
        cast(compounds.compound_name as {{ dbt.type_string() }}) as most_consumed_compound_name,
        cast(most_consumed_per_user.most_consumed_compounds as {{ dbt.type_string() }})
            as most_consumed_compounds,
        cast(coalesce(compounds_per_user.most_consumed_compound_count, 0) as bigint)
            as most_consumed_compound_count,
        cast(coalesce(compounds_per_user.distinct_compounds, 0) as bigint) as distinct_compounds,
        cast(coalesce(experiments_per_user.total_run_time, 0) as numeric(38, 6))
            as total_exp_time_per_user,
        cast(laboratory.mean_experiments_of_the_active as numeric(18, 6))
            as avg_experiments_per_active_user,
        cast(users.name as {{ dbt.type_string() }}) as user_name,
        cast(users.signup_date as date) as signup_date
    from users
    cross join laboratory
    left join experiments_per_user on users.user_id = experiments_per_user.user_id
    left join compounds_per_user on users.user_id = compounds_per_user.user_id
    left join most_consumed_per_user on users.user_id = most_consumed_per_user.user_id
    left join compounds
        on most_consumed_per_user.most_consumed_compound = compounds.compound_id
)

select * from typed
