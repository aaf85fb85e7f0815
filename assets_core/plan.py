"""The plan: a value that says which asset partitions run, in which order, and why.

Pure. `make_plan` selects among what `staleness` found; executing a plan and explaining it are
two readers of the same steps and the same reasons.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from assets_core.graph import Graph, Input, Op
from assets_core.partitions import KeySpace, PartitionSelection
from assets_core.staleness import (
    Assessment,
    Digests,
    Facts,
    Reason,
    Sightings,
    Wiring,
    assess,
    expected_of,
    explain,
    is_enough,
    keys_to_ranges,
)

if TYPE_CHECKING:
    from assets_core.observe.why import Why

Status = Literal["must", "may"]


@dataclass(frozen=True, slots=True)
class Step:
    """One asset partition of a plan, with the reasons why it is in it."""

    asset: str
    partition: str
    status: Status
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        return f"{self.asset}@{self.partition}"


@dataclass(frozen=True, slots=True)
class Lack:
    """What is missing through one input: ``ordinals`` (int64) of the ``expected`` partitions of
    ``asset``, where ``needed`` would do (None: a function decides, and ``policy`` names it). None
    are named where partitions are waited for that do not exist yet, such as windows not closed.
    """

    asset: str
    ordinals: np.ndarray
    expected: int
    space: KeySpace
    needed: int | None = None
    policy: str = "all"

    @property
    def missing(self) -> int:
        """How many are missing."""
        return len(self.ordinals)

    def __str__(self) -> str:
        """``3 of 31 of days: 2024-01-07, …``; the keys alone where nothing is there."""
        if not self.missing:
            return f"partitions of {self.asset} that do not exist yet"
        where = self.where()
        if self.missing < self.expected:
            needs = "" if self.policy == "all" else f" (needs {self.needed or self.policy})"
            return f"{self.missing:,} of {self.expected:,} of {self.asset}{needs}: {where}"
        return f"{self.asset}{'@' if self.expected == 1 else ' '}{where}"

    def where(self, most: int = 3) -> str:
        """The keys, consecutive ones as ranges, the first few of many."""
        at = self.ordinals
        ends = np.append(np.flatnonzero(np.diff(at) != 1), len(at) - 1)
        shown = at[: ends[min(most, len(ends)) - 1] + 1].tolist()
        pairs = keys_to_ranges(self.space, shown)
        told = [a if a == b else f"{a}..{b}" for a, b in pairs]
        return ", ".join([*told, *(["…"] if len(ends) > most else [])])


@dataclass(frozen=True, slots=True)
class Waiting:
    """An asset partition that would run, but waits for upstream partitions that are missing.

    ``lacks`` has an entry for each input that too much is missing of.
    """

    asset: str
    partition: str
    missing: tuple[tuple[str, str], ...]
    lacks: tuple[Lack, ...] = ()

    @property
    def told(self) -> str:
        """``waits for 3 of 31 of days: 2024-01-07, …``."""
        what = "; ".join(str(lack) for lack in self.lacks)
        return f"waits for {what or _NOTHING_NAMED}"


_NOTHING_NAMED = "a step that can't run"


@dataclass(frozen=True, slots=True)
class Batch:
    """The steps of one op, as columns: ``ordinals`` int64, ``reasons`` uint8 (0: may only)."""

    op: Op
    ordinals: np.ndarray
    reasons: np.ndarray


@dataclass(frozen=True, slots=True)
class Plan:
    """What would run. Batches are in topological order of their ops; see `steps`.

    ``revision`` is the log position that the facts were read at, ``now`` the instant that decided
    which windows have closed. ``note`` is what a run of it is marked with. ``chosen`` are the
    partitions of each op that were selected (bool by ordinal); of an op not in it, all.
    ``withdrawn`` are those that are neither there nor expected, as of `find_withdrawn`.
    """

    environment: str
    now: datetime
    revision: int
    batches: tuple[Batch, ...]
    waiting_batches: tuple[Batch, ...]
    graph: Graph = field(repr=False)
    facts: Facts = field(repr=False)
    digests: Digests = field(repr=False)
    codes: Mapping[str, str] = field(repr=False)
    parts: Mapping[str, Mapping[str, str]] = field(repr=False)
    selected: tuple[str, ...] = ()
    forced: bool = False
    sightings: Sightings = field(default_factory=Sightings, repr=False)
    blind: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    note: str = ""
    chosen: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    withdrawn: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def wiring(self) -> Wiring:
        """The graph's edges between the key spaces."""
        return self.digests.wiring

    @property
    def must(self) -> int:
        """How many asset partitions will run."""
        return sum(int((b.reasons != 0).sum()) * len(b.op.outputs) for b in self.batches)

    @property
    def may(self) -> int:
        """How many run only if something upstream really changes."""
        return sum(int((b.reasons == 0).sum()) * len(b.op.outputs) for b in self.batches)

    @property
    def size(self) -> int:
        """How many times a function or query is called at most."""
        return sum(len(b.ordinals) for b in self.batches)

    def __len__(self) -> int:
        return self.must + self.may

    def __bool__(self) -> bool:
        return bool(self.batches)

    def steps(self) -> Iterator[Step]:
        """Every step, upstream assets first and each asset's partitions in order."""
        for batch in self.batches:
            keys = self.facts.spaces[batch.op.name].keys(batch.ordinals)
            for ordinal, bits, key in zip(
                batch.ordinals.tolist(), batch.reasons.tolist(), keys, strict=True
            ):
                for asset in batch.op.outputs:
                    yield self._step(batch.op, asset, ordinal, bits, key)

    def _step(self, op: Op, asset: str, ordinal: int, bits: int, key: str) -> Step:
        if bits:
            return Step(asset, key, "must", self.explain(asset, ordinal, bits))
        return Step(asset, key, "may", self._upstream_reasons(op, ordinal))

    def explain(self, asset: str, ordinal: int, bits: int) -> tuple[Reason, ...]:
        """The reasons that the bits of a partition stand for, in words."""
        return explain(
            *(self.graph, self.digests, self.codes, self.parts),
            *(asset, ordinal, bits, self.withdrawn),
        )

    def why(self, asset: str, partition: str | None = None) -> Why:
        """Why a partition is in the plan, up to its root causes, with before and after.

        ``"asset@partition"`` may be given as one text. Raises UnknownAssetError, PartitionError.
        """
        from assets_core.observe.why import find_why

        name, _, key = (asset, "", partition) if partition is not None else asset.partition("@")
        if not key and self.graph.asset(name) and self.facts.spaces[name].n == 1:
            key = self.facts.spaces[name].key(0)
        return find_why(self, name, key)

    def _upstream_reasons(self, op: Op, ordinal: int) -> tuple[Reason, ...]:
        planned = {b.op.name: b.ordinals for b in self.batches}
        found = []
        for read in op.inputs:
            ordinals = planned.get(self.graph.op_of[read.asset].name)
            if ordinals is None:
                continue
            at = np.intersect1d(self.wiring.edge(op, read).upstream(ordinal), ordinals)
            if read.asset in op.outputs:
                at = at[at != ordinal]
            if len(at):
                space = self.facts.spaces[read.asset]
                last = space.key(int(at[-1]))
                where = space.key(int(at[0])) + (f"..{last}" if len(at) > 1 else "")
                found.append(Reason("upstream", f"if {read.asset}[{where}] changes"))
        return tuple(found)

    def waiting(self) -> Iterator[Waiting]:
        """Every asset partition of the selection that is stale but can't run yet."""
        for batch in self.waiting_batches:
            gone = [self.gone(read) for read in batch.op.inputs]
            for ordinal in batch.ordinals.tolist():
                lacks = tuple(self.lacks(batch.op, ordinal, gone))
                missing = tuple((lack.asset, k) for lack in lacks for k in _keys(lack))
                key = self.facts.spaces[batch.op.name].key(ordinal)
                for asset in batch.op.outputs:
                    yield Waiting(asset, key, missing, lacks)

    @property
    def blocked(self) -> int:
        """How many asset partitions wait for missing upstream partitions."""
        return sum(len(b.ordinals) * len(b.op.outputs) for b in self.waiting_batches)

    def lacks(
        self, op: Op, ordinal: int, gone: Sequence[np.ndarray] | None = None
    ) -> Iterator[Lack]:
        """What a partition that waits is waiting for, by input; ``gone`` of each, where known."""
        columns = gone or [self.gone(read) for read in op.inputs]
        for read, column in zip(op.inputs, columns, strict=True):
            edge = self.wiring.edge(op, read)
            if edge.short is not None and edge.short[ordinal]:
                yield self.lack(read, np.zeros(0, np.int64), 0)
            at = self.expected(read, edge.upstream(ordinal))
            missing = column[at]
            if missing.any() and not self._does_without(read, at, missing):
                yield self.lack(read, at[missing], len(at))

    def _does_without(self, read: Input, at: np.ndarray, missing: np.ndarray) -> bool:
        if read.require.is_all:
            return False
        source = self.graph.assets[read.asset].kind == "source"
        blind = self.blind.get(self.graph.op_of[read.asset].name)
        if (
            source
            and blind is not None
            and self.facts.assets[read.asset].there[at[blind[at]]].any()
        ):
            return False
        return is_enough(read, at, missing, self.facts.spaces[read.asset])

    def expected(self, read: Input, at: np.ndarray) -> np.ndarray:
        """These partitions of what an input reads, without those that are withdrawn."""
        return expected_of(at, self.withdrawn.get(self.graph.op_of[read.asset].name))

    def lack(self, read: Input, missing: np.ndarray, expected: int) -> Lack:
        """These ordinals, missing of as many through an input."""
        policy = read.require
        space = self.facts.spaces[read.asset]
        return Lack(read.asset, missing, expected, space, policy.needed(expected), str(policy))

    def gone(self, read: Input) -> np.ndarray:
        """Which partitions of what an input reads are not there and do not come by this plan,
        bool."""
        found = self.lacking(read.asset).copy()
        upstream = self.graph.op_of[read.asset].name
        for batch in self.batches:
            if batch.op.name == upstream:
                found[batch.ordinals] = False
        return found

    def lacking(self, asset: str) -> np.ndarray:
        """Which partitions of an asset can't be read, bool: nothing is recorded of them, they wait
        themselves, or they (or what they are built from) are of a source that could not be looked
        at."""
        found: np.ndarray = ~self.facts.assets[asset].there
        upstream = self.graph.op_of[asset].name
        if upstream in self.withdrawn:
            found &= ~self.withdrawn[upstream]
        for batch in self.waiting_batches:
            if batch.op.name == upstream:
                found[batch.ordinals] = True
        blind = self.blind.get(upstream)
        return found if blind is None else found | blind

    def unseen(self) -> Iterator[tuple[str, str, Exception]]:
        """Every source partition that could not be looked at: source, partition, error."""
        for source, errors in self.sightings.errors.items():
            for ordinal, error in errors.items():
                yield source, self.facts.spaces[source].key(ordinal), error

    @property
    def idle(self) -> bool:
        """Whether there is nothing to run and nothing to tell: no step, none blocked, no error."""
        return not (self.batches or self.waiting_batches or self.sightings.errors)

    def resting(self) -> int:
        """How many selected asset partitions are not in the plan only because something stale that
        they read, be it far up, was not selected."""
        if not self.chosen:
            return 0
        found = assess(
            self.graph, self.facts, self.codes, digests=self.digests, sightings=self.sightings
        )
        planned = sum(len(b.ordinals) * len(b.op.outputs) for b in self.waiting_batches)
        stale = sum(
            int((found[op.name].stale & self.chosen.get(op.name, True)).sum()) * len(op.outputs)
            for op in self.graph.ops
            if self.graph.assets[op.name].kind != "source"
        )
        return stale - planned - len(self)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values; see `to_json`."""
        return {
            "environment": self.environment,
            "now": self.now.astimezone(UTC).isoformat(),
            "revision": self.revision,
            "must": self.must,
            "may": self.may,
            "blocked": self.blocked,
            "steps": [
                {
                    "asset": step.asset,
                    "partition": step.partition,
                    "status": step.status,
                    "reasons": [_reason_dict(reason) for reason in step.reasons],
                }
                for step in self.steps()
            ],
            "waiting": [
                {
                    "asset": w.asset,
                    "partition": w.partition,
                    "missing": [{"asset": a, "partition": p} for a, p in w.missing],
                    "lacks": [lack_dict(lack) for lack in w.lacks],
                }
                for w in self.waiting()
            ],
            "unseen": [
                {"asset": source, "partition": key, "error": str(error)}
                for source, key, error in self.unseen()
            ],
            "gone": [
                {"asset": source, "partition": key}
                for source, ordinals in self.sightings.gone.items()
                for key in self.facts.spaces[source].keys(ordinals)
            ],
        }

    def to_json(self) -> str:
        """The plan as one JSON document."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    def _repr_html_(self) -> str:
        from assets_core.observe.display import plan_html

        return plan_html(self)

    def __repr__(self) -> str:
        waiting = f", {self.blocked} waiting" if self.blocked else ""
        return f"<Plan {self.environment}: {self.must} must, {self.may} may{waiting}>"

    def __str__(self) -> str:
        from assets_core.observe.display import plan_text

        return plan_text(self)


