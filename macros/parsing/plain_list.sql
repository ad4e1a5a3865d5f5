{#- A list of ids as to_id_list() reads it, of a file of which something was said or whose numbers
    are unclear.

    An item that stands alone is a number like others. Among several, one with a point is none where
    a point may group thousands: it is made one that is no id.
    Usage: {{ to_id_list(plain_list('cell', 'numbers', 'list_separator', 'id_prefixes')) }}
    Example: 'C1, C2' of ',' and 'C' -> '1; 2', '12.000' of comma -> '12000' -#}
{% macro plain_list(cell, numbers, separator, prefixes) -%}
    {%- set items = without_prefixes(with_semicolons(trim_cell(cell), separator), prefixes) -%}
    case
        when {{ items }} not like '%;%' then {{ plain_number(trim_cell(items), numbers) }}
        when {{ numbers }} in ('comma', 'unclear') then translate({{ items }}, '.', '?')
        else {{ items }}
    end
{%- endmacro %}
