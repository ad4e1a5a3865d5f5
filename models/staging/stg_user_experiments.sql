with loaded as (
    select * from {{ source('raw', 'user_experiments') }}
),

seeded as (
    select * from {{ ref('user_experiments') }}
),

load_files as (
    select load_id from {{ ref('stg_input_files') }}
    where input = 'user_experiments' and load_id is not null
),

seed_files as (
    select input from {{ ref('stg_input_files') }}
    where input = 'user_experiments' and load_id is null
),

source as (
    {{ input_cells(
        ['experiment_id', 'user_id', 'experiment_compound_ids', 'experiment_run_time']
    ) }}
),

-- Which cells need no care is asked once; almost all of ten million rows then take the short way.
sorted_out as (
    select
        source.*,
        {{ is_plain_id('experiment_id') }} as experiment_id_is_plain,
        {{ is_plain_id('user_id') }} as user_id_is_plain,
        {{ is_plain_list('experiment_compound_ids') }} as list_is_plain
    from source
    {{ evaluate_once() }}
),

-- The cell is kept beside its value only where it may say more than the value.
parsed as (
    select
        load_id,
        line,
        seed_order,
        case when experiment_id_is_plain then null else {{ trim_cell('experiment_id') }} end
            as experiment_id_cell,
        {{ parse_id('experiment_id', is_plain='experiment_id_is_plain') }} as experiment_id,
        case when user_id_is_plain then null else {{ trim_cell('user_id') }} end as user_id_cell,
        {{ parse_id('user_id', is_plain='user_id_is_plain') }} as user_id,
        experiment_run_time,
        {{ parse_run_time('experiment_run_time') }} as run_time,
        case when list_is_plain then null else {{ trim_cell('experiment_compound_ids') }} end
            as compound_list_cell,
        case
            when list_is_plain then experiment_compound_ids
            else nullif({{ plain_list('experiment_compound_ids') }}, '')
        end as compound_ids
    from sorted_out
    {{ evaluate_once() }}
),

checked as (
    select
        load_id,
        line,
        seed_order,
        experiment_id_cell,
        experiment_id,
        user_id_cell,
        user_id,
        case when run_time is null then {{ trim_cell('experiment_run_time') }} end as run_time_cell,
        run_time,
        compound_list_cell,
        compound_ids,
        case
            when experiment_id is not null and user_id is not null then null
            when experiment_id is null and experiment_id_cell is null then 'missing_id'
            when experiment_id is null then 'invalid_id'
            when user_id_cell is null then 'missing_user'
            else 'invalid_user'
        end as error_rule
    from parsed
)

select * from checked
