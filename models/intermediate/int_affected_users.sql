{{ config(enabled=is_increment(), indexes=unique_index(['user_id'])) }}

with users as (
    select user_id from {{ ref('int_users') }} where row_status = 'accepted'
),

published_users as (
    select user_id from {{ published(this, 'int_users') }} where row_status = 'accepted'
),

-- Experiments count from when their user arrives, and no longer once the user has left.
moved_users as (
    select coalesce(users.user_id, published_users.user_id) as user_id
    from users
    full outer join published_users on users.user_id = published_users.user_id
    where users.user_id is null or published_users.user_id is null
),

compounds as (
    select compound_id from {{ ref('int_compounds') }} where row_status = 'accepted'
),

compound_totals as (
    select * from {{ published(this, 'int_compound_totals') }}
),

-- Whether a listed compound is known decides what issues and marts say about it.
moved_compounds as (
    select compound_totals.compound_id
    from compound_totals
    left join compounds on compound_totals.compound_id = compounds.compound_id
    where compound_totals.is_known <> (compounds.compound_id is not null)
),

user_compounds as (
    select * from {{ published(this, 'int_user_compounds') }}
),

affected_users as (
    select user_id from moved_users
    union
    select user_compounds.user_id
    from user_compounds
    inner join moved_compounds on user_compounds.compound_id = moved_compounds.compound_id
)

select * from affected_users
