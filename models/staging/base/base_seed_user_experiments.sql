{#- A table: PostgreSQL numbers rows in one process, and would run whatever reads them there. -#}
{{ config(materialized='table') }}

with seeded as (
    select * from {{ ref('raw_user_experiments') }}
),

numbered as (
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
)

select * from numbered
