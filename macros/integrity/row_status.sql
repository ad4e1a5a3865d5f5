{#- Every row with its status and, where it is rejected, its rule.

    A row with an error is rejected by it. Of the valid rows of one key, the newest load's first
    line is accepted, the first lines of older loads are superseded, and all later lines of a load
    are duplicates. One sort serves both questions: rows of a key stand newest load first, in the
    order of their lines, so a row that follows another of the same load is a later line.
    Expects of the rows: load_id, line, error_rule (NULL when valid) and the key.
    Usage: judged as ({{ row_status('checked', key='user_id') }}) -#}
{% macro row_status(rows, key) -%}
    {%- set is_later_line = 'place > 1 and previous_load_id = load_id' -%}
    select
        *,
        case
            when error_rule is not null or ({{ is_later_line }}) then 'rejected'
            when place > 1 then 'superseded'
            else 'accepted'
        end as row_status,
        case
            when error_rule is not null then error_rule
            when {{ is_later_line }} then 'duplicate_id'
        end as rule
    from (
        select
            *,
            row_number() over same_key as place,
            lag(load_id) over same_key as previous_load_id
        from {{ rows }}
        window same_key as (
            partition by {{ key }}, error_rule is null
            order by load_id desc, line asc
        )
    ) as ordered_rows
{%- endmacro %}
