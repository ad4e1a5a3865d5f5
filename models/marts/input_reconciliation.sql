with input_files as (
    select * from {{ ref('stg_input_files') }}
),

rejected_lines as (
    select * from {{ ref('stg_rejected_lines') }}
),

users as (
    select
        'users' as input,
        load_id,
        row_status,
        1 as input_rows
    from {{ ref('int_users') }}
),

user_experiments as (
    select
        'user_experiments' as input,
        load_id,
        row_status,
        experiments as input_rows
    from {{ ref('int_experiment_counts') }}
),

compounds as (
    select
        'compounds' as input,
        load_id,
        row_status,
        1 as input_rows
    from {{ ref('int_compounds') }}
),

input_rows as (
    select * from users
    union all
    select * from user_experiments
    union all
    select * from compounds
),

lines_per_file as (
    select
        input,
        load_id,
        count(*) as rejected_lines
    from rejected_lines
    where severity = 'error'
    group by input, load_id
),

rows_per_file as (
    select
        input,
        load_id,
        sum(input_rows) filter (where row_status = 'rejected') as rejected_rows,
        sum(input_rows) filter (where row_status = 'superseded') as superseded_rows,
        sum(input_rows) filter (where row_status = 'accepted') as accepted_rows
    from input_rows
    group by input, load_id
),

typed as (
    select
        cast(input_files.input as {{ dbt.type_string() }}) as input,
        cast({{ shown_load_id('input_files') }} as bigint) as load_id,
        cast(input_files.file as {{ dbt.type_string() }}) as file,
        cast(input_files.records_read as bigint) as records_read,
        cast(coalesce(lines_per_file.rejected_lines, 0) as bigint) as rejected_lines,
        cast(coalesce(rows_per_file.rejected_rows, 0) as bigint) as rejected_rows,
        cast(coalesce(rows_per_file.superseded_rows, 0) as bigint) as superseded_rows,
        cast(coalesce(rows_per_file.accepted_rows, 0) as bigint) as accepted_rows
    from input_files
    left join lines_per_file
        on
            input_files.input = lines_per_file.input
            and input_files.load_id = lines_per_file.load_id
    left join rows_per_file
        on
            input_files.input = rows_per_file.input
            and input_files.load_id = rows_per_file.load_id
)

select * from typed
