-- The most consumed compounds in user_features are those of rank one: the same number, the smallest
-- id first, each listed that often.
with user_features as (
    select * from {{ ref('user_features') }}
),

user_compound_usage as (
    select * from {{ ref('user_compound_usage') }}
),

rank_one as (
    select
        user_id,
        count(*) as compounds,
        min(compound_id) as smallest_id,
        min(times_listed) as times_listed
    from user_compound_usage
    where usage_rank = 1
    group by user_id
)

select
    user_features.user_id,
    user_features.most_consumed_compound,
    user_features.most_consumed_compounds,
    user_features.most_consumed_compound_count,
    rank_one.compounds,
    rank_one.smallest_id,
    rank_one.times_listed
from user_features
left join rank_one on user_features.user_id = rank_one.user_id
where
    user_features.most_consumed_compound is distinct from rank_one.smallest_id
    or user_features.most_consumed_compound_count <> coalesce(rank_one.times_listed, 0)
    or length(user_features.most_consumed_compounds)
    - length(replace(user_features.most_consumed_compounds, ';', '')) + 1 <> rank_one.compounds
    or split_part(user_features.most_consumed_compounds, ';', 1)
    <> cast(rank_one.smallest_id as {{ dbt.type_string() }})
