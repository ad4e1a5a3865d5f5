with compounds as (
    select * from {{ ref('stg_compounds') }}
),

judged as (
    {{ row_status('compounds', key='compound_id') }}
),

compounds_with_status as (
    select
        load_id,
        line,
        compound_id,
        compound_id_cell,
        compound_name,
        compound_structure,
        row_status,
        rule,
        superseded_by_load_id
    from judged
)

select * from compounds_with_status
