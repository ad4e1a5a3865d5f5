{#- One row per item of a list: the kept columns, the item and its `position` (from 1). NULL has no
    items.

    Usage: {{ unnest_list('experiments', keep=['experiment_id'], list='compound_ids', item='id') }}
    Example: (7, [1, NULL, 3]) -> (7, 1, 1), (7, NULL, 2), (7, 3, 3) -#}
{% macro unnest_list(relation, keep, list, item) -%}
    {{ return(adapter.dispatch('unnest_list', 'labmart')(relation, keep, list, item)) }}
{%- endmacro %}

{#- Two set-returning functions in the select list go hand in hand and stream; `unnest … with
    ordinality` in the from clause stores every list first and takes twice as long. -#}
{% macro postgres__unnest_list(relation, keep, list, item) -%}
    select
        {{ keep | join(', ') }},
        unnest({{ list }}) as {{ item }},
        generate_subscripts({{ list }}, 1) as position
    from {{ relation }}
{%- endmacro %}

{% macro duckdb__unnest_list(relation, keep, list, item) -%}
    select
        {{ keep | join(', ') }},
        unnest({{ list }}) as {{ item }},
        generate_subscripts({{ list }}, 1) as position
    from {{ relation }}
{%- endmacro %}

{% macro spark__unnest_list(relation, keep, list, item) -%}
    select
        {{ keep | join(', ') }},
        {{ item }},
        place + 1 as position
    from {{ relation }}
    lateral view posexplode({{ list }}) as place, {{ item }}
{%- endmacro %}
