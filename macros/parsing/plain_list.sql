{#- A list of ids as to_id_list() reads it, for a file that was loaded with options or whose numbers
    are unclear.

    A single item is a number like any other. Among several, an item with a point is not an id if a
    point may separate thousands, and is turned into text that is none.
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
