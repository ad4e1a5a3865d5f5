-- The rows of the input's current loads, or of its seed, cells as they were written.
with current_loads as (
    select load_id from {{ ref('stg_input_files') }} where input = 'compounds'
),

loaded as (
    select * from {{ source('raw', 'compounds') }}
),

seeded as (
    select * from {{ ref('raw_compounds') }}
),

numbered_seed as (
    select
        compound_id,
        compound_name,
        compound_structure,
        cast(0 as bigint) as load_id,
        {{ seed_line(['compound_id', 'compound_name', 'compound_structure']) }} as line
    from seeded
),

loaded_rows as (
    select
        loaded.compound_id,
        loaded.compound_name,
        loaded.compound_structure,
        loaded.load_id,
        loaded.line
    from loaded
    inner join current_loads on loaded.load_id = current_loads.load_id
),

seeded_rows as (
    select
        numbered_seed.compound_id,
        numbered_seed.compound_name,
        numbered_seed.compound_structure,
        numbered_seed.load_id,
        numbered_seed.line
    from numbered_seed
    inner join current_loads on numbered_seed.load_id = current_loads.load_id
),

input_rows as (
    select * from loaded_rows
    union all
    select * from seeded_rows
)

select * from input_rows
