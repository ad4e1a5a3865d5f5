{#- One row per item of a list as written: the kept columns, `item` (text, may be empty) and
    `position` (from 1). A NULL list has no items.

    Usage: {{ split_list('experiments', keep=['experiment_id'], list='compound_list_cell') }}
    Example: (7, '1; x;') -> (7, '1', 1), (7, ' x', 2), (7, '', 3) -#}
{% macro split_list(relation, keep, list) -%}
    {{ return(adapter.dispatch('split_list', 'labmart')(relation, keep, list)) }}
{%- endmacro %}

{#- Two set-returning functions in the select list go hand in hand and stream; `unnest … with
    ordinality` in the from clause stores every list first and takes twice as long. -#}
{% macro postgres__split_list(relation, keep, list) -%}
    select
        {{ keep | join(', ') }},
        unnest(items) as item,
        generate_subscripts(items, 1) as position
    from (
        select {{ keep | join(', ') }}, string_to_array({{ list }}, ';') as items
        from {{ relation }}
    ) as lists
{%- endmacro %}

{% macro duckdb__split_list(relation, keep, list) -%}
    select
        {{ keep | join(', ') }},
        unnest(items) as item,
        generate_subscripts(items, 1) as position
    from (
        select {{ keep | join(', ') }}, string_split({{ list }}, ';') as items
        from {{ relation }}
    ) as lists
{%- endmacro %}

{% macro spark__split_list(relation, keep, list) -%}
    select
        {{ keep | join(', ') }},
        item,
        place + 1 as position
    from {{ relation }}
    lateral view posexplode(split({{ list }}, ';', -1)) as place, item
{%- endmacro %}
