{#- A list with semicolons between its items, if another separator was given; a semicolon in an item
    becomes U+E000, which is in no id, so that it separates nothing. as_written() turns it back.

    Usage: {{ with_semicolons('experiment_compound_ids', 'list_separator') }}
    Example: '1,2;3' of ',' -> '1;2\ue0003', of NULL -> '1,2;3' -#}
{% macro with_semicolons(list, separator) -%}
    case
        when {{ separator }} is null then {{ list }}
        else translate({{ list }}, {{ separator }} || ';', {{ "';\ue000'" }})
    end
{%- endmacro %}
