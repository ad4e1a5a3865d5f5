{{ config(indexes=unique_index(['user_id', 'compound_id'])) }}

{% if is_increment() -%}
    with user_compounds as (
        select
            user_id,
            compound_id,
            times_listed,
            experiments
        from {{ ref('int_user_compound_changes') }}
        where times_listed > 0
    )
{%- else -%}
    with user_compounds as (
        {{ user_compounds(ref('int_experiments')) }}
    )
{%- endif %}

select * from user_compounds
