{#- Stops a seed whose file lacks a declared column, before anything is built on it.

    Runs as the seed's post-hook, inside its transaction: the seed keeps its earlier rows. -#}
{% macro require_seed_columns(relation, seed) -%}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set found = adapter.get_columns_in_relation(relation) | map(attribute='name') | list %}
    {% set missing = seed.columns.keys() | reject('in', found) | list %}
    {% if missing %}
        {{ exceptions.raise_compiler_error(
            seed.original_file_path ~ ' has no column ' ~ missing | join(', ')
            ~ '. Its first line names: ' ~ (found | join(', ') or 'nothing')
            ~ '. Expected: ' ~ seed.columns.keys() | join(', ')
            ~ '. Correct the first line of the file.'
        ) }}
    {% endif %}
{%- endmacro %}
