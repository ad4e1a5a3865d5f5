{{ config(materialized='view') }}

with accepted_experiments as (
    select * from {{ ref('int_experiments') }} where row_status = 'accepted'
),

typed as (
    select
        cast(experiment_id as bigint) as experiment_id,
        cast(user_id as bigint) as user_id,
        cast(run_time as numeric(18, 6)) as run_time,
        cast(compounds_listed as bigint) as compounds_listed,
        cast({{ shown_load_id() }} as bigint) as load_id,
        cast({{ shown_line() }} as bigint) as line
    from accepted_experiments
)

select * from typed
