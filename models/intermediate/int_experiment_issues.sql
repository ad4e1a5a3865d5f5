with input_files as (
    select * from {{ ref('stg_input_files') }} where input = 'user_experiments'
),

-- Most experiments have no issue: the large table is read once, for the few that may have one.
questionable as (
    select
        *,
        cast(experiment_id as {{ dbt.type_string() }}) as experiment_id_text,
        cast(user_id as {{ dbt.type_string() }}) as user_id_text
    from {{ ref('int_experiments') }}
    where
        row_status = 'rejected'
        or (row_status = 'accepted' and (run_time is null or compounds_listed = 0))
        or (
            row_status = 'superseded'
            and load_id in (
                select input_files.load_id from input_files where input_files.has_other_sheets
            )
        )
),

accepted_experiments as (
    select
        experiment_id,
        load_id,
        user_id,
        run_time,
        compound_ids
    from {{ ref('int_experiments') }}
    where row_status = 'accepted'
),

-- A canonical cell is not stored: it reads the same as its value.
rejected_experiments as (
    select
        *,
        coalesce(experiment_id_text, experiment_id_cell) as record_key,
        case
            when rule in ('missing_user', 'invalid_user', 'unknown_user') then 'user_id'
            else 'experiment_id'
        end as column_name,
        case
            when rule in ('missing_user', 'invalid_user', 'unknown_user')
                then coalesce(user_id_cell, user_id_text)
            else coalesce(experiment_id_cell, experiment_id_text)
        end as value,
        coalesce(user_id_cell, user_id_text) as user_text,
        coalesce(compound_list_cell, {{ list_as_text('compound_ids') }}) as list_text
    from questionable
    where row_status = 'rejected'
),

errors as (
    {{ resolved_errors(
        'rejected_experiments',
        'accepted_experiments',
        key='experiment_id',
        cells=['experiment_id_cell', 'user_text', 'list_text', 'run_time_cell', 'run_time']
    ) }}
),

superseded_experiments as (
    select
        *,
        experiment_id_text as record_key,
        'experiment_id' as column_name,
        coalesce(experiment_id_cell, experiment_id_text) as value
    from questionable
    where row_status = 'superseded'
),

in_two_sheets as (
    {{ ids_in_two_sheets(
        'superseded_experiments',
        'accepted_experiments',
        key='experiment_id',
        cells=['user_id', 'run_time', 'compound_ids']
    ) }}
),

unusable_run_times as (
    select
        case when run_time_cell is null then 'missing_run_time' else 'invalid_run_time' end as rule,
        'warning' as severity,
        load_id,
        line,
        experiment_id_text as record_key,
        'experiment_run_time' as column_name,
        run_time_cell as value,
        cast(null as bigint) as resolved_by_load_id
    from questionable
    where row_status = 'accepted' and run_time is null
),

cell_formats as (
    select * from {{ ref('stg_cell_formats') }} where input = 'user_experiments'
),

empty_lists as (
    select
        questionable.*,
        cell_formats.list_separator,
        coalesce(questionable.compound_list_cell, {{ list_as_text('questionable.compound_ids') }})
            as list_text
    from questionable
    inner join cell_formats on questionable.load_id = cell_formats.load_id
    where questionable.row_status = 'accepted' and questionable.compounds_listed = 0
),

missing_compounds as (
    select
        'missing_compounds' as rule,
        'warning' as severity,
        load_id,
        line,
        experiment_id_text as record_key,
        'experiment_compound_ids' as column_name,
        list_text as value,
        cast(null as bigint) as resolved_by_load_id
    from empty_lists
    where
        {{ trim_cell(
            "replace(" ~ with_semicolons('list_text', 'list_separator') ~ ", ';', ' ')"
        ) }} is null
),

experiment_issues as (
    select * from errors
    union all
    select * from in_two_sheets
    union all
    select * from unusable_run_times
    union all
    select * from missing_compounds
)

select * from experiment_issues
