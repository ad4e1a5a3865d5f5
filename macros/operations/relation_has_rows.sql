{#- Whether a relation has a row; reads one. -#}
{% macro relation_has_rows(relation) -%}
    {{ return(run_query('select 1 as one from ' ~ relation ~ ' limit 1').rows | length > 0) }}
{%- endmacro %}
