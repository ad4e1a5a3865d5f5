with compounds as (
    select * from {{ ref('int_compounds') }} where fate = 'accepted'
)

select
    cast(compound_id as bigint) as compound_id,
    {{ as_text('compound_name') }} as compound_name,
    {{ as_text('compound_structure') }} as compound_structure,
    cast(load_id as bigint) as load_id,
    cast(line as bigint) as line
from compounds
