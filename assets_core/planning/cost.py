"""What a plan will take: seconds, rows and bytes, out of what the newest builds took.

Pure: the plan's facts know which materializations are current, and its lookup what they took. An
asset that was never built here is told as unknown; nothing is guessed for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from assets_core.graph import Op
from assets_core.planning.columns import OpSteps, PlanColumns
from assets_core.records import Measured
from assets_core.wording import count, human_bytes, human_duration

SAMPLE = 32
"""So many of an asset's newest builds are looked at; their median is what one more will take."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much work: ``partitions`` in all, of which ``known`` have a history to tell from.

    ``seconds`` of work (one after the other), ``rows`` and ``bytes`` are those of the known ones.
    """

    partitions: int = 0
    known: int = 0
    seconds: float = 0.0
    rows: int = 0
    bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.partitions + other.partitions,
            self.known + other.known,
            self.seconds + other.seconds,
            self.rows + other.rows,
            self.bytes + other.bytes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "partitions": self.partitions,
            "known": self.known,
            "seconds": round(self.seconds, 3),
            "rows": self.rows,
            "bytes": self.bytes,
        }


@dataclass(frozen=True, slots=True)
class AssetCost:
    """What one asset, or several that one function makes, will take.

    ``each`` is what one partition takes in seconds, the median of ``builds`` builds; None when
    there is none to tell from. ``must`` and ``may`` are apart, as in the plan.
    """

    assets: tuple[str, ...]
    builds: int
    each: float | None
    must: Amount
    may: Amount

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "assets": list(self.assets),
            "builds": self.builds,
            "seconds_each": None if self.each is None else round(self.each, 6),
            "must": self.must.to_dict(),
            "may": self.may.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Cost:
    """What a plan will take. ``wall_must`` and ``wall_all`` are seconds with ``jobs`` at a time.

    Walls are the bound of list scheduling: the longest chain of steps that wait for each other,
    or all work over the jobs, whichever is longer. ``wall_all`` is when all that may run does.
    ``unknown`` are the assets in the plan that were never built here: they are in no figure.
    """

    jobs: int
    assets: tuple[AssetCost, ...]
    wall_must: float
    wall_all: float

    @property
    def must(self) -> Amount:
        """All that will run."""
        return sum((one.must for one in self.assets), Amount())

    @property
    def may(self) -> Amount:
        """All that runs only if something upstream really changes."""
        return sum((one.may for one in self.assets), Amount())

    @property
    def total(self) -> Amount:
        """Both."""
        return self.must + self.may

    @property
    def unknown(self) -> tuple[str, ...]:
        """Assets without a history."""
        return tuple(name for one in self.assets if one.each is None for name in one.assets)

    @property
    def is_known(self) -> bool:
        """Whether anything of it could be told."""
        return any(one.each is not None for one in self.assets)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; a wall is null when nothing is known."""
        return {
            "jobs": self.jobs,
            "wall_seconds": {
                "must": round(self.wall_must, 3) if self.is_known else None,
                "all": round(self.wall_all, 3) if self.is_known else None,
            },
            "must": self.must.to_dict(),
            "may": self.may.to_dict(),
            "unknown": list(self.unknown),
            "assets": [one.to_dict() for one in self.assets],
        }

    def __str__(self) -> str:
        return cost_line(self)


def estimate(plan: PlanColumns, jobs: int = 1) -> Cost:
    """What a plan will take with ``jobs`` steps at a time, by the newest builds of its assets."""
    measured = _measured(plan)
    found = [_asset_cost(batch, measured) for batch in plan.batches]
    walls = [_wall(plan, found, jobs, all_of_it) for all_of_it in (False, True)]
    return Cost(jobs, tuple(found), *walls)


def _newest(ids: np.ndarray) -> list[int]:
    there = ids[ids > 0]
    if len(there) > SAMPLE:
        there = np.partition(there, len(there) - SAMPLE)[-SAMPLE:]
    return list(there.tolist())


def _measured(plan: PlanColumns) -> dict[str, list[Measured]]:
    """What the newest builds of every planned asset took."""
    names = [name for batch in plan.batches for name in batch.op.outputs]
    wanted = {name: _newest(plan.facts.assets[name].id) for name in names}
    lookup = plan.facts.lookup
    ids = [number for each in wanted.values() for number in each]
    found: Mapping[int, Measured] = lookup.measured(ids) if lookup is not None and ids else {}
    return {name: [found[i] for i in each if i in found] for name, each in wanted.items()}


