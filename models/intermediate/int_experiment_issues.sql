{{ config(materialized='view') }}

with experiments as (
    select * from {{ ref('int_experiments') }}
),

experiment_compounds as (
    select * from {{ ref('experiment_compounds') }}
),

accepted as (
    select
        load_id,
        line,
        experiment_id,
        cast(experiment_id as text) as record_key,
        run_time_cell,
        run_time,
        compound_list_cell,
        compound_ids
    from experiments
    where fate = 'accepted'
),

rejected_rows as (
    select
        rule,
        load_id,
        line,
        coalesce(cast(experiment_id as text), experiment_id_cell) as record_key,
        case
            when rule in ('missing_user', 'invalid_user', 'unknown_user') then 'user_id'
            else 'experiment_id'
        end as column_name,
        -- a plain cell is not kept: it reads as its number does
        case
            when rule in ('missing_user', 'invalid_user', 'unknown_user')
                then coalesce(user_id_cell, cast(user_id as text))
            else coalesce(experiment_id_cell, cast(experiment_id as text))
        end as value
    from experiments
    where fate = 'rejected'
),

unusable_run_times as (
    select
        case when run_time_cell is null then 'missing_run_time' else 'invalid_run_time' end as rule,
        load_id,
        line,
        record_key,
        'experiment_run_time' as column_name,
        run_time_cell as value
    from accepted
    where run_time is null
),

missing_compounds as (
    select
        'missing_compounds' as rule,
        load_id,
        line,
        record_key,
        'experiment_compound_ids' as column_name,
        compound_list_cell as value
    from accepted
    where
        (compound_ids is null or compound_list_cell is not null)
        and {{ trim_cell("replace(compound_list_cell, ';', ' ')") }} is null
),

-- Only lists that are not plain have their text beside them.
cells_with_care as (
    select * from accepted where compound_list_cell is not null
),

written_items as (
    {{ split_list(
        'cells_with_care',
        keep=['experiment_id', 'load_id', 'line', 'record_key'],
        list='compound_list_cell'
    ) }}
),

invalid_items as (
    select
        'invalid_compound_id' as rule,
        load_id,
        line,
        record_key,
        'experiment_compound_ids' as column_name,
        {{ trim_cell('item') }} as value
    from written_items
    where not {{ matches(trim_cell('item'), id_pattern()) }}
),

unknown_compounds as (
    select
        'unknown_compound' as rule,
        accepted.load_id,
        accepted.line,
        accepted.record_key,
        'experiment_compound_ids' as column_name,
        coalesce(
            {{ trim_cell('written_items.item') }}, cast(experiment_compounds.compound_id as text)
        ) as value
    from experiment_compounds
    inner join accepted on experiment_compounds.experiment_id = accepted.experiment_id
    left join written_items
        on
            experiment_compounds.experiment_id = written_items.experiment_id
            and experiment_compounds.position = written_items.position
    where not experiment_compounds.is_known
)

select * from rejected_rows
union all
select * from unusable_run_times
union all
select * from missing_compounds
union all
select * from invalid_items
union all
select * from unknown_compounds
