"""Which entries of the log nobody needs any more: superseded long ago, and read by nothing kept.

Pure, but for the two statements at its end. What is current stays, what was current lately stays,
the first of each partition stays (it tells when the partition landed), and all that the lineage of
something kept leads to.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, delete, func, select

from assets_core.partitions import KeySpace, from_ranges
from assets_core.state import tables
from assets_core.state.rows import read_invalidation
from assets_core.state.sqlite import listed_numbers

_log = tables.materializations


@dataclass(slots=True)
class Entry:
    """One materialization, as far as it matters here; ``inputs`` as they are encoded."""

    id: int
    asset: int
    partition: str
    finished: int
    run: int | None
    inputs: str | None


@dataclass(slots=True)
class _Versions:
    """What is recorded of one asset: the entries of each partition, oldest first.

    ``places`` and ``keys`` are the partitions of more than one entry, in the key space's order;
    ``strays`` those of them that have left it.
    """

    space: KeySpace | None
    by_key: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
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
    entries: Sequence[Entry],
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
    versions: dict[int, _Versions] = {}
    for entry in entries:
        if entry.asset not in versions:
            versions[entry.asset] = _Versions(spaces.get(entry.asset))
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


def _stays(entries: list[Entry], before: int, keep_last: int) -> Iterable[int]:
    """Of one partition: the first, the last few, and what was still current at ``before``."""
    yield entries[0].id
    for entry in entries[-keep_last:]:
        yield entry.id
    for entry, following in pairwise(entries):
        if following.finished >= before:
            yield entry.id


def _read_by(reader: Entry, versions: Mapping[int, _Versions]) -> Iterable[int]:
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


def _as_of(entries: list[Entry], reader: Entry, revision: int) -> int | None:
    """`StateStore.version_as_of` among the entries of one partition."""
    for entry in reversed(entries):
        of_run = reader.run is not None and entry.run == reader.run and entry.id < reader.id
        if entry.id <= revision or of_run:
            return entry.id
    return None


# --------------------------------------------------------------------------------------------
# In the store


def read_log(connection: Connection, environment: str) -> tuple[list[Entry], set[int], Any]:
    """The log of an environment by id, the current ids, and the assets' names by number."""
    assets, slots = tables.assets, tables.asset_partitions
    own = select(assets.c.id).where(assets.c.environment == environment)
    rows = connection.execute(
        select(
            _log.c.id, _log.c.asset, _log.c.partition, _log.c.finished, _log.c.run, _log.c.inputs
        )
        .where(_log.c.asset.in_(own))
        .order_by(_log.c.id)
    )
    pointed = select(slots.c.materialization).where(
        slots.c.asset.in_(own), slots.c.materialization.is_not(None)
    )
    names = select(assets.c.id, assets.c.name).where(assets.c.environment == environment)
    return (
        [Entry(*row) for row in rows],
        set(connection.execute(pointed).scalars()),
        dict(connection.execute(names).all()),
    )


def remove(connection: Connection, ids: Sequence[int]) -> int:
    """Remove entries, but none that has become current meanwhile; how many went."""
    slots, wanted = tables.asset_partitions, listed_numbers("ids")
    text = json.dumps(list(ids))
    pointed = select(slots.c.materialization).where(slots.c.materialization.is_not(None))
    found = connection.execute(
        delete(_log).where(_log.c.id.in_(select(wanted.c.value)), _log.c.id.not_in(pointed)),
        {"ids": text},
    )
    return found.rowcount


def oldest_live(connection: Connection) -> int | None:
    """When the oldest run that has not ended began, µs: it may yet record what it read."""
    runs = tables.runs
    return connection.execute(
        select(func.min(runs.c.started)).where(runs.c.status == "running")
    ).scalar()


def settled(
    connection: Connection, environment: str, before: int, spaces: Mapping[int, KeySpace | None]
) -> tuple[list[int], int]:
    """The invalidations made before ``before`` (µs) that hold for nothing any more, and how many
    there are in all: everything recorded that they cover was recorded again since."""
    import numpy as np

    marked, slots, assets = tables.invalidations, tables.asset_partitions, tables.assets
    own = select(assets.c.id).where(assets.c.environment == environment)
    known = connection.execute(select(marked).where(marked.c.asset.in_(own))).all()
    aged = [row for row in known if row.made < before]
    gone = []
    for asset in {row.asset for row in aged}:
        space, rows = spaces.get(asset), [row for row in aged if row.asset == asset]
        if space is None:
            continue
        older = select(slots.c.partition, slots.c.materialization).where(
            slots.c.asset == asset, slots.c.materialization < max(row.id for row in rows)
        )
        current = connection.execute(older).all()
        at = space.ordinals([key for key, _ in current])
        ids = np.array([number for _, number in current], np.int64)
        for row in rows:
            held = at[ids < row.id]
            covered = from_ranges(space, read_invalidation(row, environment, "").ranges)
            # Of a key that has left the space nobody can say; it may come back.
            if not (held < 0).any() and not covered[held].any():
                gone.append(row.id)
    return gone, len(known)


def forget(connection: Connection, ids: Sequence[int]) -> int:
    """Remove invalidations; how many went."""
    marked, wanted = tables.invalidations, listed_numbers("ids")
    found = connection.execute(
        delete(marked).where(marked.c.id.in_(select(wanted.c.value))), {"ids": json.dumps(ids)}
    )
    return found.rowcount
