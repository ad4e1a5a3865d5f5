{{ config(materialized='view') }}

-- Most experiments have nothing to notice: the steps below read the few that may, once.
with noticeable as (
    select *
    from {{ ref('int_experiments') }}
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
        {{ as_text('experiment_id') }} as record_key,
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
        coalesce({{ as_text('experiment_id') }}, experiment_id_cell) as record_key,
        case
            when rule in ('missing_user', 'invalid_user', 'unknown_user') then 'user_id'
            else 'experiment_id'
        end as column_name,
        -- a plain cell is not kept: it reads as its number does
        case
            when rule in ('missing_user', 'invalid_user', 'unknown_user')
                then coalesce(user_id_cell, {{ as_text('user_id') }})
            else coalesce(experiment_id_cell, {{ as_text('experiment_id') }})
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
)

select * from rejected_rows
union all
select * from unusable_run_times
union all
select * from missing_compounds
