{#- Tells the planner how large a finished table is and what is in it, before the next model reads
    it.

    PostgreSQL's autovacuum would do it a minute later; without it the planner takes 17 million
    groups for 200 and picks a plan four times as slow. Views need nothing.
    Usage, as a post-hook: {{ analyze(this) }} -#}
{% macro analyze(relation) -%}
    {{ return(adapter.dispatch('analyze', 'labmart')(relation)) }}
{%- endmacro %}

{% macro postgres__analyze(relation) -%}
    {%- if config.get('materialized') == 'table' -%}
        analyze {{ relation }}
    {%- endif -%}
{%- endmacro %}

{#- DuckDB keeps its statistics by itself. -#}
{% macro duckdb__analyze(relation) -%}
{%- endmacro %}

{#- Spark plans by the sizes of the files, and anew while it runs. -#}
{% macro spark__analyze(relation) -%}
{%- endmacro %}
