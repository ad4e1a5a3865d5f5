{#- A trimmed number as it would be written in a file read without options: digits, and a point
    before decimals. NULL if it is not a number in its file, or could be two.

    `numbers` is how the file writes them (stg_cell_formats): NULL, comma, point or unclear. In an
    unclear file `1.500` may be 1500 or 1.5.
    Usage: {{ plain_number(trim_cell('experiment_run_time'), 'numbers') }}
    Example: '1.500,25' of comma -> '1500.25'; of unclear '1.500' -> NULL, '12.5' -> '12.5' -#}
{% macro plain_number(cell, numbers) -%}
    case
        when {{ numbers }} is null then {{ cell }}
        when {{ numbers }} = 'unclear'
            then case when not {{ matches(cell, '[1-9][0-9]{0,2}[.][0-9]{3}') }} then {{ cell }} end
        when {{ numbers }} = 'point' then case
            when {{ matches(cell, '([0-9]+|[1-9][0-9]{0,2}(,[0-9]{3})+)([.][0-9]+)?') }}
                then replace({{ cell }}, ',', '')
        end
        when {{ matches(cell, '([0-9]+|[1-9][0-9]{0,2}([.][0-9]{3})+)(,[0-9]+)?') }}
            then replace(replace({{ cell }}, '.', ''), ',', '.')
    end
{%- endmacro %}
