{#- True for a text in which UTF-8 was once read as Windows-1252 or Latin-1: `ChloÃ©` for `Chloé`.

    The letters that begin such a pair are looked for before the pattern is tried. Names have words
    that end in `Å` and `Ä`, so characters that may follow a word do not count after these.
    Usage: {{ looks_garbled('name') }}
    Example: 'ChloÃ©' -> true, 'SÃO' -> false, 'Åsa' -> false, 'â€™' -> true -#}
{% macro looks_garbled(cell) -%}
    {%- set any, low, high = "[^\ue000]*", "\u0080-\u009f", "\u00a1-\u00bf" -%}
    {%- set signs = "€‚ƒ…†‡ˆ‰Š‹Œ•˜™š›œžŸŽ" -%}
    {%- set pair = "([ÂÃ][" ~ low ~ "\u00a0" ~ high ~ signs ~ "„‘’“”–—]"
        ~ "|[ÄÅ][" ~ low ~ high ~ signs ~ "]|â€)" -%}
    (
        (
            {{ cell }} like '%Ã%' or {{ cell }} like '%Â%' or {{ cell }} like '%Ä%'
            or {{ cell }} like '%Å%' or {{ cell }} like '%â€%'
        )
        and {{ matches(cell, any ~ pair ~ any) }}
    )
{%- endmacro %}
