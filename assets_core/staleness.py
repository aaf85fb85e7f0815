"""Which asset partitions are stale, and why: arithmetic on columns, no loop over partitions.

Pure. `Facts` are the recorded columns, laid out by partition ordinal; `assess` compares them
with what the code and the data are now. Nothing here selects or orders work: see `plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from assets_core.errors import UserCodeError
from assets_core.graph import Graph, Input, Op
from assets_core.hashing import combine, combine_one, fold_edges, fold_edges_one, hash64, mix64
from assets_core.partitions import Edge, KeySpace, places
from assets_core.records import (
    NO_VERSION,
    TRACED,
    InputRead,
    Invalidation,
    Materialization,
    Measured,
    Version,
    as_reads,
    withdrawn_for,
)

if TYPE_CHECKING:
    from assets_core.contracts import Columns, Snapshot


@dataclass(frozen=True, slots=True)
class Sightings:
    """What looking at sources came to, beside what was recorded; by source, then by ordinal.

    ``moved`` counts what has another version now. ``errors`` are partitions that could not be
    looked at: what reads them can't be built. ``gone`` are partitions that were seen before and
    are not there any more: the version seen last counts on. ``held_back`` says of a source why
    these were not withdrawn, though it asks for that.
    """

    moved: int = 0
    errors: Mapping[str, Mapping[int, Exception]] = field(default_factory=dict)
    gone: Mapping[str, Sequence[int]] = field(default_factory=dict)
    held_back: Mapping[str, str] = field(default_factory=dict)


LOOKED = ("new", "changed", "withdrawn", "gone", "failed", "unchanged", "closed", "absent")
"""What can come of a look at a source's partition, the most telling first."""


@dataclass(slots=True)
class Looked:
    """What looking at partitions of one source came to, as ordinals of its key space.

    ``new`` were never seen before, ``changed`` have another version, ``gone`` were seen before
    and are not there any more, ``withdrawn`` those of them that the source lets go by itself (and
    ``held_back`` why it didn't), ``unchanged`` are as they were, ``closed`` were not looked at
    because their time is over (``closed_after``), ``absent`` are not there and never were.
    ``errors`` are those that could not be looked at.
    """

    space: KeySpace
    new: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    absent: list[int] = field(default_factory=list)
    errors: dict[int, Exception] = field(default_factory=dict)
    withdrawn: list[int] = field(default_factory=list)
    held_back: str = ""

    @property
    def moved(self) -> int:
        """How many have another version than before, or none any more."""
        return len(self.new) + len(self.changed) + len(self.withdrawn)

    def ordinals(self, kind: str) -> list[int]:
        """The partitions of one kind, in order."""
        return sorted(self.errors if kind == "failed" else getattr(self, kind))

    def keys(self, kind: str) -> list[str]:
        """Their keys."""
        return self.space.keys(self.ordinals(kind))

    @property
    def counts(self) -> dict[str, int]:
        """How many partitions there are of each kind."""
        return {kind: len(self.ordinals(kind)) for kind in LOOKED}


MISSING, CODE, INPUT, FORCED, SIBLING, INVALIDATED, WITHDRAWN = 1, 2, 4, 8, 16, 32, 64
"""Why a partition must run, as bits of a reasons column. ``WITHDRAWN`` stands alone: nothing is
left to build the partition from, so the step takes out what it holds."""


class Recall(Protocol):
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
    recall: Recall | None = None
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
        cls, snapshot: Snapshot, spaces: Mapping[str, KeySpace], recall: Recall | None = None
    ) -> Facts:
        """A store's snapshot laid out in key spaces."""
        facts = cls.empty(spaces)
        facts.recall = recall
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
            then = self.recall.code_parts(recorded) if self.recall is not None else {}
            self._traced[recorded] = bool(now) and all(then[n] == d for n, d in now.items())
        return self._traced[recorded]

    def reads_now(self, recorded: str) -> dict[str, str]:
        """The parts of what a code version was seen to read, with their digests of now; empty
        where that can't be told."""
        if self.recall is None or self.contents is None:
            return {}
        reads = as_reads(self.recall.code_parts(recorded))
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


