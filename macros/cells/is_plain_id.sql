{#- True for an id that needs no care: digits, no leading zero, nothing around them.

    Nearly all cells are plain. The bounded pattern of parse_id costs a regular expression
    engine four times as much as this one, so it is left for the few that are not.
    Usage: {{ is_plain_id('user_id') }}
    Example: '7' -> true, '007' -> false, '7.0' -> false, NULL -> NULL -#}
{% macro is_plain_id(cell) -%}
    ({{ matches(cell, '[1-9][0-9]*') }} and length({{ cell }}) <= 18)
{%- endmacro %}
