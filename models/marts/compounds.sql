{{ config(indexes=unique_index(['compound_id'])) }}

with accepted_compounds as (
    select * from {{ ref('int_compounds') }} where row_status = 'accepted'
),

typed as (
    select
        cast(compound_id as bigint) as compound_id,
        cast(compound_name as {{ dbt.type_string() }}) as compound_name,
        cast(compound_structure as {{ dbt.type_string() }}) as compound_structure,
        cast({{ shown_load_id() }} as bigint) as load_id,
        cast({{ shown_line() }} as bigint) as line
    from accepted_compounds
)

select * from typed
