{#- A table: PostgreSQL numbers rows in one process, and would run whatever reads them there. -#}
{{ config(materialized='table') }}

with seeded as (
    select * from {{ ref('raw_compounds') }}
),

numbered as (
    select
        compound_id,
        compound_name,
        compound_structure,
        cast(0 as bigint) as load_id,
        {{ seed_line(['compound_id', 'compound_name', 'compound_structure']) }} as line
    from seeded
)

select * from numbered
