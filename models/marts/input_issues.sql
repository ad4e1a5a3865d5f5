with input_files as (
    select * from {{ ref('stg_input_files') }}
),

issue_rules as (
    select * from {{ ref('issue_rules') }}
),

rejected_lines as (
    select * from {{ ref('stg_rejected_lines') }}
),

user_issues as (
    select * from {{ ref('int_user_issues') }}
),

experiment_issues as (
    {{ whole('int_experiment_issues') }}
),

list_issues as (
    {{ whole('int_list_issues') }}
),

compound_issues as (
    select * from {{ ref('int_compound_issues') }}
),

row_issues as (
    select
        'users' as input,
        user_issues.*
    from user_issues
    union all
    select
        'user_experiments' as input,
        experiment_issues.*
    from experiment_issues
    union all
    select
        'user_experiments' as input,
        list_issues.*
    from list_issues
    union all
    select
        'compounds' as input,
        compound_issues.*
    from compound_issues
),

issues as (
    select
        input,
        rule,
        severity,
        load_id,
        line,
        record_key,
        column_name,
        value,
        cast(null as {{ dbt.type_string() }}) as detail,
        resolved_by_load_id
    from row_issues

    union all

    select
        input,
        rule,
        severity,
        load_id,
        line,
        cast(null as {{ dbt.type_string() }}) as record_key,
        cast(null as {{ dbt.type_string() }}) as column_name,
        content as value,
        detail,
        resolved_by_load_id
    from rejected_lines
),

typed as (
    select
        cast(issues.rule as {{ dbt.type_string() }}) as rule,
        cast(issues.severity as {{ dbt.type_string() }}) as severity,
        cast(issues.input as {{ dbt.type_string() }}) as input,
        cast({{ shown_load_id('issues') }} as bigint) as load_id,
        cast(input_files.file as {{ dbt.type_string() }}) as file,
        cast({{ shown_line('issues') }} as bigint) as line,
        cast(issues.record_key as {{ dbt.type_string() }}) as record_key,
        cast(issues.column_name as {{ dbt.type_string() }}) as column_name,
        cast(issues.value as {{ dbt.type_string() }}) as value,
        -- If the rules have not been seeded yet, or do not have this one, its name has to do.
        cast(
            coalesce(issues.detail, issue_rules.sentence, issues.rule) as {{ dbt.type_string() }}
        ) as message,
        cast(
            case when issues.resolved_by_load_id is null then 'open' else 'resolved' end
            as {{ dbt.type_string() }}
        ) as status,
        cast(issues.resolved_by_load_id as bigint) as resolved_by_load_id
    from issues
    left join issue_rules on issues.rule = issue_rules.rule
    inner join input_files
        on
            issues.input = input_files.input
            and issues.load_id = input_files.load_id
)

select * from typed
