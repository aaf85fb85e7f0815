"""Which entries of the log nobody needs any more: superseded long ago, and read by nothing kept.

What is current stays, what was current lately stays, the first of each partition stays (it tells
when the partition landed), and all that the lineage of something kept leads to. Pure functions
decide; the class at the end asks the database and removes.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from assets_core.partitions import KeySpace, from_ranges
from assets_core.records import Invalidation
from assets_core.state.part import numbered_assets
from assets_core.state.rows import INVALIDATION_COLUMNS, read_invalidation
from assets_core.state.sql import LISTED, Connection, listed, scalar
from assets_core.state.sqlite import SqliteDatabase


@dataclass(slots=True)
class LogEntry:
    """One materialization, as far as it matters here; ``inputs`` as they are encoded."""

    id: int
    asset: int
    partition: str
    finished: int
    run: int | None
    inputs: str | None


@dataclass(slots=True)
class _Asset:
    """What is recorded of one asset: the entries of each partition, oldest first.

    ``places`` and ``keys`` are the partitions of more than one entry, in the key space's order;
    ``strays`` those of them that have left it.
    """

    space: KeySpace | None
    by_key: dict[str, list[LogEntry]] = field(default_factory=lambda: defaultdict(list))
    places: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    def settle(self) -> None:
        """Order the partitions that have a past."""
        several = [key for key, entries in self.by_key.items() if len(entries) > 1]
        if self.space is None:
            self.strays = several
            return
        ordinals = self.space.ordinals(several).tolist()
        inside = sorted((o, key) for o, key in zip(ordinals, several, strict=True) if o >= 0)
        self.places, self.keys = [o for o, _ in inside], [key for _, key in inside]
        self.strays = [key for o, key in zip(ordinals, several, strict=True) if o < 0]

    def within(self, first: str, last: str) -> Iterable[str]:
        """The partitions with a past in an inclusive range of keys.

        All, where what lies between can't be told any more, since the ends have left the space or
        values were removed or put in another order: to keep too much harms nobody.
        """
        if first == last:
            return (first,) if len(self.by_key.get(first, ())) > 1 else ()
        if self.space is None:
            return self.strays
        lo, hi = self.space.ordinals([first, last]).tolist()
        if lo < 0 or hi < lo or self.space.starts() is None:
            return [*self.keys, *self.strays]
        inside = self.keys[bisect_left(self.places, lo) : bisect_right(self.places, hi)]
        # A window that has left its calendar lies before or after all that are in it.
        return inside if len(self.space.parts()) == 1 else [*inside, *self.strays]


def superfluous(
    entries: Sequence[LogEntry],
    current: set[int],
    spaces: Mapping[int, KeySpace | None],
    *,
    before: int,
    keep_last: int = 1,
) -> list[int]:
    """The ids that can go: superseded before ``before`` (µs) and out of reach of all that stays.

    ``entries`` are a whole environment's, ordered by id; ``keep_last`` versions of each partition
    stay whatever their age.
    """
    versions: dict[int, _Asset] = {}
    for entry in entries:
        if entry.asset not in versions:
            versions[entry.asset] = _Asset(spaces.get(entry.asset))
        versions[entry.asset].by_key[entry.partition].append(entry)
    kept = set(current)
    for one in versions.values():
        one.settle()
        for own in one.by_key.values():
            kept.update(_stays(own, before, keep_last))
    # What a build read has a smaller id than the build: one walk from the newest back is enough.
    for entry in reversed(entries):
        if entry.id in kept and entry.inputs is not None:
            kept.update(_read_by(entry, versions))
    return [entry.id for entry in entries if entry.id not in kept]


def _stays(entries: list[LogEntry], before: int, keep_last: int) -> Iterable[int]:
    """Of one partition: the first, the last few, and what was still current at ``before``."""
    yield entries[0].id
    for entry in entries[-keep_last:]:
        yield entry.id
    for entry, following in pairwise(entries):
        if following.finished >= before:
            yield entry.id


def _read_by(reader: LogEntry, versions: Mapping[int, _Asset]) -> Iterable[int]:
    """The ids of the versions that a build read, of partitions that have several."""
    for number, _, ranges, _, revision, _ in json.loads(reader.inputs or "[]"):
        upstream = versions.get(number)
        if upstream is None:
            continue
        for one in ranges:
            first, last = (one, one) if isinstance(one, str) else (one[0], one[1])
            for key in upstream.within(first, last):
                found = _as_of(upstream.by_key[key], reader, revision)
                if found is not None:
                    yield found


def _as_of(entries: list[LogEntry], reader: LogEntry, revision: int) -> int | None:
    """`StateStore.version_as_of` among the entries of one partition."""
    for entry in reversed(entries):
        of_run = reader.run is not None and entry.run == reader.run and entry.id < reader.id
        if entry.id <= revision or of_run:
            return entry.id
    return None


# --------------------------------------------------------------------------------------------
# In the store

_LOG = """
    SELECT id, asset, partition, finished, run, inputs FROM materializations
    WHERE asset IN (SELECT id FROM assets WHERE environment = ?) ORDER BY id"""
_CURRENT = """
    SELECT materialization FROM asset_partitions
    WHERE asset IN (SELECT id FROM assets WHERE environment = ?) AND materialization IS NOT NULL"""
_INVALIDATIONS = f"""
    SELECT {INVALIDATION_COLUMNS} FROM invalidations
    WHERE asset IN (SELECT id FROM assets WHERE environment = ?)"""
_OLDER = """
    SELECT partition, materialization FROM asset_partitions
    WHERE asset = ? AND materialization < ?"""
# None that has become current meanwhile.
_REMOVE = f"""
    DELETE FROM materializations WHERE id IN (SELECT value FROM {LISTED}) AND id NOT IN (
        SELECT materialization FROM asset_partitions WHERE materialization IS NOT NULL)"""
_FORGET = f"DELETE FROM invalidations WHERE id IN (SELECT value FROM {LISTED})"

_PIECE = 2_000
"""Entries removed from the log in one transaction: nobody who wants to write waits for all."""


class Compaction:
    """What of an environment's log can go, as it stood when this was made."""

    def __init__(
        self,
        database: SqliteDatabase,
        environment: str,
        spaces: Mapping[str, KeySpace],
        before: int,
        keep_last: int,
    ) -> None:
        self._database = database
        with database.read() as connection:
            # A run that has not ended may yet record what it read.
            begun = "SELECT min(started) FROM runs WHERE status = 'running'"
            live = scalar(connection, begun)
            limit = before if live is None else min(before, live)
            versions = [LogEntry(*row) for row in connection.execute(_LOG, (environment,))]
            current = {row[0] for row in connection.execute(_CURRENT, (environment,))}
            numbers = numbered_assets(connection, environment)
            known = {number: spaces.get(name) for name, number in numbers.items()}
            self._settled, marks = _settled(connection, environment, limit, known)
        self._gone = superfluous(versions, current, known, before=limit, keep_last=keep_last)
        self._total = len(versions) + marks

    def counted(self) -> tuple[int, int]:
        """How many entries would go, and how many would be left."""
        going = len(self._gone) + len(self._settled)
        return going, self._total - going

    def carried_out(self) -> tuple[int, int]:
        """Remove them; how many went, and how many are left."""
        removed = sum(
            self._delete(_REMOVE, self._gone[start : start + _PIECE])
            for start in range(0, len(self._gone), _PIECE)
        )
        removed += self._delete(_FORGET, self._settled)
        return removed, self._total - removed

    def _delete(self, statement: str, ids: Sequence[int]) -> int:
        with self._database.write() as connection:
            return connection.execute(statement, (listed(ids),)).rowcount


def _settled(
    connection: Connection, environment: str, before: int, spaces: Mapping[int, KeySpace | None]
) -> tuple[list[int], int]:
    """The invalidations made before ``before`` (µs) that hold for nothing any more, and how many
    there are in all: everything recorded that they cover was recorded again since."""
    import numpy as np

    known = connection.execute(_INVALIDATIONS, (environment,)).fetchall()
    aged: dict[int, list[Invalidation]] = defaultdict(list)
    for row in known:
        one = read_invalidation(row, environment, "")
        if one.at < before:
            aged[row[1]].append(one)
    gone = []
    for asset, marks in aged.items():
        space = spaces.get(asset)
        if space is None:
            continue
        newest = max(one.id for one in marks)
        current = connection.execute(_OLDER, (asset, newest)).fetchall()
        at = space.ordinals([key for key, _ in current])
        ids = np.array([number for _, number in current], np.int64)
        for one in marks:
            held = at[ids < one.id]
            covered = from_ranges(space, one.ranges)
            # Of a key that has left the space nobody can say; it may come back.
            if not (held < 0).any() and not covered[held].any():
                gone.append(one.id)
    return gone, len(known)
