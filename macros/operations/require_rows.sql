{#- Stops if a relation of this target has no rows where production's has some: tests that read it
    have passed without looking at anything.

    For CI, after `dbt build --select state:modified+ --defer`. Looks at every seed and model of the
    project that is there in this target. `production` is the target schema of production in the
    same database; `may_be_empty` names models that a change empties on purpose.
    Usage: dbt run-operation require_rows --args '{production: labmart, may_be_empty: [x]}' -#}
{% macro require_rows(production='labmart', may_be_empty=[]) -%}
    {% if not execute %}{{ return('') }}{% endif %}
    {% if production == target.schema %}
        {{ exceptions.raise_compiler_error(
            'The schema of this target is ' ~ production ~ ', that of production. Set '
            ~ 'LABMART_SCHEMA to the one to look at.'
        ) }}
    {% endif %}
    {% set compared = [] %}
    {% set empty = [] %}
    {% for node in graph.nodes.values()
        if node.resource_type in ['model', 'seed']
        and node.package_name == project_name
        and node.config.materialized != 'ephemeral'
        and node.name not in may_be_empty
    %}
        {% set own = load_relation(api.Relation.create(
            database=node.database, schema=node.schema, identifier=node.alias
        )) %}
        {% set theirs = load_relation(api.Relation.create(
            database=node.database,
            schema=production ~ node.schema[target.schema | length:],
            identifier=node.alias
        )) %}
        {% if own is not none and theirs is not none %}
            {% do compared.append(node.name) %}
            {% if relation_has_rows(theirs) and not relation_has_rows(own) %}
                {% do empty.append(own ~ ' (' ~ node.name ~ ')') %}
            {% endif %}
        {% endif %}
    {% endfor %}
    {% if empty %}
        {{ exceptions.raise_compiler_error(
            'No rows, while ' ~ production ~ ' has some: ' ~ empty | join(', ')
            ~ '. Tests of them have looked at nothing. If a change empties one on purpose, name it '
            ~ 'in may_be_empty.'
        ) }}
    {% endif %}
    {{ log(compared | length ~ ' relations compared with ' ~ production ~ '; none is empty that '
        ~ 'has rows there.', info=true) }}
{%- endmacro %}
