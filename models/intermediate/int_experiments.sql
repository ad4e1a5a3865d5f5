{{ config(indexes=row_index(['experiment_id'])) }}

{%- set columns = [
    'load_id', 'line', 'experiment_id_cell', 'experiment_id', 'user_id_cell', 'user_id',
    'run_time_cell', 'run_time', 'compound_list_cell', 'compound_ids', 'compounds_listed',
    'may_repeat',
] %}

with experiments as (
    select
        {{ columns | join(', ') }},
        error_rule
    from {{ ref('stg_user_experiments') }}
    {%- if is_increment() %}
        union all
        -- Errors in the row's own cells stay; those that depend on other rows are judged anew.
        select
            {{ columns | join(', ') }},
            case when rule not in ('unknown_user', 'duplicate_id') then rule end as error_rule
        from {{ ref('int_experiments_before') }}
        where
            load_id not in (
                select gone.load_id
                from {{ ref('stg_load_changes') }} as gone
                where not gone.is_added
            )
    {%- endif %}
),

users as (
    select user_id from {{ ref('int_users') }} where row_status = 'accepted'
),

checked as (
    select
        {%- for column in columns %}
            experiments.{{ column }},
        {%- endfor %}
        case
            when experiments.error_rule is not null then experiments.error_rule
            when users.user_id is null then 'unknown_user'
        end as error_rule
    from experiments
    left join users on experiments.user_id = users.user_id
),

judged as (
    {{ row_status('checked', key='experiment_id') }}
),

experiments_with_status as (
    select
        {{ columns | join(', ') }},
        row_status,
        rule,
        superseded_by_load_id
    from judged
)

select * from experiments_with_status
