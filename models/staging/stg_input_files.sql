{#- A table: a build reads the same loads from its first model to its last, whatever is loaded
    meanwhile. -#}
{{ config(materialized='table', indexes=unique_index(['input', 'load_id'])) }}

{%- set input = var('input') -%}
{%- if input not in ['auto', 'seeds', 'loads'] -%}
    {{ exceptions.raise_compiler_error(
        "The variable `input` is '" ~ input ~ "'. It must be auto, seeds or loads."
    ) }}
{%- endif -%}

{#- Said here, not in a step: Sail 0.7 takes a constant false on a count for true. -#}
{%- set reads_loads = {'loads': 'true', 'seeds': 'false'}.get(input, 'choice.has_loads') -%}

-- Every staging model reads this one, and this one reads every seed: a seed that fails stops all
-- marts.
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
    select
        input,
        load_id,
        file,
        records_read,
        call_id,
        sha256,
        decimal,
        dates,
        list_separator,
        id_prefix
    from loads
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
    select current_loads.*
    from current_loads
    cross join choice
    where {{ reads_loads }}

    union all

    -- nothing can be said of a seed
    select
        seeds.*,
        cast(null as bigint) as call_id,
        cast(null as {{ dbt.type_string() }}) as sha256,
        cast(null as {{ dbt.type_string() }}) as decimal,
        cast(null as {{ dbt.type_string() }}) as dates,
        cast(null as {{ dbt.type_string() }}) as list_separator,
        cast(null as {{ dbt.type_string() }}) as id_prefix
    from seeds
    cross join choice
    where not {{ reads_loads }}
),

typed as (
    select
        input,
        cast(load_id as bigint) as load_id,
        file,
        cast(records_read as bigint) as records_read,
        cast(max(load_id) over (partition by input, file) as bigint) as newest_load_id,
        count(*) over (partition by input, call_id, sha256) > 1 as has_other_sheets,
        call_id,
        sha256,
        decimal,
        dates,
        list_separator,
        id_prefix
    from input_files
)

select * from typed
