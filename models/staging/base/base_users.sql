{{ input_rows(
    'users',
    columns=['user_id', 'name', 'email', 'signup_date'],
    formats=['numbers', 'dates', 'id_prefixes']
) }}
