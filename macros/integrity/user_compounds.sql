{#- How often each user lists each compound, and in how many experiments, in the accepted rows of a
    relation like int_experiments.

    Few lists repeat a compound. They are counted separately, so that the count of all items can do
    without the experiment. Imported twice, since PostgreSQL materializes a step that two others
    read.
    Usage: user_compounds as ({{ user_compounds(ref('int_experiments')) }}) -#}
{% macro user_compounds(relation) -%}
    with experiments as (
        select * from {{ relation }} where row_status = 'accepted'
    ),

    repeating_experiments as (
        select * from {{ relation }} where row_status = 'accepted' and may_repeat
    ),

    listings as (
        {{ count_items('experiments', key='user_id', list='compound_ids', item='compound_id') }}
    ),

    repeating_items as (
        {{ unnest_list(
            'repeating_experiments',
            keep=['experiment_id', 'user_id'],
            list='compound_ids',
            item='compound_id'
        ) }}
    ),

    repeats as (
        select
            user_id,
            compound_id,
            count(*) - count(distinct experiment_id) as times_repeated
        from repeating_items
        where compound_id is not null
        group by user_id, compound_id
    )

    select
        listings.user_id,
        listings.compound_id,
        listings.times_listed,
        listings.times_listed - coalesce(repeats.times_repeated, 0) as experiments
    from listings
    left join repeats
        on
            listings.user_id = repeats.user_id
            and listings.compound_id = repeats.compound_id
{%- endmacro %}
