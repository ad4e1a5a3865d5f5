"""A CSV file into PostgreSQL by dlt, as its documentation does it: URL, schema, file."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import dlt
from dlt.destinations import postgres
from dlt.sources.filesystem import filesystem, read_csv


def main(url: str, schema: str, path: str) -> None:
    """Load the file with write disposition `replace`."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    file = Path(path)
    source = filesystem(bucket_url=file.parent.as_uri(), file_glob=file.name) | read_csv()
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "labmart_bench",
            pipelines_dir=folder,
            destination=postgres(credentials=_credentials(url)),
            dataset_name=schema,
        )
        pipeline.run(source.with_name("dlt_csv"), write_disposition="replace")


def _credentials(url: str) -> dict[str, object]:
    """The URL's parts. dlt wants a password, also where the server asks for none."""
    parts = urlsplit(url)
    return {
        # A socket's directory stands in the query, where libpq looks first.
        "host": parts.hostname or "localhost",
        "query": {name: values[0] for name, values in parse_qs(parts.query).items()},
        "port": parts.port or 5432,
        "username": unquote(parts.username or ""),
        "password": os.environ.get("PGPASSWORD", "unused"),
        "database": unquote(parts.path.removeprefix("/")),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
