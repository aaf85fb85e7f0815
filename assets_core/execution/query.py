"""The query of an SQL asset: run here over its loaded inputs, or handed to its store to run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from assets_core.contracts import IOManager, Query, QueryingIOManager
from assets_core.declare.asset import Asset
from assets_core.declare.sql import parameters_of, reads_inputs_alone, tables_of
from assets_core.errors import UserCodeError
from assets_core.partitions import Partition, Partitions

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_local = threading.local()
_BATCH = 100_000


def runs_inside(asset: Asset, manager: IOManager) -> bool:
    """Whether an SQL asset's query runs in the store that its rows go to.

    Not one that names more than its inputs: beside the store there is nothing else to be found.
    """
    return isinstance(manager, QueryingIOManager) and reads_inputs_alone(asset.sql)


def as_query(
    asset: Asset, inputs: Mapping[str, Any], partition: Partition | Partitions, ordered: set[str]
) -> Query:
    """An SQL asset's query for a store to run; see `run_query` for what is bound."""
    return Query(
        asset.sql,
        {name: inputs[name] for name in tables_of(asset.sql)},
        _parameters(asset.sql, partition) or {},
        _zone(partition),
        frozenset(ordered),
    )


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
    zone = _zone(partition)
    if zone != "UTC" or _machine_zone() != "UTC":
        quoted = zone.replace("'", "''")
        connection.execute(f"SET TimeZone = '{quoted}'")


def _zone(partition: Partition | Partitions) -> str:
    return getattr(getattr(partition.start, "tzinfo", None), "key", None) or "UTC"


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
