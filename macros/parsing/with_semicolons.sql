{#- A list with semicolons between its items, where another character was said to stand there; a
    semicolon in an item becomes one that is in no id (U+E000), so that it separates nothing.
    as_written() turns an item back.

    Usage: {{ with_semicolons('experiment_compound_ids', 'list_separator') }}
    Example: '1,2;3' of ',' -> '1;2\ue0003', of NULL -> '1,2;3' -#}
{% macro with_semicolons(list, separator) -%}
    case
        when {{ separator }} is null then {{ list }}
        else translate({{ list }}, {{ separator }} || ';', {{ "';\ue000'" }})
    end
{%- endmacro %}
