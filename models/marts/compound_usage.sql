with compounds as (
    select * from {{ ref('accepted_compounds') }}
),

experiment_compounds as (
    select * from {{ ref('experiment_compounds') }}
),

user_compound_usage as (
    select * from {{ ref('user_compound_usage') }}
),

users_per_compound as (
    select
        compound_id,
        count(*) as users
    from user_compound_usage
    group by compound_id
),

listings_per_compound as (
    select
        compound_id,
        count(*) as times_listed,
        count(*) filter (where not is_repeat) as experiments,
        sum(run_time) filter (where not is_repeat) as total_run_time
    from experiment_compounds
    group by compound_id
),

compound_ids as (
    select compound_id from compounds
    union
    select compound_id from listings_per_compound
)

select
    cast(compound_ids.compound_id as bigint) as compound_id,
    {{ as_text('compounds.compound_name') }} as compound_name,
    {{ as_text('compounds.compound_structure') }} as compound_structure,
    cast(coalesce(users_per_compound.users, 0) as bigint) as users,
    cast(coalesce(listings_per_compound.experiments, 0) as bigint) as experiments,
    cast(coalesce(listings_per_compound.times_listed, 0) as bigint) as times_listed,
    cast(coalesce(listings_per_compound.total_run_time, 0) as numeric(38, 6)) as total_run_time
from compound_ids
left join compounds on compound_ids.compound_id = compounds.compound_id
left join users_per_compound on compound_ids.compound_id = users_per_compound.compound_id
left join listings_per_compound on compound_ids.compound_id = listings_per_compound.compound_id
