"""Reading versions of a DuckDB store by their receipts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_core.errors import (
    MissingDataError,
    UsageError,
)
from assets_core.records import Receipt

if TYPE_CHECKING:
    import pyarrow as pa

from io_managers.duckdb.database import Database, rowless


class TableReading(Database):
    """Gives the rows of the versions that receipts name, or says that they were replaced."""

    def _scan(self, receipts: Sequence[Receipt], role: str) -> Any:
        from io_managers.duckdb import read as reading

        for receipt in receipts:
            if receipt.kind != "table":
                raise rowless()
        if not self._file.exists():
            raise self._no_file()
        return reading.Scan(self._file, receipts, role)

    def _no_file(self) -> MissingDataError:
        return MissingDataError(
            "The duckdb file is not there.",
            facts={"path": self._path},
            hint="Restore it, or build its assets again: assets materialize --force",
        )

    def open(
        self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """The rows of these versions in the receipts' order, if they are the newest still."""
        reader: pa.RecordBatchReader = self._scan(receipts, "rows").reader(columns)
        return reader

    def read(self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None) -> pa.Table:
        """What ``open`` gives, whole."""
        return self._scan(receipts, "rows").table(columns)

    def open_rejects(self, receipt: Receipt) -> pa.Table | None:
        """The rows set aside when this version was built, or None."""
        if not receipt.rejects:
            return None
        return self._scan([receipt], "rejects").table(None)

    def path(self, receipt: Receipt) -> Path:
        """A row of a table has no file of its own: UsageError."""
        raise UsageError(
            "A DuckDB table has no file for one partition.",
            facts={"location": receipt.location},
            hint="Ask for a table or a reader, or keep the asset in a file store.",
        )

    def verify(self, receipt: Receipt) -> None:
        """Read the version and its rejects whole."""
        if receipt.kind == "table":
            for _ in self.open([receipt]):
                pass
            self.open_rejects(receipt)
