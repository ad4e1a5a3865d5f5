with loaded as (
    select * from {{ source('raw', 'compounds') }}
),

seeded as (
    select * from {{ ref('compounds') }}
),

load_files as (
    select load_id from {{ ref('stg_input_files') }}
    where input = 'compounds' and load_id is not null
),

seed_files as (
    select input from {{ ref('stg_input_files') }}
    where input = 'compounds' and load_id is null
),

source as (
    {{ input_cells(['compound_id', 'compound_name', 'compound_structure']) }}
),

parsed as (
    select
        load_id,
        line,
        seed_order,
        {{ trim_cell('compound_id') }} as compound_id_cell,
        {{ parse_id('compound_id', is_plain=is_plain_id('compound_id')) }} as compound_id,
        {{ trim_cell('compound_name') }} as compound_name,
        {{ trim_cell('compound_structure') }} as compound_structure
    from source
    {{ evaluate_once() }}
),

checked as (
    select
        *,
        case
            when compound_id is not null then null
            when compound_id_cell is null then 'missing_id'
            else 'invalid_id'
        end as error_rule
    from parsed
)

select * from checked
