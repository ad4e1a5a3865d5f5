{#- Warnings for rows that a later sheet of the same workbook superseded with other content: ids may
    start again on each sheet.

    Expects of both steps the key, `cells`, load_id and what issues have; of `superseded` also
    superseded_by_load_id. Expects a step `input_files`, as stg_input_files has it.
    Usage: in_two_sheets as ({{ ids_in_two_sheets(
        'superseded_users', 'accepted_users', key='user_id', cells=['name']
    ) }}) -#}
{% macro ids_in_two_sheets(superseded, accepted, key, cells) -%}
    select
        'id_in_two_sheets' as rule,
        'warning' as severity,
        {{ superseded }}.load_id,
        {{ superseded }}.line,
        {{ superseded }}.record_key,
        {{ superseded }}.column_name,
        {{ superseded }}.value,
        cast(null as bigint) as resolved_by_load_id
    from {{ superseded }}
    inner join input_files as earlier_sheets
        on {{ superseded }}.load_id = earlier_sheets.load_id
    inner join input_files as later_sheets
        on
            {{ superseded }}.superseded_by_load_id = later_sheets.load_id
            and earlier_sheets.call_id = later_sheets.call_id
            and earlier_sheets.sha256 = later_sheets.sha256
    inner join {{ accepted }}
        on
            {{ superseded }}.{{ key }} = {{ accepted }}.{{ key }}
            and {{ superseded }}.superseded_by_load_id = {{ accepted }}.load_id
    where
        {% for cell in cells -%}
        {{ 'or ' if not loop.first -}}
        {{ superseded }}.{{ cell }} is distinct from {{ accepted }}.{{ cell }}
        {% endfor %}
{%- endmacro %}
