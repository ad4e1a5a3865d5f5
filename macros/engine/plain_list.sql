{#- A list with every item as a plain id, and empty where the item is no id. Positions stay as
    written.

    Usage: {{ plain_list('experiment_compound_ids') }}
    Example: ' 1 ;07;2.0' -> '1;7;2', '1;x;;2' -> '1;;;2', 'x' -> '', NULL -> NULL -#}
{% macro plain_list(cell) -%}
    {{ return(adapter.dispatch('plain_list', 'labmart')(cell)) }}
{%- endmacro %}

{#- Three replacements from the inside out: items that are no id, what surrounds or follows the
    digits, leading zeros. A subquery over the items would read better, but it keeps the whole
    scan unparallel. -#}
{% macro postgres__plain_list(cell) -%}
    {%- set pad = '[ \\t\\r\\n\\u00a0\\ufeff]' -%}
    regexp_replace(
        regexp_replace(
            regexp_replace(
                {{ cell }}, '(^|;)(?!{{ pad }}*{{ id_pattern() }}{{ pad }}*(;|$))[^;]*', '\1', 'g'
            ),
            '{{ pad }}+|[.]0+', '', 'g'
        ),
        '(^|;)0+(?=[0-9])', '\1', 'g'
    )
{%- endmacro %}

{% macro duckdb__plain_list(cell) -%}
    {%- set item = trim_cell('item') -%}
    array_to_string(
        list_transform(
            string_split({{ cell }}, ';'),
            lambda item: case
                when {{ matches(item, id_pattern()) }}
                    then cast(cast(split_part({{ item }}, '.', 1) as bigint) as text)
                else ''
            end
        ),
        ';'
    )
{%- endmacro %}

{% macro spark__plain_list(cell) -%}
    {%- set item = trim_cell('item') -%}
    array_join(
        transform(
            split({{ cell }}, ';', -1),
            item -> case
                when {{ matches(item, id_pattern()) }}
                    then cast(cast(split_part({{ item }}, '.', 1) as bigint) as string)
                else ''
            end
        ),
        ';'
    )
{%- endmacro %}
