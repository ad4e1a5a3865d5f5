{#- A list of ids as an array of numbers. An item that is no id, or empty, is NULL: positions stay
    as written. NULL when no item is left of a text that has but one, and for an empty cell.

    Nearly all lists are canonical, ids without leading zeros between single semicolons; they are
    read the short way.
    Usage: {{ to_id_list('experiment_compound_ids') }}
    Example: ' 1 ;07;2.0' -> [1, 7, 2], '1;x;;2' -> [1, NULL, NULL, 2], 'x' -> NULL -#}
{% macro to_id_list(cell) -%}
    {{ return(adapter.dispatch('to_id_list', 'labmart')(cell)) }}
{%- endmacro %}

{#- Three replacements from the inside out: items that are no id, what surrounds or follows the
    digits, and then the empty text is read as NULL. A subquery over the items would read better,
    but it keeps the whole scan unparallel. To read the text of an array is the quickest way to
    one. -#}
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
