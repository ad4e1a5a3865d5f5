with compounds as (
    select * from {{ ref('int_compounds') }}
),

rejected_rows as (
    select
        rule,
        load_id,
        line,
        coalesce(cast(compound_id as {{ dbt.type_string() }}), compound_id_cell) as record_key,
        'compound_id' as column_name,
        compound_id_cell as value
    from compounds
    where row_status = 'rejected'
)

select * from rejected_rows
