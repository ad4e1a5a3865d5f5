{#- A table: small, read by nearly every model, and counting the seeds once is enough. -#}
{{ config(materialized='table') }}

{%- set input = var('input') -%}
{%- if input not in ['auto', 'seeds', 'loads'] -%}
    {{ exceptions.raise_compiler_error(
        "The variable `input` is '" ~ input ~ "'. It must be auto, seeds or loads."
    ) }}
{%- endif -%}

-- Every staging model reads this one, and this one reads every seed: a seed that fails stops all
-- marts.
with loads as (
    select * from {{ source('raw', 'loads') }}
),

users_seed as (
    select count(*) as records_read from {{ ref('users') }}
),

user_experiments_seed as (
    select count(*) as records_read from {{ ref('user_experiments') }}
),

compounds_seed as (
    select count(*) as records_read from {{ ref('compounds') }}
),

current_loads as (
    select
        load_id,
        input,
        file,
        records_read
    from loads
    where
        status = 'current' and load_id is not null
        and input in ('users', 'user_experiments', 'compounds')
),

seed_files as (
    select
        'users' as input,
        'seeds/users.csv' as file,
        records_read
    from users_seed
    union all
    select
        'user_experiments' as input,
        'seeds/user_experiments.csv' as file,
        records_read
    from user_experiments_seed
    union all
    select
        'compounds' as input,
        'seeds/compounds.csv' as file,
        records_read
    from compounds_seed
),

choice as (
    select
        case '{{ input }}'
            when 'loads' then true
            when 'seeds' then false
            else count(*) > 0
        end as reads_loads
    from current_loads
),

input_files as (
    select
        current_loads.load_id,
        current_loads.input,
        current_loads.file,
        current_loads.records_read
    from current_loads
    cross join choice
    where choice.reads_loads

    union all

    select
        cast(null as bigint) as load_id,
        seed_files.input,
        seed_files.file,
        seed_files.records_read
    from seed_files
    cross join choice
    where not choice.reads_loads
)

select
    input,
    load_id,
    file,
    cast(records_read as bigint) as records_read
from input_files
