{#- Each option of a load with the condition of the cells that it would read. -#}
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
{%- for name, separator in {',': ',', 'pipe': '[|]', '/': '/', 'space': ' '}.items() -%}
    {%- do options.update({'--list-separator ' ~ name:
        matches('item', '[0-9]{1,18}( *' ~ separator ~ ' *[0-9]{1,18})+')
    }) -%}
{%- endfor -%}

with issues as (
    select
        *,
        coalesce(load_id, 0) as own_load_id,
        rule in (
            'invalid_id',
            'invalid_user',
            'invalid_run_time',
            'invalid_compound_id',
            'invalid_signup_date'
        ) as is_unreadable
    from {{ ref('input_issues') }}
),

input_reconciliation as (
    select
        *,
        coalesce(load_id, 0) as own_load_id
    from {{ ref('input_reconciliation') }}
),

users_with_a_date as (
    select
        load_id as own_load_id,
        count(*) as dates
    from {{ ref('int_users') }}
    where row_status = 'accepted' and (signup_date is not null or signup_date_cell is not null)
    group by load_id
),

counts as (
    select
        input,
        own_load_id,
        rule,
        severity,
        column_name,
        is_unreadable,
        count(*) filter (where status = 'open') as open_issues,
        count(*) filter (where status = 'resolved') as resolved_issues,
        -- an item of a list has an issue of its own
        case
            when rule = 'invalid_compound_id'
                then count(distinct case when status = 'open' then record_key end)
            else count(*) filter (where status = 'open')
        end as open_cells
    from issues
    group by input, own_load_id, rule, severity, column_name, is_unreadable
),

missing as (
    select
        input,
        own_load_id,
        column_name,
        open_issues + resolved_issues as missing_cells
    from counts
    where rule in ('missing_id', 'missing_user', 'missing_run_time', 'missing_compounds')
),

unread_values as (
    select
        input,
        own_load_id,
        rule,
        line,
        value,
        case when rule = 'invalid_signup_date' then value end as day,
        case when rule = 'invalid_run_time' then value end as run_time,
        case when rule in ('invalid_id', 'invalid_user') then value end as own_id,
        case when rule = 'invalid_compound_id' then value end as item
    from issues
    where status = 'open' and own_load_id <> 0 and is_unreadable
),

plain_values as (
    select
        *,
        {{ plain_date('day', "'DMY'") }} as day_dmy,
        {{ plain_date('day', "'MDY'") }} as day_mdy,
        {{ plain_date('day', "'YMD'") }} as day_ymd,
        {{ plain_number('coalesce(run_time, own_id)', "'comma'") }} as number_comma,
        {{ plain_number('coalesce(run_time, own_id)', "'point'") }} as number_point,
        -- what stands before the digits at the end, if it can be a prefix of ids
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
            own_load_id,
            rule,
            '{{ option }}' as reading,
            line
        from plain_values
        where {{ condition }}
        union all
    {% endfor -%}
    select
        input,
        own_load_id,
        rule,
        '--id-prefix ' || id_prefix as reading,
        line
    from plain_values
    where id_prefix is not null
),

-- A line is counted once, however many items of its list are read.
counted_readings as (
    select
        input,
        own_load_id,
        rule,
        reading,
        count(distinct line) as cells
    from readings
    group by input, own_load_id, rule, reading
),

ranked_readings as (
    select
        *,
        row_number() over (
            partition by input, own_load_id, rule order by cells desc, {{ bytewise('reading') }}
        ) as place
    from counted_readings
),

-- The two that read most: of days up to the 12th nobody can tell which order is meant.
remedies as (
    select
        ranked_readings.input,
        ranked_readings.own_load_id,
        ranked_readings.rule,
        {{ dbt.listagg(
            "ranked_readings.reading || ' would read '"
            ~ " || cast(ranked_readings.cells as " ~ dbt.type_string() ~ ")"
            ~ " || ' of ' || cast(counts.open_cells as " ~ dbt.type_string() ~ ")",
            "', '",
            'order by ranked_readings.place'
        ) }} as remedy
    from ranked_readings
    inner join counts
        on
            ranked_readings.input = counts.input
            and ranked_readings.own_load_id = counts.own_load_id
            and ranked_readings.rule = counts.rule
    where ranked_readings.place <= 2
    group by ranked_readings.input, ranked_readings.own_load_id, ranked_readings.rule
),

typed as (
    select
        cast(counts.input as {{ dbt.type_string() }}) as input,
        cast(input_reconciliation.load_id as bigint) as load_id,
        cast(input_reconciliation.file as {{ dbt.type_string() }}) as file,
        cast(counts.rule as {{ dbt.type_string() }}) as rule,
        cast(counts.severity as {{ dbt.type_string() }}) as severity,
        cast(counts.column_name as {{ dbt.type_string() }}) as column_name,
        cast(counts.open_issues as bigint) as open_issues,
        cast(counts.resolved_issues as bigint) as resolved_issues,
        cast(case when counts.is_unreadable then counts.open_cells end as bigint)
            as unreadable_cells,
        cast(
            case
                when counts.rule = 'invalid_signup_date' then users_with_a_date.dates
                when counts.rule in ('invalid_run_time', 'invalid_compound_id')
                    then input_reconciliation.accepted_rows - coalesce(missing.missing_cells, 0)
                when counts.rule in ('invalid_id', 'invalid_user')
                    then
                        input_reconciliation.records_read - input_reconciliation.rejected_lines
                        - coalesce(missing.missing_cells, 0)
            end as bigint
        ) as filled_cells,
        cast(remedies.remedy as {{ dbt.type_string() }}) as remedy
    from counts
    inner join input_reconciliation
        on
            counts.input = input_reconciliation.input
            and counts.own_load_id = input_reconciliation.own_load_id
    left join users_with_a_date on counts.own_load_id = users_with_a_date.own_load_id
    left join missing
        on
            counts.input = missing.input
            and counts.own_load_id = missing.own_load_id
            and counts.column_name = missing.column_name
    left join remedies
        on
            counts.input = remedies.input
            and counts.own_load_id = remedies.own_load_id
            and counts.rule = remedies.rule
)

select * from typed