class Wiring:
    """The graph's edges resolved between key spaces: intervals of ordinals, each made once."""

    def __init__(self, graph: Graph, spaces: Mapping[str, KeySpace]) -> None:
        self.graph = graph
        self.spaces = spaces
        self._edges: dict[tuple[object, int, int], Edge] = {}

    def edge(self, op: Op, read: Input) -> Edge:
        """The edge of one input of an op."""
        down, up = self.spaces[op.name], self.spaces[read.asset]
        key = (read.mapping, id(down), id(up))
        edge = self._edges.get(key)
        if edge is None:
            edge = self._edges[key] = read.mapping.resolve(down, up)
        return edge


def input_tag(read: Input | InputRead) -> int:
    """What tells an input's share of a digest from another input's."""
    return hash64("input", read.name, read.asset)


_OPEN = hash64("open window")

WAS_OPEN = "its window was open when it was built"


def is_incomplete(fact: Materialization) -> bool:
    """Whether a partition was built while its window was still open.

    Its input digest is marked then, and so differs from that of the same inputs when the window
    has closed: it is stale by itself. Nothing else is recorded of it.
    """
    if fact.kind == "observed":
        return False
    folded = fold_edges_one((input_tag(read), read.digest) for read in fact.inputs)
    return fact.input_digest == combine_one(*folded, _OPEN)


def incomplete_among(facts: Facts, asset: str, ordinals: np.ndarray) -> np.ndarray:
    """Which of these were built while their window was open; their records are asked, so it is for
    few: those that were built before their window closed."""
    if facts.recall is None:
        return ordinals[:0]
    found = (facts.recall.current(asset, key) for key in facts.spaces[asset].keys(ordinals))
    kept: np.ndarray = ordinals[[fact is not None and is_incomplete(fact) for fact in found]]
    return kept


def rows_alone(version: Version) -> Version:
    """What of an ordered data version stands for its rows as a set."""
    return (version[0], mix64(version[0])) if version[0] else NO_VERSION


class Digests:
    """Input digests as the recorded data versions are now: whole columns, or one partition."""

    def __init__(self, wiring: Wiring, facts: Facts) -> None:
        self.wiring = wiring
        self.facts = facts
        self._shares: dict[tuple[str, bool], np.ndarray] = {}
        self._tags: dict[Input, int] = {}

    def tag(self, read: Input) -> int:
        """`input_tag`, remembered."""
        tag = self._tags.get(read)
        if tag is None:
            tag = self._tags[read] = input_tag(read)
        return tag

    def shares(self, asset: str, *, any_order: bool = False) -> np.ndarray:
        """What each partition of an asset adds to a digest that reads it, uint64 (n, 2).

        With ``any_order`` out of the first word of its version alone: that of the rows as a set.
        """
        found = self._shares.get((asset, any_order))
        if found is None:
            data = self.facts.assets[asset].data
            if any_order:
                data = np.stack([data[:, 0], mix64(data[:, 0].copy())], axis=1)
                data[data[:, 0] == 0] = 0
            found = combine(data, self.facts.spaces[asset].salts())
            self._shares[asset, any_order] = found
        return found

    def moved(self, asset: str, ordinal: int, version: Version) -> None:
        """An asset partition has another data version from now on."""
        salt = int(self.facts.spaces[asset].salts()[ordinal])
        self.shares(asset)[ordinal] = combine_one(version[0], version[1], salt)
        loose = self._shares.get((asset, True))
        if loose is not None:
            loose[ordinal] = combine_one(*rows_alone(version), salt)

    def column(self, op: Op) -> np.ndarray:
        """The input digests of all partitions of an op, uint64 (n, 2)."""
        sums = [
            (self.tag(i), self.wiring.edge(op, i).sum(self.shares(i.asset, any_order=i.any_order)))
            for i in op.inputs
        ]
        space = self.facts.spaces[op.name]
        found = fold_edges(sums, space.n)
        if space.closed < space.n:
            still = found[space.closed :]
            still[:] = combine(still, np.full(len(still), _OPEN, np.uint64))
        return found

    def only_closed(self, op: Op, asset: str, ordinals: np.ndarray) -> np.ndarray:
        """Which partitions of an output were built of just this, while their window was open."""
        now, recorded = self.column(op)[ordinals], self.facts.assets[asset].digest[ordinals]
        marked = combine(now, np.full(len(now), _OPEN, np.uint64))
        same = (marked[:, 0] == recorded[:, 0]) & (marked[:, 1] == recorded[:, 1])
        found: np.ndarray = same & (ordinals < self.facts.spaces[asset].closed)
        return found

    def one(self, op: Op, ordinal: int) -> tuple[Version, list[Version]]:
        """One partition's input digest, and what each input contributed to it."""
        sums = [self._sum(op, read, ordinal) for read in op.inputs]
        tags = [self.tag(read) for read in op.inputs]
        folded = fold_edges_one(zip(tags, sums, strict=True))
        is_open = ordinal >= self.facts.spaces[op.name].closed
        return combine_one(*folded, _OPEN) if is_open else folded, sums

    def _sum(self, op: Op, read: Input, ordinal: int) -> Version:
        edge = self.wiring.edge(op, read)
        shares = self.shares(read.asset, any_order=read.any_order)
        bounds = edge.bounds(ordinal)
        if bounds is None:
            rows = shares[edge.upstream(ordinal)]
        else:
            lo, hi = bounds
            if hi - lo == 1:
                one = shares[lo]
                return int(one[0]), int(one[1])
            rows = shares[lo:hi]
        if not len(rows):
            return NO_VERSION
        high, low = rows.sum(axis=0, dtype=np.uint64).tolist()
        return high, low


