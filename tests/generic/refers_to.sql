{#- Fails for every row whose value is missing in the other relation's column, or NULL. -#}
{% test refers_to(model, column_name, to, field) %}
    select referring.*
    from {{ model }} as referring
    left join {{ to }} as referred on referring.{{ column_name }} = referred.{{ field }}
    where referred.{{ field }} is null
{% endtest %}
