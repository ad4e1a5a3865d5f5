{#- True for a list that needs no care: plain ids (see is_plain_id) between single semicolons.

    The bounded pattern is only tried on lists long enough to hold an id that is too long.
    Usage: {{ is_plain_list('experiment_compound_ids') }}
    Example: '1;2' -> true, '1; 2' -> false, '1;' -> false, NULL -> NULL -#}
{% macro is_plain_list(cell) -%}
    case
        when length({{ cell }}) <= 18 then {{ matches(cell, '[1-9][0-9]*(;[1-9][0-9]*)*') }}
        else {{ matches(cell, '[1-9][0-9]{0,17}(;[1-9][0-9]{0,17})*') }}
    end
{%- endmacro %}
