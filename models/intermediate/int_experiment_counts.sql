with counts as (
    select
        load_id,
        row_status,
        count(*) as experiments
    from {{ ref('int_experiments') }}
    group by load_id, row_status
    {%- if is_increment() %}
        union all
        select
            load_id,
            row_status,
            -count(*) as experiments
        from {{ ref('int_experiments_before') }}
        group by load_id, row_status
        union all
        select * from {{ published(this) }}
    {%- endif %}
),

sums as (
    select
        load_id,
        row_status,
        cast(sum(experiments) as bigint) as experiments
    from counts
    group by load_id, row_status
),

-- Not `having`: Sail takes `having sum(experiments)` for a sum of the sum.
experiment_counts as (
    select * from sums
    where experiments > 0
)

select * from experiment_counts
