{{ config(materialized='view') }}

with user_compounds as (
    select * from {{ ref('int_user_compounds') }}
),

compounds as (
    select
        compound_id,
        compound_name
    from {{ ref('compounds') }}
),

ranked as (
    select
        *,
        rank() over (partition by user_id order by times_listed desc) as usage_rank
    from user_compounds
),

typed as (
    select
        cast(ranked.user_id as bigint) as user_id,
        cast(ranked.compound_id as bigint) as compound_id,
        cast(compounds.compound_name as {{ dbt.type_string() }}) as compound_name,
        cast(ranked.times_listed as bigint) as times_listed,
        cast(ranked.experiments as bigint) as experiments,
        cast(ranked.usage_rank as bigint) as usage_rank,
        cast(ranked.usage_rank = 1 as boolean) as is_most_consumed
    from ranked
    left join compounds on ranked.compound_id = compounds.compound_id
)

select * from typed
