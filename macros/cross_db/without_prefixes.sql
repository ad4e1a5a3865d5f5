{#- An id, or a list of ids between semicolons, without the prefix before the digits of each.

    `prefixes` is a regular expression of the prefixes, or NULL.
    Usage: {{ without_prefixes('user_id', 'id_prefixes') }}
    Example: 'EXP-7' of 'EXP-|U' -> '7', 'U1; U2;x' -> '1; 2;x', 'Ux' -> 'Ux' -#}
{% macro without_prefixes(text, prefixes) -%}
    case
        when {{ prefixes }} is null then {{ text }}
        else {{ adapter.dispatch('without_prefixes', 'labmart')(text, prefixes) }}
    end
{%- endmacro %}

{% macro postgres__without_prefixes(text, prefixes) -%}
    regexp_replace(
        {{ text }},
        '(^|;)([ \t\r\n\u00a0\ufeff]*)(?:' || {{ prefixes }} || ')([0-9])',
        '\1\2\3',
        'g'
    )
{%- endmacro %}

{% macro duckdb__without_prefixes(text, prefixes) -%}
    regexp_replace(
        {{ text }},
        '(^|;)([ \t\r\n\x{a0}\x{feff}]*)(?:' || {{ prefixes }} || ')([0-9])',
        '\1\2\3',
        'g'
    )
{%- endmacro %}

{#- Spark replaces all, and writes groups as Java does. -#}
{% macro spark__without_prefixes(text, prefixes) -%}
    regexp_replace(
        {{ text }},
        r'(^|;)([ \t\r\n\u00a0\ufeff]*)(?:' || {{ prefixes }} || ')([0-9])',
        '$1$2$3'
    )
{%- endmacro %}
