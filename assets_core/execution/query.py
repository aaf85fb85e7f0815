"""Running the query of an SQL asset over its loaded inputs, in DuckDB."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from assets_core.declare.sql import parameters_of, tables_of
from assets_core.errors import UserCodeError
from assets_core.partitions import Partition, Partitions

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_local = threading.local()
_BATCH = 100_000


def run_query(
    query: str, tables: dict[str, Any], partition: Partition | Partitions
) -> pa.RecordBatchReader:
    """The query's result as a stream.

    ``tables`` are Arrow data by the name that the query uses. The partition is bound as
    ``$partition_key`` (text), ``$partition_start`` and ``$partition_end`` (timestamps with time
    zone), of several partitions the bounds of them all; the session's time zone is their own.

    Raises UserCodeError with DuckDB's message.
    """
    import duckdb
    import pyarrow as pa

    # A cursor of its own: a result that is still open would be in the next query's way.
    cursor = _connection().cursor()
    try:
        _set_up(cursor, partition)
        for name in tables_of(query):
            cursor.register(name, tables[name])
        relation = cursor.sql(query, params=_parameters(query, partition))
        reader = relation.to_arrow_reader(_BATCH)
    except duckdb.Error as error:
        cursor.close()
        raise _refusal(error) from error
    return pa.RecordBatchReader.from_batches(reader.schema, _batches(reader, cursor))


def _batches(reader: pa.RecordBatchReader, cursor: Any) -> Iterator[pa.RecordBatch]:
    """The result's batches; what the query read is let go of at its end."""
    import duckdb

    try:
        yield from reader
    except duckdb.Error as error:
        raise _refusal(error) from error
    finally:
        cursor.close()


def _refusal(error: Exception) -> UserCodeError:
    return UserCodeError(f"SQL: {str(error).splitlines()[0]}", facts={"message": str(error)})


def _connection() -> duckdb.DuckDBPyConnection:
    """This thread's in-memory database; what it registers is seen by no other."""
    found: duckdb.DuckDBPyConnection | None = getattr(_local, "connection", None)
    if found is None:
        import duckdb

        found = _local.connection = duckdb.connect(":memory:")
    return found


def _set_up(connection: duckdb.DuckDBPyConnection, partition: Partition | Partitions) -> None:
    connection.execute("SET enable_progress_bar = false")
    zone = getattr(getattr(partition.start, "tzinfo", None), "key", None) or "UTC"
    if zone != "UTC" or _machine_zone() != "UTC":
        quoted = zone.replace("'", "''")
        connection.execute(f"SET TimeZone = '{quoted}'")


@cache
def _machine_zone() -> str:
    """The zone that a new connection starts in."""
    import duckdb

    row = duckdb.connect(":memory:").execute("SELECT current_setting('TimeZone')").fetchone()
    return str(row[0]) if row else ""


def _parameters(query: str, partition: Partition | Partitions) -> dict[str, Any] | None:
    values = {
        "partition_key": partition.key,
        "partition_start": partition.start,
        "partition_end": partition.end,
    }
    return {name: values[name] for name in parameters_of(query)} or None
