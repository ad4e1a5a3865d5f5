{#- The rows of a large relation that have one of a few keys.

    PostgreSQL cannot know how few keys a step has, and reads all of the relation to be safe. A
    lateral subquery that an offset keeps apart is looked up by the index, key by key, in the order
    of the index, so that what is next to another is read once.
    Usage: pairs as ({{ looked_up('published_pairs', 'users', ['user_id']) }}) -#}
{% macro looked_up(relation, keys, columns) -%}
    {{ return(adapter.dispatch('looked_up', 'labmart')(relation, keys, columns)) }}
{%- endmacro %}

{% macro postgres__looked_up(relation, keys, columns) -%}
    select found.*
    from (select * from {{ keys }} order by {{ columns | join(', ') }}) as wanted
    cross join lateral (
        select * from {{ relation }} as rows_of_key
        where
            {%- for column in columns %}
            {{ 'and ' if not loop.first }}rows_of_key.{{ column }} = wanted.{{ column }}
            {%- endfor %}
        offset '0'
    ) as found
{%- endmacro %}

{% macro duckdb__looked_up(relation, keys, columns) -%}
    select found.*
    from {{ relation }} as found
    inner join {{ keys }} as wanted
        on
            {%- for column in columns %}
            {{ 'and ' if not loop.first }}found.{{ column }} = wanted.{{ column }}
            {%- endfor %}
{%- endmacro %}

{% macro spark__looked_up(relation, keys, columns) -%}
    {{ return(labmart.duckdb__looked_up(relation, keys, columns)) }}
{%- endmacro %}
