"""Snapshots: the planner's columns of every current materialization, whole or since a revision."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from assets_core.contracts import Columns, Snapshot
from assets_core.records import Invalidation
from assets_core.state.part import StorePart, numbered_assets
from assets_core.state.rows import FACTS, INVALIDATION_COLUMNS, read_invalidation
from assets_core.state.sql import LISTED, Connection, limited, listed, scalar

if TYPE_CHECKING:
    import numpy as np

_CHUNK = 4_000

_REVISION = "SELECT value FROM counters WHERE name = 'revision'"
_WHOLE = f"""
    SELECT asset, partition, facts FROM asset_partitions
    WHERE asset IN (SELECT value FROM {LISTED}) AND materialization IS NOT NULL"""
# What changed leads to the slots; the asset's condition must not choose the index to walk.
_TAIL = f"""
    SELECT s.asset, s.partition, s.facts
    FROM (
        SELECT asset, partition FROM materializations WHERE id > ?
        UNION SELECT asset, partition FROM withdrawals WHERE id > ?
    ) AS changed
    JOIN asset_partitions AS s ON s.asset = changed.asset AND s.partition = changed.partition
    WHERE coalesce(s.asset, 0) IN (SELECT value FROM {LISTED})"""
_CODES = f"SELECT codes.id, hex FROM {LISTED} AS wanted JOIN codes ON codes.id = wanted.value"
_MARKS = (
    """
    SELECT asset, partition, token, finished, hex(data_version)
    FROM materializations WHERE id = ?""",
    "SELECT asset, partition FROM withdrawals WHERE id = ?",
    "SELECT asset, ranges, made, reason FROM invalidations WHERE id = ?",
)
_INVALIDATED = f"SELECT {INVALIDATION_COLUMNS} FROM invalidations WHERE id > ? ORDER BY id"


class Snapshots(StorePart):
    """Reading what a planner needs, and what a cache of it needs to know the log again."""

    def snapshot(self, environment: str, assets: Iterable[str], since: int = 0) -> Snapshot:
        """A million partitions take about a second."""
        with self._database.read() as connection:
            revision = scalar(connection, _REVISION)
            found = Snapshot(revision, {name: _no_columns() for name in assets}, {})
            if revision <= since:
                return found
            numbers = numbered_assets(connection, environment)
            wanted = {numbers[name]: name for name in found.assets if name in numbers}
            found.invalidations = _invalidated(connection, environment, wanted, since)
            numbered = listed(wanted)
            query = _TAIL if since else _WHOLE
            values = (since, since, numbered) if since else (numbered,)
            keys, columns, facts = _fetch_columns(connection.execute(query, values))
            for number, rows in _by_asset(columns):
                part = keys[rows] if isinstance(rows, slice) else [keys[row] for row in rows]
                found.assets[wanted[number]] = _columns_of(part, facts[rows])
            codes = connection.execute(_CODES, (listed(facts[:, 6].tolist()),))
            found.codes = dict(codes.fetchall())
        return found

    def mark(self, revision: int) -> str:
        with self._database.read() as connection:
            for query in _MARKS:
                found = connection.execute(query, (revision,)).fetchone()
                if found is not None:
                    return json.dumps(list(found))
        return ""

    def invalidations(
        self, environment: str, asset: str | None = None, *, limit: int | None = None
    ) -> list[Invalidation]:
        columns = ", ".join(f"i.{column}" for column in INVALIDATION_COLUMNS.split(", "))
        narrowed = "" if asset is None else " AND assets.name = ?"
        query = f"""
            SELECT assets.name, {columns}
            FROM invalidations AS i JOIN assets ON assets.id = i.asset
            WHERE assets.environment = ?{narrowed} ORDER BY i.id DESC{limited(limit)}"""
        values = (environment,) if asset is None else (environment, asset)
        rows = self._rows(query, *values)
        return [read_invalidation(row[1:], environment, row[0]) for row in rows]


def _invalidated(
    connection: Connection, environment: str, names: Mapping[int, str], since: int
) -> list[Invalidation]:
    """Those of these assets after a revision, oldest first."""
    rows = connection.execute(_INVALIDATED, (since,))
    return [read_invalidation(row, environment, names[row[1]]) for row in rows if row[1] in names]


_NO_FACTS = bytes(FACTS.size)


def _fetch_columns(cursor: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Keys, asset numbers, and packed facts as int64 of shape (n, 9)."""
    import numpy as np

    keys: list[str] = []
    assets: list[np.ndarray] = [np.empty(0, "i8")]
    facts: list[np.ndarray] = [np.empty((0, 9), "i8")]
    with _collector_paused():
        while chunk := cursor.fetchmany(_CHUNK):
            numbers, partitions, blobs = zip(*chunk, strict=True)
            keys.extend(partitions)
            assets.append(np.fromiter(numbers, "i8", len(numbers)))
            joined = b"".join([blob or _NO_FACTS for blob in blobs])
            facts.append(np.frombuffer(joined, ">i8").reshape(-1, 9).astype("i8"))
    return keys, np.concatenate(assets), np.concatenate(facts)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A million tuples, none in a cycle: looking for cycles among them would double the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _by_asset(assets: np.ndarray) -> list[tuple[int, Any]]:
    """Each asset number with its rows: a slice where they lie together, as they mostly do."""
    import numpy as np

    if not len(assets):
        return []
    starts = np.flatnonzero(np.diff(assets, prepend=-1))
    numbers = assets[starts].tolist()
    if len(set(numbers)) == len(numbers):
        ends = [*starts[1:].tolist(), len(assets)]
        return [
            (number, slice(start, end))
            for number, start, end in zip(numbers, starts.tolist(), ends, strict=True)
        ]
    return [(number, np.flatnonzero(assets == number)) for number in sorted(set(numbers))]


def _columns_of(keys: list[str], facts: np.ndarray) -> Columns:
    unsigned = facts.view("u8")
    return Columns(
        keys=keys,
        id=facts[:, 0].copy(),
        token=facts[:, 1].copy(),
        data=unsigned[:, 2:4].copy(),
        digest=unsigned[:, 4:6].copy(),
        code=facts[:, 6].copy(),
        finished=facts[:, 7].copy(),
        rows=facts[:, 8].copy(),
    )


def _no_columns() -> Columns:
    import numpy as np

    return _columns_of([], np.empty((0, 9), "i8"))
