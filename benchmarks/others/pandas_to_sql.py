"""A CSV file into PostgreSQL by pandas: URL, schema, file."""

from __future__ import annotations

import sys

import pandas
import sqlalchemy


def main(url: str, schema: str, path: str) -> None:
    """Read the file as text and write it in portions, replacing the table."""
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1))
    frame = pandas.read_csv(path, dtype=str)
    frame.to_sql(
        "pandas", engine, schema=schema, if_exists="replace", index=False, chunksize=10_000
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
