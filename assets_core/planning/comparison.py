"""What a change of code makes stale: definitions of now against those of a base, over the facts.

Pure. The recorded partitions that were current with the base's code are taken as made by it, and
planned with the code of now: what then is stale, is so because of the change. What is stale
already, whatever the change, is counted and left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from assets_core.fingerprint.versions import changed_parts
from assets_core.graph import Graph, Op
from assets_core.partitions import KeySpace, PartitionSelection
from assets_core.planning.cause_finder import find_causes
from assets_core.planning.causes import names
from assets_core.planning.columns import OpSteps
from assets_core.planning.cost import Cost, cost_line, estimate
from assets_core.planning.description import Described, DescribedAsset, stamp
from assets_core.planning.digests import Digests
from assets_core.planning.facts import AssetFacts, Facts, RecordLookup
from assets_core.planning.plan import Plan, make_plan
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.planning.staleness import Assessment, assess
from assets_core.planning.summary import PlanSummary, plan_groups, summarize_plan
from assets_core.records import InputRead, Materialization, Measured, Version
from assets_core.wording import count, key_pairs, one_line


@dataclass(frozen=True, slots=True)
class Changes:
    """How the definitions differ. ``changed`` holds what of each asset, in words."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def lines(self) -> Iterator[str]:
        """A line for each asset that was added, removed or declared otherwise."""
        for word, assets in (("added", self.added), ("removed", self.removed)):
            if assets:
                yield f"{word}: {names(assets, 12)}"
        for name, words in self.changed.items():
            yield f"{name}: {one_line('; '.join(words), 200)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": {name: list(words) for name, words in self.changed.items()},
        }


def find_changes(base: Described, now: Described) -> Changes:
    """How the definitions of now differ from the base's."""
    changed = {}
    for name in now.assets.keys() & base.assets.keys():
        words = tuple(_differences(base.assets[name], now.assets[name]))
        if words:
            changed[name] = words
    order = [name for name in now.assets if name in changed]
    return Changes(
        added=tuple(name for name in now.assets if name not in base.assets),
        removed=tuple(name for name in base.assets if name not in now.assets),
        changed={name: changed[name] for name in order},
    )


def _differences(was: DescribedAsset, now: DescribedAsset) -> Iterator[str]:
    if was.kind != now.kind:
        yield f"{was.kind} → {now.kind}"
    if was.code != now.code:
        yield ", ".join(changed_parts(was.parts, now.parts)) or "code changed"
    before = {read.name: read for read in was.inputs}
    for read in now.inputs:
        old = before.pop(read.name, None)
        if old is None:
            yield f"reads {read.asset} now"
        elif old.asset != read.asset:
            yield f"reads {read.asset}, not {old.asset}"
        elif old.mapping != read.mapping:
            yield f"reads {read.asset} by {read.mapping}, not {old.mapping}"
    for gone in before.values():
        yield f"no longer reads {gone.asset}"
    if was.partitions != now.partitions:
        yield f"partitions: {was.partitions} → {now.partitions}"
    for what in sorted(was.declared.keys() | now.declared.keys()):
        old_text, new_text = was.declared.get(what, "none"), now.declared.get(what, "none")
        if old_text != new_text:
            yield f"{what}: {old_text} → {new_text}"


