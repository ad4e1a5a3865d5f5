{#- Whether labmart builds an increment: of what is published only what a change of the current
    loads changes. Models then have the rows that are new, and read the published ones beside them.

    LABMART_INCREMENT is for labmart alone; see loader/publications. To plain dbt every build is
    whole.
    Usage: {% if is_increment() %} … {% endif %} -#}
{% macro is_increment() -%}
    {{ return(env_var('LABMART_INCREMENT', '') != '') }}
{%- endmacro %}
