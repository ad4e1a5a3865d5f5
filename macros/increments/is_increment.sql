{#- Whether labmart builds an increment: only what a change of the current loads changes in the
    published build. Models then have only the new rows, and read the published ones beside them.

    Only labmart sets LABMART_INCREMENT; see loader/publications. For plain dbt every build is
    whole.
    Usage: {% if is_increment() %} … {% endif %} -#}
{% macro is_increment() -%}
    {{ return(env_var('LABMART_INCREMENT', '') != '') }}
{%- endmacro %}
