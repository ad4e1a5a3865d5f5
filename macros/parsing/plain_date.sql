{#- A trimmed date as YYYY-MM-DD where it is written in the order that was said, which is DMY, MDY,
    YMD or NULL; any other cell as it is. The parts stand between points, slashes or hyphens; a time
    of day behind them goes.

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
    {%- set day = "translate(split_part(" ~ cell ~ ", ' ', 1), '/-', '..')" -%}
    {%- set first, second, third = (
        "split_part(" ~ day ~ ", '.', 1)",
        "split_part(" ~ day ~ ", '.', 2)",
        "split_part(" ~ day ~ ", '.', 3)",
    ) -%}
    case
        when {{ dates }} = 'YMD' and {{ matches(cell, '(' ~ year_first | join('|') ~ ')' ~ clock) }}
            then {{ first }} || '-' || lpad({{ second }}, 2, '0') || '-' || lpad({{ third }}, 2, '0')
        when {{ dates }} = 'DMY' and {{ matches(cell, '(' ~ year_last | join('|') ~ ')' ~ clock) }}
            then {{ third }} || '-' || lpad({{ second }}, 2, '0') || '-' || lpad({{ first }}, 2, '0')
        when {{ dates }} = 'MDY' and {{ matches(cell, '(' ~ year_last | join('|') ~ ')' ~ clock) }}
            then {{ third }} || '-' || lpad({{ first }}, 2, '0') || '-' || lpad({{ second }}, 2, '0')
        else {{ cell }}
    end
{%- endmacro %}
