{#- Each option of `labmart load`, with the condition for the cells that it would read. -#}
{%- set options = {} -%}
{%- for order in ['DMY', 'MDY', 'YMD'] -%}
    {%- set day = 'day_' ~ order | lower -%}
    {%- do options.update({'--dates ' ~ order: to_date(day) ~ ' is not null'}) -%}
{%- endfor -%}
{%- for decimal in ['comma', 'point'] -%}
    {%- set number = 'number_' ~ decimal -%}
    {%- do options.update({'--decimal ' ~ decimal:
        'run_time is not null and ' ~ to_run_time(number)
        ~ ' is not null or own_id is not null and ' ~ to_id(number) ~ ' is not null'
    }) -%}
{%- endfor -%}
{%- do options.update({
    '--durations UNIT': to_duration('duration', "'min'") ~ ' is not null',
    '--durations UNIT,h:mm or UNIT,m:ss': matches('duration', '[0-9]{1,8}:[0-5][0-9]([.][0-9]+)?')
}) -%}
{%- for name, separator in {',': ',', 'pipe': '[|]', '/': '/', 'space': ' '}.items() -%}
    {%- do options.update({'--list-separator ' ~ name:
        matches('item', '[0-9]{1,18}( *' ~ separator ~ ' *[0-9]{1,18})+')
    }) -%}
{%- endfor -%}

with unread_values as (
    select
        input,
        load_id,
        rule,
        line,
        value,
        case when rule = 'invalid_signup_date' then value end as day,
        case when rule = 'invalid_run_time' then value end as run_time,
        case when rule in ('invalid_id', 'invalid_user') then value end as own_id,
        case when rule = 'invalid_compound_id' then value end as item
    from {{ ref('input_issues') }}
    where
        status = 'open'
        and load_id is not null
        and rule in (
            'invalid_signup_date',
            'invalid_run_time',
            'invalid_id',
            'invalid_user',
            'invalid_compound_id'
        )
),

plain_values as (
    select
        *,
        {{ plain_date('day', "'DMY'") }} as day_dmy,
        {{ plain_date('day', "'MDY'") }} as day_mdy,
        {{ plain_date('day', "'YMD'") }} as day_ymd,
        {{ plain_number('coalesce(run_time, own_id)', "'comma'") }} as number_comma,
        {{ plain_number('coalesce(run_time, own_id)', "'point'") }} as number_point,
        {{ plain_duration('run_time', "'point'", "'min'") }} as duration,
        -- what comes before the digits at the end, if it can be a prefix of ids
        case
            when {{ matches('coalesce(own_id, item)', '[A-Za-z_#:/-][A-Za-z0-9_ #:/.-]*[0-9]+') }}
                then trim(trailing '0123456789' from value)
        end as id_prefix
    from unread_values
),

readings as (
    {% for option, condition in options.items() -%}
        select
            input,
            load_id,
            rule,
            '{{ option }}' as reading,
            line
        from plain_values
        where {{ condition }}
        union all
    {% endfor -%}
    select
        input,
        load_id,
        rule,
        '--id-prefix ' || case
            -- what a shell would not pass on as it stands
            when id_prefix like '% %' or id_prefix like '%#%' then '"' || id_prefix || '"'
            else id_prefix
        end as reading,
        line
    from plain_values
    where id_prefix is not null
),

-- A line counts once, however many items of its list would be read.
counted_readings as (
    select
        input,
        load_id,
        rule,
        reading,
        count(distinct line) as cells
    from readings
    group by input, load_id, rule, reading
),

ranked_readings as (
    select
        *,
        row_number() over (
            partition by input, load_id, rule order by cells desc, {{ bytewise('reading') }}
        ) as place
    from counted_readings
),

-- The best two: for days up to the 12th nobody can tell which order is meant.
remedies as (
    select * from ranked_readings where place <= 2
)

select * from remedies
