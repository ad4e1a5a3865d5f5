{{ config(materialized='view') }}

-- Only lists that are not plain have their text beside them.
with written_lists as (
    select
        experiment_id,
        load_id,
        line,
        compound_list_cell
    from {{ ref('int_experiments') }}
    where fate = 'accepted' and compound_list_cell is not null
),

experiments as (
    select * from {{ ref('accepted_experiments') }}
),

unknown_compounds as (
    select * from {{ ref('experiment_compounds') }} where not is_known
),

written_items as (
    {{ split_list(
        'written_lists', keep=['experiment_id', 'load_id', 'line'], list='compound_list_cell'
    ) }}
),

trimmed_items as (
    select
        experiment_id,
        load_id,
        line,
        position,
        {{ trim_cell('item') }} as item
    from written_items
),

invalid_items as (
    select
        'invalid_compound_id' as rule,
        load_id,
        line,
        experiment_id,
        item as value
    from trimmed_items
    where not {{ matches('item', id_pattern()) }}
),

unknown_items as (
    select
        'unknown_compound' as rule,
        experiments.load_id,
        experiments.line,
        experiments.experiment_id,
        coalesce(trimmed_items.item, {{ as_text('unknown_compounds.compound_id') }}) as value
    from unknown_compounds
    inner join experiments on unknown_compounds.experiment_id = experiments.experiment_id
    left join trimmed_items
        on
            unknown_compounds.experiment_id = trimmed_items.experiment_id
            and unknown_compounds.position = trimmed_items.position
),

items as (
    select * from invalid_items
    union all
    select * from unknown_items
)

select
    rule,
    load_id,
    line,
    {{ as_text('experiment_id') }} as record_key,
    'experiment_compound_ids' as column_name,
    value
from items
