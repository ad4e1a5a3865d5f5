{#- A table, because every row of an input is joined to it. -#}
{{ config(materialized='table', indexes=unique_index(['input', 'load_id'])) }}

{#- Each load is searched once, since its rows never change. -#}
{%- set added_loads_alone -%}
    {%- if is_increment() -%}
        where load_id in (select load_id from {{ ref('stg_load_changes') }} where is_added)
    {%- endif -%}
{%- endset -%}

with input_files as (
    select * from {{ ref('stg_input_files') }}
),

loaded_users as (
    select * from {{ source('raw', 'users') }}
    {{ added_loads_alone }}
),

loaded_experiments as (
    select * from {{ source('raw', 'user_experiments') }}
    {{ added_loads_alone }}
),

loaded_compounds as (
    select * from {{ source('raw', 'compounds') }}
    {{ added_loads_alone }}
),

seeded_users as (
    select * from {{ ref('base_seed_users') }}
),

seeded_experiments as (
    select * from {{ ref('base_seed_user_experiments') }}
),

seeded_compounds as (
    select * from {{ ref('base_seed_compounds') }}
),

rows_with_thousands as (
    {% for origin in ['loaded', 'seeded'] -%}
        select
            'users' as input,
            load_id
        from {{ origin }}_users
        where {{ shows_thousands('user_id', is_id=true) }}
        union all
        select
            'user_experiments' as input,
            load_id
        from {{ origin }}_experiments
        where
            {{ shows_thousands('experiment_run_time') }}
            or {{ shows_thousands('experiment_id', is_id=true) }}
            or {{ shows_thousands('user_id', is_id=true) }}
        union all
        select
            'compounds' as input,
            load_id
        from {{ origin }}_compounds
        where {{ shows_thousands('compound_id', is_id=true) }}
        {{ 'union all' if not loop.last }}
    {% endfor -%}
),

files_with_thousands as (
    select distinct
        input,
        load_id
    from rows_with_thousands
),

cell_formats as (
    select
        input_files.input,
        input_files.load_id,
        coalesce(
            input_files.decimal,
            case when files_with_thousands.load_id is not null then 'unclear' end
            {%- if is_increment() %}
                ,
                published_formats.numbers
            {%- endif %}
        ) as numbers,
        input_files.dates,
        input_files.list_separator,
        input_files.durations,
        -- as a regular expression; prefixes have no other special characters
        replace(replace(input_files.id_prefix, '.', '[.]'), ',', '|') as id_prefixes
    from input_files
    left join files_with_thousands
        on
            input_files.input = files_with_thousands.input
            and input_files.load_id = files_with_thousands.load_id
    {%- if is_increment() %}
        left join {{ published(this) }} as published_formats
            on input_files.load_id = published_formats.load_id
    {%- endif %}
),

with_plain_files as (
    select
        *,
        coalesce(numbers, dates, list_separator, id_prefixes, durations) is null as is_plain
    from cell_formats
)

select * from with_plain_files
