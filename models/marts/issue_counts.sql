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

readings as (
    select * from {{ ref('int_issue_remedies') }}
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
        -- each item of a list has an issue of its own, but a list is one cell
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

remedies as (
    select
        counts.input,
        counts.own_load_id,
        counts.rule,
        {{ dbt.listagg(
            "readings.reading || ' would read '"
            ~ " || cast(readings.cells as " ~ dbt.type_string() ~ ")"
            ~ " || ' of ' || cast(counts.open_cells as " ~ dbt.type_string() ~ ")",
            "', '",
            'order by readings.place'
        ) }} as remedy
    from readings
    inner join counts
        on
            readings.input = counts.input
            and readings.load_id = counts.own_load_id
            and readings.rule = counts.rule
    group by counts.input, counts.own_load_id, counts.rule
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
