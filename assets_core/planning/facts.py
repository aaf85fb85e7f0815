"""What is recorded of every asset, as columns laid out by partition ordinal.

Pure. How the columns are compared with what is now, is `staleness`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from assets_core.partitions import KeySpace, places
from assets_core.records import (
    NO_VERSION,
    TRACED,
    InputRead,
    Invalidation,
    Materialization,
    Measured,
    Version,
    as_reads,
)

if TYPE_CHECKING:
    from assets_core.contracts import Columns, Snapshot


class RecordLookup(Protocol):
    """Looks up what a reason needs to be told in full; asked only when somebody reads it."""

    def reads(self, asset: str, partition: str) -> Sequence[InputRead]:
        """What the current materialization read."""

    def versions_read(self, asset: str, partition: str, read: InputRead) -> Mapping[str, Version]:
        """The versions behind one of those inputs, by upstream partition."""

    def code_parts(self, code: str) -> Mapping[str, str]:
        """The parts of a code version."""

    def current(self, asset: str, partition: str) -> Materialization | None:
        """The materialization that serves now."""

    def measured(self, ids: Iterable[int]) -> Mapping[int, Measured]:
        """What the builds behind materializations took, by their ids."""


@dataclass(slots=True)
class AssetFacts:
    """Recorded columns of one asset, by ordinal; ``id`` 0 where nothing is recorded.

    ``id``, ``finished`` (µs), ``rows`` and ``code`` int64; ``data`` and ``digest`` uint64 (n, 2).
    """

    id: np.ndarray
    data: np.ndarray
    digest: np.ndarray
    code: np.ndarray
    finished: np.ndarray
    rows: np.ndarray

    @classmethod
    def empty(cls, n: int) -> AssetFacts:
        """Nothing recorded for any of ``n`` partitions."""
        return cls(
            id=np.zeros(n, np.int64),
            data=np.zeros((n, 2), np.uint64),
            digest=np.zeros((n, 2), np.uint64),
            code=np.full(n, -1, np.int64),
            finished=np.zeros(n, np.int64),
            rows=np.zeros(n, np.int64),
        )

    def put(self, columns: Columns, space: KeySpace) -> np.ndarray:
        """Lay recorded rows at their ordinals; the ordinals touched. Unknown keys are left out."""
        ordinals = space.ordinals(columns.keys)
        known = ordinals >= 0
        at = ordinals[known]
        for name in ("id", "data", "digest", "code", "finished", "rows"):
            getattr(self, name)[at] = getattr(columns, name)[known]
        return at

    def version(self, ordinal: int) -> Version:
        """The recorded data version, (0, 0) when there is none."""
        hi, lo = self.data[ordinal].tolist()
        return hi, lo

    @property
    def there(self) -> np.ndarray:
        """Which partitions have data, bool: recorded, and not withdrawn."""
        found: np.ndarray = self.id != 0
        # Nearly always all that is recorded has data, and counting shows it in half the time.
        if np.count_nonzero(self.data[:, 0]) < np.count_nonzero(found):
            found &= (self.data[:, 0] | self.data[:, 1]) != 0
        return found

    def there_at(self, at: np.ndarray) -> np.ndarray:
        """Which of these have data, bool: quick for a few."""
        rows = self.data[at]
        found: np.ndarray = (self.id[at] != 0) & ((rows[:, 0] | rows[:, 1]) != 0)
        return found

    def has(self, ordinal: int) -> bool:
        """Whether one partition has data."""
        return bool(self.id[ordinal]) and self.version(ordinal) != NO_VERSION

    @property
    def withdrawn(self) -> np.ndarray:
        """Which partitions are recorded as withdrawn, bool."""
        found: np.ndarray = (self.id != 0) & ~self.there
        return found


@dataclass(slots=True)
class Facts:
    """What is recorded of every asset, laid out in its key space, at one revision.

    ``invalidations`` are those of each asset by id; few, and so kept as they are. ``contents``
    gives the digest of something that code reads, by kind and name, as it is now.
    """

    spaces: Mapping[str, KeySpace]
    assets: dict[str, AssetFacts]
    codes: dict[int, str] = field(default_factory=dict)
    revision: int = 0
    lookup: RecordLookup | None = None
    invalidations: dict[str, dict[int, Invalidation]] = field(default_factory=dict)
    contents: Callable[[str, str], str] | None = None
    _invalidated: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)
    _indexed: int = field(default=0, init=False, repr=False)
    _ids: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _bases: dict[str, list[int]] = field(default_factory=dict, init=False, repr=False)
    _bases_of: int = field(default=-1, init=False, repr=False)
    _traced: dict[str, bool] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def empty(cls, spaces: Mapping[str, KeySpace]) -> Facts:
        """Nothing recorded yet."""
        return cls(spaces, {name: AssetFacts.empty(space.n) for name, space in spaces.items()})

    @classmethod
    def of(
        cls, snapshot: Snapshot, spaces: Mapping[str, KeySpace], lookup: RecordLookup | None = None
    ) -> Facts:
        """A store's snapshot laid out in key spaces."""
        facts = cls.empty(spaces)
        facts.lookup = lookup
        facts.apply(snapshot)
        return facts

    def apply(self, snapshot: Snapshot) -> dict[str, np.ndarray]:
        """Bring the columns up to date with (the tail of) a log; the ordinals touched by asset."""
        touched = {}
        for name, columns in snapshot.assets.items():
            if name in self.assets and columns.keys:
                touched[name] = self.assets[name].put(columns, self.spaces[name])
        self.codes.update(snapshot.codes)
        self.invalidate(snapshot.invalidations)
        self.revision = max(self.revision, snapshot.revision)
        return touched

    def there_at(self, asset: str, ordinals: np.ndarray) -> np.ndarray:
        """Which of these partitions of an asset have data, bool."""
        return self.assets[asset].there_at(ordinals)

    def invalidate(self, invalidations: Iterable[Invalidation]) -> None:
        """Take in what was declared stale; what is known already changes nothing."""
        for one in invalidations:
            self.invalidations.setdefault(one.asset, {})[one.id] = one
            self._invalidated.pop(one.asset, None)

    def invalidated(self, asset: str) -> np.ndarray | None:
        """The newest invalidation that covers each partition, by id (0: none), int64.

        None where nothing of the asset was ever invalidated.
        """
        known = self.invalidations.get(asset)
        if not known:
            return None
        found = self._invalidated.get(asset)
        if found is None:
            space = self.spaces[asset]
            found = self._invalidated[asset] = np.zeros(space.n, np.int64)
            for number, one in sorted(known.items()):
                for place in places(space, one.ranges):
                    found[place] = number
        return found

    def invalidation(self, asset: str, ordinal: int) -> Invalidation | None:
        """The newest invalidation of a partition that was not built since."""
        column, own = self.invalidated(asset), self.assets[asset]
        if column is None or not 0 < own.id[ordinal] < column[ordinal]:
            return None
        return self.invalidations[asset][int(column[ordinal])]

    def code_id(self, hex_version: str) -> int:
        """The column value that stands for a code version; -2 for one never recorded."""
        if self._indexed != len(self.codes):
            self._ids = {text: number for number, text in reversed(self.codes.items())}
            self._indexed = len(self.codes)
        return self._ids.get(hex_version, -2)

    def is_current(self, number: int, hex_version: str) -> bool:
        """Whether what a column's value stands for is this code version, and all that it was seen
        to read besides holds what it held then."""
        recorded = self.codes.get(number)
        if recorded == hex_version:
            return True
        if recorded is None or not recorded.startswith(f"{hex_version}+"):
            return False
        if recorded not in self._traced:
            now = self.reads_now(recorded)
            then = self.lookup.code_parts(recorded) if self.lookup is not None else {}
            self._traced[recorded] = bool(now) and all(then[n] == d for n, d in now.items())
        return self._traced[recorded]

    def reads_now(self, recorded: str) -> dict[str, str]:
        """The parts of what a code version was seen to read, with their digests of now; empty
        where that can't be told."""
        if self.lookup is None or self.contents is None:
            return {}
        reads = as_reads(self.lookup.code_parts(recorded))
        return {f"{TRACED}{kind} {name}": self.contents(kind, name) for kind, name, _ in reads}

    def of_current_code(self, asset: str, hex_version: str) -> np.ndarray:
        """Which partitions were built by this code version, bool; see `is_current`."""
        own = self.assets[asset].code
        found: np.ndarray = own == self.code_id(hex_version)
        traced = self._traced_ids(hex_version)
        if traced and not found.all():
            found |= np.isin(own, [n for n in traced if self.is_current(n, hex_version)])
        return found

    def _traced_ids(self, hex_version: str) -> Sequence[int]:
        """The column's values for what a code version was recorded as together with its reads."""
        self.code_id(hex_version)  # brings the index up to date
        if self._bases_of != self._indexed:
            self._bases_of, self._bases = self._indexed, {}
            for text, number in self._ids.items():
                base, plus, _ = text.partition("+")
                if plus:
                    self._bases.setdefault(base, []).append(number)
        return self._bases.get(hex_version, ())
