{{ config(indexes=unique_index(['compound_id'])) }}

with user_compounds as (
    select * from {{ ref('int_user_compounds') }}
),

compounds as (
    select compound_id from {{ ref('int_compounds') }} where row_status = 'accepted'
),

totals as (
    select
        compound_id,
        count(*) as users,
        sum(experiments) as experiments,
        sum(times_listed) as times_listed
    from user_compounds
    group by compound_id
),

compound_totals as (
    select
        totals.*,
        compounds.compound_id is not null as is_known
    from totals
    left join compounds on totals.compound_id = compounds.compound_id
)

select * from compound_totals
