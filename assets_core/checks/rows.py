"""The rows under audit: how many went by, and all of them for checks that need them at a time.

Few rows are held as they go by. Many are read again from where they are staged, into a DuckDB
file of their own, so that memory stays bounded whatever the size of the partition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from assets_core.checks.domains import UnfitError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from assets_core.partitions import Partition


Reopen = Callable[[], "pa.RecordBatchReader"]

_HELD_BYTES = 64 << 20
"""Rows are held up to this."""

_LARGE_SETTINGS = {"memory_limit": "256MB", "threads": "2", "preserve_insertion_order": "false"}
"""DuckDB for more than that: it spills to disk."""


class AllRows:
    """All rows, or the columns of them that are needed: held while few, else read again."""

    def __init__(
        self,
        schema: pa.Schema,
        needed: Sequence[tuple[str, ...] | None],
        reopen: Reopen | None,
    ) -> None:
        self.reopen = reopen
        self._schema = schema
        self._names = _union(needed)
        self._held: list[pa.RecordBatch] | None = []
        self._bytes = 0
        self._table: pa.Table | None = None
        self._large: _Large | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Hold the next batch, unless there are too many already."""
        if self._held is None:
            return
        part = batch if self._names is None else batch.select(self._names)
        self._held.append(part)
        self._bytes += part.nbytes
        if self._bytes > _HELD_BYTES and self.reopen is not None:
            self._held = None

    def __enter__(self) -> AllRows:
        return self

    def __exit__(self, *_: object) -> None:
        if self._large is not None:
            self._large.close()

    def table(self) -> pa.Table | None:
        """The rows when they are held; None when there were too many."""
        import pyarrow as pa

        if self._table is None and self._held is not None:
            schema = self._schema
            if self._names is not None:
                schema = pa.schema([schema.field(name) for name in self._names])
            self._table = pa.Table.from_batches(self._held, schema)
        return self._table

    def reread(self) -> pa.RecordBatchReader:
        """The rows, read again from where they are staged."""
        assert self.reopen is not None, "without it all rows are held"
        return self.reopen()

    def large(self) -> duckdb.DuckDBPyConnection:
        """A connection in which ``this`` is the rows, on disk."""
        if self._large is None:
            self._large = _Large(self.reread(), self._names)
        return self._large.connection


def _union(needed: Sequence[tuple[str, ...] | None]) -> list[str] | None:
    names: dict[str, None] = {}
    for each in needed:
        if each is None:
            return None
        names.update(dict.fromkeys(each))
    return list(names)


class _Large:
    """Rows in a DuckDB file of their own, removed when closed."""

    def __init__(self, reader: pa.RecordBatchReader, names: list[str] | None) -> None:
        import tempfile

        import duckdb

        from assets_core.tabular.duckdb_sessions import quiet

        self._folder = tempfile.TemporaryDirectory(prefix="assets-checks-")
        self.connection: duckdb.DuckDBPyConnection
        try:
            settings: dict[str, str | bool | int | float | list[str]] = {
                **_LARGE_SETTINGS,
                "temp_directory": f"{self._folder.name}/spill",
            }
            path = f"{self._folder.name}/rows.duckdb"
            self.connection = quiet(duckdb.connect(path, config=settings))
            _load(self.connection, reader, names)
        except duckdb.Error as error:
            self.close()
            raise UnfitError(f"DuckDB can't take the rows: {str(error).strip()}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        connection = getattr(self, "connection", None)
        if connection is not None:
            connection.close()
        self._folder.cleanup()


def _load(
    connection: duckdb.DuckDBPyConnection, reader: pa.RecordBatchReader, names: list[str] | None
) -> None:
    from assets_core.tabular.duckdb_sessions import load_into
    from assets_core.tabular.outputs import to_reader

    wanted = reader.schema.names if names is None else names
    with reader:
        rows = to_reader((batch.select(wanted) for batch in reader), what="the staged rows")
        load_into(connection, rows, "this")


class CheckedRows:
    """The rows that are checked: their schema, how many have gone by, and all of them.

    ``whole`` is None unless some check needs all rows at a time.
    """

    __slots__ = ("partition", "rows", "schema", "whole")

    def __init__(self, schema: pa.Schema, partition: Partition | None) -> None:
        self.schema = schema
        self.partition = partition
        self.rows = 0
        self.whole: AllRows | None = None
