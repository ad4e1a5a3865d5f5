{#- In the lake every model is Parquet: a view would vanish with its session, and nobody else could
    read it. -#}
{% materialization view, adapter='spark' -%}
    {{ return(materialization_table_spark()) }}
{%- endmaterialization %}
