{#- False for a list in which no id occurs twice; never NULL. True for all others, and for some more
    where an engine cannot tell cheaply: whoever reads it has to look at these lists closely.

    Usage: {{ may_repeat('compound_ids') }}
    Example: [1, 2, 1] -> true, [1, 2] -> false, NULL -> false -#}
{% macro may_repeat(list) -%}
    {{ return(adapter.dispatch('may_repeat', 'labmart')(list)) }}
{%- endmacro %}

{#- PostgreSQL has no function for it, and a subquery would prevent a parallel scan. Short lists are
    compared item by item, which grows with the square of their length; longer ones may
    repeat. -#}
{% macro postgres__may_repeat(list) -%}
    case
        when coalesce(cardinality({{ list }}), 0) <= 1 then false
        {%- for size in [2, 4, 8] %}
        when cardinality({{ list }}) <= {{ size }}
            then coalesce(
                {%- for place in range(2, size + 1) %}
                {{ 'or ' if not loop.first -}}
                array_position({{ list }}, ({{ list }})[{{ place }}]) < {{ place }}
                {%- endfor %},
                false
            )
        {%- endfor %}
        else true
    end
{%- endmacro %}

{#- NULL items are no ids. -#}
{% macro duckdb__may_repeat(list) -%}
    coalesce(list_unique({{ list }}) < list_aggregate({{ list }}, 'count'), false)
{%- endmacro %}

{% macro spark__may_repeat(list) -%}
    coalesce(
        array_size(array_distinct(array_compact({{ list }})))
        < array_size(array_compact({{ list }})),
        false
    )
{%- endmacro %}
