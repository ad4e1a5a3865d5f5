{{ input_rows(
    'user_experiments',
    columns=['experiment_id', 'user_id', 'experiment_compound_ids', 'experiment_run_time'],
    formats=['numbers', 'list_separator', 'id_prefixes', 'durations']
) }}
