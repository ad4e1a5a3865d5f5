{{ config(indexes=unique_index(['user_id'])) }}

{#- A whole build looks at all pairs, an increment at those that may be a user's most consumed. -#}
{%- set pairs = 'possible_pairs' if is_increment() else ref('int_user_compounds') -%}
{%- set counted = 'distinct_per_user' if is_increment() else 'most_consumed_per_user' -%}
{%- set totals_of = 'count(*) as experiments, count(run_time) as known_run_times, '
    ~ 'sum(run_time) as total_run_time' -%}
{% if is_increment() -%}
    with changed_users as (
        select user_id from {{ ref('int_experiments') }} where user_id is not null
        union
        select user_id from {{ ref('int_experiments_before') }} where user_id is not null
    ),

    published_totals as (
        select published_user_totals.*
        from {{ published(this) }} as published_user_totals
        inner join changed_users on published_user_totals.user_id = changed_users.user_id
    ),

    changes as (
        select * from {{ ref('int_user_compound_changes') }}
    ),

    experiment_parts as (
        select
            user_id,
            {{ totals_of }}
        from {{ ref('int_experiments') }}
        where row_status = 'accepted'
        group by user_id
        union all
        select
            user_id,
            -count(*) as experiments,
            -count(run_time) as known_run_times,
            -sum(run_time) as total_run_time
        from {{ ref('int_experiments_before') }}
        where row_status = 'accepted'
        group by user_id
        union all
        select
            user_id,
            experiments,
            known_run_times,
            total_run_time
        from published_totals
    ),

    experiments_per_user as (
        select
            user_id,
            sum(experiments) as experiments,
            sum(known_run_times) as known_run_times,
            sum(total_run_time) as total_run_time
        from experiment_parts
        group by user_id
        having sum(experiments) > 0
    ),

    distinct_parts as (
        select
            user_id,
            count(*) filter (where times_listed > 0)
            - count(*) filter (where times_listed_before > 0) as distinct_compounds
        from changes
        group by user_id
        union all
        select
            user_id,
            distinct_compounds
        from published_totals
    ),

    distinct_per_user as (
        select
            user_id,
            sum(distinct_compounds) as distinct_compounds
        from distinct_parts
        group by user_id
    ),

    most_consumed_before as (
    {{ unnest_list(
        'published_totals',
        keep=['user_id', 'most_consumed_compound_count'],
        list=split_text('most_consumed_compounds'),
        item='compound'
    ) }}
    ),

    -- No unchanged compound is listed more often than the most consumed ones were.
    known_pairs as (
        select
            most_consumed_before.user_id,
            cast(most_consumed_before.compound as bigint) as compound_id,
            most_consumed_before.most_consumed_compound_count as times_listed
        from most_consumed_before
        left join changes
            on
                most_consumed_before.user_id = changes.user_id
                and cast(most_consumed_before.compound as bigint) = changes.compound_id
        where changes.user_id is null
        union all
        select
            user_id,
            compound_id,
            times_listed
        from changes
        where times_listed > 0
    ),

    known_per_user as (
        select
            user_id,
            max(times_listed) as times_listed
        from known_pairs
        group by user_id
    ),

    -- Everything that was most consumed is listed less often now, so anything may be ahead.
    fallen_users as (
        select published_totals.user_id
        from published_totals
        left join known_per_user on published_totals.user_id = known_per_user.user_id
        where
            coalesce(known_per_user.times_listed, 0) < published_totals.most_consumed_compound_count
    ),

    pairs_of_fallen_users as (
        {{ looked_up(published(this, 'int_user_compounds'), 'fallen_users', ['user_id']) }}
    ),

    -- No pair is in both parts: a user with an unchanged most consumed compound has not fallen.
    possible_pairs as (
        select
            known_pairs.user_id,
            known_pairs.compound_id,
            known_pairs.times_listed
        from known_pairs
        inner join known_per_user
            on
                known_pairs.user_id = known_per_user.user_id
                and known_pairs.times_listed = known_per_user.times_listed
        union all
        select
            pairs_of_fallen_users.user_id,
            pairs_of_fallen_users.compound_id,
            pairs_of_fallen_users.times_listed
        from pairs_of_fallen_users
        left join changes
            on
                pairs_of_fallen_users.user_id = changes.user_id
                and pairs_of_fallen_users.compound_id = changes.compound_id
        where changes.user_id is null
    ),
{%- else -%}
    with experiments_per_user as (
        select
            user_id,
            {{ totals_of }}
        from {{ ref('int_experiments') }}
        where row_status = 'accepted'
        group by user_id
    ),
{%- endif %}

user_compounds as (
    select * from {{ pairs }}
),

-- Imported separately: PostgreSQL materializes a step that two others read.
ranked_compounds as (
    select * from {{ pairs }}
),

most_per_user as (
    select
        user_id,
        count(*) as distinct_compounds,
        max(times_listed) as most_consumed_compound_count
    from user_compounds
    group by user_id
),

-- A rank would need a sort of all pairs; the greatest count does not.
most_consumed_per_user as (
    select
        ranked_compounds.user_id,
        min(ranked_compounds.compound_id) as most_consumed_compound,
        max(ranked_compounds.times_listed) as most_consumed_compound_count,
        max(most_per_user.distinct_compounds) as distinct_compounds,
        {{ dbt.listagg(
            measure='cast(ranked_compounds.compound_id as ' ~ dbt.type_string() ~ ')',
            delimiter_text="';'",
            order_by_clause='order by ranked_compounds.compound_id'
        ) }} as most_consumed_compounds
    from ranked_compounds
    inner join most_per_user
        on
            ranked_compounds.user_id = most_per_user.user_id
            and ranked_compounds.times_listed = most_per_user.most_consumed_compound_count
    group by ranked_compounds.user_id
),

user_totals as (
    select
        experiments_per_user.user_id,
        cast(experiments_per_user.experiments as bigint) as experiments,
        cast(experiments_per_user.known_run_times as bigint) as known_run_times,
        cast(coalesce(experiments_per_user.total_run_time, 0) as numeric(38, 6)) as total_run_time,
        cast(coalesce({{ counted }}.distinct_compounds, 0) as bigint) as distinct_compounds,
        most_consumed_per_user.most_consumed_compound,
        most_consumed_per_user.most_consumed_compounds,
        coalesce(most_consumed_per_user.most_consumed_compound_count, 0)
            as most_consumed_compound_count
    from experiments_per_user
    {% if is_increment() -%}
        left join distinct_per_user on experiments_per_user.user_id = distinct_per_user.user_id
    {% endif -%}
    left join most_consumed_per_user
        on experiments_per_user.user_id = most_consumed_per_user.user_id
)

select * from user_totals
