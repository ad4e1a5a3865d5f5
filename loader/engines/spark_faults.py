"""What Spark complains of, as our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loader.engines.spark_session import first_line
from loader.engines.spark_settings import unreachable_at
from loader.errors import DatabaseFault, LabmartError, QueryFailed

_AGAIN = "Call again; if it happens again, look into Spark's log."


class AlreadyThere(LabmartError):  # noqa: N818 -- see loader.errors
    """The partition that was to be added is there. Caught by whoever adds one."""


@contextmanager
def faults(place: str, *, query: bool = False) -> Iterator[None]:
    """Raise DatabaseFault, with `query` QueryFailed, or DatabaseUnreachable for Spark's own."""
    import duckdb
    from py4j.protocol import Py4JError, Py4JJavaError, Py4JNetworkError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JNetworkError, ConnectionError) as error:
        # Java has ended: killed by a person or by the system.
        raise unreachable_at(
            place, f"its Java process has ended: {first_line(error)}", "Call again."
        ) from None
    except PySparkException as error:
        if error.getCondition() == "PARTITIONS_ALREADY_EXIST":
            raise AlreadyThere(first_line(error)) from None
        if query:
            raise QueryFailed(place, first_line(error)) from None
        raise DatabaseFault(place, first_line(error), _AGAIN) from None
    except Py4JJavaError as error:
        # What fails in a task comes as Java's exception.
        if query:
            raise QueryFailed(place, first_line(error)) from None
        raise DatabaseFault(place, first_line(error), _AGAIN) from None
    except Py4JError as error:
        raise DatabaseFault(place, first_line(error), _AGAIN) from None
    except duckdb.Error as error:
        raise DatabaseFault(
            "of temporary files",
            first_line(error),
            "Make room, or set TMPDIR to a folder on a larger disk.",
        ) from None