@dataclass(slots=True)
class Assessment:
    """Staleness of every partition of one op, by ordinal.

    ``reasons`` uint8 bits (0: need not run by itself); ``may`` bool: something upstream of it is
    stale, so it runs if that really changes; ``absent`` bool: some upstream partition that it
    maps to has nothing recorded and will not get anything by itself; ``blind`` bool (None: none):
    a source partition that it is built from, however far up, could not be looked at;
    ``withdrawn`` as of `find_withdrawn` (None: none).
    """

    reasons: np.ndarray
    may: np.ndarray
    absent: np.ndarray
    blind: np.ndarray | None = None
    withdrawn: np.ndarray | None = None

    @property
    def must(self) -> np.ndarray:
        """Which partitions must run, bool."""
        found: np.ndarray = self.reasons != 0
        return found

    @property
    def stuck(self) -> np.ndarray:
        """Which partitions would run and can't, bool: whoever reads them takes them for missing,
        though an older version may be there."""
        found: np.ndarray = self.stale & self.absent
        return found

    @property
    def stale(self) -> np.ndarray:
        """Which partitions must or may run, bool."""
        found: np.ndarray = self.must | self.may
        return found


def assess(
    graph: Graph,
    facts: Facts,
    codes: Mapping[str, str],
    *,
    chosen: Callable[[str], np.ndarray | None] | None = None,
    force: bool = False,
    resume_at: int = 0,
    digests: Digests | None = None,
    sightings: Sightings | None = None,
) -> dict[str, Assessment]:
    """Staleness of every op (by its first asset's name), upstream first.

    ``codes`` maps each asset to its current code version. ``chosen(op)`` gives the partitions
    that can run (bool by ordinal, None for all): only these spread staleness further down, since
    what is not run changes nothing. ``force`` makes the chosen ones run whatever their state,
    save those recorded at the log position ``resume_at`` or after it (0: none). What could not be
    looked at (``sightings``) may have changed, and nothing can be built from it.
    """
    digests = digests or Digests(Wiring(graph, facts.spaces), facts)
    wiring = digests.wiring
    result: dict[str, Assessment] = {}
    withdrawn = find_withdrawn(graph, wiring, facts, chosen, sightings)
    there = cache(lambda name: facts.assets[name].there)
    for op in graph.ops:
        mask = chosen(op.name) if chosen is not None else None
        reasons = _reasons(op, graph, facts, codes, digests, there)
        if force and _is_built(graph, op):
            reasons[_forced(op, facts, mask, resume_at)] |= FORCED
        found = Assessment(reasons, np.zeros(len(reasons), bool), np.zeros(len(reasons), bool))
        found.withdrawn = withdrawn.get(op.name)
        if found.withdrawn is not None and _is_built(graph, op):
            reasons[found.withdrawn] = 0
            reasons[found.withdrawn & _holds_data(op, facts)] = WITHDRAWN
        if mask is not None:
            found.reasons[~mask] = 0
        errors = sightings.errors.get(op.name) if sightings is not None else None
        if errors:
            _blind(found, list(errors))
        try:
            _spread(op, wiring, facts, result, found, mask, there)
        except UserCodeError as error:  # a policy of the user's own was asked
            error.facts.setdefault("asset", op.name)
            raise
        result[op.name] = found
    return result


