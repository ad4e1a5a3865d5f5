{#- A quotient that is not negative, rounded half up to six decimals, as numeric(18,6); NULL for
    nothing by nothing and for a division by zero.

    Usage: {{ divide_half_up('sum(run_time)', 'count(run_time)') }}
    Example: 41 / 20 -> 2.050000, 1 / 3 -> 0.333333, 0 / 0 -> NULL -#}
{% macro divide_half_up(dividend, divisor) -%}
    {{ return(adapter.dispatch('divide_half_up', 'labmart')(dividend, divisor)) }}
{%- endmacro %}

{#- PostgreSQL gives a quotient as many decimals as its operands have, or else 16 significant
    digits: too few to round a large mean correctly afterwards. With twenty decimals in the dividend
    it stays exact. -#}
{% macro postgres__divide_half_up(dividend, divisor) -%}
    {{ round_half_up('cast(' ~ dividend ~ ' as numeric(58, 20)) / nullif(' ~ divisor ~ ', 0)') }}
{%- endmacro %}

{#- DuckDB divides decimals as floating point numbers, but integers exactly: so count in
    millionths. -#}
{% macro duckdb__divide_half_up(dividend, divisor) -%}
    cast(
        (2 * cast(cast({{ dividend }} as numeric(38, 6)) * 1000000 as hugeint) + {{ divisor }})
        // nullif(2 * cast({{ divisor }} as hugeint), 0) * cast(0.000001 as numeric(7, 6))
        as numeric(18, 6)
    )
{%- endmacro %}

{#- Spark cuts off decimals of a quotient if its type would be too wide; `div` is exact. -#}
{% macro spark__divide_half_up(dividend, divisor) -%}
    cast(
        (
            2 * cast(cast({{ dividend }} as numeric(38, 6)) * 1000000 as numeric(38, 0))
            + {{ divisor }}
        )
        div nullif(2 * {{ divisor }}, 0) * cast(0.000001 as numeric(7, 6))
        as numeric(18, 6)
    )
{%- endmacro %}
