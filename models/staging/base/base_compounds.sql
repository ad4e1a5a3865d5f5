-- The rows of the input's current loads, or of its seed, cells as they were written, with how to
-- read them. Both are asked for apart: PostgreSQL stores a step that two others read, and then
-- reads nothing in parallel.
with current_loads as (
    select * from {{ ref('stg_cell_formats') }}
    where input = 'compounds' and load_id <> 0
),

current_seed as (
    select * from {{ ref('stg_cell_formats') }}
    where input = 'compounds' and load_id = 0
),

loaded as (
    select * from {{ source('raw', 'compounds') }}
),

seeded as (
    select * from {{ ref('base_seed_compounds') }}
),

loaded_rows as (
    select
        loaded.compound_id,
        loaded.compound_name,
        loaded.compound_structure,
        loaded.load_id,
        loaded.line,
        current_loads.is_plain,
        current_loads.numbers,
        current_loads.id_prefixes
    from loaded
    inner join current_loads on loaded.load_id = current_loads.load_id
),

seeded_rows as (
    select
        seeded.compound_id,
        seeded.compound_name,
        seeded.compound_structure,
        seeded.load_id,
        seeded.line,
        current_seed.is_plain,
        current_seed.numbers,
        current_seed.id_prefixes
    from seeded
    inner join current_seed on seeded.load_id = current_seed.load_id
),

input_rows as (
    select * from loaded_rows
    union all
    select * from seeded_rows
)

select * from input_rows
