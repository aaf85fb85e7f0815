"""What the parts of the store share: the database, asked in one read transaction each time."""

from __future__ import annotations

from typing import Any

from assets_core.state.sql import Connection, Row, scalar
from assets_core.state.sqlite import SqliteDatabase


class StorePart:
    """Some of the contract's methods, on one database."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def _rows(self, text: str, *values: object) -> list[Row]:
        """What one query finds."""
        with self._database.read() as connection:
            return connection.execute(text, values).fetchall()

    def _value(self, text: str, *values: object) -> Any:
        """The first column of the first row of one query; None where there is none."""
        with self._database.read() as connection:
            return scalar(connection, text, values)


def numbered_assets(connection: Connection, environment: str) -> dict[str, int]:
    """Every recorded asset of an environment."""
    found = connection.execute("SELECT name, id FROM assets WHERE environment = ?", (environment,))
    return dict(found.fetchall())


def asset_number(connection: Connection, environment: str, asset: str) -> int | None:
    """One asset's number, None when nothing of it was ever recorded."""
    text = "SELECT id FROM assets WHERE environment = ? AND name = ?"
    number: int | None = scalar(connection, text, (environment, asset))
    return number
