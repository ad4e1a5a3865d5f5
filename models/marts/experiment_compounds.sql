with experiments as (
    select * from {{ ref('int_experiments') }} where fate = 'accepted'
),

compounds as (
    select compound_id from {{ ref('accepted_compounds') }}
),

items as (
    {{ split_list('experiments', keep=['experiment_id', 'user_id', 'run_time'], list='compound_ids') }}
),

ids as (
    select
        experiment_id,
        user_id,
        run_time,
        position,
        cast(item as bigint) as compound_id,
        first_position < position as is_repeat
    from items
    -- an empty item keeps its position and is no compound
    where item <> ''
)

select
    cast(ids.experiment_id as bigint) as experiment_id,
    cast(ids.position as bigint) as position,
    cast(ids.compound_id as bigint) as compound_id,
    cast(compounds.compound_id is not null as boolean) as is_known,
    cast(ids.is_repeat as boolean) as is_repeat,
    cast(ids.user_id as bigint) as user_id,
    cast(ids.run_time as numeric(18, 6)) as run_time
from ids
left join compounds on ids.compound_id = compounds.compound_id
