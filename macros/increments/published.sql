{#- The published relation, which readers see, for a relation that is built beside it.

    Usage: select * from {{ published(ref('stg_input_files')) }}, or
    {{ published(this, 'int_experiments') }} for another one of the same schema -#}
{% macro published(relation, name=none) -%}
    {%- set suffix = relation.schema[env_var('LABMART_BUILD_SCHEMA', '') | length:] -%}
    {{ return(relation.incorporate(path={
        'schema': target.schema ~ suffix,
        'identifier': name or relation.identifier,
    })) }}
{%- endmacro %}
