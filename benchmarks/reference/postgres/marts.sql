-- All marts straight from the raw text, as fast as we could make them on PostgreSQL 18. No rule is
-- checked: a cell that is no number stops it, a row that stands twice counts twice, and there are
-- no issues. Each row is written once; experiments, experiment_compounds and user_compound_usage
-- are views, as in the models. Pairs are counted as in tuned.sql. No index, no test.
create table users as
select
    cast(user_id as bigint) as user_id,
    name,
    email,
    cast(signup_date as date) as signup_date,
    load_id,
    line
from labmart_bench_raw.users;

create table compounds as
select
    cast(compound_id as bigint) as compound_id,
    compound_name,
    compound_structure,
    load_id,
    line
from labmart_bench_raw.compounds;

-- Lists of up to four items are searched for repeats at once, longer ones where it matters.
create table stored_experiments as
select
    *,
    coalesce(
        ids[1] in (ids[2], ids[3], ids[4]) or ids[2] in (ids[3], ids[4]) or ids[3] = ids[4]
        or cardinality(ids) > 4,
        false
    ) as may_repeat
from (
    select
        cast(experiment_id as bigint) as experiment_id,
        cast(user_id as bigint) as user_id,
        cast(experiment_run_time as numeric(18, 6)) as run_time,
        cast('{' || translate(experiment_compound_ids, ';', ',') || '}' as bigint[]) as ids,
        load_id,
        line
    from labmart_bench_raw.user_experiments
    offset '0'
) as typed;

analyze users, compounds, stored_experiments;

create table pairs as
with lists_per_user as (
    select
        user_id,
        string_agg(array_to_string(ids, ';'), ';') as compound_list
    from stored_experiments
    group by user_id
),

listings as (
    select
        lists_per_user.user_id,
        counted.*
    from lists_per_user
    cross join lateral (
        select
            cast(item as bigint) as compound_id,
            count(*) as times_listed
        from string_to_table(lists_per_user.compound_list, ';') as item
        group by cast(item as bigint)
    ) as counted
),

repeats as (
    select
        user_id,
        compound_id,
        count(*) - count(distinct experiment_id) as times_repeated
    from (
        select
            experiment_id,
            user_id,
            unnest(ids) as compound_id
        from stored_experiments
        where may_repeat
    ) as items
    group by user_id, compound_id
)

select
    listings.*,
    times_listed - coalesce(times_repeated, 0) as experiments
from listings
left join repeats using (user_id, compound_id);

analyze pairs;

create view experiments as
select
    experiment_id,
    user_id,
    run_time,
    cast(cardinality(ids) as bigint) as compounds_listed,
    load_id,
    line
from stored_experiments;

create view experiment_compounds as
select
    experiment_id,
    position,
    items.compound_id,
    compounds.compound_id is not null as is_known
from (
    select
        experiment_id,
        unnest(ids) as compound_id,
        generate_subscripts(ids, 1) as position
    from stored_experiments
) as items
left join compounds using (compound_id);

create view user_compound_usage as
select
    user_id,
    compound_id,
    compound_name,
    times_listed,
    experiments,
    usage_rank,
    usage_rank = 1 as is_most_consumed
from (
    select
        pairs.*,
        rank() over (partition by user_id order by times_listed desc) as usage_rank
    from pairs
) as ranked
left join compounds using (compound_id);

create table compound_usage as
with run_times as (
    select
        compound_id,
        sum(run_time) as total_run_time
    from (
        select
            compound_id,
            sum(run_time) as run_time
        from (
            select
                run_time,
                unnest(ids) as compound_id
            from stored_experiments
            where not may_repeat
        ) as items
        group by compound_id
        union all
        select
            compound_id,
            sum(run_time) as run_time
        from (
            select distinct
                experiment_id,
                run_time,
                unnest(ids) as compound_id
            from stored_experiments
            where may_repeat
        ) as items
        group by compound_id
    ) as parts
    group by compound_id
),

totals as (
    select
        compound_id,
        count(*) as users,
        sum(experiments) as experiments,
        sum(times_listed) as times_listed
    from pairs
    group by compound_id
)

select
    compound_id,
    compound_name,
    compound_structure,
    coalesce(users, 0) as users,
    cast(coalesce(experiments, 0) as bigint) as experiments,
    cast(coalesce(times_listed, 0) as bigint) as times_listed,
    cast(coalesce(total_run_time, 0) as numeric(38, 6)) as total_run_time
from compounds
full join totals using (compound_id)
left join run_times using (compound_id);

create table user_features as
with experiments_per_user as (
    select
        user_id,
        count(*) as experiments,
        sum(run_time) as total_run_time,
        avg(run_time) as mean_run_time
    from stored_experiments
    group by user_id
),

most_per_user as (
    select
        user_id,
        count(*) as distinct_compounds,
        max(times_listed) as most
    from pairs
    group by user_id
),

compounds_of_most as (
    select
        user_id,
        min(compound_id) as first_of_most,
        string_agg(cast(compound_id as text), ';' order by compound_id) as all_of_most
    from pairs
    inner join most_per_user using (user_id)
    where times_listed = most
    group by user_id
),

laboratory as (
    select
        cast(sum(experiments) as numeric) / (select count(*) from users) as mean_experiments,
        avg(experiments) as mean_of_the_active
    from experiments_per_user
)

select
    users.user_id,
    coalesce(experiments_per_user.experiments, 0) as total_exp_per_user,
    cast(laboratory.mean_experiments as numeric(18, 6)) as avg_experiment_count,
    cast(experiments_per_user.mean_run_time as numeric(18, 6)) as avg_exp_time_per_user,
    compounds_of_most.first_of_most as most_consumed_compound,
    compounds.compound_name as most_consumed_compound_name,
    compounds_of_most.all_of_most as most_consumed_compounds,
    coalesce(most_per_user.most, 0) as most_consumed_compound_count,
    coalesce(most_per_user.distinct_compounds, 0) as distinct_compounds,
    cast(coalesce(experiments_per_user.total_run_time, 0) as numeric(38, 6))
        as total_exp_time_per_user,
    cast(laboratory.mean_of_the_active as numeric(18, 6)) as avg_experiments_per_active_user,
    users.name as user_name,
    users.signup_date
from users
cross join laboratory
left join experiments_per_user using (user_id)
left join most_per_user using (user_id)
left join compounds_of_most using (user_id)
left join compounds on compounds_of_most.first_of_most = compounds.compound_id;

create table input_issues (
    rule text,
    severity text,
    input text,
    load_id bigint,
    file text,
    line bigint,
    record_key text,
    column_name text,
    value text,
    message text,
    status text,
    resolved_by_load_id bigint
);

create table issue_counts (
    input text,
    load_id bigint,
    file text,
    rule text,
    severity text,
    column_name text,
    open_issues bigint,
    resolved_issues bigint,
    unreadable_cells bigint,
    filled_cells bigint,
    remedy text
);

create table input_reconciliation as
select
    loads.input,
    loads.load_id,
    loads.file,
    loads.records_read,
    loads.records_rejected as rejected_lines,
    cast(0 as bigint) as rejected_rows,
    cast(0 as bigint) as superseded_rows,
    counted.accepted_rows
from labmart_bench_raw.loads
inner join (
    select
        load_id,
        count(*) as accepted_rows
    from users
    group by load_id
    union all
    select
        load_id,
        count(*) as accepted_rows
    from compounds
    group by load_id
    union all
    select
        load_id,
        count(*) as accepted_rows
    from stored_experiments
    group by load_id
) as counted using (load_id);
