{#- True when the whole text matches the pattern; NULL for NULL.

    Patterns keep to what every engine's regular expressions share: [0-9] classes, groups, ? *
    + {m,n} and |.
    Usage: {{ matches('cell', '[0-9]{1,18}([.]0+)?') }}
    Example: '7.0' -> true, '7.5' -> false, '7\n' -> false -#}
{% macro matches(text, pattern) -%}
    {{ return(adapter.dispatch('matches', 'labmart')(text, pattern)) }}
{%- endmacro %}

{% macro postgres__matches(text, pattern) -%}
    ({{ text }} ~ '^(?:{{ pattern }})$')
{%- endmacro %}

{% macro duckdb__matches(text, pattern) -%}
    regexp_full_match({{ text }}, '{{ pattern }}')
{%- endmacro %}

{#- Java's `$` also stands before a line end that is the last character; `\z` does not. -#}
{% macro spark__matches(text, pattern) -%}
    ({{ text }} rlike r'\A(?:{{ pattern }})\z')
{%- endmacro %}
