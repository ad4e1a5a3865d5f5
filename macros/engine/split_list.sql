{#- One row per item of a list: the kept columns, `item` (its text), `position` (from 1) and `first_position`
    (the position of the first equal item). An empty or NULL list has no items.

    Usage: {{ split_list('experiments', keep=['experiment_id'], list='compound_ids') }}
    Example: (7, '1;;2;1') -> (7, '1', 1, 1), (7, '', 2, 2), (7, '2', 3, 3), (7, '1', 4, 1) -#}
{% macro split_list(relation, keep, list) -%}
    {{ return(adapter.dispatch('split_list', 'labmart')(relation, keep, list)) }}
{%- endmacro %}

{#- Set-returning functions in the select list go hand in hand and stream; `unnest … with ordinality` in the
    from clause stores every list first and takes a fifth longer. -#}
{% macro postgres__split_list(relation, keep, list) -%}
    select
        {{ keep | join(', ') }},
        item,
        position,
        array_position(items, item) as first_position
    from (
        select
            {{ keep | join(', ') }},
            items,
            unnest(items) as item,
            generate_subscripts(items, 1) as position
        from (
            select {{ keep | join(', ') }}, string_to_array({{ list }}, ';') as items
            from {{ relation }}
        ) as lists
    ) as list_items
{%- endmacro %}
