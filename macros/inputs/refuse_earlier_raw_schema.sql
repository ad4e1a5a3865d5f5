{#- Stops before anything is built if this target's loads are still where they were while raw tables
    followed the target: the build would read an empty raw schema, or another one, in silence.

    `labmart` moves them; dbt only looks, since who builds may not be allowed to change raw tables.
    Once LABMART_RAW_SCHEMA says where they are there is nothing to doubt. -#}
{% macro refuse_earlier_raw_schema(raw_schema) -%}
    {% set earlier = target.schema ~ '_raw' %}
    {#- Those of a lake have never followed the target. -#}
    {% if env_var('LABMART_RAW_SCHEMA', '') or earlier == raw_schema or target.type == 'spark' %}
        {{ return('') }}
    {% endif %}
    {% set ledger = load_relation(api.Relation.create(
        database=target.database,
        schema=earlier,
        identifier='loads'
    )) %}
    {% if ledger is none %}{{ return('') }}{% endif %}
    {% set found = adapter.get_columns_in_relation(ledger) | map(attribute='name') | list %}
    {% if 'load_id' not in found or 'sha256' not in found %}{{ return('') }}{% endif %}
    {% if relation_has_rows(ledger) %}
        {{ exceptions.raise_compiler_error(
            'The loads of this target are in the schema ' ~ earlier ~ ', where earlier versions '
            ~ 'kept them, and models read ' ~ raw_schema ~ '. `labmart loads` moves them, or says '
            ~ 'why it cannot; with LABMART_RAW_SCHEMA=' ~ earlier ~ ' they stay where they are.'
        ) }}
    {% endif %}
{%- endmacro %}
