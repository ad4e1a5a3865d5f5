{#- A trimmed date as YYYY-MM-DD if it is written in the given order, which is DMY, MDY, YMD or
    NULL; any other cell as it is. Points, slashes or hyphens separate its parts; a time of day
    after them is dropped.

    Usage: {{ plain_date(trim_cell('signup_date'), 'dates') }}
    Example: '7.2.2024' of DMY -> '2024-02-07', '2/7/2024 8:30 PM' of MDY -> '2024-02-07' -#}
{% macro plain_date(cell, dates) -%}
    {%- set short, year, clock = '[0-9]{1,2}', '[0-9]{4}',
        '( [0-9]{1,2}:[0-5][0-9](:[0-5][0-9]([.,][0-9]+)?)?( ?[AaPp][Mm])?)?' -%}
    {%- set year_last, year_first = [], [] -%}
    {%- for mark in ['[.]', '/', '-'] -%}
        {%- do year_last.append([short, short, year] | join(mark)) -%}
        {%- do year_first.append([year, short, short] | join(mark)) -%}
    {%- endfor -%}
    {%- set year_last = '(' ~ year_last | join('|') ~ ')' ~ clock -%}
    {%- set year_first = '(' ~ year_first | join('|') ~ ')' ~ clock -%}
    {%- set day = "translate(split_part(" ~ cell ~ ", ' ', 1), '/-', '..')" -%}
    {%- set first = "split_part(" ~ day ~ ", '.', 1)" -%}
    {%- set second = "split_part(" ~ day ~ ", '.', 2)" -%}
    {%- set third = "split_part(" ~ day ~ ", '.', 3)" -%}
    {%- set orders = {
        'YMD': (year_first, first, second, third),
        'DMY': (year_last, third, second, first),
        'MDY': (year_last, third, first, second),
    } -%}
    case
        {%- for order, (pattern, year_part, month_part, day_part) in orders.items() %}
        when {{ dates }} = '{{ order }}' and {{ matches(cell, pattern) }}
            then
                {{ year_part }}
                || '-' || lpad({{ month_part }}, 2, '0') || '-' || lpad({{ day_part }}, 2, '0')
        {%- endfor %}
        else {{ cell }}
    end
{%- endmacro %}
