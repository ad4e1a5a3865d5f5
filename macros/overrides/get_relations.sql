{#- No view is dropped together with what it reads (rename_relation), so dbt need not know what
    depends on what. If it did, it would think the views gone, and create them again where they
    still are. -#}
{% macro postgres__get_relations() -%}
    {{ return([]) }}
{%- endmacro %}
