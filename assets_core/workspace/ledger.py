"""What staleness reasons and lineage ask of the recorded facts, answered by a state store.

The pure parts only know protocols (`planning.facts.RecordLookup`, `lineage.walks.Ledger`,
`lineage.freshness.Landings`); here they meet the store. Answers are fetched in bulk and kept:
an instance serves one plan, one report or one walk, and is then thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from assets_core.graph import Graph
from assets_core.planning.digests import is_incomplete
from assets_core.records import NO_VERSION, InputRead, Materialization, Measured, Version

if TYPE_CHECKING:
    from assets_core.contracts import Columns, StateStore
    from assets_core.partitions import KeyRanges, KeySpace

_NEWEST = 2**62
"""A revision after all others."""

_FIRST_BLOCK, _LARGEST_BLOCK = 8, 512
_ONE_BY_ONE = 256

_QUESTIONS = 16
_FACTS_PER_QUESTION = 40
"""So many facts of a log are read in the time of one question."""


def expand(space: KeySpace | None, ranges: KeyRanges) -> list[str]:
    """The keys of inclusive ranges, in the space's order.

    Of a range whose ends have left the key space only the ends are known.
    """
    keys: list[str] = []
    for first, last in ranges:
        if first == last:
            keys.append(first)
            continue
        lo, hi = _bounds(space, first, last)
        keys += (
            space.keys(np.arange(lo, hi + 1)) if space is not None and lo >= 0 else [first, last]
        )
    return keys


def _bounds(space: KeySpace | None, first: str, last: str) -> tuple[int, int]:
    """The ordinals of a range's ends; (-1, -1) when one of them is not in the space."""
    if space is None:
        return -1, -1
    lo, hi = (int(i) for i in space.ordinals([first, last]))
    return (lo, hi) if 0 <= lo <= hi else (-1, -1)


