{{ config(indexes=unique_index(['compound_id'])) }}

with user_compounds as (
    select * from {{ ref('int_user_compounds') }}
),

compounds as (
    select compound_id from {{ ref('int_compounds') }} where row_status = 'accepted'
),

-- Imported apart, so that only lists that may repeat a compound are searched for one.
experiments as (
    select * from {{ ref('int_experiments') }} where row_status = 'accepted' and not may_repeat
),

repeating_experiments as (
    select * from {{ ref('int_experiments') }} where row_status = 'accepted' and may_repeat
),

items as (
    {{ unnest_list('experiments', keep=['run_time'], list='compound_ids', item='compound_id') }}
),

repeating_items as (
    {{ unnest_list(
        'repeating_experiments',
        keep=['experiment_id', 'run_time'],
        list='compound_ids',
        item='compound_id'
    ) }}
),

repeating_items_once as (
    select
        compound_id,
        max(run_time) as run_time
    from repeating_items
    group by experiment_id, compound_id
),

-- Added up apart, too: items without repeats are many, and so are counted in parallel.
partial_run_times as (
    select
        compound_id,
        sum(run_time) as run_time
    from items
    group by compound_id
    union all
    select
        compound_id,
        sum(run_time) as run_time
    from repeating_items_once
    group by compound_id
),

run_times as (
    select
        compound_id,
        sum(run_time) as total_run_time
    from partial_run_times
    group by compound_id
),

usage_totals as (
    select
        compound_id,
        count(*) as users,
        sum(experiments) as experiments,
        sum(times_listed) as times_listed
    from user_compounds
    group by compound_id
),

compound_totals as (
    select
        usage_totals.*,
        run_times.total_run_time,
        compounds.compound_id is not null as is_known
    from usage_totals
    left join run_times on usage_totals.compound_id = run_times.compound_id
    left join compounds on usage_totals.compound_id = compounds.compound_id
)

select * from compound_totals
