{#- On PostgreSQL a view goes by the relation that it reads, and not by its name. -#}
{% macro lead_views(old, new) -%}
    {{ return(adapter.dispatch('lead_views', 'labmart')(old, new)) }}
{%- endmacro %}

{% macro default__lead_views(old, new) -%}
{%- endmacro %}

{% macro postgres__lead_views(old, new) -%}
    {% do move_dependent_views(old, new) %}
{%- endmacro %}
