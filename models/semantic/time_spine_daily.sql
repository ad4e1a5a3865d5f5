with numbers as (
    {{ dbt.generate_series(18263) }}
),

days as (
    select
        {{ dbt.dateadd('day', 'generated_number - 1', "cast('2000-01-01' as date)") }} as date_day
    from numbers
),

typed as (
    select cast(date_day as date) as date_day
    from days
)

select * from typed
