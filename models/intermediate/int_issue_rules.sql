{{ config(materialized='view') }}

-- Each sentence says what is wrong and what became of the row, the item or the cell.
with rules as (
    select *
    from (
        values
        (
            'wrong_column_count', 'error',
            'The line does not have the declared number of columns; it is kept apart, as it was.'
        ),
        (
            'broken_quoting', 'error',
            'A quotation mark in the line is opened or closed wrongly; it is kept apart, as it was.'
        ),
        (
            'undecodable', 'error',
            'The line has bytes that the encoding of the file does not know; it is kept apart.'
        ),
        (
            'nul_byte', 'error',
            'The line has a NUL byte, which no text may have; it is kept apart.'
        ),
        (
            'invalid_json', 'error',
            'The line is no JSON object with each column once; it is kept apart, as it was.'
        ),
        (
            'missing_id', 'error',
            'The row has no id; it is left out.'
        ),
        (
            'invalid_id', 'error',
            'The id is not a number of 1 to 18 digits; the row is left out.'
        ),
        (
            'duplicate_id', 'error',
            'An earlier row of the same file has this id; this row is left out.'
        ),
        (
            'missing_user', 'error',
            'The experiment names no user; it is left out.'
        ),
        (
            'invalid_user', 'error',
            'The user id is not a number of 1 to 18 digits; the experiment is left out.'
        ),
        (
            'unknown_user', 'error',
            'No accepted user has this id; the experiment is left out until one arrives.'
        ),
        (
            'missing_run_time', 'warning',
            'The experiment has no run time; it counts, the mean leaves it out.'
        ),
        (
            'invalid_run_time', 'warning',
            'The run time is no number below 10^12; the experiment counts, the mean leaves it out.'
        ),
        (
            'missing_compounds', 'warning',
            'The experiment lists no compound; it counts.'
        ),
        (
            'invalid_compound_id', 'warning',
            'The item is not a number of 1 to 18 digits; it is dropped, the experiment stays.'
        ),
        (
            'unknown_compound', 'warning',
            'No accepted compound has this id; it is counted without a name.'
        ),
        (
            'invalid_signup_date', 'warning',
            'The date is not a calendar day YYYY-MM-DD; the user stays without one.'
        )
    ) as listed (rule, severity, sentence)
)

select
    rule,
    severity,
    sentence
from rules
