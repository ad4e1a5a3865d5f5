{#- A seed's columns are text, and Spark's word for text is string. -#}
{% macro spark__create_csv_table(model, agate_table) -%}
    {% set create -%}
        create table {{ this }} (
            {%- for name in agate_table.column_names -%}
            {{ adapter.quote(name) }} string{{ ', ' if not loop.last }}
            {%- endfor -%}
        ) using parquet {{ location_clause() }}
    {%- endset %}
    {% call statement('_') -%} {{ create }} {%- endcall %}
    {{ return(create) }}
{%- endmacro %}
