"""Work over many partitions that outlives the runs that do it."""

from __future__ import annotations

from assets_core.records import Backfill, BackfillStatus
from assets_core.state.part import StorePart
from assets_core.state.rows import BACKFILL_COLUMNS, backfill_row, read_backfill
from assets_core.state.sql import inserting


class StoredBackfills(StorePart):
    """The stored backfills."""

    def add_backfill(self, backfill: Backfill) -> None:
        with self._database.write() as connection:
            connection.execute(inserting("backfills", BACKFILL_COLUMNS), backfill_row(backfill))

    def change_backfill(self, backfill_id: str, status: BackfillStatus, note: str = "") -> None:
        change = "UPDATE backfills SET status = ?, note = ? WHERE backfill = ?"
        with self._database.write() as connection:
            connection.execute(change, (status, note, backfill_id))

    def backfills(self, environment: str | None = None) -> list[Backfill]:
        narrowed = "" if environment is None else " WHERE environment = ?"
        query = f"SELECT {BACKFILL_COLUMNS} FROM backfills{narrowed} ORDER BY id DESC"
        values = () if environment is None else (environment,)
        return [read_backfill(row) for row in self._rows(query, *values)]
