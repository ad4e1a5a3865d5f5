{{ config(enabled=is_increment(), indexes=unique_index(['user_id', 'compound_id'])) }}

with rows_after as (
    {{ user_compounds(ref('int_experiments')) }}
),

rows_before as (
    {{ user_compounds(ref('int_experiments_before')) }}
),

differences as (
    select * from rows_after
    union all
    select
        user_id,
        compound_id,
        -times_listed as times_listed,
        -experiments as experiments
    from rows_before
),

-- Includes pairs whose counts stay the same although their experiments have changed.
changes as (
    select
        user_id,
        compound_id,
        cast(sum(times_listed) as bigint) as times_listed,
        cast(sum(experiments) as bigint) as experiments
    from differences
    group by user_id, compound_id
),

published_user_compounds as (
    {{ looked_up(published(this, 'int_user_compounds'), 'changes', ['user_id', 'compound_id']) }}
),

user_compound_changes as (
    select
        changes.user_id,
        changes.compound_id,
        coalesce(published_user_compounds.times_listed, 0) as times_listed_before,
        coalesce(published_user_compounds.experiments, 0) as experiments_before,
        coalesce(published_user_compounds.times_listed, 0) + changes.times_listed as times_listed,
        coalesce(published_user_compounds.experiments, 0) + changes.experiments as experiments
    from changes
    left join published_user_compounds
        on
            changes.user_id = published_user_compounds.user_id
            and changes.compound_id = published_user_compounds.compound_id
)

-- In the order of the index on the published pairs, so that neighbouring ones are read and written
-- together.
select * from user_compound_changes
order by user_id, compound_id