# --------------------------------------------------------------------------------------------
# What becomes stale


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a change of code makes stale.

    ``plan`` holds only that. ``anyway`` asset partitions are stale whatever the change.
    ``recorded`` says whether the facts are those of a state store; without, every partition counts
    as built by the base. ``base`` names what is compared with; ``notes`` are warnings.
    """

    base: str
    plan: Plan
    changes: Changes
    anyway: int
    recorded: bool
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """``Against main (1a2b3c4d5e6f): 91 must run, 182 may run because of this change``."""
        if not self.plan.must + self.plan.may + self.plan.blocked:
            return f"Against {self.base}: nothing becomes stale by this change"
        parts = [f"{self.plan.must:,} must run", f"{self.plan.may:,} may run"]
        if self.plan.blocked:
            parts.append(f"{self.plan.blocked:,} blocked")
        return f"Against {self.base}: {', '.join(parts)} because of this change"

    def cost(self, jobs: int) -> Cost:
        """What it will take."""
        return estimate(self.plan, jobs)

    def cost_text(self, jobs: int) -> str:
        """The same in a line."""
        if not self.plan.batches:
            return ""
        if not self.recorded:
            return "What it takes is unknown: no builds are recorded here."
        return cost_line(self.cost(jobs))

    def remarks(self) -> Iterator[str]:
        """What is to be known besides."""
        if not self.recorded and self.plan.batches:
            yield (
                "No builds are recorded here: every partition is taken as built by the base's code."
            )
        if self.anyway:
            yield (
                f"{count(self.anyway, 'more asset partition')} stale whatever this change: "
                "see assets plan."
            )
        yield from self.notes

    def summary(self) -> PlanSummary:
        """Its causes and lines."""
        return summarize_plan(self.plan)

    def to_dict(self, jobs: int) -> dict[str, Any]:
        """Plain JSON values."""
        causes = find_causes(self.plan)
        return {
            "against": self.base,
            "environment": self.plan.environment,
            "recorded": self.recorded,
            "must": self.plan.must,
            "may": self.plan.may,
            "blocked": self.plan.blocked,
            "stale_anyway": self.anyway,
            "definitions": self.changes.to_dict(),
            "causes": causes.to_dict(),
            "groups": [
                {
                    "asset": group.asset,
                    "status": group.status,
                    "count": group.count,
                    "ranges": _pairs(group.space, group.ordinals),
                    "why": group.why,
                }
                for group in plan_groups(self.plan, causes)
            ],
            "cost": self.cost(jobs).to_dict(),
            "notes": list(self.notes),
        }


def _pairs(space: KeySpace, ordinals: np.ndarray) -> list[list[str]]:
    return [list(pair) for pair in key_pairs(ordinals, space)]


@dataclass(frozen=True, slots=True)
class Scope:
    """What is told: of the assets and partitions selected (None: all), at an instant.

    The change is followed through the whole graph; a selection only leaves out lines.
    """

    now: datetime
    assets: Collection[str] | None = None
    partitions: PartitionSelection | None = None

    def mask(self, op: Op, space: KeySpace) -> np.ndarray:
        """Which partitions of an op are told, bool."""
        if self.assets is not None and not any(name in self.assets for name in op.outputs):
            return np.zeros(space.n, bool)
        if self.partitions is None:
            return np.ones(space.n, bool)
        found: np.ndarray = self.partitions.mask(space).copy()
        return found


def plan_against(
    base: Described, now: Described, graph: Graph, facts: Facts, scope: Scope, *, recorded: bool
) -> tuple[Plan, int]:
    """A plan of what becomes stale by going from ``base`` to ``now``, and how many more are stale
    whatever it does.

    ``graph`` is that of now, ``facts`` are laid out in its key spaces; without ``recorded`` they
    are empty, and everything that the base knows counts as built.
    """
    resolved = ResolvedGraph(graph, facts.spaces)
    before = _stale_anyway(base, now, graph, facts, resolved) if recorded else {}
    stamps = {name: stamp(asset) for name, asset in now.assets.items()}
    plan = make_plan(
        graph,
        _as_by_base(base, now, facts, resolved, recorded=recorded),
        {name: code for name, (code, _) in stamps.items()},
        now=scope.now,
        environment=now.environment,
        parts={name: parts for name, (_, parts) in stamps.items()},
        resolved=resolved,
    )
    found = replace(
        plan,
        batches=tuple(_raised(plan.batches, before, facts, scope)),
        waiting_batches=tuple(_raised(plan.waiting_batches, before, facts, scope)),
    )
    return found, _left_out(before, graph, facts, scope, found)


def _raised(
    batches: Sequence[OpSteps], before: Mapping[str, Assessment], facts: Facts, scope: Scope
) -> Iterator[OpSteps]:
    """The steps of the scope that have become more urgent than they are without the change."""
    for batch in batches:
        kept = scope.mask(batch.op, facts.spaces[batch.op.name])[batch.ordinals]
        known = before.get(batch.op.name)
        if known is not None:
            must, may = known.must[batch.ordinals], known.may[batch.ordinals]
            kept &= ~must & ((batch.reasons != 0) | ~may)
        if kept.any():
            yield batch.where(kept)


def _left_out(
    before: Mapping[str, Assessment], graph: Graph, facts: Facts, scope: Scope, found: Plan
) -> int:
    """How many asset partitions of the scope are stale anyway and not among those found."""
    total = 0
    for op in graph.ops:
        if op.name not in before:
            continue
        stale = before[op.name].stale & scope.mask(op, facts.spaces[op.name])
        for batch in (*found.batches, *found.waiting_batches):
            if batch.op.name == op.name:
                stale[batch.ordinals] = False
        total += int(stale.sum()) * len(op.outputs)
    return total


def _as_by_base(
    base: Described, now: Described, facts: Facts, resolved: ResolvedGraph, *, recorded: bool
) -> Facts:
    """The facts as if the base's code had made all that is there, out of what is there."""
    stamps: dict[str, dict[str, str]] = {}
    codes: dict[str, int] = {}

    def number(asset: DescribedAsset) -> int:
        code, parts = stamp(asset)
        stamps[code] = parts
        return codes.setdefault(code, len(codes) + 1)

    assets = {}
    for name, asset in now.assets.items():
        was, real = base.assets.get(name), facts.assets[name]
        if not recorded and was is not None and was.partitions == asset.partitions:
            real = _all_there(facts.spaces[name].n)
        # What the code of now has made already does not become stale by it.
        mine = facts.of_current_code(name, asset.code)
        if was is not None and was.code == asset.code:
            mine[:] = False  # made by either: by the base's, then
        own = number(asset)
        code = np.where(mine, own, -1 if was is None else number(was))
        assets[name] = replace(real, code=code, digest=real.digest.copy())
    made = Facts(
        facts.spaces,
        assets,
        {n: code for code, n in codes.items()},
        facts.revision,
        _BaseLookup(stamps, facts.lookup),
    )
    _settle(resolved.graph.ops, made, Digests(resolved, made))
    return made


