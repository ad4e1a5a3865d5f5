{#- A row's line as marts show it. The numbers of a seed's rows only put them in order.

    Usage: {{ shown_line() }} or {{ shown_line('issues') }} as line -#}
{% macro shown_line(relation=none) -%}
    {%- set prefix = relation ~ '.' if relation else '' -%}
    case when {{ prefix }}load_id <> 0 then {{ prefix }}line end
{%- endmacro %}
