-- What is an id, a run time and a day on every engine, and what is none.
{%- set cells = [
    ('id', '7', '7'),
    ('id', '0', '0'),
    ('id', '007', '7'),
    ('id', ' 7.00\u00a0', '7'),
    ('id', '999999999999999999', '999999999999999999'),
    ('id', '1234567890123456789', none),
    ('id', '1e3', none),
    ('id', '7.5', none),
    ('id', '', none),
    ('run time', '12.5', '12.500000'),
    ('run time', ' 10\t', '10.000000'),
    ('run time', '0.0000005', '0.000001'),
    ('run time', '1.' ~ '9' * 60, '2.000000'),
    ('run time', '999999999999.9999994', '999999999999.999999'),
    ('run time', '999999999999.9999995', none),
    ('run time', '.5', none),
    ('run time', '-1', none),
    ('run time', 'Infinity', none),
    ('date', '2024-02-29', '2024-02-29'),
    ('date', '1900-02-29', none),
    ('date', '0001-01-01T23:59:60Z', '0001-01-01'),
    ('date', '9999-12-31', '9999-12-31'),
    ('date', '31.12.2023', none),
    ('date DMY', '31.12.2023 23:59:59,5', '2023-12-31'),
    ('date DMY', '1-2-2023', '2023-02-01'),
    ('date DMY', '31.12.2023 24', none),
    ('date DMY', '112.1.2023', none),
    ('date MDY', '12/31/2023 1:30 pm', '2023-12-31'),
    ('date YMD', '2023/1/2', '2023-01-02'),
    ('number comma', '1.500.000,25', '1500000.25'),
    ('number comma', '15.00', none),
    ('number point', '1,500,000.25', '1500000.25'),
    ('number point', '0,500', none),
    ('number unclear', '1.500', none),
    ('number unclear', '0.500', '0.500'),
    ('thousands', '-12,5', 'true'),
    ('thousands', '12.500', 'false'),
    ('thousands', '1.500.000', 'true'),
    ('garbled', 'ChloÃ©', 'true'),
    ('garbled', 'x
Â°C', 'true'),
    ('garbled', 'SÃO', 'false'),
    ('garbled', 'Å ', 'false')
] %}

-- A table: PostgreSQL works the branches of a case out beforehand if they are constant.
with constants as (
    {% for kind, cell, expected in cells[:var('examples', 999)] -%}
        select
            '{{ kind }}' as kind,
            '{{ cell }}' as cell,
            cast(
                {{ 'null' if expected is none else "'" ~ expected ~ "'" }}
                as {{ dbt.type_string() }}
            ) as expected
        {{ 'union all' if not loop.last }}
    {% endfor -%}
),

-- Sail does so wherever it can push a condition to them, which is not through an aggregate.
cells as (
    select
        kind,
        cell,
        max(expected) as expected
    from constants
    group by kind, cell
),

plain as (
    select
        kind,
        cell,
        case kind
            when 'date DMY' then {{ plain_date('cell', "'DMY'") }}
            when 'date MDY' then {{ plain_date('cell', "'MDY'") }}
            when 'date YMD' then {{ plain_date('cell', "'YMD'") }}
            else cell
        end as plain_cell,
        expected
    from cells
),

parsed as (
    select
        kind,
        cell,
        case
            when kind = 'id' then cast({{ to_id('cell') }} as {{ dbt.type_string() }})
            when kind = 'run time'
                then cast({{ to_run_time('cell') }} as {{ dbt.type_string() }})
            when kind like 'date%'
                then cast({{ to_date('plain_cell') }} as {{ dbt.type_string() }})
            when kind = 'number comma' then {{ plain_number('cell', "'comma'") }}
            when kind = 'number point' then {{ plain_number('cell', "'point'") }}
            when kind = 'number unclear' then {{ plain_number('cell', "'unclear'") }}
            when kind = 'thousands'
                then cast({{ shows_thousands('cell') }} as {{ dbt.type_string() }})
            else cast({{ looks_garbled('cell') }} as {{ dbt.type_string() }})
        end as actual,
        expected
    from plain
)

select * from parsed
where actual is distinct from expected
