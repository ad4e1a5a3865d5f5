with compounds as (
    select * from {{ ref('int_compounds') }} where fate = 'accepted'
)

select
    cast(compound_id as bigint) as compound_id,
    cast(compound_name as text) as compound_name,
    cast(compound_structure as text) as compound_structure,
    cast(load_id as bigint) as load_id,
    cast(line as bigint) as line
from compounds
