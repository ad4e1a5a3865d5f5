{#- The run time of each compound, each experiment counted once, in the accepted rows of a relation
    like int_experiments.

    Lists that may repeat a compound are imported and added up separately, so that only these are
    searched for repeats, and the many other items are added up in parallel.
    Usage: run_times as ({{ compound_run_times(ref('int_experiments')) }}) -#}
{% macro compound_run_times(relation) -%}
    with experiments as (
        select * from {{ relation }} where row_status = 'accepted' and not may_repeat
    ),

    repeating_experiments as (
        select * from {{ relation }} where row_status = 'accepted' and may_repeat
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
    )

    select
        compound_id,
        sum(run_time) as total_run_time
    from partial_run_times
    where compound_id is not null
    group by compound_id
{%- endmacro %}
