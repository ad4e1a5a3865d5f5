{#- A calendar day; NULL if the cell is not one. YYYY-MM-DD, optionally followed by a time of day.

    The pattern and the length of the month decide, never the engine's own cast, because engines
    differ in what they accept. There is no year 0000.
    Usage: {{ to_date('signup_date') }}
    Example: '2024-02-29', '2024-02-29T08:30:00Z' -> 2024-02-29; '2023-02-29', '1.2.2023' ->
    NULL -#}
{% macro to_date(cell) -%}
    {%- set trimmed = trim_cell(cell) -%}
    {%- set day = '[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])' -%}
    {%- set clock = '([01][0-9]|2[0-3]):[0-5][0-9](:([0-5][0-9]|60)([.,][0-9]+)?)?' -%}
    {%- set zone = '( ?(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?))?' -%}
    {%- set year = 'cast(left(' ~ trimmed ~ ', 4) as integer)' -%}
    {%- set month = 'substring(' ~ trimmed ~ ', 6, 2)' -%}
    case
        when not {{ matches(trimmed, day ~ '([T ]' ~ clock ~ zone ~ ')?') }} then null
        when {{ year }} = 0 then null
        when cast(substring({{ trimmed }}, 9, 2) as integer) <= case
            when {{ month }} in ('04', '06', '09', '11') then 30
            when {{ month }} <> '02' then 31
            when {{ year }} % 4 = 0 and ({{ year }} % 100 <> 0 or {{ year }} % 400 = 0) then 29
            else 28
        end then cast(left({{ trimmed }}, 10) as date)
    end
{%- endmacro %}
