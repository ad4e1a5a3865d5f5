{{ config(materialized='view') }}

with experiments as (
    select * from {{ ref('int_experiments') }}
),

unknown_compounds as (
    select * from {{ ref('experiment_compounds') }} where not is_known
),

-- Most experiments have nothing to notice: the steps below read the few that may, once.
noticeable as (
    select *
    from experiments
    where
        fate = 'rejected'
        or run_time is null
        or compound_ids is null
        or compound_list_cell is not null
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
    from noticeable
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
    from noticeable
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

unknown_items as (
    select
        'unknown_compound' as rule,
        experiments.load_id,
        experiments.line,
        cast(experiments.experiment_id as text) as record_key,
        'experiment_compound_ids' as column_name,
        coalesce(
            {{ trim_cell('written_items.item') }}, cast(unknown_compounds.compound_id as text)
        ) as value
    from unknown_compounds
    inner join experiments
        on
            unknown_compounds.experiment_id = experiments.experiment_id
            and experiments.fate = 'accepted'
    left join written_items
        on
            unknown_compounds.experiment_id = written_items.experiment_id
            and unknown_compounds.position = written_items.position
)

select * from rejected_rows
union all
select * from unusable_run_times
union all
select * from missing_compounds
union all
select * from invalid_items
union all
select * from unknown_items
