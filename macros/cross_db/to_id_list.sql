{#- A list of ids as an array of numbers. An item that is empty or not an id is NULL, so positions
    stay as written. NULL for an empty cell, and for a single item that is not an id.

    Nearly all lists are canonical, ids without leading zeros between single semicolons; for these
    there is a shortcut.
    Usage: {{ to_id_list('experiment_compound_ids') }}
    Example: ' 1 ;07;2.0' -> [1, 7, 2], '1;x;;2' -> [1, NULL, NULL, 2], 'x' -> NULL -#}
{% macro to_id_list(cell) -%}
    {{ return(adapter.dispatch('to_id_list', 'labmart')(cell)) }}
{%- endmacro %}

{#- Three replacements, from the inside out: of items that are not ids, of whatever surrounds or
    follows the digits, and of the empty text by NULL. A subquery over the items would read better,
    but it would prevent a parallel scan. Casting its text is the quickest way to an array. -#}
{% macro postgres__to_id_list(cell) -%}
    {%- set pad = '[ \\t\\r\\n\\u00a0\\ufeff]' -%}
    case
        when {{ is_canonical_list(cell) }}
            then cast('{' || translate({{ cell }}, ';', ',') || '}' as bigint[])
        else cast(
            string_to_array(
                nullif(
                    regexp_replace(
                        regexp_replace(
                            {{ cell }},
                            '(^|;)(?!{{ pad }}*{{ id_pattern() }}{{ pad }}*(;|$))[^;]*',
                            '\1',
                            'g'
                        ),
                        '{{ pad }}+|[.]0+',
                        '',
                        'g'
                    ),
                    ''
                ),
                ';',
                ''
            ) as bigint[]
        )
    end
{%- endmacro %}

{% macro duckdb__to_id_list(cell) -%}
    {%- set item = trim_cell('item') -%}
    case
        when {{ is_canonical_list(cell) }} then cast(string_split({{ cell }}, ';') as bigint[])
        when strpos({{ cell }}, ';') > 0 or {{ matches(trim_cell(cell), id_pattern()) }}
            then list_transform(
                string_split({{ cell }}, ';'),
                lambda item: case
                    when {{ matches(item, id_pattern()) }}
                        then cast(split_part({{ item }}, '.', 1) as bigint)
                end
            )
    end
{%- endmacro %}

{% macro spark__to_id_list(cell) -%}
    {%- set item = trim_cell('item') -%}
    case
        when {{ is_canonical_list(cell) }}
            then transform(split({{ cell }}, ';', -1), item -> cast(item as bigint))
        when contains({{ cell }}, ';') or {{ matches(trim_cell(cell), id_pattern()) }}
            then transform(
                split({{ cell }}, ';', -1),
                item -> case
                    when {{ matches(item, id_pattern()) }}
                        then cast(split_part({{ item }}, '.', 1) as bigint)
                end
            )
    end
{%- endmacro %}
