"""Many versions read as one: schemas merged, small files ahead of use by threads, large streamed.

A thread's work on a small file is one read, one checksum and one decode, none of which holds
the interpreter's lock for long; no data set object is built for it.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from io_managers import _schemas
from io_managers.parquet import pages as _pages
from io_managers.parquet import versions as _versions

_MANY = 8  # from so many files on, threads pay
_AHEAD = 32  # small files in flight: at most 32 × 8 MB, mostly far less
_BATCH_ROWS, _BATCH_BYTES = 65_536, 8 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One version to read. Equal ``print`` means equal columns; ``bytes`` is the file's size."""

    path: str
    location: str
    tail: _pages.Tail
    print: str
    bytes: int

    @property
    def small(self) -> bool:
        """Whether it is read in one piece."""
        return self.bytes <= 2 * _pages.SMALL

    def read(self, columns: Sequence[str] | None) -> pa.Table:
        """All its rows."""
        return _versions.read_version(self.path, self.location, self.tail, columns)

    def stream(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """Its rows, row group by row group."""
        return _versions.stream_version(self.path, self.location, self.tail, columns)


def read(parts: Sequence[Part], columns: Sequence[str] | None) -> pa.Table:
    """The rows of all parts as one table."""
    tables = [table for group in _tables(parts, columns) for table in group]
    schema = _merged(tables) if columns is None else _chosen(parts, tables, columns)
    return _schemas.concat(tables, schema)


def each(parts: Sequence[Part]) -> Iterator[pa.Table]:
    """The rows of each part as a table of its own.

    Plainly: what was just written comes from memory, where threads cost more than they save.
    """
    for part in parts:
        yield part.read(None) if part.small else pa.concat_tables(part.stream(None))


def _merged(tables: Sequence[pa.Table]) -> pa.Schema:
    schemas = [table.schema for table in tables]
    distinct = [s for i, s in enumerate(schemas) if i == 0 or not s.equals(schemas[i - 1])]
    return distinct[0] if len(distinct) == 1 else _schemas.merge(distinct)


def _chosen(parts: Sequence[Part], tables: Sequence[pa.Table], columns: Sequence[str]) -> pa.Schema:
    """The schema of ``columns``; where no table has one of them, the error knows the others."""
    merged = _merged(tables)
    if set(columns) <= set(merged.names):
        return _schemas.select_fields(merged, columns)
    return _schemas.select_fields(schema_of(parts), columns)


def schema_of(parts: Sequence[Part]) -> pa.Schema:
    """One schema for all parts; a footer is read only where the columns differ."""
    first = {part.print: part for part in reversed(parts)}
    order = dict.fromkeys(part.print for part in parts)
    schemas = [_versions.schema_of(first[p].path, first[p].location, first[p].tail) for p in order]
    return schemas[0] if len(schemas) == 1 else _schemas.merge(schemas)


def reader(parts: Sequence[Part], columns: Sequence[str] | None) -> pa.RecordBatchReader:
    """The rows of all parts as a stream; whole at once where they are few."""
    if sum(part.bytes for part in parts) <= _pages.SMALL:
        return read(parts, columns).to_reader()
    schema = _schemas.select_fields(schema_of(parts), columns)
    return pa.RecordBatchReader.from_batches(schema, _batches(parts, schema, columns))


def _batches(
    parts: Sequence[Part], schema: pa.Schema, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    tables = (table for group in _tables(parts, columns) for table in group)
    batches = (batch for table in tables for batch in _schemas.conform(table, schema).to_batches())
    if len(parts) < _MANY:
        yield from batches
        return
    for group in _schemas.regroup(batches, _BATCH_ROWS, _BATCH_BYTES):
        yield from group.combine_chunks().to_batches()


def _tables(parts: Sequence[Part], columns: Sequence[str] | None) -> Iterator[Iterable[pa.Table]]:
    """Each part's tables, in the parts' order."""
    if len(parts) < _MANY:
        yield from (_plainly(part, columns) for part in parts)
        return
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), "read-ahead") as pool:
        try:
            yield from _ahead(pool, parts, columns)
        finally:
            pool.shutdown(cancel_futures=True)


def _plainly(part: Part, columns: Sequence[str] | None) -> Iterable[pa.Table]:
    return (part.read(columns),) if part.small else part.stream(columns)


def _ahead(
    pool: ThreadPoolExecutor, parts: Sequence[Part], columns: Sequence[str] | None
) -> Iterator[Iterable[pa.Table]]:
    waiting = iter(parts)
    ahead: deque[tuple[Part, Future[pa.Table] | None]] = deque()

    def start(count: int) -> None:
        for part in itertools.islice(waiting, count):
            ahead.append((part, pool.submit(part.read, columns) if part.small else None))

    start(_AHEAD)
    while ahead:
        part, future = ahead.popleft()
        yield part.stream(columns) if future is None else (future.result(),)
        start(1)
