{{ config(enabled=is_increment(), group='laboratory', meta={'increment': 'whole'}) }}

-- The totals of all marts change by as much as the changed rows do. Without this, an increment
-- could count a row twice, and every later increment would inherit the error.
with user_compound_changes as (
    select * from {{ ref('int_user_compound_changes') }}
),

changed_pairs as (
    select
        coalesce(sum(times_listed - times_listed_before), 0) as items,
        count(*) filter (where times_listed > 0)
        - count(*) filter (where times_listed_before > 0) as user_compounds
    from user_compound_changes
),

{% for side in ['now', 'before'] -%}
    {%- set is_now = side == 'now' -%}
    rows_{{ side }} as (
        select
            count(*) as experiments,
            coalesce(sum(compounds_listed), 0) as items,
            coalesce(sum(run_time), 0) as run_time
        from {{ ref('int_experiments' if is_now else 'int_experiments_before') }}
        where row_status = 'accepted'
    ),

    reconciled_{{ side }} as (
        select coalesce(sum(accepted_rows), 0) as experiments
        from {{ ref('input_reconciliation') if is_now else published(ref('input_reconciliation')) }}
        where input = 'user_experiments'
    ),

    features_{{ side }} as (
        select
            coalesce(sum(total_exp_per_user), 0) as experiments,
            coalesce(sum(total_exp_time_per_user), 0) as run_time,
            coalesce(sum(distinct_compounds), 0) as user_compounds
        from {{ ref('user_features') if is_now else published(ref('user_features')) }}
    ),

    usage_{{ side }} as (
        select
            coalesce(sum(times_listed), 0) as items,
            coalesce(sum(users), 0) as user_compounds
        from {{ ref('compound_usage') if is_now else published(ref('compound_usage')) }}
    ),

{% endfor -%}
sums as (
    select
        rows_now.experiments - rows_before.experiments as experiments,
        reconciled_now.experiments - reconciled_before.experiments as experiments_reconciled,
        features_now.experiments - features_before.experiments as experiments_of_users,
        rows_now.run_time - rows_before.run_time as run_time,
        features_now.run_time - features_before.run_time as run_time_of_users,
        rows_now.items - rows_before.items as items,
        changed_pairs.items as items_of_user_compounds,
        usage_now.items - usage_before.items as items_of_compounds,
        changed_pairs.user_compounds,
        usage_now.user_compounds - usage_before.user_compounds as user_compounds_of_compounds,
        features_now.user_compounds - features_before.user_compounds as user_compounds_of_users
    from rows_now
    cross join rows_before
    cross join changed_pairs
    cross join reconciled_now
    cross join reconciled_before
    cross join features_now
    cross join features_before
    cross join usage_now
    cross join usage_before
)

select * from sums
where
    experiments <> experiments_reconciled
    or experiments <> experiments_of_users
    or run_time <> run_time_of_users
    or items <> items_of_user_compounds
    or items <> items_of_compounds
    or user_compounds <> user_compounds_of_compounds
    or user_compounds <> user_compounds_of_users
