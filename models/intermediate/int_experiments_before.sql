{#- By experiment, never by load: the next-newest row of an id counts again when a load is undone. -#}
{{ config(enabled=is_increment(), indexes=row_index(['experiment_id'])) }}

with added_rows as (
    select experiment_id from {{ ref('stg_user_experiments') }}
),

published_experiments as (
    select * from {{ published(this, 'int_experiments') }}
),

gone_loads as (
    {{ gone_loads() }}
),

users as (
    select user_id from {{ ref('int_users') }} where row_status = 'accepted'
),

published_users as (
    select user_id from {{ published(this, 'int_users') }} where row_status = 'accepted'
),

-- Those who came heal their experiments, those who left take them along.
moved_users as (
    select coalesce(users.user_id, published_users.user_id) as user_id
    from users
    full outer join published_users on users.user_id = published_users.user_id
    where users.user_id is null or published_users.user_id is null
),

compounds as (
    select compound_id from {{ ref('int_compounds') }} where row_status = 'accepted'
),

published_totals as (
    select * from {{ published(this, 'int_compound_totals') }}
),

-- What is said of the lists of a compound changes when it becomes known, or unknown.
moved_compounds as (
    select published_totals.compound_id
    from published_totals
    left join compounds on published_totals.compound_id = compounds.compound_id
    where published_totals.is_known <> (compounds.compound_id is not null)
),

published_user_compounds as (
    select * from {{ published(this, 'int_user_compounds') }}
),

affected_users as (
    select user_id from moved_users
    union
    select published_user_compounds.user_id
    from published_user_compounds
    inner join moved_compounds
        on published_user_compounds.compound_id = moved_compounds.compound_id
),

changed_ids as (
    select experiment_id from added_rows
    union
    select published_experiments.experiment_id
    from published_experiments
    inner join gone_loads on published_experiments.load_id = gone_loads.load_id
    union
    select published_experiments.experiment_id
    from published_experiments
    inner join affected_users on published_experiments.user_id = affected_users.user_id
),

-- Rows without an id are few, and judged by what other files say: all of them are taken anew.
experiments_before as (
    select published_experiments.*
    from published_experiments
    inner join changed_ids on published_experiments.experiment_id = changed_ids.experiment_id
    union all
    select * from published_experiments
    where experiment_id is null
)

select * from experiments_before
