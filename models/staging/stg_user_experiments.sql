{#- In an increment a table, of a few rows that are read twice. -#}
{{ config(materialized='table' if is_increment() else 'view') }}

with source as (
    select * from {{ ref('base_user_experiments') }}
),

-- Not computed for files that are read without options: nothing uses these then.
plain as (
    select
        *,
        {{ plain_id('experiment_id', 'numbers', 'id_prefixes') }} as plain_experiment_id,
        {{ plain_id('user_id', 'numbers', 'id_prefixes') }} as plain_user_id,
        {{ plain_number(trim_cell('experiment_run_time'), 'numbers') }} as plain_run_time,
        {{ plain_list('experiment_compound_ids', 'numbers', 'list_separator', 'id_prefixes') }}
            as plain_compound_ids,
        {{ plain_duration(trim_cell('experiment_run_time'), 'numbers', 'durations') }}
            as plain_duration
    from source
),

parsed as (
    select
        *,
        case
            when is_plain then {{ to_id('experiment_id') }} else {{ to_id('plain_experiment_id') }}
        end as parsed_experiment_id,
        case when is_plain then {{ to_id('user_id') }} else {{ to_id('plain_user_id') }} end
            as parsed_user_id,
        case
            when is_plain then {{ to_run_time('experiment_run_time') }}
            else coalesce(
                {{ to_run_time('plain_run_time') }},
                {{ to_duration('plain_duration', 'durations') }}
            )
        end as run_time,
        case
            when is_plain then {{ to_id_list('experiment_compound_ids') }}
            else {{ to_id_list('plain_compound_ids') }}
        end as compound_ids
    from plain
),

-- A cell is stored only if it differs from its value. To write the value out and compare is cheaper
-- than to trim.
typed as (
    select
        load_id,
        line,
        case
            when experiment_id = cast(parsed_experiment_id as {{ dbt.type_string() }}) then null
            else {{ trim_cell('experiment_id') }}
        end as experiment_id_cell,
        parsed_experiment_id as experiment_id,
        case
            when user_id = cast(parsed_user_id as {{ dbt.type_string() }}) then null
            else {{ trim_cell('user_id') }}
        end as user_id_cell,
        parsed_user_id as user_id,
        case when run_time is null then {{ trim_cell('experiment_run_time') }} end
            as run_time_cell,
        run_time,
        case
            when experiment_compound_ids = {{ list_as_text('compound_ids') }} then null
            else {{ trim_cell('experiment_compound_ids') }}
        end as compound_list_cell,
        compound_ids,
        cast({{ list_size('compound_ids') }} as bigint) as compounds_listed,
        {{ may_repeat('compound_ids') }} as may_repeat
    from {{ computed_once('parsed') }}
),

checked as (
    select
        *,
        case
            when experiment_id is not null and user_id is not null then null
            when experiment_id is null and experiment_id_cell is null then 'missing_id'
            when experiment_id is null then 'invalid_id'
            when user_id_cell is null then 'missing_user'
            else 'invalid_user'
        end as error_rule
    from {{ computed_once('typed') }}
)

select * from checked
