{#- Fails for every combination of the columns that occurs twice or has a NULL in it. -#}
{% test is_key(model, columns) %}
    select
        {% for column in columns %}{{ column }} as key_{{ loop.index }}, {% endfor %}
        count(*) as occurrences
    from {{ model }}
    group by {% for column in columns %}{{ column }}{{ ', ' if not loop.last }}{% endfor %}
    having count(*) > 1 {% for column in columns %} or {{ column }} is null{% endfor %}
{% endtest %}