def find_withdrawn(
    graph: Graph,
    wiring: Wiring,
    facts: Facts,
    chosen: Callable[[str], np.ndarray | None] | None = None,
    sightings: Sightings | None = None,
) -> dict[str, np.ndarray]:
    """Which partitions are withdrawn: neither there nor expected, bool by the op's name.

    Of a source what is recorded so. What is built follows what it reads: where all that it maps
    to through some input is withdrawn, its own past aside, nothing is left to build it from. It
    still holds what it held until it is ``chosen`` to run. Ops that have none are left out.
    """
    errors = sightings.errors if sightings is not None else {}
    found: dict[str, np.ndarray] = {}
    for op in graph.ops:
        if not _is_built(graph, op):
            mask = facts.assets[op.name].withdrawn
            mask[list(errors.get(op.name, ()))] = False
            if mask.any():
                found[op.name] = mask
    for op in graph.ops if found else ():
        if _is_built(graph, op):
            mask = _nothing_left(op, wiring, found)
            runs = chosen(op.name) if chosen is not None and mask.any() else None
            if runs is not None:
                mask &= runs | ~_holds_data(op, facts)
            if mask.any():
                found[op.name] = mask
    return found


def _nothing_left(op: Op, wiring: Wiring, withdrawn: Mapping[str, np.ndarray]) -> np.ndarray:
    left_over = np.zeros(wiring.spaces[op.name].n, bool)
    for read in op.inputs:
        gone = withdrawn.get(wiring.graph.op_of[read.asset].name)
        if gone is None:  # also of the op's own past, which does not end what comes after it
            continue
        edge = wiring.edge(op, read)
        all_gone = edge.any(gone) & ~edge.any(~gone)
        left_over |= all_gone if edge.short is None else all_gone & ~edge.short
    return left_over


def _holds_data(op: Op, facts: Facts) -> np.ndarray:
    found: np.ndarray = np.logical_or.reduce([facts.assets[name].there for name in op.outputs])
    return found


def _forced(op: Op, facts: Facts, mask: np.ndarray | None, resume_at: int) -> np.ndarray:
    """The chosen partitions without those that were recorded since the position."""
    chosen = np.ones(facts.spaces[op.name].n, bool) if mask is None else mask
    if not resume_at:
        return chosen
    since = np.logical_and.reduce([facts.assets[name].id >= resume_at for name in op.outputs])
    left: np.ndarray = chosen & ~since
    return left


def _blind(found: Assessment, ordinals: list[int]) -> None:
    found.blind = np.zeros(len(found.may), bool)
    found.blind[ordinals] = found.may[ordinals] = found.absent[ordinals] = True


def _is_built(graph: Graph, op: Op) -> bool:
    return graph.assets[op.name].kind != "source"


def _reasons(
    op: Op,
    graph: Graph,
    facts: Facts,
    codes: Mapping[str, str],
    digests: Digests,
    there: Callable[[str], np.ndarray],
) -> np.ndarray:
    n = facts.spaces[op.name].n
    reasons = np.zeros(n, np.uint8)
    if not _is_built(graph, op):
        return reasons
    now = digests.column(op)
    each = [_own_reasons(facts, name, codes[name], now, there(name)) for name in op.outputs]
    for own in each:
        reasons |= own
    if len(each) > 1:
        partly = np.logical_or.reduce([own == 0 for own in each]) & (reasons != 0)
        reasons[partly] |= SIBLING
    return reasons


def _own_reasons(
    facts: Facts, name: str, code: str, now: np.ndarray, there: np.ndarray
) -> np.ndarray:
    own = facts.assets[name]
    reasons = np.where(there, 0, MISSING).astype(np.uint8)
    reasons[there & ~facts.of_current_code(name, code)] |= CODE
    # Compared as pairs: any() along an axis of two is many times slower than two columns.
    moved = (own.digest[:, 0] != now[:, 0]) | (own.digest[:, 1] != now[:, 1])
    reasons[there & moved] |= INPUT
    invalidated = facts.invalidated(name)
    if invalidated is not None:
        reasons[there & (own.id < invalidated)] |= INVALIDATED
    return reasons


