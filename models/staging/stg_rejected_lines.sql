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
        -- a record that may have swallowed others is still read
        case when rejected_lines.rule = 'swallowed_records' then 'warning' else 'error' end
            as severity,
        rejected_lines.detail,
        rejected_lines.content,
        -- As for a row without a usable key: the same line in a newer load has an error of its
        -- own, and a newer file of that name has the line corrected or reported again.
        coalesce(
            nullif(
                max(rejected_lines.load_id) over (
                    partition by input_files.input, rejected_lines.rule, rejected_lines.content
                ),
                rejected_lines.load_id
            ),
            nullif(input_files.newest_load_id, rejected_lines.load_id)
        ) as resolved_by_load_id
    from rejected_lines
    inner join input_files on rejected_lines.load_id = input_files.load_id
)

select * from current_rejected_lines
