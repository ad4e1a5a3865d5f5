{#- A trimmed duration as words, `1h30m5.5s`; any other cell as text that is no duration. NULL if no
    unit was given for the file.

    `durations` is what was given (stg_cell_formats): a unit, and after a comma what two numbers
    with a colon mean, since they could be either. Letters are lower-cased one by one, since lower()
    differs between engines and locales.
    Usage: {{ plain_duration(trim_cell('experiment_run_time'), 'numbers', 'durations') }}
    Example: '0:34:59' of min -> '0h34m59s', '26:15' of 'min,h:mm' -> '26h15m',
    '26:15' of min -> '26:15', '35 Min' -> '35 min' -#}
{% macro plain_duration(cell, numbers, durations) -%}
    {%- set large, small = 'CDEHIMNOPRSTU', 'cdehimnoprstu' -%}
    {%- set seconds = '[0-5][0-9]([.,][0-9]+)?' -%}
    {%- set words -%}
        case
            when {{ matches(cell, '[0-9]+:[0-5][0-9]:' ~ seconds) }}
                then
                    split_part({{ cell }}, ':', 1) || 'h' || split_part({{ cell }}, ':', 2) || 'm'
                    || split_part({{ cell }}, ':', 3) || 's'
            when {{ durations }} like '%h:mm' and {{ matches(cell, '[0-9]+:[0-5][0-9]') }}
                then replace({{ cell }}, ':', 'h') || 'm'
            when {{ durations }} like '%m:ss' and {{ matches(cell, '[0-9]+:' ~ seconds) }}
                then replace({{ cell }}, ':', 'm') || 's'
            else {{ cell }}
        end
    {%- endset -%}
    case
        when {{ durations }} is null then null
        when {{ numbers }} = 'comma' then translate({{ words }}, '{{ large }},.', '{{ small }}.?')
        when {{ numbers }} = 'unclear' then translate({{ words }}, '{{ large }}.', '{{ small }}?')
        else translate({{ words }}, '{{ large }}', '{{ small }}')
    end
{%- endmacro %}
