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

experiment_counts as (
    select
        load_id,
        row_status,
        cast(sum(experiments) as bigint) as experiments
    from counts
    group by load_id, row_status
    having sum(experiments) > 0
)

select * from experiment_counts
