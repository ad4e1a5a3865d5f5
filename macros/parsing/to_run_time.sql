{#- A run time as numeric(18,6), rounded half up; NULL if the cell is not one.

    1 to 12 digits with optional decimals. Seven decimals decide how six are rounded, so the rest is
    cut off: a cell with a thousand decimals must not overflow. What rounds up to 10^12 does not fit
    and is not a run time.
    Usage: {{ to_run_time('experiment_run_time') }}
    Example: '10' -> 10.000000, ' 12.5 ' -> 12.500000, '0.0000005' -> 0.000001; '-1', '1e3',
    '.5' -> NULL -#}
{% macro to_run_time(cell) -%}
    {%- set trimmed = trim_cell(cell) -%}
    {%- set seven_decimals -%}
        cast(
            split_part({{ trimmed }}, '.', 1)
            || '.' || left(split_part({{ trimmed }}, '.', 2) || '0000000', 7)
            as numeric(20, 7)
        )
    {%- endset -%}
    case
        -- eight characters have at most six decimals
        when {{ matches(cell, '[0-9]+([.][0-9]+)?') }} and length({{ cell }}) <= 8
            then cast({{ cell }} as numeric(18, 6))
        when not {{ matches(trimmed, '[0-9]{1,12}([.][0-9]+)?') }} then null
        when {{ seven_decimals }} < 999999999999.9999995 then {{ round_half_up(seven_decimals) }}
    end
{%- endmacro %}
