"""What is recorded at this moment, as far as a run knows: the plan's facts, and what moved since.

The plan stays what it was. Columns of its own a run has for what it builds alone (and for what
others recorded meanwhile), however many partitions the assets have. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from assets_core.contracts import Snapshot, StateStore
from assets_core.execution.rows import Rows
from assets_core.fingerprint.sums import MASK64
from assets_core.graph import Input, Op
from assets_core.partitions import KeySpace
from assets_core.planning.digests import Digests
from assets_core.planning.facts import AssetFacts
from assets_core.planning.plan import Plan
from assets_core.records import NO_VERSION, Code, Materialization, Receipt, Version

_UNKNOWN_CODE = -2  # what Facts.code_id says of one that was never recorded
_COLUMNS = ("id", "data", "digest", "code")


class _AssetNow:
    """One asset: the plan's columns, and over them rows of what may move."""

    def __init__(
        self, asset: str, plan: Plan, ordinals: np.ndarray, orders: Iterable[bool]
    ) -> None:
        self._asset = asset
        self._base: AssetFacts = plan.facts.assets[asset]
        self._digests: Digests = plan.digests
        self._rows = Rows(ordinals)
        self._own = {name: getattr(self._base, name)[ordinals] for name in _COLUMNS}
        # By how far each share in a digest is from the plan's: wrapping, so that sums add up.
        self._moved_by = {order: np.zeros((len(ordinals), 2), np.uint64) for order in orders}

    def admit(self, ordinals: np.ndarray) -> None:
        """Have rows for these partitions, too."""
        known, _ = self._rows.match(ordinals)
        if known.all():
            return
        before, self._rows = self._rows, Rows(np.union1d(self._rows.ordinals, ordinals))
        _, at = self._rows.match(before.ordinals)
        for name in _COLUMNS:
            kept = self._own[name]
            self._own[name] = getattr(self._base, name)[self._rows.ordinals]
            self._own[name][at] = kept
        for order, by in self._moved_by.items():
            self._moved_by[order] = np.zeros((len(self._rows), 2), np.uint64)
            self._moved_by[order][at] = by

    def put(self, ordinal: int, **values: Any) -> None:
        """A partition that has a row is recorded anew."""
        row = self._rows.row(ordinal)
        for name, value in values.items():
            self._own[name][row] = value
        version = self.version(ordinal)
        for order, by in self._moved_by.items():
            was = self._digests.shares(self._asset, any_order=order)[ordinal].tolist()
            now = self._digests.share(self._asset, ordinal, version, any_order=order)
            by[row] = (now[0] - was[0]) & MASK64, (now[1] - was[1]) & MASK64

    def _at(self, name: str, ordinal: int) -> Any:
        row = self._rows.row(ordinal)
        return self._own[name][row] if row >= 0 else getattr(self._base, name)[ordinal]

    def id(self, ordinal: int) -> int:
        """Its record's id; 0 where nothing is recorded."""
        return int(self._at("id", ordinal))

    def version(self, ordinal: int) -> Version:
        """Its data version."""
        high, low = self._at("data", ordinal).tolist()
        return high, low

    def digest(self, ordinal: int) -> Version:
        """The input digest that it was built with."""
        high, low = self._at("digest", ordinal).tolist()
        return high, low

    def code(self, ordinal: int) -> int:
        """The number of its code version."""
        return int(self._at("code", ordinal))

    def has(self, ordinal: int) -> bool:
        """Whether it has data: recorded, and not withdrawn."""
        return self.id(ordinal) != 0 and self.version(ordinal) != NO_VERSION

    def there_at(self, ordinals: np.ndarray) -> np.ndarray:
        """Which of these have data, bool."""
        if len(ordinals) == 1:
            return np.array([self.has(int(ordinals[0]))])
        found = self._base.there_at(ordinals)
        own, rows = self._rows.match(ordinals)
        data = self._own["data"][rows]
        found[own] = (self._own["id"][rows] != 0) & ((data[:, 0] | data[:, 1]) != 0)
        return found

    def ids(self, ordinals: np.ndarray) -> list[int]:
        """The ids of these records."""
        found = self._base.id[ordinals]
        own, rows = self._rows.match(ordinals)
        found[own] = self._own["id"][rows]
        ids: list[int] = found.tolist()
        return ids

    def moved_by(
        self, ordinals: Any, bounds: tuple[int, int] | None, *, any_order: bool
    ) -> Version:
        """How far the shares of these partitions together are from the plan's."""
        by = self._moved_by.get(any_order)
        if by is None or not len(by):
            return NO_VERSION
        if bounds is not None and bounds[1] - bounds[0] == 1:
            row = self._rows.row(bounds[0])
            high, low = by[row].tolist() if row >= 0 else NO_VERSION
            return high, low
        rows: Any = self._rows.between(*bounds) if bounds else self._rows.match(ordinals)[1]
        high, low = by[rows].sum(axis=0, dtype=np.uint64).tolist()
        return high, low


