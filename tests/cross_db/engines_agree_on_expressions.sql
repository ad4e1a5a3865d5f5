-- What each macro in macros/cross_db/ means, example by example. The same table is held by every
-- engine: a branch that reads a cell in its own way shows here before it shows in a mart.
{%- set blanks = " \t\r\n\u00a0\ufeff" -%}
{%- set text_null = 'cast(null as ' ~ dbt.type_string() ~ ')' -%}
{%- set examples = [
    ('trim: all that is trimmed', trim_cell("'" ~ blanks ~ 'Ada' ~ blanks ~ "'"), "'Ada'"),
    ('trim: what stands inside stays', trim_cell("' a" ~ blanks ~ "b '"), "'a" ~ blanks ~ "b'"),
    ('trim: only blanks', trim_cell("'" ~ blanks ~ "'"), 'null'),
    ('trim: empty', trim_cell("''"), 'null'),
    ('trim: nothing', trim_cell(text_null), 'null'),
    ('trim: letters of escapes stay', trim_cell("'uate0f'"), "'uate0f'"),
    ('trim: other spaces stay', trim_cell("'\u2003x\u200b'"), "'\u2003x\u200b'"),
    ('matches: the whole text', matches("'7.0'", '[0-9]+([.]0+)?'), "'true'"),
    ('matches: not a part', matches("'a7'", '[0-9]+'), "'false'"),
    ('matches: not before a line end', matches("'7\n'", '[0-9]+'), "'false'"),
    ('matches: each branch whole', matches("'12'", '1|2'), "'false'"),
    ('matches: no other digits', matches("'\u0667'", '[0-9]+'), "'false'"),
    ('matches: bounds', matches("'1234567890123456789'", '[0-9]{1,18}'), "'false'"),
    ('matches: nothing', matches(text_null, '[0-9]+'), 'null'),
    ('round: half goes up', round_half_up('cast(0.0000005 as numeric(20, 7))'), "'0.000001'"),
    ('round: less goes down', round_half_up('cast(2.0000004 as numeric(20, 7))'), "'2.000000'"),
    ('round: even too', round_half_up('cast(0.0000025 as numeric(20, 7))'), "'0.000003'"),
    ('round: nothing', round_half_up('cast(null as numeric(20, 7))'), 'null'),
    ('divide: exact', divide_half_up('41', '20'), "'2.050000'"),
    ('divide: a third', divide_half_up('1', '3'), "'0.333333'"),
    ('divide: two thirds', divide_half_up('2', '3'), "'0.666667'"),
    ('divide: half goes up', divide_half_up('1', '2000000'), "'0.000001'"),
    ('divide: just below half', divide_half_up('cast(1249999999.999999 as numeric(38, 6))',
        'cast(2500000000000000 as bigint)'), "'0.000000'"),
    ('divide: large', divide_half_up('cast(999999999999.999999 as numeric(18, 6))', '1'),
        "'999999999999.999999'"),
    ('divide: by zero', divide_half_up('0', '0'), 'null'),
    ('divide: nothing', divide_half_up('cast(null as numeric(18, 6))', '3'), 'null'),
    ('id list: each form of an id', list_as_text(to_id_list("' 1 ;07;2.0;\u00a03\t'")),
        "'1;7;2;3'"),
    ('id list: canonical', list_as_text(to_id_list("'12;7;300'")), "'12;7;300'"),
    ('id list: places stay', list_as_text(to_id_list("'1;x;;2;-3;4.5;'")), "'1;;;2;;;'"),
    ('id list: zeros', list_as_text(to_id_list("'0;00;000.000'")), "'0;0;0'"),
    ('id list: 18 digits', list_as_text(to_id_list("'999999999999999999;1234567890123456789'")),
        "'999999999999999999;'"),
    ('id list: no id at all', list_as_text(to_id_list("'x'")), 'null'),
    ('id list: only separators', list_as_text(to_id_list("';'")), "';'"),
    ('id list: blank', list_as_text(to_id_list("' '")), 'null'),
    ('id list: nothing', list_as_text(to_id_list(text_null)), 'null'),
    ('list size: kept items', list_size(to_id_list("'1;;2'")), "'2'"),
    ('list size: only separators', list_size(to_id_list("';;'")), "'0'"),
    ('list size: nothing', list_size(to_id_list(text_null)), "'0'"),
    ('list item: its place', list_item(to_id_list("'1;;3'"), '3'), "'3'"),
    ('list item: empty', list_item(to_id_list("'1;;3'"), '2'), 'null'),
    ('list item: no list', list_item(to_id_list(text_null), '1'), 'null'),
    ('captured: the first place', captured("'1h30m 45 m'", '([0-9]+) ?m'), "'30'"),
    ('captured: nowhere', captured("'1h'", '([0-9]+) ?m'), 'null'),
    ('captured: nothing', captured(text_null, '([0-9]+) ?m'), 'null'),
    ('prefixes: each item', without_prefixes("'EXP-1; U2; Ux;U;3;EXPU4'", "'EXP-|U'"),
        "'1; 2; Ux;U;3;EXPU4'"),
    ('prefixes: only once', without_prefixes("'UU7'", "'U'"), "'UU7'"),
    ('prefixes: a point is a point', without_prefixes("'v.1;vx2'", "'v[.]'"), "'1;vx2'"),
    ('prefixes: nothing said', without_prefixes("'U7'", text_null), "'U7'"),
    ('may repeat: no item twice', may_repeat(to_id_list("'3;1;2'")), "'false'"),
    ('may repeat: the last item', may_repeat(to_id_list("'1;2;3;4;5;6;7;1'")), "'true'"),
    ('may repeat: neighbours', may_repeat(to_id_list("'2;2'")), "'true'"),
    ('may repeat: across an empty item', may_repeat(to_id_list("'2;;2'")), "'true'"),
    ('may repeat: nothing', may_repeat(to_id_list(text_null)), "'false'")
] %}

with examples as (
    {% for example, actual, expected in examples[:var('examples', 999)] -%}
        select
            '{{ example }}' as example,
            cast({{ actual }} as {{ dbt.type_string() }}) as actual,
            cast({{ expected }} as {{ dbt.type_string() }}) as expected
        {{ 'union all' if not loop.last }}
    {% endfor -%}
)

select * from examples
where actual is distinct from expected
