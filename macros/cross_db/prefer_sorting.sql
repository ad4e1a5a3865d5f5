{#- Groups by sorting instead of hashing, for a model whose groups are nearly as many as its rows.

    PostgreSQL takes 26 seconds to hash 25 million pairs into 17 million groups and 13 to sort
    them, and does not know it. `set local` ends with the model's transaction.
    Usage, as a pre-hook: {{ prefer_sorting() }} -#}
{% macro prefer_sorting() -%}
    {{ return(adapter.dispatch('prefer_sorting', 'labmart')()) }}
{%- endmacro %}

{% macro postgres__prefer_sorting() -%}
    set local enable_hashagg = off
{%- endmacro %}

{#- DuckDB spills a hash table that outgrows its memory; there is nothing to prefer. -#}
{% macro duckdb__prefer_sorting() -%}
{%- endmacro %}

{#- Spark as well. -#}
{% macro spark__prefer_sorting() -%}
{%- endmacro %}
