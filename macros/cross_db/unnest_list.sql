{#- One row per item of a list: the kept columns, the item and, if it is named, its position (from
    1). NULL has no items.

    Usage: {{ unnest_list('experiments', ['experiment_id'], 'compound_ids', item='id') }}
    Example: (7, [1, NULL, 3]) -> (7, 1), (7, NULL), (7, 3) -#}
{% macro unnest_list(relation, keep, list, item, position=none) -%}
    {{ return(adapter.dispatch('unnest_list', 'labmart')(relation, keep, list, item, position)) }}
{%- endmacro %}

{#- Two set-returning functions in the select list advance together and stream; `unnest … with
    ordinality` in the from clause stores every list first and takes twice as long. The drawback:
    with positions, the planner expects a thousand items in each list. -#}
{% macro postgres__unnest_list(relation, keep, list, item, position) -%}
    select
        {{ keep | join(', ') }},
        unnest({{ list }}) as {{ item }}
        {%- if position %},
        generate_subscripts({{ list }}, 1) as {{ position }}
        {%- endif %}
    from {{ relation }}
{%- endmacro %}

{% macro duckdb__unnest_list(relation, keep, list, item, position) -%}
    {{ return(labmart.postgres__unnest_list(relation, keep, list, item, position)) }}
{%- endmacro %}

{% macro spark__unnest_list(relation, keep, list, item, position) -%}
    select
        {{ keep | join(', ') }},
        {{ item }}
        {%- if position %},
        place + 1 as {{ position }}
        {%- endif %}
    from {{ relation }}
    {% if position -%}
    lateral view posexplode({{ list }}) as place, {{ item }}
    {%- else -%}
    lateral view explode({{ list }}) as {{ item }}
    {%- endif %}
{%- endmacro %}
