{{ config(materialized='view') }}

with users as (
    select * from {{ ref('users') }}
),

user_totals as (
    {{ whole('int_user_totals') }}
),

laboratory as (
    select * from {{ ref('int_laboratory') }}
),

compounds as (
    select
        compound_id,
        compound_name
    from {{ ref('compounds') }}
),

typed as (
    select
        cast(users.user_id as bigint) as user_id,
        cast(coalesce(user_totals.experiments, 0) as bigint) as total_exp_per_user,
        cast(laboratory.mean_experiments as numeric(18, 6)) as avg_experiment_count,
        cast(
            {{ divide_half_up('user_totals.total_run_time', 'user_totals.known_run_times') }}
            as numeric(18, 6)
        ) as avg_exp_time_per_user,
        cast(user_totals.most_consumed_compound as bigint) as most_consumed_compound,
        cast(compounds.compound_name as {{ dbt.type_string() }}) as most_consumed_compound_name,
        cast(user_totals.most_consumed_compounds as {{ dbt.type_string() }})
            as most_consumed_compounds,
        cast(coalesce(user_totals.most_consumed_compound_count, 0) as bigint)
            as most_consumed_compound_count,
        cast(coalesce(user_totals.distinct_compounds, 0) as bigint) as distinct_compounds,
        cast(coalesce(user_totals.total_run_time, 0) as numeric(38, 6)) as total_exp_time_per_user,
        cast(laboratory.mean_experiments_of_the_active as numeric(18, 6))
            as avg_experiments_per_active_user,
        cast(users.name as {{ dbt.type_string() }}) as user_name,
        cast(users.signup_date as date) as signup_date
    from users
    cross join laboratory
    left join user_totals on users.user_id = user_totals.user_id
    left join compounds on user_totals.most_consumed_compound = compounds.compound_id
)

select * from typed
