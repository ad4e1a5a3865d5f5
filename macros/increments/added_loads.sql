{#- The loads that are current and were not when what is published was built. Undo, redo and replace
    are nothing but loads that are added and loads that are gone.

    Usage: where load_id in ({{ added_loads() }}) -#}
{% macro added_loads() -%}
    select load_id from {{ ref('stg_input_files') }}
    except
    select load_id from {{ published(ref('stg_input_files')) }}
{%- endmacro %}
