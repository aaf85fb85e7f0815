"""Reading versions by their receipts: from their own files, for as long as those are kept."""
# ruff: noqa: PTH110

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from assets_core.errors import CorruptDataError, MissingDataError, UsageError
from assets_core.records import Receipt
from io_managers.lake import names
from io_managers.lake.folder import home_of
from io_managers.lake.names import VersionPlace
from io_managers.lake.staging import LakeStaging, current, rowless

if TYPE_CHECKING:
    import pyarrow as pa

    from io_managers.lake.fences import FenceNote
    from io_managers.lake.versions import VersionFile

_WHOLE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class _Rewritten:
    """The newest version, whose own file is gone, out of what another program made of it."""

    rows: pa.Table
    bytes: int = 0

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        known = self.rows.column_names
        return (
            self.rows if columns is None else self.rows.select([c for c in columns if c in known])
        )

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        yield self.table(columns)

    def schema(self) -> pa.Schema:
        return self.rows.schema


class LakeReading(LakeStaging):
    """Gives exactly the versions that receipts name, every byte verified."""

    def _found(self, receipt: Receipt) -> VersionFile | _Rewritten:
        if receipt.kind != "table":
            raise rowless()
        version = self._version(receipt.location, receipt.bytes)
        if os.path.exists(version.path):
            return version
        return self._elsewhere(version.place, receipt)

    def _elsewhere(self, place: VersionPlace, receipt: Receipt) -> VersionFile | _Rewritten:
        """A version whose file is gone, if the table still shows it in another."""
        table = self._table(home_of(place.environment, place.asset))
        with table.turn:
            newest = table.log.newest() if table.log.exists() else None
            if newest is None or current(table, newest, place.partition) != place.stem:
                raise _gone(place, self.format)
            files = newest.files(place.partition)
            for name in files:
                if names.stem_of(name) == place.stem:
                    where = replace(place, file=name)
                    return self._version(where.location(), receipt.bytes)
            note = table.fences.read(place.stem)
            rows = newest.rewritten(place.partition, note.at) if note and files else None
        if note is None or rows is None:
            raise _gone(place, self.format)
        return _Rewritten(_as_published(rows, note, place))

    def open(
        self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """The rows of these versions in one scan, in the receipts' order, verified."""
        import pyarrow as pa

        from io_managers import _schemas

        if sum(receipt.bytes for receipt in receipts) <= _WHOLE_BYTES:
            return self.read(receipts, columns).to_reader()
        found = [self._found(receipt) for receipt in receipts]
        merged = _schemas.merge(_distinct([one.schema() for one in found]))
        schema = _schemas.select_fields(merged, columns)
        batches = (
            batch
            for one in found
            for table in one.tables(columns)
            for batch in _schemas.conform(table, schema).to_batches()
        )
        return pa.RecordBatchReader.from_batches(schema, batches)

    def read(self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None) -> pa.Table:
        """What ``open`` gives, whole."""
        from io_managers import _schemas

        found = [self._found(receipt) for receipt in receipts]
        tables = [one.table(columns) for one in found]
        merged = _schemas.merge(_distinct([table.schema for table in tables]))
        if columns is not None and not set(columns) <= set(merged.names):
            merged = _schemas.merge(_distinct([one.schema() for one in found]))
        return _schemas.concat(tables, _schemas.select_fields(merged, columns))

    def open_rejects(self, receipt: Receipt) -> pa.Table | None:
        """The rows set aside when this version was built, or None."""
        return self._version(receipt.rejects, 0).table() if receipt.rejects else None

    def path(self, receipt: Receipt) -> Path:
        """A table has no file to be handed out: UsageError."""
        raise UsageError(
            "A partition of a table is no file of its own.",
            facts={"location": receipt.location},
            hint="Ask for a table or a reader, or keep the asset in a file store.",
        )

    def verify(self, receipt: Receipt) -> None:
        """Read the version and its rejects whole; CorruptDataError or MissingDataError."""
        if receipt.kind == "table":
            found = self._found(receipt)
            if not isinstance(found, _Rewritten):
                found.verify()
        if receipt.rejects:
            self._version(receipt.rejects, 0).verify()


def _distinct(schemas: Sequence[pa.Schema]) -> list[pa.Schema]:
    return [s for i, s in enumerate(schemas) if i == 0 or not s.equals(schemas[i - 1])]


def _as_published(rows: pa.Table, note: FenceNote, place: VersionPlace) -> pa.Table:
    from io_managers.lake import types, versions

    if len(rows) != note.rows:
        raise CorruptDataError(
            "The table holds another number of rows than was published.",
            facts={
                **{"asset": place.asset, "partition": place.partition},
                **{"published": note.rows, "found": len(rows)},
            },
            hint=f"Another program changed the table: build it again: {versions.again(place)}",
        )
    return types.to_logical(rows, types.noted(note.columns))


def _gone(place: VersionPlace, store: str) -> MissingDataError:
    from io_managers.lake import versions

    return MissingDataError(
        f"This version of {place.asset!r} is no longer kept.",
        facts={"asset": place.asset, "partition": place.partition, "file": place.file},
        hint=f"The {store} table's own clean-up removed its file, or it was discarded. If it is "
        f"the newest version, build it again: {versions.again(place)}",
    )
