{#- Fails for every row whose value is less than min_value, more than max_value, or NULL. -#}
{% test accepted_range(model, column_name, min_value=none, max_value=none) %}
    {%- set bounds = [] -%}
    {%- if min_value is not none -%}
        {%- do bounds.append(column_name ~ ' >= ' ~ min_value) -%}
    {%- endif -%}
    {%- if max_value is not none -%}
        {%- do bounds.append(column_name ~ ' <= ' ~ max_value) -%}
    {%- endif -%}
    {%- if not bounds -%}
        {{ exceptions.raise_compiler_error(
            'accepted_range of ' ~ column_name ~ ' needs min_value or max_value.'
        ) }}
    {%- endif %}
    with tested as (
        select * from {{ model }}
    )

    select *
    from tested
    where ({{ bounds | join(' and ') }}) is not true
{% endtest %}
