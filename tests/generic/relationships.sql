{#- Fails for every value that the other relation's column does not have, and for NULL.

    Each value is looked up once, however many rows have it. -#}
{% test relationships(model, column_name, to, field) %}
    with referring as (
        select
            {{ column_name }} as value,
            count(*) as occurrences
        from {{ model }}
        group by {{ column_name }}
    ),

    referred as (
        select {{ field }} as value from {{ to }}
    )

    select referring.*
    from referring
    left join referred on referring.value = referred.value
    where referred.value is null
{% endtest %}
