{#- All rows of a model, even in an increment, in which the model itself has only the changed ones:
    its own, and those that are published and not replaced. `increment` in the model's meta says
    what replaces them, by which columns (loader/publications).

    Usage: with user_totals as ({{ whole('int_user_totals') }}) -#}
{% macro whole(name) -%}
    {%- set changed = ref(name) -%}
    select * from {{ changed }}
    {%- if is_increment() and execute %}
    {%- set node = graph.nodes.values() | selectattr('name', 'equalto', name) | first %}
    union all
    select kept.* from {{ published(changed) }} as kept
    where
        {%- for replaced in node.config.meta.increment %}
        {%- for relation, columns in replaced.items() %}
        not exists (
            select 1 from {{ changed.incorporate(path={'identifier': relation}) }} as gone
            where
                {%- for column in columns %}
                {{ 'and ' if not loop.first }}gone.{{ column }} = kept.{{ column }}
                {%- endfor %}
        )
        {%- endfor %}
        {{ 'and' if not loop.last }}
        {%- endfor %}
    {%- endif %}
{%- endmacro %}
