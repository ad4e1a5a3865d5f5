with compounds as (
    select * from {{ ref('stg_compounds') }}
),

judged as (
    {{ row_fates('compounds', key='compound_id') }}
)

select
    load_id,
    line,
    compound_id,
    compound_id_cell,
    compound_name,
    compound_structure,
    fate,
    rule
from judged
