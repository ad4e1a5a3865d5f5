{{ config(indexes=unique_index(['compound_id'])) }}

with compounds as (
    select compound_id from {{ ref('int_compounds') }} where row_status = 'accepted'
),
{% if is_increment() %}
    run_times_after as (
        {{ compound_run_times(ref('int_experiments')) }}
    ),

    run_times_before as (
        {{ compound_run_times(ref('int_experiments_before')) }}
    ),

    run_times as (
        select * from run_times_after
        union all
        select
            compound_id,
            -total_run_time as total_run_time
        from run_times_before
    ),

    usage_totals as (
        select
            compound_id,
            users,
            experiments,
            times_listed,
            total_run_time
        from {{ published(this) }}
        union all
        select
            compound_id,
            count(*) filter (where times_listed > 0)
            - count(*) filter (where times_listed_before > 0) as users,
            sum(experiments - experiments_before) as experiments,
            sum(times_listed - times_listed_before) as times_listed,
            0 as total_run_time
        from {{ ref('int_user_compound_changes') }}
        group by compound_id
    ),
{% else %}
    run_times as (
        {{ compound_run_times(ref('int_experiments')) }}
    ),

    usage_totals as (
        select
            compound_id,
            count(*) as users,
            sum(experiments) as experiments,
            sum(times_listed) as times_listed,
            0 as total_run_time
        from {{ ref('int_user_compounds') }}
        group by compound_id
    ),
{% endif %}
parts as (
    select * from usage_totals
    union all
    select
        compound_id,
        0 as users,
        0 as experiments,
        0 as times_listed,
        total_run_time
    from run_times
),

totals as (
    select
        compound_id,
        cast(sum(users) as bigint) as users,
        cast(sum(experiments) as bigint) as experiments,
        cast(sum(times_listed) as bigint) as times_listed,
        cast(sum(total_run_time) as numeric(38, 6)) as total_run_time
    from parts
    group by compound_id
),

compound_totals as (
    select
        totals.*,
        compounds.compound_id is not null as is_known
    from totals
    left join compounds on totals.compound_id = compounds.compound_id
    -- Not `having`: Sail takes `having sum(times_listed)` for a sum of the sum.
    where totals.times_listed > 0
)

select * from compound_totals