def _asset_cost(batch: OpSteps, measured: Mapping[str, Sequence[Measured]]) -> AssetCost:
    own = [measured[name] for name in batch.op.outputs]
    must, may = int((batch.reasons != 0).sum()), int((batch.reasons == 0).sum())
    builds = min(map(len, own))
    if not builds:
        each = None
        amounts = [Amount(n * len(own)) for n in (must, may)]
    else:
        # The outputs of one function are made by one call, which is as long for each of them.
        each = max(_median(one.micros for one in builds_of) for builds_of in own) / 1e6
        rows = sum(_median(one.rows for one in builds_of) for builds_of in own)
        size = sum(_median(one.bytes for one in builds_of) for builds_of in own)
        amounts = [
            Amount(n * len(own), n * len(own), n * each, round(n * rows), round(n * size))
            for n in (must, may)
        ]
    return AssetCost(batch.op.outputs, builds, each, *amounts)


def _median(values: Any) -> float:
    return float(median(values))


# --------------------------------------------------------------------------------------------
# Wall time


def _wall(plan: PlanColumns, costs: Sequence[AssetCost], jobs: int, all_of_it: bool) -> float:
    """The longer of the longest chain and of all work shared by the jobs, in seconds."""
    work, done = 0.0, dict[str, float]()
    for batch, cost in zip(plan.batches, costs, strict=True):
        amount = cost.must + cost.may if all_of_it else cost.must
        work += amount.seconds
        upstream = (done.get(plan.graph.op_of[n].name, 0.0) for n in batch.op.upstream)
        own = cost.each or 0.0
        if not amount.partitions:
            own = 0.0
        elif any(read.asset in batch.op.outputs for read in batch.op.inputs):
            own *= _longest_past(plan, batch, amount.partitions // len(batch.op.outputs))
        done[batch.op.name] = own + max(upstream, default=0.0)
    return max(max(done.values(), default=0.0), work / max(jobs, 1))


def _longest_past(plan: PlanColumns, batch: OpSteps, steps: int) -> int:
    """How many steps of an asset that reads its own past wait for each other, one by one."""
    first, last = int(batch.ordinals[0]), int(batch.ordinals[-1])
    gaps = [_gap(plan, batch.op, last, read) for read in batch.op.inputs]
    nearest = min((gap for gap in gaps if gap), default=0)
    return 1 if not nearest else min(steps, (last - first) // nearest + 1)


def _gap(plan: PlanColumns, op: Op, ordinal: int, read: Any) -> int:
    """How far back the nearest partition is that a partition reads of its own asset; 0: none."""
    if read.asset not in op.outputs:
        return 0
    past = plan.resolved.edge(op, read).upstream(ordinal)
    past = past[past < ordinal]
    return int(ordinal - past.max()) if len(past) else 0


# --------------------------------------------------------------------------------------------
# As people read it


def cost_line(cost: Cost) -> str:
    """The cost in a line, e.g. ``Takes about 4 min with 2 jobs (up to 12 min if all …)``."""
    if not cost.assets:
        return ""
    if not cost.is_known:
        return f"How long it takes is unknown: {_names(cost.unknown)} never built here."
    must, total = cost.must, cost.total
    jobs = count(cost.jobs, "job")
    if must.known and not cost.may.known:
        text = f"Takes about {human_duration(cost.wall_must)} with {jobs}"
    elif must.known:
        text = (
            f"Takes about {human_duration(cost.wall_must)} with {jobs}, "
            f"{human_duration(cost.wall_all)} if all that may run does"
        )
    else:
        text = f"Takes up to {human_duration(cost.wall_all)} with {jobs}, if all that may run does"
    text += f"; {_span(must.rows, total.rows, count)} {'row' if total.rows == 1 else 'rows'}"
    if total.bytes:
        text += f", {_span(must.bytes, total.bytes, human_bytes)}"
    tail = f" Unknown: {_names(cost.unknown)} never built here." if cost.unknown else ""
    return f"{text}.{tail}"


def _span(low: int, high: int, shown: Any) -> str:
    first, last = str(shown(low)), str(shown(high))
    return last if first == last else f"{first} to {last}"


def _names(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and 3 more`` with the verb that fits."""
    if len(names) == 1:
        return f"{names[0]} was"
    if len(names) <= 3:
        return f"{', '.join(names[:-1])} and {names[-1]} were"
    return f"{', '.join(names[:2])} and {count(len(names) - 2)} more were"
