{#- Every row with its fate and, where it is rejected, its rule.

    A row with an error is rejected by it. Of the valid rows of one key, the newest load's first line is
    accepted, the first lines of older loads are superseded, and all later lines of a load are duplicates.
    One sort serves both questions: rows of a key stand newest load first, in the order of their lines, so a
    row that follows another of the same load is a later line.
    Expects of the rows: load_id, line, seed_order, error_rule (NULL when valid) and the key.
    Usage: judged as ({{ row_fates('checked', key='user_id') }}) -#}
{% macro row_fates(rows, key) -%}
    select
        ordered_rows.*,
        case
            when error_rule is not null or is_later_line then 'rejected'
            when place > 1 then 'superseded'
            else 'accepted'
        end as fate,
        case when is_later_line then coalesce(error_rule, 'duplicate_id') else error_rule end as rule
    from (
        select
            {{ rows }}.*,
            row_number() over same_key as place,
            -- both NULL in a seed
            row_number() over same_key > 1
            and lag(load_id) over same_key is not distinct from load_id as is_later_line
        from {{ rows }}
        window same_key as (
            partition by {{ key }}, error_rule is null
            order by load_id desc, line, {{ bytewise('seed_order') }}
        )
    ) as ordered_rows
{%- endmacro %}
