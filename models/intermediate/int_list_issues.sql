-- The text of a list is stored only if it differs from its ids in canonical form.
with experiments_with_a_written_list as (
    select * from {{ ref('int_experiments') }}
    where row_status = 'accepted' and compound_list_cell is not null
),

cell_formats as (
    select * from {{ ref('stg_cell_formats') }} where input = 'user_experiments'
),

unknown_compounds as (
    select compound_id from {{ ref('int_compound_totals') }} where not is_known
),

user_compounds as (
    select * from {{ ref('int_user_compounds') }}
),

experiments as (
    select * from {{ ref('int_experiments') }} where row_status = 'accepted'
),

written_lists as (
    select
        experiments.experiment_id,
        experiments.load_id,
        experiments.line,
        experiments.compound_ids,
        {{ with_semicolons('experiments.compound_list_cell', 'cell_formats.list_separator') }}
            as written_list
    from experiments_with_a_written_list as experiments
    inner join cell_formats on experiments.load_id = cell_formats.load_id
),

written_items as (
    {{ unnest_list(
        'written_lists',
        keep=['experiment_id', 'load_id', 'line', 'compound_ids'],
        list=split_text('written_list'),
        item='written_item',
        position='position'
    ) }}
),

trimmed_items as (
    select
        experiment_id,
        load_id,
        line,
        position,
        {{ trim_cell(as_written('written_item')) }} as item,
        {{ list_item('compound_ids', 'position') }} as compound_id
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
    where item is not null and compound_id is null
),

-- Usually there are none, and then no list has to be searched.
users_of_unknown_compounds as (
    select distinct user_compounds.user_id
    from user_compounds
    inner join unknown_compounds on user_compounds.compound_id = unknown_compounds.compound_id
),

their_experiments as (
    select experiments.*
    from experiments
    inner join users_of_unknown_compounds
        on experiments.user_id = users_of_unknown_compounds.user_id
),

their_items as (
    {{ unnest_list(
        'their_experiments',
        keep=['experiment_id', 'load_id', 'line'],
        list='compound_ids',
        item='compound_id',
        position='position'
    ) }}
),

unknown_items as (
    select
        'unknown_compound' as rule,
        their_items.load_id,
        their_items.line,
        their_items.experiment_id,
        coalesce(
            trimmed_items.item, cast(their_items.compound_id as {{ dbt.type_string() }})
        ) as value
    from their_items
    inner join unknown_compounds on their_items.compound_id = unknown_compounds.compound_id
    left join trimmed_items
        on
            their_items.experiment_id = trimmed_items.experiment_id
            and their_items.position = trimmed_items.position
),

items as (
    select * from invalid_items
    union all
    select * from unknown_items
),

list_issues as (
    select
        rule,
        'warning' as severity,
        load_id,
        line,
        cast(experiment_id as {{ dbt.type_string() }}) as record_key,
        'experiment_compound_ids' as column_name,
        value,
        cast(null as bigint) as resolved_by_load_id
    from items
)

select * from list_issues
