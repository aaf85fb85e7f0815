"""Running the query of an SQL asset over its loaded inputs, in DuckDB."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from assets_core.partitions import Partition

from assets_core.errors import UserCodeError
from assets_core.sql import PARAMETERS, tables_of

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_local = threading.local()
_BATCH = 100_000


def run_query(query: str, tables: dict[str, Any], partition: Partition) -> pa.RecordBatchReader:
    """The query's result as a stream.

    ``tables`` are Arrow data by the name that the query uses. The partition is bound as
    ``$partition_key`` (text), ``$partition_start`` and ``$partition_end`` (timestamps with time
    zone); the session's time zone is the partition's own.

    Raises UserCodeError with DuckDB's message.
    """
    import duckdb

    connection = _connection()
    try:
        _set_zone(connection, partition)
        for name in tables_of(query):
            connection.register(name, tables[name])
        relation = connection.sql(query, params=_parameters(query, partition))
        return relation.to_arrow_reader(_BATCH)
    except duckdb.Error as error:
        raise UserCodeError(
            f"SQL: {str(error).splitlines()[0]}", facts={"message": str(error)}
        ) from error


def _connection() -> duckdb.DuckDBPyConnection:
    """This thread's in-memory database; what it registers is seen by no other."""
    found: duckdb.DuckDBPyConnection | None = getattr(_local, "connection", None)
    if found is None:
        import duckdb

        found = _local.connection = duckdb.connect(":memory:")
    return found


def _set_zone(connection: duckdb.DuckDBPyConnection, partition: Partition) -> None:
    zone = getattr(getattr(partition.start, "tzinfo", None), "key", None) or "UTC"
    if getattr(_local, "zone", None) != zone:
        quoted = zone.replace("'", "''")
        connection.execute(f"SET TimeZone = '{quoted}'")
        _local.zone = zone


def _parameters(query: str, partition: Partition) -> dict[str, Any] | None:
    values = {
        "partition_key": partition.key,
        "partition_start": partition.start,
        "partition_end": partition.end,
    }
    used = {name: values[name] for name in PARAMETERS if f"${name}" in query}
    return used or None
