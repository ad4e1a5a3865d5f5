with rejected_lines as (
    select * from {{ source('raw', 'rejected_lines') }}
),

input_files as (
    select * from {{ ref('stg_input_files') }}
),

current_rejected_lines as (
    select
        input_files.input,
        rejected_lines.load_id,
        input_files.file,
        rejected_lines.line,
        rejected_lines.rule,
        rejected_lines.detail,
        rejected_lines.content
    from rejected_lines
    inner join input_files on rejected_lines.load_id = input_files.load_id
)

select * from current_rejected_lines
