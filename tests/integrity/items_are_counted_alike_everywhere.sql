-- An item of a list is one row of experiment_compounds, one of its experiment's compounds_listed,
-- one of its user's and one of its compound's times_listed. The four totals are the same number.
with experiment_compounds as (
    select count(*) as items from {{ ref('experiment_compounds') }}
),

experiments as (
    select coalesce(sum(compounds_listed), 0) as items from {{ ref('experiments') }}
),

user_compound_usage as (
    select coalesce(sum(times_listed), 0) as items from {{ ref('user_compound_usage') }}
),

compound_usage as (
    select coalesce(sum(times_listed), 0) as items from {{ ref('compound_usage') }}
)

select
    experiment_compounds.items as rows_of_experiment_compounds,
    experiments.items as compounds_listed,
    user_compound_usage.items as listed_by_users,
    compound_usage.items as listed_per_compound
from experiment_compounds
cross join experiments
cross join user_compound_usage
cross join compound_usage
where
    experiment_compounds.items <> experiments.items
    or experiment_compounds.items <> user_compound_usage.items
    or experiment_compounds.items <> compound_usage.items
