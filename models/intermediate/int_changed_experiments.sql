{#- By experiment, never by load: after an undo an older row of the same id counts again. -#}
{{ config(enabled=is_increment(), indexes=unique_index(['experiment_id'])) }}

with added_rows as (
    select experiment_id from {{ ref('stg_user_experiments') }}
),

experiments as (
    select * from {{ published(this, 'int_experiments') }}
),

-- Imported separately: PostgreSQL materializes a step that two others read.
experiments_of_users as (
    select * from {{ published(this, 'int_experiments') }}
),

gone_loads as (
    select load_id from {{ ref('stg_load_changes') }} where not is_added
),

affected_users as (
    select * from {{ ref('int_affected_users') }}
),

changed_experiments as (
    select experiment_id from added_rows
    union
    select experiments.experiment_id
    from experiments
    inner join gone_loads on experiments.load_id = gone_loads.load_id
    union
    select experiments_of_users.experiment_id
    from experiments_of_users
    inner join affected_users on experiments_of_users.user_id = affected_users.user_id
)

select * from changed_experiments
where experiment_id is not null