def _spread(
    op: Op,
    wiring: Wiring,
    facts: Facts,
    done: Mapping[str, Assessment],
    found: Assessment,
    mask: np.ndarray | None,
    has_data: Callable[[str], np.ndarray],
) -> None:
    """Set ``may`` and ``absent`` out of the upstream ops, then along the op's own past."""
    own_past: list[tuple[Input, Edge]] = []
    for read in op.inputs:
        edge = wiring.edge(op, read)
        if edge.short is not None:
            found.absent |= edge.short
        if read.asset in op.outputs:
            own_past.append((read, edge))
            continue
        upstream, there = done[wiring.graph.op_of[read.asset].name], has_data(read.asset)
        gone = (~there & ~upstream.stale) | upstream.stuck
        if upstream.withdrawn is not None:
            gone &= ~upstream.withdrawn
        if not read.require.is_all and upstream.blind is not None:
            gone |= upstream.blind
        if upstream.reasons.any() or upstream.may.any():
            # What is done without, and does not come, changes nothing.
            found.may |= edge.any(upstream.stale if read.require.is_all else upstream.stale & ~gone)
        if gone.any():
            found.absent |= lacks(read, edge, gone, facts.spaces[read.asset], upstream.withdrawn)
        if upstream.blind is not None:
            unseen = _unseen(wiring.graph, read, edge, upstream.blind, there, found.absent)
            if mask is not None:
                unseen &= mask
            found.blind = unseen if found.blind is None else found.blind | unseen
            found.absent |= unseen
            found.may |= unseen
    if mask is not None:
        found.may &= mask
    if found.withdrawn is not None:  # nothing is built, so nothing is waited for
        found.may &= ~found.withdrawn
        found.absent &= ~found.withdrawn
        found.blind = None if found.blind is None else found.blind & ~found.withdrawn
    if own_past:
        _scan(own_past, facts, found, mask)


def _unseen(
    graph: Graph,
    read: Input,
    edge: Edge,
    blind: np.ndarray,
    there: np.ndarray,
    absent: np.ndarray,
) -> np.ndarray:
    """Which partitions can't be built since a source could not be looked at, bool."""
    every = edge.any(blind)
    if read.require.is_all:
        return every.copy()
    found: np.ndarray = every & absent
    if graph.assets[read.asset].kind == "source":
        # Seen before, it is handed over; and what it holds now is what nobody can tell.
        found |= edge.any(blind & there)
    return found


def lacks(
    read: Input,
    edge: Edge,
    gone: np.ndarray,
    up: KeySpace,
    withdrawn: np.ndarray | None = None,
) -> np.ndarray:
    """Which partitions miss more through an input than its policy lets them, bool.

    ``gone`` marks the upstream partitions that are not there and will not come, ``withdrawn``
    those that are not expected either.
    """
    policy = read.require
    if policy.is_all:
        return edge.any(gone)
    missing = edge.count(gone)
    if policy.rule is None:
        expected = edge.count(np.ones(edge.n_up, bool) if withdrawn is None else ~withdrawn)
        found: np.ndarray = (missing > 0) & (expected - missing < policy.least(expected))
        return found
    short = missing > 0
    for ordinal in np.flatnonzero(short).tolist():
        at = expected_of(edge.upstream(ordinal), withdrawn)
        short[ordinal] = not is_enough(read, at, gone[at], up)
    return short


def expected_of(at: np.ndarray, withdrawn: np.ndarray | None) -> np.ndarray:
    """These upstream partitions without those that are withdrawn."""
    return at if withdrawn is None else at[~withdrawn[at]]


def is_enough(read: Input, at: np.ndarray, gone: np.ndarray, up: KeySpace) -> bool:
    """Whether the policy of an input is content with what is not ``gone`` (bool) of ``at``."""
    policy = read.require
    if policy.rule is None or not gone.any():
        return len(at) - int(gone.sum()) >= int(policy.least(np.array(len(at))))
    return policy.holds(up.keys(at[~gone]), up.keys(at))


