{#- The rows, each with the load of the row before it with the same key; NULL for the first. The
    newest load comes first, then the order of lines; rejected rows are apart.

    Sail sorts whole rows for that, which took half of a build's time. So in the lake only rows
    whose key occurs more than once are sorted, usually a few.
    Expects of the rows: load_id, line, error_rule and the key.
    Usage: from ({{ with_previous_load('checked', key='user_id') }}) as rows_with_previous -#}
{% macro with_previous_load(rows, key) -%}
    {{ return(adapter.dispatch('with_previous_load', 'labmart')(rows, key)) }}
{%- endmacro %}

{% macro postgres__with_previous_load(rows, key) -%}
    select
        *,
        lag(load_id) over (
            partition by {{ key }}, error_rule is null
            order by load_id desc, line asc
        ) as previous_load_id
    from {{ rows }}
{%- endmacro %}

{% macro duckdb__with_previous_load(rows, key) -%}
    {{ return(labmart.postgres__with_previous_load(rows, key)) }}
{%- endmacro %}

{% macro spark__with_previous_load(rows, key) -%}
    {%- set repeated -%}
        (
            select {{ key }} as id
            from {{ rows }}
            where {{ key }} is not null
            group by {{ key }}
            having count(*) > 1
        ) as repeated
    {%- endset -%}
    {%- set rows_of_repeated -%}
        (
            select {{ rows }}.*
            from {{ rows }}
            inner join {{ repeated }} on {{ rows }}.{{ key }} = repeated.id
        ) as rows_of_repeated
    {%- endset -%}
    select
        {{ rows }}.*,
        cast(null as bigint) as previous_load_id
    from {{ rows }}
    left join {{ repeated }} on {{ rows }}.{{ key }} = repeated.id
    where repeated.id is null
    union all
    {{ labmart.postgres__with_previous_load(rows_of_repeated, key) }}
{%- endmacro %}
