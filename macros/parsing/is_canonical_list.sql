{#- True for ids without leading zeros between single semicolons: a list that reads as it is written.

    The bounded pattern, which costs a regular expression engine four times as much, is only tried
    on lists long enough to hold an id that is too long.
    Usage: {{ is_canonical_list('experiment_compound_ids') }}
    Example: '1;2' -> true, '1; 2' -> false, '1;' -> false, NULL -> NULL -#}
{% macro is_canonical_list(cell) -%}
    case
        when length({{ cell }}) <= 18 then {{ matches(cell, '[1-9][0-9]*(;[1-9][0-9]*)*') }}
        else {{ matches(cell, '[1-9][0-9]{0,17}(;[1-9][0-9]{0,17})*') }}
    end
{%- endmacro %}
