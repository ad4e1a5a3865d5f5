with experiments as (
    select * from {{ ref('int_experiments') }} where fate = 'accepted'
)

select
    cast(experiment_id as bigint) as experiment_id,
    cast(user_id as bigint) as user_id,
    cast(run_time as numeric(18, 6)) as run_time,
    cast({{ count_items('compound_ids') }} as bigint) as compounds_listed,
    cast(load_id as bigint) as load_id,
    cast(line as bigint) as line
from experiments
