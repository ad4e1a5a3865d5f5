with input_files as (
    select * from {{ ref('stg_input_files') }}
),

issue_rules as (
    select * from {{ ref('int_issue_rules') }}
),

rejected_lines as (
    select * from {{ ref('stg_rejected_lines') }}
),

user_issues as (
    select * from {{ ref('int_user_issues') }}
),

experiment_issues as (
    select * from {{ ref('int_experiment_issues') }}
),

list_issues as (
    select * from {{ ref('int_list_issues') }}
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
        load_id,
        line,
        record_key,
        column_name,
        value,
        {{ as_text('null') }} as detail
    from row_issues

    union all

    select
        input,
        rule,
        load_id,
        line,
        {{ as_text('null') }} as record_key,
        {{ as_text('null') }} as column_name,
        content as value,
        detail
    from rejected_lines
)

select
    {{ as_text('issues.rule') }} as rule,
    -- a line that the loader kept apart by a rule of its own is an error all the same
    {{ as_text("coalesce(issue_rules.severity, 'error')") }} as severity,
    {{ as_text('issues.input') }} as input,
    cast(issues.load_id as bigint) as load_id,
    {{ as_text('input_files.file') }} as file,
    cast(issues.line as bigint) as line,
    {{ as_text('issues.record_key') }} as record_key,
    {{ as_text('issues.column_name') }} as column_name,
    {{ as_text('issues.value') }} as value,
    {{ as_text('coalesce(issues.detail, issue_rules.sentence)') }} as message
from issues
left join issue_rules on issues.rule = issue_rules.rule
inner join input_files
    on
        issues.input = input_files.input
        and coalesce(issues.load_id, -1) = coalesce(input_files.load_id, -1)