def _settle(ops: Sequence[Op], facts: Facts, digests: Digests) -> None:
    """Have these ops be built from what is there now."""
    for op in ops:
        column = digests.column(op)
        for name in op.outputs:
            facts.assets[name].digest[:] = column


def _all_there(n: int) -> AssetFacts:
    made = AssetFacts.empty(n)
    made.id[:] = np.arange(1, n + 1)
    made.data[:] = 1
    return made


def _stale_anyway(
    base: Described, now: Described, graph: Graph, facts: Facts, resolved: ResolvedGraph
) -> dict[str, Assessment]:
    """What is stale with the base's code, as far as it knew the assets and partitions."""
    codes = {name: base.assets.get(name, asset).code for name, asset in now.assets.items()}
    known = _copied(facts)
    for name, code in codes.items():
        # What the code of now has made already is as good as made by the base's.
        own = known.assets[name]
        own.code[facts.of_current_code(name, now.assets[name].code)] = facts.code_id(code)
    otherwise = [
        op for op in graph.ops if any(_reads_otherwise(base, now, name) for name in op.outputs)
    ]
    # What another set of inputs would have summed to can't be told: taken as it should be.
    _settle(otherwise, known, Digests(resolved, known))

    def chosen(name: str) -> np.ndarray | None:
        was = base.assets.get(name)
        if was is None:
            return np.zeros(facts.spaces[name].n, bool)
        if was.partitions != now.assets[name].partitions:
            there: np.ndarray = facts.assets[name].there
            return there
        return None

    return assess(graph, known, codes, chosen=chosen, digests=Digests(resolved, known))


def _reads_otherwise(base: Described, now: Described, name: str) -> bool:
    was = base.assets.get(name)
    return was is not None and was.inputs != now.assets[name].inputs


def _copied(facts: Facts) -> Facts:
    """The same facts, whose digests and codes can be written to."""
    assets = {
        name: replace(each, digest=each.digest.copy(), code=each.code.copy())
        for name, each in facts.assets.items()
    }
    made = replace(facts, assets=assets, codes=dict(facts.codes), invalidations={})
    made.invalidate(one for known in facts.invalidations.values() for one in known.values())
    return made


class _BaseLookup:
    """Knows the parts of the base's code; of builds what the store's own lookup knows."""

    def __init__(self, parts: Mapping[str, Mapping[str, str]], stored: RecordLookup | None) -> None:
        self._parts = parts
        self._stored = stored

    def reads(self, asset: str, partition: str) -> Sequence[InputRead]:
        return self._stored.reads(asset, partition) if self._stored is not None else ()

    def versions_read(self, asset: str, partition: str, read: InputRead) -> Mapping[str, Version]:
        if self._stored is None:
            return {}
        return self._stored.versions_read(asset, partition, read)

    def code_parts(self, code: str) -> Mapping[str, str]:
        return self._parts.get(code, {})

    def current(self, asset: str, partition: str) -> Materialization | None:
        return self._stored.current(asset, partition) if self._stored is not None else None

    def measured(self, ids: Any) -> Mapping[int, Measured]:
        return self._stored.measured(ids) if self._stored is not None else {}
