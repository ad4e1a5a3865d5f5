{#- A table, so that a build reads the same loads from its first model to its last, whatever is
    loaded in the meantime. -#}
{{ config(materialized='table', indexes=unique_index(['input', 'load_id'])) }}

{%- set input = var('input') -%}
{%- if input not in ['auto', 'seeds', 'loads'] -%}
    {{ exceptions.raise_compiler_error(
        "The variable `input` is '" ~ input ~ "'. It must be auto, seeds or loads."
    ) }}
{%- endif -%}

{#- Decided here and not in a step: Sail 0.7 takes a constant false on a count for true. -#}
{%- set reads_loads = {'loads': 'true', 'seeds': 'false'}.get(input, 'choice.has_loads') -%}

-- Every staging model reads this one, and this one reads every seed: if a seed fails, all marts
-- stop.
with loads as (
    select * from {{ source('raw', 'loads') }}
),

users_seed as (
    select count(*) as records_read from {{ ref('raw_users') }}
),

user_experiments_seed as (
    select count(*) as records_read from {{ ref('raw_user_experiments') }}
),

compounds_seed as (
    select count(*) as records_read from {{ ref('raw_compounds') }}
),

current_loads as (
    select * from loads
    where
        status = 'current' and load_id is not null
        and input in ('users', 'user_experiments', 'compounds')
),

-- A seed is load 0, which the loader never gives out.
seeds as (
    select
        'users' as input,
        0 as load_id,
        'seeds/raw_users.csv' as file,
        records_read
    from users_seed
    union all
    select
        'user_experiments' as input,
        0 as load_id,
        'seeds/raw_user_experiments.csv' as file,
        records_read
    from user_experiments_seed
    union all
    select
        'compounds' as input,
        0 as load_id,
        'seeds/raw_compounds.csv' as file,
        records_read
    from compounds_seed
),

choice as (
    select count(*) > 0 as has_loads
    from current_loads
),

input_files as (
    select
        current_loads.input,
        current_loads.load_id,
        current_loads.file,
        current_loads.records_read
    from current_loads
    cross join choice
    where {{ reads_loads }}

    union all

    select seeds.*
    from seeds
    cross join choice
    where not {{ reads_loads }}
),

-- Seeds have no options.
typed as (
    select
        input_files.input,
        cast(input_files.load_id as bigint) as load_id,
        input_files.file,
        cast(input_files.records_read as bigint) as records_read,
        cast(
            max(input_files.load_id) over (partition by input_files.input, input_files.file)
            as bigint
        ) as newest_load_id,
        count(*) over (
            partition by input_files.input, current_loads.call_id, current_loads.sha256
        ) > 1 as has_other_sheets,
        current_loads.call_id,
        current_loads.sha256,
        current_loads.decimal,
        current_loads.dates,
        current_loads.list_separator,
        current_loads.id_prefix,
        current_loads.durations
    from input_files
    left join current_loads on input_files.load_id = current_loads.load_id
)

select * from typed