@dataclass(slots=True)
class _Past:
    """One input through which an op reads its own past, while the scan goes along it.

    ``missing`` says of each partition whether it keeps those that read it from being built.
    """

    read: Input
    edge: Edge
    up: KeySpace
    missing: list[bool]
    withdrawn: np.ndarray | None = None

    @classmethod
    def of(cls, read: Input, edge: Edge, facts: Facts, found: Assessment) -> _Past:
        missing = (~facts.assets[read.asset].there & ~found.stale) | found.stuck
        if found.withdrawn is not None:
            missing &= ~found.withdrawn
        return cls(read, edge, facts.spaces[read.asset], missing.tolist(), found.withdrawn)

    def look(self, ordinal: int, stale: list[bool]) -> tuple[bool, bool]:
        """Whether something that a partition reads will change, and whether enough is there."""
        bounds = self.edge.bounds(ordinal)
        if bounds is not None:
            moving, gone = stale[slice(*bounds)], self.missing[slice(*bounds)]
        else:
            at = self.edge.upstream(ordinal).tolist()
            moving, gone = [stale[j] for j in at], [self.missing[j] for j in at]
        if True not in gone:
            return True in moving, True
        if self.read.require.is_all:
            return True in moving, False
        moves = any(m and not g for m, g in zip(moving, gone, strict=True))
        at = expected_of(self.edge.upstream(ordinal), self.withdrawn)
        return moves, is_enough(self.read, at, np.array(self.missing)[at], self.up)

    def waits(self, ordinal: int) -> None:
        self.missing[ordinal] = True


def _scan(
    own_past: Sequence[tuple[Input, Edge]],
    facts: Facts,
    found: Assessment,
    mask: np.ndarray | None,
) -> None:
    """Carry staleness forward along an op's own past, in order of partitions."""
    first = np.flatnonzero(found.stale | found.absent)
    if not len(first):
        return
    pasts = [_Past.of(read, edge, facts, found) for read, edge in own_past]
    stale, may, absent = found.stale.tolist(), found.may, found.absent
    for i in range(int(first[0]), len(stale)):
        if mask is not None and not mask[i]:
            continue
        if found.withdrawn is not None and found.withdrawn[i]:
            continue
        moves, enough = False, True
        for past in pasts:
            one = past.look(i, stale)
            moves, enough = moves or one[0], enough and one[1]
        if moves:
            may[i] = stale[i] = True
        if not stale[i]:
            continue
        if not enough:
            absent[i] = True
        if absent[i]:
            for past in pasts:
                past.waits(i)


# --------------------------------------------------------------------------------------------
# Telling why


READS = "reads otherwise"
"""The kind of a reason: not what was read has moved, other partitions or assets are read."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One cause of staleness: what kind, told in words, what it was and what it is.

    ``asset`` and ``partition`` name the upstream partition that moved, where one did.
    """

    kind: str
    detail: str
    was: str = ""
    now: str = ""
    asset: str = ""
    partition: str = ""


def explain(
    graph: Graph,
    digests: Digests,
    codes: Mapping[str, str],
    parts: Mapping[str, Mapping[str, str]],
    asset: str,
    ordinal: int,
    bits: int,
    withdrawn: Mapping[str, np.ndarray] | None = None,
) -> tuple[Reason, ...]:
    """The reasons of one partition, in words. ``parts`` holds each asset's current code parts."""
    found: list[Reason] = []
    facts = digests.facts
    own = facts.assets[asset]
    if bits & WITHDRAWN:
        return (_nothing_left_reason(graph.op_of[asset], digests, ordinal, withdrawn or {}),)
    if bits & MISSING and not own.has(ordinal):
        again = "was withdrawn, and what it reads is there again"
        found.append(Reason("missing", again if own.id[ordinal] else "never materialized"))
    if bits & INVALIDATED and (invalidation := facts.invalidation(asset, ordinal)) is not None:
        found.append(Reason("invalidated", f"invalidated {invalidation}"))
    if bits & CODE and own.id[ordinal]:
        found += _code_reasons(facts, int(own.code[ordinal]), codes[asset], parts.get(asset, {}))
    if bits & INPUT and own.id[ordinal]:
        found += _input_reasons(graph, digests, asset, ordinal)
    if bits & FORCED:
        found.append(Reason("forced", "asked for by --force"))
    if not found and bits & SIBLING:
        others = ", ".join(n for n in graph.op_of[asset].outputs if n != asset)
        found.append(Reason("sibling", f"made together with {others}"))
    return tuple(found)