class Current:
    """The newest records that a run knows of, for what it builds and reads."""

    def __init__(
        self,
        plan: Plan,
        codes: Mapping[str, Code],
        store: StateStore,
        lock: Any,  # a re-entrant lock, or a condition of one
    ) -> None:
        self._plan = plan
        self._codes = codes
        self._store = store
        self._lock = lock
        self._receipts: dict[int, Receipt] = {}
        self._schemas: dict[str, str] = {}
        self._assets = _assets_of(plan)
        known = {name: dict(plan.facts.invalidations.get(name, {})) for name in self._assets}
        # For what is few (codes, invalidations); the columns in it are the plan's.
        self._facts = replace(
            plan.facts,
            codes=dict(plan.facts.codes),
            invalidations={name: each for name, each in known.items() if each},
        )

    @property
    def spaces(self) -> Mapping[str, KeySpace]:
        """The key space of each asset."""
        return self._facts.spaces

    @property
    def revision(self) -> int:
        """The log position up to which others' records are known."""
        return self._facts.revision

    # ---------------------------------------------------------------------------------------
    # Looking

    def id(self, asset: str, ordinal: int) -> int:
        """The id of a partition's record; 0 where nothing is recorded."""
        with self._lock:
            return self._assets[asset].id(ordinal)

    def version(self, asset: str, ordinal: int) -> Version:
        """The data version of a partition."""
        with self._lock:
            return self._assets[asset].version(ordinal)

    def has(self, asset: str, ordinal: int) -> bool:
        """Whether a partition has data."""
        with self._lock:
            return self._assets[asset].has(ordinal)

    def there_at(self, asset: str, ordinals: np.ndarray) -> np.ndarray:
        """Which of these partitions have data, bool."""
        with self._lock:
            return self._assets[asset].there_at(ordinals)

    def is_invalidated(self, asset: str, ordinal: int) -> bool:
        """Whether a partition was declared stale and not built since."""
        with self._lock:
            column = self._facts.invalidated(asset)
            return column is not None and 0 < self.id(asset, ordinal) < column[ordinal]

    def digest(self, op: Op, ordinal: int) -> tuple[Version, list[Version]]:
        """The input digest of a partition as of now, and what each input contributes to it."""
        with self._lock:
            sums = [self._contribution(op, read, ordinal) for read in op.inputs]
            return self._plan.digests.fold(op, ordinal, sums), sums

    def _contribution(self, op: Op, read: Input, ordinal: int) -> Version:
        high, low = self._plan.digests.contribution(op, read, ordinal)
        edge = self._plan.resolved.edge(op, read)
        bounds = edge.bounds(ordinal)
        at = None if bounds is not None else edge.upstream(ordinal)
        more = self._assets[read.asset].moved_by(at, bounds, any_order=read.any_order)
        return (high + more[0]) & MASK64, (low + more[1]) & MASK64

    def is_stale(self, op: Op, ordinal: int, digest: Version) -> bool:
        """Whether what is recorded is not what would come of this input digest and code."""
        with self._lock:
            return any(self._is_stale(asset, ordinal, digest) for asset in op.outputs)

    def _is_stale(self, asset: str, ordinal: int, digest: Version) -> bool:
        own = self._assets[asset]
        if self.is_invalidated(asset, ordinal):
            return True
        if own.digest(ordinal) != digest or not own.has(ordinal):
            return True
        return not self._facts.is_current(own.code(ordinal), self._codes[asset].hex)

    def receipt(self, asset: str, ordinal: int) -> Receipt:
        """Where the data of a partition lies."""
        return self.receipts(asset, np.array([ordinal]))[0]

    def receipts(self, asset: str, ordinals: np.ndarray) -> list[Receipt]:
        """Where the data of these partitions lies, in order."""
        with self._lock:
            ids = self._assets[asset].ids(ordinals)
            self._fetch(ids)
            return [self._receipts[i] for i in ids]

    def prefetch(self, wanted: Iterable[tuple[str, np.ndarray]]) -> None:
        """Fetch the receipts of these partitions, by asset, in one query."""
        with self._lock:
            ids = {i for asset, at in wanted for i in self._assets[asset].ids(at) if i > 0}
        self._fetch(ids)

    def _fetch(self, ids: Iterable[int]) -> None:
        missing = [i for i in ids if i not in self._receipts]
        if missing:
            self._receipts.update(self._store.receipts(missing))

    def schema(self, asset: str) -> str:
        """The schema of the asset's newest table, empty when there is none."""
        found = self._schemas.get(asset)
        if found is None:
            found = self._store.schema(self._plan.environment, asset)
            self._schemas[asset] = found
        return found

    # ---------------------------------------------------------------------------------------
    # Moving on

    def refresh(self) -> None:
        """Another run has recorded something: take in the log's tail."""
        with self._lock:
            since = self._facts.revision
            self._take_in(self._store.snapshot(self._plan.environment, self._assets, since=since))

    def _take_in(self, tail: Snapshot) -> None:
        facts = self._facts
        facts.codes.update(tail.codes)
        facts.invalidate(tail.invalidations)
        facts.revision = max(facts.revision, tail.revision)
        for asset, columns in tail.assets.items():
            ordinals = facts.spaces[asset].ordinals(columns.keys) if columns.keys else ()
            own = self._assets[asset]
            own.admit(np.array([o for o in ordinals if o >= 0], np.int64))
            for at, ordinal in enumerate(ordinals):
                if ordinal >= 0:
                    own.put(int(ordinal), **{n: getattr(columns, n)[at] for n in _COLUMNS})

    def apply(self, ordinal: int, fact: Materialization, recorded: int) -> None:
        """A record of this run's own is committed, under this id."""
        with self._lock:
            self._assets[fact.asset].put(
                ordinal,
                id=recorded,
                data=fact.data_version,
                digest=fact.input_digest,
                code=self._code_column(fact.code.hex),
            )
            self._receipts[recorded] = fact.receipt
            if fact.schema:
                self._schemas[fact.asset] = fact.schema

    def _code_column(self, hex_version: str) -> int:
        found = self._facts.code_id(hex_version)
        if found == _UNKNOWN_CODE:
            # Any number the store has not given out; it only has to be equal to itself.
            found = -10 - len(self._facts.codes)
            self._facts.codes[found] = hex_version
        return found


def _assets_of(plan: Plan) -> dict[str, _AssetNow]:
    """What the plan builds, with rows for that, and what it reads, with none to begin with."""
    orders: dict[str, set[bool]] = {}
    for batch in plan.batches:
        for name in batch.op.outputs:
            orders.setdefault(name, set())
        for read in batch.op.inputs:
            orders.setdefault(read.asset, set()).add(read.any_order)
    planned = {name: batch.ordinals for batch in plan.batches for name in batch.op.outputs}
    none = np.zeros(0, np.int64)
    return {
        name: _AssetNow(name, plan, planned.get(name, none), each) for name, each in orders.items()
    }
