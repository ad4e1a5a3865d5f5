-- What splitting a list, joining one and the order of texts give on every engine.
with lists as (
    select
        1 as list_id,
        '1; x;;' as items,
        '1;;2;1' as ids
    union all
    select
        2 as list_id,
        '' as items,
        '7' as ids
    union all
    select
        3 as list_id,
        {{ as_text('null') }} as items,
        {{ as_text('null') }} as ids
),

list_items as (
    {{ split_list('lists', keep=['list_id'], list='items') }}
),

list_ids as (
    {{ split_ids('lists', keep=['list_id'], list='ids') }}
),

-- PostgreSQL splits an empty text into no items, other engines into one that is empty: neither is
-- an item of a list.
written_items as (
    select
        {{ as_text('list_id') }}
        || '.' || {{ as_text('position') }}
        || '=' || item as written
    from list_items
    where list_id <> 2 or item <> ''
),

written_ids as (
    select
        {{ as_text('list_id') }}
        || '.' || {{ as_text('position') }}
        || '=' || coalesce({{ as_text('id') }}, 'none')
        || case when is_repeat then ' again' else '' end as written
    from list_ids
),

ordered_texts as (
    select 'Z' as word
    union all
    select 'a' as word
    union all
    select 'é' as word
    union all
    select 'B' as word
),

examples as (
    select
        'split list' as example,
        {{ join_in_order('written', '|', 'written') }} as actual,
        '1.1=1|1.2= x|1.3=|1.4=' as expected
    from written_items
    union all
    select
        'split ids' as example,
        {{ join_in_order('written', '|', 'written') }} as actual,
        '1.1=1|1.2=none|1.3=2|1.4=1 again|2.1=7' as expected
    from written_ids
    union all
    select
        'order by bytes' as example,
        {{ join_in_order('word', ' ', bytewise('word')) }} as actual,
        'B Z a é' as expected
    from ordered_texts
    union all
    select
        'join nothing' as example,
        {{ join_in_order('word', ' ', 'word') }} as actual,
        {{ as_text('null') }} as expected
    from ordered_texts
    where word = 'none of these'
)

select * from examples
where actual is distinct from expected
