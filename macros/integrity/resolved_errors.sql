{#- The errors of rejected rows, each with the newer load that resolves it; NULL while it is open.

    A row with a usable key is resolved by a newer load's accepted row of the key, else by a newer
    load in which the key is rejected again: that row is then the one to correct. A row without a
    usable key is resolved by a newer load with the same cells, which has an error of its own, else
    by the newest load of a file with its name.
    Expects of `rejected` what issues have; `key` is NULL in it where it cannot be used, `cells` are
    what tells such rows apart. Expects a step `input_files`, as stg_input_files has it.
    Usage: errors as ({{ resolved_errors(
        'rejected_rows', 'accepted_users', key='user_id', cells=['name']
    ) }}) -#}
{% macro resolved_errors(rejected, accepted, key, cells) -%}
    select
        {{ rejected }}.rule,
        'error' as severity,
        {{ rejected }}.load_id,
        {{ rejected }}.line,
        {{ rejected }}.record_key,
        {{ rejected }}.column_name,
        {{ rejected }}.value,
        coalesce(
            {{ accepted }}.load_id,
            nullif(
                max({{ rejected }}.load_id) over (
                    partition by
                        {{ rejected }}.{{ key }}
                        {%- for cell in cells %},
                        case
                            when {{ rejected }}.{{ key }} is null then {{ rejected }}.{{ cell }}
                        end
                        {%- endfor %}
                ),
                {{ rejected }}.load_id
            ),
            case
                when {{ rejected }}.{{ key }} is null
                    then nullif(input_files.newest_load_id, {{ rejected }}.load_id)
            end
        ) as resolved_by_load_id
    from {{ rejected }}
    inner join input_files on {{ rejected }}.load_id = input_files.load_id
    left join {{ accepted }}
        on
            {{ rejected }}.{{ key }} = {{ accepted }}.{{ key }}
            and {{ rejected }}.load_id < {{ accepted }}.load_id
{%- endmacro %}
