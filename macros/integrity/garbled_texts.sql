{#- Warnings for accepted rows with a text that was once read in the wrong encoding.

    Expects of `accepted` the column, load_id, line and record_key.
    Usage: garbled_names as ({{ garbled_texts('accepted_users', 'name') }}) -#}
{% macro garbled_texts(accepted, column) -%}
    select
        'garbled_text' as rule,
        'warning' as severity,
        load_id,
        line,
        record_key,
        '{{ column }}' as column_name,
        {{ column }} as value,
        cast(null as bigint) as resolved_by_load_id
    from {{ accepted }}
    where {{ looks_garbled(column) }}
{%- endmacro %}
