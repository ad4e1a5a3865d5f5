{{ config(indexes=unique_index(['compound_id'])) }}

with compounds as (
    select * from {{ ref('compounds') }}
),

compound_totals as (
    select * from {{ ref('int_compound_totals') }}
),

compound_ids as (
    select compound_id from compounds
    union
    select compound_id from compound_totals
),

typed as (
    select
        cast(compound_ids.compound_id as bigint) as compound_id,
        cast(compounds.compound_name as {{ dbt.type_string() }}) as compound_name,
        cast(compounds.compound_structure as {{ dbt.type_string() }}) as compound_structure,
        cast(coalesce(compound_totals.users, 0) as bigint) as users,
        cast(coalesce(compound_totals.experiments, 0) as bigint) as experiments,
        cast(coalesce(compound_totals.times_listed, 0) as bigint) as times_listed,
        cast(coalesce(compound_totals.total_run_time, 0) as numeric(38, 6)) as total_run_time
    from compound_ids
    left join compounds on compound_ids.compound_id = compounds.compound_id
    left join compound_totals on compound_ids.compound_id = compound_totals.compound_id
)

select * from typed