UPGRADED = "fingerprint upgraded"
"""The kind of a reason: code that was fingerprinted by an older version can't be compared."""

OLDER_FORM = "built before fingerprints of code got better; the two can't be compared"


def _is_of_another_form(known: Mapping[str, str], parts: Mapping[str, str]) -> bool:
    from assets_core.fingerprint import FORM_PART

    of_a_function = any(name.startswith("function ") for name in known)
    return of_a_function and FORM_PART in parts and known.get(FORM_PART) != parts[FORM_PART]


def only_upgraded(
    facts: Facts, asset: str, ordinals: np.ndarray, parts: Mapping[str, str]
) -> np.ndarray:
    """Which of these were built by code that was fingerprinted in an older form, bool."""
    codes = facts.assets[asset].code[ordinals]
    found = np.zeros(len(ordinals), bool)
    recall = facts.recall
    if recall is None:
        return found
    for code in np.unique(codes).tolist():
        known = recall.code_parts(facts.codes.get(code, ""))
        if _is_of_another_form(known, parts):
            found |= codes == code
    return found


def _nothing_left_reason(
    op: Op, digests: Digests, ordinal: int, withdrawn: Mapping[str, np.ndarray]
) -> Reason:
    """Which input nothing is left of, and why its first partition was withdrawn."""
    facts = digests.facts
    for read in op.inputs:
        at = digests.wiring.edge(op, read).upstream(ordinal)
        gone = withdrawn.get(digests.wiring.graph.op_of[read.asset].name)
        if gone is None or read.asset in op.outputs or not len(at) or not gone[at].all():
            continue
        key = facts.spaces[read.asset].key(int(at[0]))
        told = _withdrawn_for(facts, read.asset, int(at[0]))
        place = f"{read.asset}[{key}]" + (f" to {len(at) - 1:,} more" if len(at) > 1 else "")
        detail = f"nothing is left to read: {place} withdrawn {told}".strip()
        return Reason(IS_WITHDRAWN, detail, asset=read.asset, partition=key)
    return Reason(IS_WITHDRAWN, "nothing is left to read")


IS_WITHDRAWN = "withdrawn"
"""The kind of a reason: all that a partition reads through some input is withdrawn."""


def _withdrawn_for(facts: Facts, asset: str, ordinal: int) -> str:
    """By whom and why a partition was withdrawn; empty where that is not recorded."""
    if facts.recall is None or not facts.assets[asset].id[ordinal]:
        return ""
    fact = facts.recall.current(asset, facts.spaces[asset].key(ordinal))
    return withdrawn_for(fact) if fact is not None else ""


def _code_reasons(facts: Facts, code: int, current: str, parts: Mapping[str, str]) -> list[Reason]:
    from assets_core.fingerprint import changed_parts

    was = facts.codes.get(code, "")
    if was == current:
        return []
    known = facts.recall.code_parts(was) if facts.recall is not None else {}
    if _is_of_another_form(known, parts):
        return [Reason(UPGRADED, OLDER_FORM, was[:12], current[:12])]
    if was.startswith(f"{current}+"):
        return [_reads_moved(known, facts.reads_now(was))]
    static = {name: part for name, part in known.items() if not name.startswith(TRACED)}
    changes = changed_parts(static, parts) if static and parts else []
    about_config = bool(changes) and all(change.startswith("config") for change in changes)
    kind = "config changed" if about_config else "code changed"
    return [Reason(kind, "; ".join(changes) or "another code version", was[:12], current[:12])]