def _keys(lack: Lack) -> list[str]:
    found: list[str] = lack.space.keys(lack.ordinals)
    return found


def lack_dict(lack: Lack) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "asset": lack.asset,
        "missing": lack.missing,
        "expected": lack.expected,
        "needed": lack.needed,
    }


def _reason_dict(reason: Reason) -> dict[str, str]:
    return {
        "kind": reason.kind,
        "detail": reason.detail,
        "was": reason.was,
        "now": reason.now,
    }


def make_plan(
    graph: Graph,
    facts: Facts,
    codes: Mapping[str, str],
    *,
    now: datetime,
    assets: Collection[str] | None = None,
    partitions: PartitionSelection | None = None,
    force: bool = False,
    resume_at: int = 0,
    environment: str = "prod",
    parts: Mapping[str, Mapping[str, str]] | None = None,
    wiring: Wiring | None = None,
    sightings: Sightings | None = None,
) -> Plan:
    """Which partitions of the selection are stale, what waits, and why.

    ``facts`` are laid out in key spaces resolved at ``now``, so a window that has not closed is
    not in them unless asked. ``codes`` maps each asset to its current code version, ``parts`` to
    that version's parts. ``assets`` and ``partitions`` select (None: all); an op that makes
    several assets is selected by any of them. ``force``, ``resume_at`` and
    ``sightings`` as for `assess`.
    """
    digests = Digests(wiring or Wiring(graph, facts.spaces), facts)
    wanted = None if assets is None else set(assets)
    masks = _masks(graph, facts, wanted, partitions)
    found = assess(
        graph,
        facts,
        codes,
        chosen=masks.get,
        force=force,
        resume_at=resume_at,
        digests=digests,
        sightings=sightings,
    )
    running: list[Batch] = []
    waiting: list[Batch] = []
    for op in graph.ops:
        if graph.assets[op.name].kind != "source":
            _batch(op, found[op.name], running, waiting)
    return Plan(
        environment=environment,
        now=now,
        revision=facts.revision,
        batches=tuple(running),
        waiting_batches=tuple(waiting),
        graph=graph,
        facts=facts,
        digests=digests,
        codes=codes,
        parts=parts or {},
        selected=tuple(graph.order if wanted is None else (n for n in graph.order if n in wanted)),
        forced=force,
        sightings=sightings or Sightings(),
        blind={name: one.blind for name, one in found.items() if one.blind is not None},
        chosen=masks,
        withdrawn={n: one.withdrawn for n, one in found.items() if one.withdrawn is not None},
    )


def _masks(
    graph: Graph, facts: Facts, wanted: set[str] | None, partitions: PartitionSelection | None
) -> dict[str, np.ndarray]:
    """Which partitions of each op can run; an op that is not in the result can run whole."""
    masks: dict[str, np.ndarray] = {}
    by_space: dict[int, np.ndarray] = {}
    for op in graph.ops:
        space = facts.spaces[op.name]
        if wanted is not None and wanted.isdisjoint(op.outputs):
            masks[op.name] = np.zeros(space.n, bool)
        elif partitions is not None:
            if id(space) not in by_space:
                by_space[id(space)] = partitions.mask(space)
            masks[op.name] = by_space[id(space)]
    return masks


def _batch(op: Op, found: Assessment, running: list[Batch], waiting: list[Batch]) -> None:
    stale = found.stale
    for into, mask in ((running, stale & ~found.absent), (waiting, stale & found.absent)):
        ordinals = np.flatnonzero(mask)
        if len(ordinals):
            into.append(Batch(op, ordinals, found.reasons[ordinals]))
