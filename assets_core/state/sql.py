"""What statements are made of: SQL as text, and the few words of it that are SQLite's own.

The tables are in ``tables``; each statement stands where its rows are read or written. They are
run on the driver, so that no command waits for a query compiler to be imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from sqlite3 import Connection
from typing import Any

__all__ = ["LISTED", "NOW", "Connection", "Row", "inserting", "limited", "listed", "scalar"]

Row = tuple[Any, ...]

_DAY_MICROS = 86_400_000_000
_UNIX_EPOCH_JULIAN = 2_440_587.5

NOW = f"CAST((julianday('now') - {_UNIX_EPOCH_JULIAN}) * {_DAY_MICROS} AS INTEGER)"
"""The database's clock in microseconds (it counts milliseconds)."""

LISTED = "json_each(?)"
"""A table with a column ``value``, of what :func:`listed` made: one statement for any length."""


def listed(values: Iterable[Any]) -> str:
    """Numbers, texts or pairs of them, as LISTED takes them; each once, in order."""
    return json.dumps(sorted(set(values)), separators=(",", ":"))


def inserting(table: str, columns: str) -> str:
    """The statement that adds a row."""
    places = ", ".join("?" * (columns.count(",") + 1))
    return f"INSERT INTO {table} ({columns}) VALUES ({places})"


def limited(limit: int | None) -> str:
    """The end of a query for at most so many rows; nothing for all."""
    return "" if limit is None else f" LIMIT {int(limit)}"


def scalar(connection: Connection, text: str, values: Sequence[object] = ()) -> Any:
    """The first column of the first row; None where there is none."""
    row = connection.execute(text, values).fetchone()
    return None if row is None else row[0]
