-- What splitting a list, joining one, looking rows up and the order of texts give on every engine.
with lists as (
    select
        1 as list_id,
        '1; x;;' as items
    union all
    select
        2 as list_id,
        '' as items
    union all
    select
        3 as list_id,
        cast(null as {{ dbt.type_string() }}) as items
    union all
    select
        4 as list_id,
        '1;;2;01' as items
),

list_items as (
    {{ unnest_list(
        'lists', keep=['list_id'], list=split_text('items'), item='item', position='position'
    ) }}
),

typed_lists as (
    select
        list_id,
        {{ to_id_list('items') }} as ids
    from lists
),

list_ids as (
    {{ unnest_list(
        'typed_lists', keep=['list_id'], list='ids', item='id', position='position'
    ) }}
),

ids_alone as (
    {{ unnest_list('typed_lists', keep=['list_id'], list='ids', item='id') }}
),

counted_ids as (
    {{ count_items('typed_lists', key='list_id', list='ids', item='id') }}
),

written_counts as (
    select
        cast(list_id as {{ dbt.type_string() }})
        || '.' || cast(id as {{ dbt.type_string() }})
        || '=' || cast(times_listed as {{ dbt.type_string() }}) as written
    from counted_ids
),

-- PostgreSQL splits an empty text into no items, other engines into one that is empty: neither is
-- an item of a list.
written_items as (
    select
        cast(list_id as {{ dbt.type_string() }})
        || '.' || cast(position as {{ dbt.type_string() }})
        || '=' || item as written
    from list_items
    where list_id <> 2 or item <> ''
),

written_ids as (
    select
        cast(list_id as {{ dbt.type_string() }})
        || '.' || cast(position as {{ dbt.type_string() }})
        || '=' || coalesce(cast(id as {{ dbt.type_string() }}), 'none') as written
    from list_ids
),

wanted_items as (
    select
        4 as list_id,
        3 as position
    union all
    select
        4 as list_id,
        9 as position
),

found_items as (
    {{ looked_up('list_items', 'wanted_items', ['list_id', 'position']) }}
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
        'split text' as example,
        {{ dbt.listagg('written', "'|'", 'order by written') }} as actual,
        '1.1=1|1.2= x|1.3=|1.4=|4.1=1|4.2=|4.3=2|4.4=01' as expected
    from written_items
    union all
    select
        'unnest ids' as example,
        {{ dbt.listagg('written', "'|'", 'order by written') }} as actual,
        '1.1=1|1.2=none|1.3=none|1.4=none|4.1=1|4.2=none|4.3=2|4.4=1' as expected
    from written_ids
    union all
    select
        'unnest without positions' as example,
        cast(count(*) as {{ dbt.type_string() }})
        || ' ' || cast(sum(id) as {{ dbt.type_string() }}) as actual,
        '8 5' as expected
    from ids_alone
    union all
    select
        'count ids' as example,
        {{ dbt.listagg('written', "'|'", 'order by written') }} as actual,
        '1.1=1|4.1=2|4.2=1' as expected
    from written_counts
    union all
    select
        'rows of keys' as example,
        {{ dbt.listagg('item', "'|'", 'order by item') }} as actual,
        '2' as expected
    from found_items
    union all
    select
        'order by bytes' as example,
        {{ dbt.listagg('word', "' '", 'order by ' ~ bytewise('word')) }} as actual,
        'B Z a é' as expected
    from ordered_texts
    union all
    select
        'join nothing' as example,
        {{ dbt.listagg('word', "' '", 'order by word') }} as actual,
        cast(null as {{ dbt.type_string() }}) as expected
    from ordered_texts
    where word = 'none of these'
)

select * from examples
where actual is distinct from expected
