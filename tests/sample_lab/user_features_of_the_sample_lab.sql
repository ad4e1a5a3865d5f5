{{ config(enabled=var('sample_lab', false)) }}

-- The complete user_features of the sample laboratory, worked out from the three files in seeds/
-- without the models. It runs only with the variable `sample_lab`, as in `make test`: your own
-- files have other results.
with expected as (
    select *
    from (
        values
        (1, 4, 12.125000, 2, 'Aspirin', '2', 4, 4, 48.500000, 'Amara Okafor', '2023-01-09'),
        (2, 2, 25.000000, 3, 'Ibuprofen', '3', 2, 3, 50.000000, 'Björn Lindqvist', '2023-01-16'),
        (3, 3, 33.500000, 4, 'Paracetamol', '4', 3, 3, 100.500000, 'Chiara Romano', '2023-02-06'),
        (4, 3, 32.416667, 2, 'Aspirin', '2', 3, 5, 97.250000, 'Daniel Weiss', '2023-02-20'),
        (5, 3, 42.000000, 9, 'Penicillin G', '9', 3, 3, 126.000000, 'Elif Demir', '2023-03-06'),
        (6, 3, 47.500000, 3, 'Ibuprofen', '3', 3, 4, 142.500000, 'Farid Haddad', '2023-03-20'),
        (7, 2, 52.500000, 2, 'Aspirin', '2', 3, 2, 105.000000, 'Grace O''Neill', '2023-04-03'),
        (8, 2, 57.500000, 7, 'Glucose', '7', 2, 4, 115.000000, 'Hiroshi Tanaka', '2023-04-17'),
        (9, 2, 62.500000, 5, 'Dopamine', '5;6', 2, 2, 125.000000, 'Ingrid Solberg', '2023-05-08'),
        (10, 4, 45.812500, 1, 'Caffeine', '1', 4, 3, 183.250000, 'Jansen, Pieter', '2023-05-22'),
        (11, 3, 27.466667, 4, 'Paracetamol', '4', 3, 4, 82.400000, 'Kavya Nair', '2023-06-05'),
        (12, 2, 37.500000, 10, 'Metformin', '10', 2, 3, 75.000000, 'Lucía Fernández', '2023-06-19'),
        (13, 3, 39.444444, 3, 'Ibuprofen', '3', 3, 4, 118.333333, 'Mateusz Nowak', '2023-07-03'),
        (14, 2, 47.500000, 6, 'Serotonin', '6', 2, 4, 95.000000, 'Noor van Dijk', '2023-07-17'),
        (15, 3, 52.500000, 11, 'Lidocaine', '11', 3, 3, 157.500000, 'Olga Petrova', '2023-08-07'),
        (16, 3, 57.666667, 2, 'Aspirin', '2;4', 2, 4, 173.000000, 'Paulo Mendes', '2023-08-21'),
        (17, 3, 47.000000, 8, 'Ethanol', '8', 4, 2, 141.000000, 'Qing Zhao', '2023-09-04'),
        (18, 3, 52.200000, 5, 'Dopamine', '5', 3, 3, 156.600000, 'Rosa Lindner', '2023-09-18'),
        (19, 3, 32.333333, 9, 'Penicillin G', '9', 3, 3, 97.000000, 'Samuel Adeyemi', '2023-10-02'),
        (20, 3, 48.333333, 1, 'Caffeine', '1;2;3', 2, 3, 145.000000,
            'Tereza Svobodová', '2023-10-16'),
        (21, 3, 14.166667, 7, 'Glucose', '7', 3, 3, 42.500000, 'Umar Siddiqui', '2023-11-06'),
        (22, 4, 72.375000, 6, 'Serotonin', '6', 4, 3, 289.500000, 'Valentina Rossi', '2023-11-20'),
        (23, 3, 67.708333, 12, 'Quinine', '12', 3, 5, 203.125000, 'Wei Chen', '2023-12-04'),
        (24, 0, null, null, null, null, 0, 0, 0.000000, 'Yara Nasser', '2024-02-29')
    ) as listed (
        user_id,
        total_exp_per_user,
        avg_exp_time_per_user,
        most_consumed_compound,
        most_consumed_compound_name,
        most_consumed_compounds,
        most_consumed_compound_count,
        distinct_compounds,
        total_exp_time_per_user,
        user_name,
        signup_date
    )
),

expected_features as (
    select
        user_id,
        total_exp_per_user,
        cast(2.750000 as numeric(18, 6)) as avg_experiment_count,
        cast(avg_exp_time_per_user as numeric(18, 6)) as avg_exp_time_per_user,
        most_consumed_compound,
        most_consumed_compound_name,
        most_consumed_compounds,
        most_consumed_compound_count,
        distinct_compounds,
        cast(total_exp_time_per_user as numeric(38, 6)) as total_exp_time_per_user,
        cast(2.869565 as numeric(18, 6)) as avg_experiments_per_active_user,
        user_name,
        cast(signup_date as date) as signup_date
    from expected
),

user_features as (
    select * from {{ ref('user_features') }}
),

missing_rows as (
    select * from expected_features
    except
    select * from user_features
),

surplus_rows as (
    select * from user_features
    except
    select * from expected_features
)

select 'expected' as side, missing_rows.* from missing_rows
union all
select 'found' as side, surplus_rows.* from surplus_rows
