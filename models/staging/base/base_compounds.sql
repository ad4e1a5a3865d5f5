{{ input_rows(
    'compounds',
    columns=['compound_id', 'compound_name', 'compound_structure'],
    formats=['numbers', 'id_prefixes']
) }}
