{{ config(materialized='view') }}

with compounds as (
    select * from {{ ref('int_compounds') }}
),

rejected_rows as (
    select
        rule,
        load_id,
        line,
        coalesce({{ as_text('compound_id') }}, compound_id_cell) as record_key,
        'compound_id' as column_name,
        compound_id_cell as value
    from compounds
    where fate = 'rejected'
)

select * from rejected_rows