def _reads_moved(known: Mapping[str, str], now: Mapping[str, str]) -> Reason:
    """Which of the things that a build read besides its inputs hold something else now."""
    moved = (name for name, digest in sorted(now.items()) if known[name] != digest)
    names = [name.removeprefix(TRACED) for name in moved]
    shown = [f"{name} changed" for name in names[:_SHOWN]]
    shown += [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    told = "; ".join(shown) or "what it read besides its inputs is not known"
    return Reason("code changed", told)


def _input_reasons(graph: Graph, digests: Digests, asset: str, ordinal: int) -> list[Reason]:
    op, facts = graph.op_of[asset], digests.facts
    current, sums = digests.one(op, ordinal)
    own = facts.assets[asset]
    if (int(own.digest[ordinal][0]), int(own.digest[ordinal][1])) == current:
        return []
    partition = facts.spaces[asset].key(ordinal)
    reads = {r.name: r for r in facts.recall.reads(asset, partition)} if facts.recall else {}
    found: list[Reason] = []
    closed = ordinal < facts.spaces[asset].closed
    if closed and _was_open(op, reads, (int(own.digest[ordinal][0]), int(own.digest[ordinal][1]))):
        found.append(Reason("closed", WAS_OPEN))
    for read, total in zip(op.inputs, sums, strict=True):
        before = reads.pop(read.name, None)
        if before is not None and before.asset == read.asset and before.digest == total:
            continue
        kind = "late data" if graph.assets[read.asset].kind == "source" else "input changed"
        found += _moved(facts, digests.wiring, op, read, ordinal, before, kind)
    for gone in reads.values():
        found.append(Reason(READS, f"no longer reads {gone.asset}", was=gone.asset))
    return found or [Reason("input changed", "another input digest")]


def _was_open(op: Op, reads: Mapping[str, InputRead], digest: Version) -> bool:
    if len(reads) < len(op.inputs):
        return False
    folded = fold_edges_one((input_tag(read), read.digest) for read in reads.values())
    return digest == combine_one(*folded, _OPEN)


def _moved(
    facts: Facts,
    wiring: Wiring,
    op: Op,
    read: Input,
    ordinal: int,
    before: InputRead | None,
    kind: str,
) -> list[Reason]:
    """Which of an input's partitions moved, one reason each (a summary past a few)."""
    if before is None:
        return [Reason(READS, f"reads {read.asset} since its last build", now=read.asset)]
    assert facts.recall is not None
    own_key = facts.spaces[op.name].key(ordinal)
    was = facts.recall.versions_read(op.name, own_key, before)
    space, data = facts.spaces[read.asset], facts.assets[read.asset]
    at = wiring.edge(op, read).upstream(ordinal)
    ordinals = {key: int(i) for key, i in zip(space.keys(at), at, strict=True)}
    now = {key: data.version(i) for key, i in ordinals.items()}
    # Of a range whose ends have left the key space only the ends are known.
    known = was.keys() | now.keys() if len(was) == before.count else was.keys()
    changed = [
        (key, was.get(key, NO_VERSION), now.get(key, NO_VERSION))
        for key in sorted(known)
        if was.get(key, NO_VERSION) != now.get(key, NO_VERSION)
    ]
    label = "late data in" if kind == "late data" else "input"
    reasons = []
    for key, old, new in changed[:_SHOWN]:
        place = f"{read.asset}[{key}]"
        if key not in now:  # `latest()` has gone on, or a window's calendar was cut
            reason = Reason(READS, f"no longer reads {place}", was=_short(old))
        elif key not in was and not read.require.is_all:
            reason = Reason(kind, f"{label} {place}, which was not there", now=_short(new))
        elif new == NO_VERSION and data.id[ordinals[key]]:
            told = f"{place} was withdrawn {_withdrawn_for(facts, read.asset, ordinals[key])}"
            reason = Reason(kind, told.strip(), _short(old), _short(new))
        elif was and key not in was:
            reason = Reason(READS, f"now reads {place}", now=_short(new))
        else:
            reason = Reason(kind, f"{label} {place}", _short(old), _short(new))
        reasons.append(replace(reason, asset=read.asset, partition=key))
    if len(changed) > _SHOWN:
        more = len(changed) - _SHOWN
        rest = f"and {more} more partitions of {read.asset}"
        reasons.append(Reason(kind, rest, asset=read.asset))
    return reasons or [Reason(kind, f"{label} {read.asset}", asset=read.asset)]


_SHOWN = 5


def _short(version: Version) -> str:
    return f"{version[0]:016x}"[:12] if version != NO_VERSION else "nothing"


def keys_to_ranges(space: KeySpace, ordinals: Iterable[int]) -> tuple[tuple[str, str], ...]:
    """Inclusive key pairs of the runs of consecutive ordinals."""
    runs: list[list[int]] = []
    for ordinal in ordinals:
        if runs and ordinal == runs[-1][1] + 1:
            runs[-1][1] = ordinal
        else:
            runs.append([ordinal, ordinal])
    return tuple((space.key(a), space.key(b)) for a, b in runs)
