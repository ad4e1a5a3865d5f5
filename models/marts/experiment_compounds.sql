{{ config(materialized='view') }}

-- Imported twice: PostgreSQL materializes a step that two others read.
with experiments as (
    select * from {{ ref('int_experiments') }} where row_status = 'accepted' and not may_repeat
),

repeating_experiments as (
    select * from {{ ref('int_experiments') }} where row_status = 'accepted' and may_repeat
),

compounds as (
    select compound_id from {{ ref('compounds') }}
),

items as (
    {{ unnest_list(
        'experiments',
        keep=['experiment_id', 'user_id', 'run_time'],
        list='compound_ids',
        item='compound_id',
        position='position'
    ) }}
),

repeating_items as (
    {{ unnest_list(
        'repeating_experiments',
        keep=['experiment_id', 'user_id', 'run_time'],
        list='compound_ids',
        item='compound_id',
        position='position'
    ) }}
),

marked_items as (
    select
        *,
        false as is_repeat
    from items
    union all
    select
        *,
        row_number() over (partition by experiment_id, compound_id order by position) > 1
            as is_repeat
    from repeating_items
),

typed as (
    select
        cast(marked_items.experiment_id as bigint) as experiment_id,
        cast(marked_items.position as bigint) as position,
        cast(marked_items.compound_id as bigint) as compound_id,
        cast(compounds.compound_id is not null as boolean) as is_known,
        cast(marked_items.is_repeat as boolean) as is_repeat,
        cast(marked_items.user_id as bigint) as user_id,
        cast(marked_items.run_time as numeric(18, 6)) as run_time
    from marked_items
    left join compounds on marked_items.compound_id = compounds.compound_id
    -- an item that is not an id has a position, but no row
    where marked_items.compound_id is not null
)

select * from typed
