with int_compounds as (
    select * from {{ ref('int_compounds') }}
),

input_files as (
    select * from {{ ref('stg_input_files') }} where input = 'compounds'
),

compounds as (
    select
        *,
        coalesce(cast(compound_id as {{ dbt.type_string() }}), compound_id_cell) as record_key,
        'compound_id' as column_name,
        compound_id_cell as value
    from int_compounds
),

accepted_compounds as (
    select * from compounds where row_status = 'accepted'
),

rejected_compounds as (
    select * from compounds where row_status = 'rejected'
),

superseded_compounds as (
    select * from compounds where row_status = 'superseded'
),

errors as (
    {{ resolved_errors(
        'rejected_compounds',
        'accepted_compounds',
        key='compound_id',
        cells=['compound_id_cell', 'compound_name', 'compound_structure']
    ) }}
),

in_two_sheets as (
    {{ ids_in_two_sheets(
        'superseded_compounds',
        'accepted_compounds',
        key='compound_id',
        cells=['compound_name', 'compound_structure']
    ) }}
),

garbled_names as (
    {{ garbled_texts('accepted_compounds', 'compound_name') }}
),

compound_issues as (
    select * from errors
    union all
    select * from in_two_sheets
    union all
    select * from garbled_names
)

select * from compound_issues
