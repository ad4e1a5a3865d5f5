{{ config(enabled=is_increment(), indexes=row_index(['experiment_id'])) }}

with experiments as (
    select * from {{ published(this, 'int_experiments') }}
),

-- Imported separately: PostgreSQL materializes a step that two others read.
experiments_without_id as (
    select * from {{ published(this, 'int_experiments') }}
    where experiment_id is null
),

changed_experiments as (
    select experiment_id from {{ ref('int_changed_experiments') }}
),

-- Rows without an id are few, and other files decide about them: all of them are judged anew.
experiments_before as (
    select experiments.*
    from experiments
    inner join changed_experiments
        on experiments.experiment_id = changed_experiments.experiment_id
    union all
    select * from experiments_without_id
)

select * from experiments_before
