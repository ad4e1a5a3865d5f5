{#- A row's load as marts show it. A seed is load 0 within the models, and no load to a reader.

    Usage: {{ shown_load_id() }} or {{ shown_load_id('issues') }} as load_id -#}
{% macro shown_load_id(relation=none) -%}
    nullif({{ relation ~ '.' if relation }}load_id, 0)
{%- endmacro %}
