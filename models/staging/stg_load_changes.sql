{#- Undo, redo and replace too are only loads that have come and loads that have gone. -#}
{{ config(enabled=is_increment(), materialized='table', indexes=unique_index(['load_id'])) }}

with input_files as (
    select load_id from {{ ref('stg_input_files') }}
),

published_input_files as (
    select load_id from {{ published(ref('stg_input_files')) }}
),

load_changes as (
    select
        coalesce(input_files.load_id, published_input_files.load_id) as load_id,
        published_input_files.load_id is null as is_added
    from input_files
    full outer join published_input_files on input_files.load_id = published_input_files.load_id
    where input_files.load_id is null or published_input_files.load_id is null
)

select * from load_changes
