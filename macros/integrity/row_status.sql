{#- Every row with its status, its rule if it is rejected, and the load that superseded it, if one
    did.

    A row with an error is rejected by it. Of the valid rows of one key, the newest load's first
    line is accepted, the first lines of older loads are superseded, and all later lines of a load
    are duplicates. The row before it tells which: with the rows of a key sorted by newest load,
    then by line, a row after another of the same load is a later line, a row after one of a newer
    load is superseded, and the first row is accepted.
    Expects of the rows: load_id (never NULL), line, error_rule (NULL when valid) and the key.
    Usage: judged as ({{ row_status('checked', key='user_id') }}) -#}
{% macro row_status(rows, key) -%}
    select
        *,
        case
            when error_rule is not null or previous_load_id = load_id then 'rejected'
            when previous_load_id is not null then 'superseded'
            else 'accepted'
        end as row_status,
        case
            when error_rule is not null then error_rule
            when previous_load_id = load_id then 'duplicate_id'
        end as rule,
        case when error_rule is null and previous_load_id <> load_id then previous_load_id end
            as superseded_by_load_id
    from (
        {{ with_previous_load(rows, key) }}
    ) as rows_with_previous
{%- endmacro %}
