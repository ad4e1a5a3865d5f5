with experiment_compounds as (
    select * from {{ ref('experiment_compounds') }}
),

compounds as (
    select compound_id, compound_name from {{ ref('accepted_compounds') }}
),

usage as (
    select
        user_id,
        compound_id,
        count(*) as times_listed,
        count(*) filter (where not is_repeat) as experiments
    from experiment_compounds
    group by user_id, compound_id
),

ranked as (
    select
        usage.*,
        rank() over (partition by user_id order by times_listed desc) as usage_rank
    from usage
)

select
    cast(ranked.user_id as bigint) as user_id,
    cast(ranked.compound_id as bigint) as compound_id,
    cast(compounds.compound_name as text) as compound_name,
    cast(ranked.times_listed as bigint) as times_listed,
    cast(ranked.experiments as bigint) as experiments,
    cast(ranked.usage_rank as bigint) as usage_rank,
    cast(ranked.usage_rank = 1 as boolean) as is_most_consumed
from ranked
left join compounds on ranked.compound_id = compounds.compound_id
