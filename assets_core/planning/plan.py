"""The plan: a value that says which asset partitions run, in which order, and why.

Pure. `make_plan` selects among what `staleness` found; executing a plan and explaining it are
two readers of the same steps and the same reasons.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from assets_core.graph import Graph, Op
from assets_core.partitions import PartitionSelection
from assets_core.planning.columns import OpSteps, PlanColumns
from assets_core.planning.digests import Digests
from assets_core.planning.facts import Facts
from assets_core.planning.missing_inputs import MissingInput, missing_input_dict
from assets_core.planning.observations import Observations
from assets_core.planning.reasons import Reason
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.planning.staleness import Assessment, assess
from assets_core.planning.why import Why
from assets_core.planning.why_walk import find_why
from assets_core.shown import Shown

StepStatus = Literal["must", "may"]


@dataclass(frozen=True, slots=True)
class Step:
    """One asset partition of a plan, with the reasons why it is in it."""

    asset: str
    partition: str
    status: StepStatus
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        return f"{self.asset}@{self.partition}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An asset partition that would run, but waits for upstream partitions that are missing.

    ``lacks`` has an entry for each input that too much is missing of.
    """

    asset: str
    partition: str
    missing: tuple[tuple[str, str], ...]
    missing_inputs: tuple[MissingInput, ...] = ()

    @property
    def told(self) -> str:
        """``waits for 3 of 31 of days: 2024-01-07, …``."""
        what = "; ".join(str(missing_input) for missing_input in self.missing_inputs)
        return f"waits for {what or _NOTHING_NAMED}"


_NOTHING_NAMED = "a step that can't run"


@dataclass(frozen=True, slots=True, repr=False)
class Plan(Shown, PlanColumns):
    """What would run, step by step; a value that is executed, explained, stored and shown."""

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

    def why(self, asset: str, partition: str | None = None) -> Why:
        """Why a partition is in the plan, up to its root causes, with before and after.

        ``"asset@partition"`` may be given as one text. Raises UnknownAssetError, PartitionError.
        """
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
            at = np.intersect1d(self.resolved.edge(op, read).upstream(ordinal), ordinals)
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
            gone = [self.still_unavailable(read) for read in batch.op.inputs]
            for ordinal in batch.ordinals.tolist():
                missing_inputs = tuple(self.missing_inputs(batch.op, ordinal, gone))
                missing = tuple((one.asset, k) for one in missing_inputs for k in _keys(one))
                key = self.facts.spaces[batch.op.name].key(ordinal)
                for asset in batch.op.outputs:
                    yield Waiting(asset, key, missing, missing_inputs)

    def unseen(self) -> Iterator[tuple[str, str, Exception]]:
        """Every source partition that could not be looked at: source, partition, error."""
        for source, errors in self.observations.errors.items():
            for ordinal, error in errors.items():
                yield source, self.facts.spaces[source].key(ordinal), error

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
                    "lacks": [missing_input_dict(one) for one in w.missing_inputs],
                }
                for w in self.waiting()
            ],
            "unseen": [
                {"asset": source, "partition": key, "error": str(error)}
                for source, key, error in self.unseen()
            ],
            "gone": [
                {"asset": source, "partition": key}
                for source, ordinals in self.observations.gone.items()
                for key in self.facts.spaces[source].keys(ordinals)
            ],
            "made_along": [
                {"asset": name, "selected": list(others)}
                for name, others in self.made_along.items()
            ],
        }

    def to_json(self) -> str:
        """The plan as one JSON document."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    def __repr__(self) -> str:
        waiting = f", {self.blocked} waiting" if self.blocked else ""
        return f"<Plan {self.environment}: {self.must} must, {self.may} may{waiting}>"


def _keys(missing_input: MissingInput) -> list[str]:
    found: list[str] = missing_input.space.keys(missing_input.ordinals)
    return found


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
    resolved: ResolvedGraph | None = None,
    observations: Observations | None = None,
) -> Plan:
    """Which partitions of the selection are stale, what waits, and why.

    ``facts`` are laid out in key spaces resolved at ``now``, so a window that has not closed is
    not in them unless asked. ``codes`` maps each asset to its current code version, ``parts`` to
    that version's parts. ``assets`` and ``partitions`` select (None: all); an op that makes
    several assets is selected by any of them. ``force``, ``resume_at`` and
    ``observations`` as for `assess`.
    """
    digests = Digests(resolved or ResolvedGraph(graph, facts.spaces), facts)
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
        observations=observations,
    )
    running: list[OpSteps] = []
    waiting: list[OpSteps] = []
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
        observations=observations or Observations(),
        unobservable={
            name: one.unobservable for name, one in found.items() if one.unobservable is not None
        },
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


def _batch(op: Op, found: Assessment, running: list[OpSteps], waiting: list[OpSteps]) -> None:
    stale = found.stale
    for into, mask in ((running, stale & ~found.absent), (waiting, stale & found.absent)):
        ordinals = np.flatnonzero(mask)
        if len(ordinals):
            into.append(OpSteps(op, ordinals, found.reasons[ordinals]))
