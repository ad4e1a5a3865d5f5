with input_files as (
    select * from {{ ref('stg_input_files') }}
),

rejected_lines as (
    select * from {{ ref('stg_rejected_lines') }}
),

fates as (
    select
        'users' as input,
        load_id,
        fate
    from {{ ref('int_users') }}
    union all
    select
        'user_experiments' as input,
        load_id,
        fate
    from {{ ref('int_experiments') }}
    union all
    select
        'compounds' as input,
        load_id,
        fate
    from {{ ref('int_compounds') }}
),

lines_per_file as (
    select
        input,
        load_id,
        count(*) as rejected_lines
    from rejected_lines
    group by input, load_id
),

rows_per_file as (
    select
        input,
        load_id,
        count(*) filter (where fate = 'rejected') as rejected_rows,
        count(*) filter (where fate = 'superseded') as superseded_rows,
        count(*) filter (where fate = 'accepted') as accepted_rows
    from fates
    group by input, load_id
)

select
    {{ as_text('input_files.input') }} as input,
    cast(input_files.load_id as bigint) as load_id,
    {{ as_text('input_files.file') }} as file,
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
        and coalesce(input_files.load_id, -1) = coalesce(rows_per_file.load_id, -1)
