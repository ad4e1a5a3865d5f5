{#- A decimal that is not negative, rounded half up to six decimals, as numeric(18,6).

    Usage: {{ round_half_up('sum_of_run_times / known_run_times') }}
    Example: 0.0000005 -> 0.000001, 2.0000004 -> 2.000000 -#}
{% macro round_half_up(number) -%}
    {{ return(adapter.dispatch('round_half_up', 'labmart')(number)) }}
{%- endmacro %}

{#- PostgreSQL rounds numeric half away from zero, which is half up for what is not negative. -#}
{% macro postgres__round_half_up(number) -%}
    cast(round({{ number }}, 6) as numeric(18, 6))
{%- endmacro %}

{#- DuckDB as well. -#}
{% macro duckdb__round_half_up(number) -%}
    cast(round({{ number }}, 6) as numeric(18, 6))
{%- endmacro %}

{#- Spark as well; `bround` is the other one. -#}
{% macro spark__round_half_up(number) -%}
    cast(round({{ number }}, 6) as numeric(18, 6))
{%- endmacro %}
