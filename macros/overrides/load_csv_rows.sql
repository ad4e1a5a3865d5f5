{#- Seeds reach every engine as dbt has read them.

    dbt-duckdb would let DuckDB read the file once more by its own rules, so that a cell could mean
    something else there than on PostgreSQL. -#}
{% macro duckdb__load_csv_rows(model, agate_table) -%}
    {{ return(dbt.default__load_csv_rows(model, agate_table)) }}
{%- endmacro %}

{#- dbt-spark writes a missing cell as the text None and leaves the quotation marks of a text as
    they are. Every seed column is text. -#}
{% macro spark__load_csv_rows(model, agate_table) -%}
    {% set statements = [] %}
    {% for rows in agate_table.rows | batch(get_batch_size()) %}
        {% set insert -%}
            insert into {{ this }} values
            {% for row in rows -%}
                (
                {%- for cell in row -%}
                    {%- set text = escape_single_quotes(cell | string) -%}
                    {{ 'null' if cell is none else "'" ~ text ~ "'" }}
                    {{- ', ' if not loop.last }}
                {%- endfor -%}
                ){{ ', ' if not loop.last }}
            {% endfor %}
        {%- endset %}
        {% do adapter.add_query(insert, abridge_sql_log=True) %}
        {% do statements.append(insert) %}
    {% endfor %}
    {{ return(statements | first) }}
{%- endmacro %}
