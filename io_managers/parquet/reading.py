"""Reading versions of a Parquet store by their receipts."""
# Strings and os.path: a Path costs more than the link and rename that it names.
# ruff: noqa: PTH116

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from assets_core.errors import UsageError
from assets_core.records import Receipt
from io_managers.parquet import names as _names
from io_managers.parquet.names import FILE

if TYPE_CHECKING:
    import pyarrow as pa

    from io_managers.parquet import scan as _scan
from io_managers.parquet.folder import ParquetFolder


class VersionReading(ParquetFolder):
    """Gives exactly the versions that receipts name, every byte verified."""

    def _part(self, location: str, size: int) -> _scan.Part:
        from io_managers.parquet.pages import Tail
        from io_managers.parquet.scan import Part

        name = _names.parse_location(location)
        return Part(self._path(location), location, Tail(name.size, name.crc), name.schema, size)

    def _parts(self, receipts: Sequence[Receipt]) -> list[_scan.Part]:
        for receipt in receipts:
            if receipt.kind != "table":
                raise rowless(receipt.kind)
        return [self._part(receipt.location, receipt.bytes) for receipt in receipts]

    def _reader(
        self, parts: Sequence[_scan.Part], columns: Sequence[str] | None
    ) -> pa.RecordBatchReader:
        from io_managers.parquet import scan as _scan

        return _scan.reader(parts, columns)

    def open(
        self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """The rows of these versions in one scan, in the receipts' order, verified."""
        return self._reader(self._parts(receipts), columns)

    def read(self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None) -> pa.Table:
        """What ``open`` gives, whole."""
        from io_managers.parquet import scan as _scan

        return _scan.read(self._parts(receipts), columns)

    def open_rejects(self, receipt: Receipt) -> pa.Table | None:
        """The rows set aside when this version was built, or None."""
        if not receipt.rejects:
            return None
        return self._part(receipt.rejects, 0).read(None)

    def path(self, receipt: Receipt) -> Path:
        """The version's own file, every byte verified (again only after the file was touched).

        It is not to be written to: it is the version, not a copy.
        """
        if receipt.kind == "none":
            raise rowless(receipt.kind)
        path = self._path(receipt.location)
        mark = _mark(path)
        if mark is None or self._verified.get(path) != mark:
            self._verify(receipt.location, rows=False)
            if len(self._verified) >= 10_000:  # a bound, so that a service can run for years
                self._verified.clear()
            self._verified[path] = mark or (0, 0, 0)
        return Path(path)

    def verify(self, receipt: Receipt) -> None:
        """Read the version and its rejects whole; CorruptDataError or MissingDataError."""
        for location in filter(None, (receipt.location, receipt.rejects)):
            self._verify(location, rows=True)

    def _verify(self, location: str, *, rows: bool) -> None:
        from io_managers.parquet import versions as _versions

        part = self._part(location, 0)
        if _names.parse_location(location).suffix.startswith(FILE):
            _versions.verify_file(part.path, location, part.tail)
        else:
            _versions.verify_rows(part.path, location, part.tail, decode=rows)


def _mark(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def rowless(kind: str) -> UsageError:
    what = "is one file" if kind == "file" else "writes its data by itself"
    return UsageError(
        f"An asset that {what} has no rows to read.",
        hint="Ask for a Path." if kind == "file" else "Depend on it with depends_on=[...].",
    )
