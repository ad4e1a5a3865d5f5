{#- The loads that were current when what is published was built, and are not any more.

    Usage: where load_id in ({{ gone_loads() }}) -#}
{% macro gone_loads() -%}
    select load_id from {{ published(ref('stg_input_files')) }}
    except
    select load_id from {{ ref('stg_input_files') }}
{%- endmacro %}
