with experiments as (
    select * from {{ ref('int_experiments') }} where fate = 'accepted'
),

compounds as (
    select compound_id from {{ ref('accepted_compounds') }}
),

items as (
    {{ split_ids(
        'experiments', keep=['experiment_id', 'user_id', 'run_time'], list='compound_ids'
    ) }}
)

select
    cast(items.experiment_id as bigint) as experiment_id,
    cast(items.position as bigint) as position,
    cast(items.id as bigint) as compound_id,
    cast(compounds.compound_id is not null as boolean) as is_known,
    cast(items.is_repeat as boolean) as is_repeat,
    cast(items.user_id as bigint) as user_id,
    cast(items.run_time as numeric(18, 6)) as run_time
from items
left join compounds on items.id = compounds.compound_id
-- an item that is no compound keeps its position and has no row
where items.id is not null
