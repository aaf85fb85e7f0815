"""VersionFile files in a table's folder: written, read back verified, converted to other types.

The bytes are those of the Parquet store: plain Parquet, whose every byte is covered by a checksum
that the file's name vouches for.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from assets_core.errors import CorruptDataError, MissingDataError
from io_managers import _schemas
from io_managers.lake import names, types
from io_managers.lake.names import VersionPlace
from io_managers.parquet import pages as _pages
from io_managers.parquet import versions as _versions
from io_managers.parquet.names import parse_location
from io_managers.parquet.pages import Layout, Tail, Written


@dataclass(frozen=True, slots=True)
class _Converted:
    """Batches as the table keeps them."""

    schema: pa.Schema
    data: Any
    layout: Layout
    store: str

    def __iter__(self) -> Iterator[Any]:
        batches = self.data.to_batches() if isinstance(self.data, pa.Table) else self.data
        for group in _schemas.regroup(batches, self.layout.rows, _pages.GROUP_BYTES):
            yield from types.to_physical(group, self.schema, self.store).to_batches()


def write(
    folder: str, stem: str, data: Any, keeps: types.Keeps, layout: Layout, facts: bytes
) -> tuple[str, Written]:
    """Store a table or a reader's batches durably; the file's name and what was written.

    What ``data`` raises passes unchanged. Nothing is left behind by a failure.
    """
    logical = keeps.logical(data.schema)
    stored = types.with_note(keeps.physical(logical), logical)
    if not stored.equals(data.schema, check_metadata=True):
        if isinstance(data, pa.Table) and data.nbytes <= _pages.SMALL:
            data = types.to_physical(data, stored, keeps.store)
        else:
            data = _Converted(stored, data, layout, keeps.store)
    return _versions.store_rows(folder, stem, names.ROWS, data, layout, facts)


def write_rejects(
    folder: str, stem: str, rejects: pa.Table, layout: Layout, facts: bytes
) -> tuple[str, Written]:
    """Store rejected rows, whatever their columns: they lie outside of the table."""
    return _versions.store_rows(folder, stem, names.REJECTS, rejects, layout, facts)


@dataclass(frozen=True, slots=True)
class VersionFile:
    """A version file: where it lies, whose it is, how many rows and bytes were written."""

    path: str
    place: VersionPlace
    bytes: int

    @property
    def _tail(self) -> Tail:
        found = parse_location(self._location)
        return Tail(found.size, found.crc)

    @property
    def _location(self) -> str:
        return f"table/{self.place.file}"

    @property
    def small(self) -> bool:
        """Whether it is read in one piece."""
        return self.bytes <= 2 * _pages.SMALL

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows as they were given; ``columns`` that it lacks are left out."""
        with _told(self.place):
            found = _versions.read_version(self.path, self._location, self._tail, columns)
            return _logical(found, self.schema() if _bare(found) else None, columns)

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """`table`, row group by row group."""
        if self.small:
            yield self.table(columns)
            return
        with _told(self.place):
            pieces = _versions.stream_version(self.path, self._location, self._tail, columns)
            for found in pieces:
                yield _logical(found, self.schema() if _bare(found) else None, columns)

    def schema(self) -> pa.Schema:
        """Its logical columns."""
        with _told(self.place):
            return types.logical_of(self.physical())

    def physical(self) -> pa.Schema:
        """Its columns as they lie in the file, with its notes."""
        return _versions.schema_of(self.path, self._location, self._tail)

    def verify(self) -> None:
        """Read every byte and every row."""
        with _told(self.place):
            _versions.verify_rows(self.path, self._location, self._tail, decode=True)

    def raw(self) -> Iterator[pa.Table]:
        """The rows as they lie in the file, by row groups."""
        with _told(self.place):
            yield from _versions.stream_version(self.path, self._location, self._tail, None)

    def convert(
        self, folder: str, stem: str, wanted: pa.Schema, layout: Layout, store: str
    ) -> tuple[str, Written]:
        """The rows once more in a file of their own, under the types that ``wanted`` has for its
        columns. What is read back from either file is the same."""
        had = self.physical()
        fields = [wanted.field(f.name) if f.name in wanted.names else f for f in had]
        stored = types.with_note(pa.schema(fields), types.logical_of(had))
        facts = _versions.facts_of(self.path, self._location, self._tail)[0]
        groups = (types.to_physical(group, stored, store) for group in self.raw())
        batches = (batch for group in groups for batch in group.to_batches())
        reader = pa.RecordBatchReader.from_batches(stored, batches)
        return _versions.store_rows(folder, stem, names.ROWS, reader, layout, facts)


def _bare(table: pa.Table) -> bool:
    """Whether a table that was read lost its notes: one without columns has no metadata."""
    return not table.num_columns


def _logical(table: pa.Table, schema: pa.Schema | None, columns: Sequence[str] | None) -> pa.Table:
    logical = types.logical_of(table.schema) if schema is None else schema
    if columns is not None:
        known = set(logical.names)
        logical = _schemas.select_fields(logical, [name for name in columns if name in known])
    return types.to_logical(table, logical)


@contextlib.contextmanager
def _told(place: VersionPlace) -> Iterator[None]:
    """Say of which partition a file is that is damaged or gone."""
    try:
        yield
    except (CorruptDataError, MissingDataError) as error:
        error.facts = {**error.facts, "asset": place.asset, "partition": place.partition}
        error.hint = f"Check the disk, then build it again: {again(place)}"
        raise


def again(place: VersionPlace) -> str:
    """The command that makes a version again."""
    option = f" --partition {shlex.quote(place.partition)}" if place.partition != "all" else ""
    return f"assets materialize {shlex.quote(place.asset)}{option} --force"
