{#- A duration in words converted to the given unit, as numeric(18,6), rounded half up; NULL if the
    text is not a duration. Each number has at most eight digits, so that the sum fits.

    Usage: {{ to_duration('plain_duration', 'durations') }}
    Example: '0h34m59s' of min -> 34.983333, 'pt1h30m' of 'h,h:mm' -> 1.500000, '35' -> NULL -#}
{% macro to_duration(words, durations) -%}
    {%- set number = '[0-9]{1,8}([.][0-9]{1,6})?' -%}
    {%- set pattern = '(pt)?(' ~ number ~ ' ?(h|hrs?|hours?))?( ?' ~ number
        ~ ' ?(m|mins?|minutes?))?( ?' ~ number ~ ' ?(s|secs?|seconds?))?' -%}
    {%- set seconds = [] -%}
    {%- for unit, size in {'h': 3600, 'm': 60, 's': 1}.items() -%}
        {%- do seconds.append(
            'coalesce(cast(' ~ captured(words, '([0-9.]+) ?' ~ unit) ~ ' as numeric(18, 6)), 0) * '
            ~ size
        ) -%}
    {%- endfor -%}
    {%- set unit = "case left(" ~ durations ~ ", 1) when 'h' then 3600 when 'm' then 60 else 1 end"
    -%}
    case
        when {{ matches(words, pattern) }} and {{ words }} <> 'pt'
            then {{ divide_half_up('(' ~ seconds | join(' + ') ~ ')', '(' ~ unit ~ ')') }}
    end
{%- endmacro %}
