with source as (
    select * from {{ ref('base_compounds') }}
),

plain as (
    select
        *,
        {{ plain_id('compound_id', 'numbers', 'id_prefixes') }} as plain_compound_id
    from source
),

parsed as (
    select
        load_id,
        line,
        {{ trim_cell('compound_id') }} as compound_id_cell,
        case
            when is_plain then {{ to_id('compound_id') }} else {{ to_id('plain_compound_id') }}
        end as compound_id,
        {{ trim_cell('compound_name') }} as compound_name,
        {{ trim_cell('compound_structure') }} as compound_structure
    from plain
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