class _Versions:
    """The versions that builds read.

    The store is asked one question per build and input; once that has cost as much as reading
    the upstream asset's log would, the log is read and answers everything further. So whoever
    asks a lot waits at most twice as long as would have been possible.
    """

    def __init__(self, state: StateStore, environment: str, spaces: Mapping[str, KeySpace]) -> None:
        self._state = state
        self._environment = environment
        self._spaces = spaces
        self._facts: dict[int, Materialization] = {}
        self._asked: dict[str, int] = {}
        self._logs: dict[str, dict[str, list[Materialization]]] = {}

    def read_by(
        self, fact: Materialization, read: InputRead, keys: Sequence[str]
    ) -> list[tuple[str, Materialization | None]]:
        """The versions of these partitions that a build read through an input."""
        log = self._log(read.asset)
        if log is not None:
            return [(key, _as_of(log.get(key, ()), fact, read)) for key in keys]
        found = self._state.version_as_of(
            self._environment, read.asset, keys, read.revision, fact.run, fact.id
        )
        # One object per version, however many builds read it.
        kept = [None if f is None else self._facts.setdefault(f.id, f) for f in found]
        return list(zip(keys, kept, strict=True))

    def _log(self, asset: str) -> dict[str, list[Materialization]] | None:
        """All versions of an asset by partition, newest first, when it is time to have them."""
        if asset not in self._logs:
            asked = self._asked[asset] = self._asked.get(asset, 0) + 1
            space = self._spaces.get(asset)
            if space is None or asked <= max(_QUESTIONS, space.n // _FACTS_PER_QUESTION):
                return None
            log = self._logs[asset] = {}
            for fact in self._state.materializations(self._environment, asset):
                log.setdefault(fact.partition, []).append(fact)
        return self._logs[asset]

    def keys(self, read: InputRead) -> list[str]:
        """The partitions behind an input."""
        return expand(self._spaces.get(read.asset), read.ranges)


def _as_of(
    newest_first: Sequence[Materialization], reader: Materialization, read: InputRead
) -> Materialization | None:
    """`StateStore.version_as_of` among the versions of one partition."""
    for fact in newest_first:
        of_run = bool(reader.run) and fact.run == reader.run and fact.id < reader.id
        if fact.id <= read.revision or of_run:
            return fact
    return None


class StoreLookup:
    """`planning.facts.RecordLookup` and `lineage.freshness.Landings` on a state store."""

    def __init__(self, state: StateStore, environment: str, spaces: Mapping[str, KeySpace]) -> None:
        self._state = state
        self._environment = environment
        self._spaces = spaces
        self._versions = _Versions(state, environment, spaces)
        self._current: dict[tuple[str, str], Materialization | None] = {}
        self._block: dict[str, int] = {}
        self._parts: dict[str, Mapping[str, str]] = {}

    def reads(self, asset: str, partition: str) -> Sequence[InputRead]:
        """What the current materialization read; empty when there is none."""
        fact = self._fact(asset, partition)
        return fact.inputs if fact is not None else ()

    def versions_read(self, asset: str, partition: str, read: InputRead) -> Mapping[str, Version]:
        """The data versions behind one of its inputs, by upstream partition."""
        fact = self._fact(asset, partition)
        if fact is None:
            return {}
        found = self._versions.read_by(fact, read, self._versions.keys(read))
        return {key: v.data_version if v is not None else NO_VERSION for key, v in found}

    def code_parts(self, code: str) -> Mapping[str, str]:
        """The parts of a code version; empty when the store does not know it."""
        if code not in self._parts:
            found = self._state.code(code)
            self._parts[code] = found.parts if found is not None else {}
        return self._parts[code]

    def current(self, asset: str, partition: str) -> Materialization | None:
        """The materialization that serves now; None when there is none."""
        return self._fact(asset, partition)

    def measured(self, ids: Iterable[int]) -> Mapping[int, Measured]:
        """What the builds behind materializations took, by their ids."""
        return self._state.measured(ids)

    def first_landed(self, asset: str, partitions: Sequence[str]) -> Mapping[str, int]:
        """Partition → µs of its first materialization that was whole."""
        # Newest first, so the oldest of a partition is what stays.
        log = self._log(asset, partitions)
        return {fact.partition: fact.finished for fact in log if not is_incomplete(fact)}

    def promised_since(self, asset: str) -> int:
        """µs of when a partition was first built, or tried, under its promise; 0: never."""
        return self._state.promised_since(self._environment, asset)

    def _log(self, asset: str, partitions: Sequence[str]) -> list[Materialization]:
        read = self._state.materializations
        if len(partitions) > _ONE_BY_ONE:
            return read(self._environment, asset)
        return [fact for key in partitions for fact in read(self._environment, asset, key)]

    def _fact(self, asset: str, partition: str) -> Materialization | None:
        """The current materialization; partitions that follow are fetched along with it."""
        if (asset, partition) not in self._current:
            keys = self._following(asset, partition)
            found = self._state.version_as_of(self._environment, asset, keys, _NEWEST, "", 0)
            self._current.update(((asset, k), f) for k, f in zip(keys, found, strict=True))
        return self._current[asset, partition]

    def _following(self, asset: str, partition: str) -> list[str]:
        """The partition and those after it: more each time, as a reader goes on through a plan."""
        size = self._block.get(asset, _FIRST_BLOCK)
        self._block[asset] = min(size * 2, _LARGEST_BLOCK)
        space = self._spaces[asset]
        at = int(space.ordinals([partition])[0])
        if at < 0:
            return [partition]
        return space.keys(np.arange(at, min(at + size, space.n)))


class StoreLedger:
    """`lineage.walks.Ledger` on a state store."""

    def __init__(
        self,
        state: StateStore,
        environment: str,
        graph: Graph,
        spaces: Mapping[str, KeySpace],
    ) -> None:
        self._state = state
        self._environment = environment
        self._graph = graph
        self._spaces = spaces
        self._versions = _Versions(state, environment, spaces)
        self._columns: dict[str, Columns] = {}
        self._places: dict[str, dict[str, int]] = {}
        self._readers: dict[str, _Readers] = {}

    def current(self, asset: str, partition: str) -> Materialization | None:
        """The materialization that serves now."""
        at = self._place(asset, partition)
        if at is None:
            return None
        wanted = int(self._columns[asset].id[at])
        found = self._state.materializations(self._environment, asset, partition, ids=[wanted])
        return found[0] if found else None

    def served(self, asset: str, partition: str) -> Version | None:
        """Its data version alone."""
        at = self._place(asset, partition)
        if at is None:
            return None
        high, low = self._columns[asset].data[at].tolist()
        return high, low

    def _place(self, asset: str, partition: str) -> int | None:
        """Where the partition stands in the asset's columns."""
        if asset not in self._places:
            self._take(asset)
        return self._places[asset].get(partition)

    def _take(self, asset: str) -> None:
        """Fetch the asset together with all that a walk from it can reach, at one revision."""
        wanted = {asset}
        if asset in self._graph.assets:
            wanted |= self._graph.upstream_of(asset) | self._graph.downstream_of(asset)
        found = self._state.snapshot(self._environment, wanted - self._places.keys())
        for name, columns in found.assets.items():
            self._columns[name] = columns
            self._places[name] = {key: i for i, key in enumerate(columns.keys)}

    def salts(self, asset: str, partitions: Sequence[str]) -> list[int | None]:
        """The salts that partitions carry in digests."""
        space = self._spaces.get(asset)
        if space is None:
            return [None] * len(partitions)
        ordinals, salts = space.ordinals(partitions), space.salts()
        return [int(salts[i]) if i >= 0 else None for i in ordinals.tolist()]

    def versions_read(
        self, fact: Materialization, read: InputRead
    ) -> list[tuple[str, Materialization | None]]:
        """The partitions behind an input of a build, with the versions that it read."""
        return self._versions.read_by(fact, read, self._versions.keys(read))

    def version_read(
        self, fact: Materialization, read: InputRead, partition: str
    ) -> Materialization | None:
        """The version of one of those partitions."""
        return self._versions.read_by(fact, read, [partition])[0][1]

    def readers(
        self, asset: str, partition: str
    ) -> list[tuple[Materialization, tuple[InputRead, ...]]]:
        """Current materializations that read the partition, each with the inputs that did."""
        if asset not in self._readers:
            facts = self._state.readers(self._environment, asset)
            self._readers[asset] = _Readers(asset, facts, self._spaces.get(asset))
        return self._readers[asset].of(partition)


class _Readers:
    """Who read which partitions of one asset: intervals of ordinals, searched all at once."""

    def __init__(
        self, asset: str, facts: Sequence[Materialization], space: KeySpace | None
    ) -> None:
        self._space = space
        self._reads: list[tuple[Materialization, InputRead]] = []
        self._by_key: dict[str, list[int]] = {}
        bounds: list[tuple[int, int, int]] = []
        for fact in facts:
            for read in fact.inputs:
                if read.asset == asset:
                    bounds += self._add(fact, read)
        self._bounds = np.array(bounds, np.int64).reshape(-1, 3)

    def _add(self, fact: Materialization, read: InputRead) -> list[tuple[int, int, int]]:
        """Note an input; the intervals that it reads, each with the input's number."""
        number = len(self._reads)
        self._reads.append((fact, read))
        intervals = []
        for first, last in read.ranges:
            lo, hi = _bounds(self._space, first, last)
            if lo >= 0:
                intervals.append((lo, hi, number))
            else:
                for key in {first, last}:
                    self._by_key.setdefault(key, []).append(number)
        return intervals

    def of(self, partition: str) -> list[tuple[Materialization, tuple[InputRead, ...]]]:
        """Those that read the partition, in the order of the readers."""
        numbers = set(self._by_key.get(partition, ()))
        if self._space is not None:
            at = int(self._space.ordinals([partition])[0])
            lo, hi, which = self._bounds.T
            numbers.update(which[(lo <= at) & (at <= hi)].tolist())
        found: dict[int, tuple[Materialization, list[InputRead]]] = {}
        for number in sorted(numbers):
            fact, read = self._reads[number]
            found.setdefault(fact.id, (fact, []))[1].append(read)
        return [(fact, tuple(reads)) for fact, reads in found.values()]
