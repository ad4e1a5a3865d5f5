{{ config(pre_hook=prefer_sorting()) }}

-- Imported twice: PostgreSQL would store a step that two others read, all 25 million rows of it.
with experiment_compounds as (
    select * from {{ ref('experiment_compounds') }}
),

repeated_items as (
    select * from {{ ref('experiment_compounds') }} where is_repeat
),

compounds as (
    select
        compound_id,
        compound_name
    from {{ ref('accepted_compounds') }}
),

listings as (
    select
        user_id,
        compound_id,
        count(*) as times_listed
    from experiment_compounds
    group by user_id, compound_id
),

-- Few lists repeat a compound. Counting those apart keeps the flag out of the sort of all items.
repeats as (
    select
        user_id,
        compound_id,
        count(*) as times_repeated
    from repeated_items
    group by user_id, compound_id
),

ranked as (
    select
        *,
        rank() over (partition by user_id order by times_listed desc) as usage_rank
    from listings
)

select
    cast(ranked.user_id as bigint) as user_id,
    cast(ranked.compound_id as bigint) as compound_id,
    {{ as_text('compounds.compound_name') }} as compound_name,
    cast(ranked.times_listed as bigint) as times_listed,
    cast(ranked.times_listed - coalesce(repeats.times_repeated, 0) as bigint) as experiments,
    cast(ranked.usage_rank as bigint) as usage_rank,
    cast(ranked.usage_rank = 1 as boolean) as is_most_consumed
from ranked
left join compounds on ranked.compound_id = compounds.compound_id
left join repeats
    on
        ranked.user_id = repeats.user_id
        and ranked.compound_id = repeats.compound_id
