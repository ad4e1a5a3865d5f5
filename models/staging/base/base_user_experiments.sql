-- The rows of the input's current loads, or of its seed, cells as they were written.
with current_loads as (
    select load_id from {{ ref('stg_input_files') }} where input = 'user_experiments'
),

loaded as (
    select * from {{ source('raw', 'user_experiments') }}
),

seeded as (
    select * from {{ ref('raw_user_experiments') }}
),

numbered_seed as (
    select
        experiment_id,
        user_id,
        experiment_compound_ids,
        experiment_run_time,
        cast(0 as bigint) as load_id,
        {{ seed_line(
            ['experiment_id', 'user_id', 'experiment_compound_ids', 'experiment_run_time']
        ) }} as line
    from seeded
),

loaded_rows as (
    select
        loaded.experiment_id,
        loaded.user_id,
        loaded.experiment_compound_ids,
        loaded.experiment_run_time,
        loaded.load_id,
        loaded.line
    from loaded
    inner join current_loads on loaded.load_id = current_loads.load_id
),

seeded_rows as (
    select
        numbered_seed.experiment_id,
        numbered_seed.user_id,
        numbered_seed.experiment_compound_ids,
        numbered_seed.experiment_run_time,
        numbered_seed.load_id,
        numbered_seed.line
    from numbered_seed
    inner join current_loads on numbered_seed.load_id = current_loads.load_id
),

input_rows as (
    select * from loaded_rows
    union all
    select * from seeded_rows
)

select * from input_rows
