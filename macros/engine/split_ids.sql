{#- One row per id of a plain list (see plain_list): the kept columns, `id` (NULL where the item is
    empty), `position` (from 1) and `is_repeat` (the same id stands earlier in the list).

    Usage: {{ split_ids('experiments', keep=['experiment_id'], list='compound_ids') }}
    Example: (7, '1;;1') -> (7, 1, 1, false), (7, NULL, 2, …), (7, 1, 3, true) -#}
{% macro split_ids(relation, keep, list) -%}
    {{ return(adapter.dispatch('split_ids', 'labmart')(relation, keep, list)) }}
{%- endmacro %}

{#- As split_list; to cast the list at once is cheaper than to cast its items, and to read it as an
    array's text cheaper still, but that knows no empty items. -#}
{% macro postgres__split_ids(relation, keep, list) -%}
    select
        {{ keep | join(', ') }},
        id,
        position,
        array_position(ids, id) < position as is_repeat
    from (
        select
            {{ keep | join(', ') }},
            ids,
            unnest(ids) as id,
            generate_subscripts(ids, 1) as position
        from (
            select
                {{ keep | join(', ') }},
                case
                    when ';' || {{ list }} || ';' like '%;;%'
                        then cast(string_to_array({{ list }}, ';', '') as bigint[])
                    else cast('{' || translate({{ list }}, ';', ',') || '}' as bigint[])
                end as ids
            from {{ relation }}
        ) as lists
    ) as list_items
{%- endmacro %}

{% macro duckdb__split_ids(relation, keep, list) -%}
    select
        {{ keep | join(', ') }},
        id,
        position,
        list_position(ids, id) < position as is_repeat
    from (
        select
            {{ keep | join(', ') }},
            ids,
            unnest(ids) as id,
            generate_subscripts(ids, 1) as position
        from (
            select
                {{ keep | join(', ') }},
                cast(
                    list_transform(string_split({{ list }}, ';'), lambda item: nullif(item, ''))
                    as bigint[]
                ) as ids
            from {{ relation }}
        ) as lists
    ) as list_items
{%- endmacro %}

{% macro spark__split_ids(relation, keep, list) -%}
    select
        {{ keep | join(', ') }},
        id,
        place + 1 as position,
        array_position(ids, id) < place + 1 as is_repeat
    from (
        select
            {{ keep | join(', ') }},
            transform(
                split({{ list }}, ';', -1), item -> cast(nullif(item, '') as bigint)
            ) as ids
        from {{ relation }}
    ) as lists
    lateral view posexplode(ids) as place, id
{%- endmacro %}
