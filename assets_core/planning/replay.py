"""Replaying a stored plan: as it was made, or not at all.

What the file pins is compared with the world of now; what has moved and touches the steps that are
left to do is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from assets_core.errors import PlanMovedError, UsageError
from assets_core.fingerprint.versions import changed_parts
from assets_core.graph import Graph
from assets_core.partitions import KeySpace
from assets_core.planning.columns import OpSteps
from assets_core.planning.digests import Digests
from assets_core.planning.facts import Facts
from assets_core.planning.observations import Observations
from assets_core.planning.plan import Plan
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.planning.staleness import WITHDRAWN, find_withdrawn
from assets_core.records import Code, Materialization, version_hex
from assets_core.wording import count, range_text, ranges

if TYPE_CHECKING:
    from assets_core.contracts import StateStore
from assets_core.planning.planfile import (
    PinnedOp,
    PinnedReads,
    PlanFile,
    pinned_inputs,
    read_by,
    versions_digest,
)

_SHOWN = 6

_CHUNK = 500


@dataclass(slots=True)
class ReplayContext:
    """What replaying compares with: the definitions, the store, and a way to look at sources."""

    graph: Graph
    state: StateStore
    codes: Mapping[str, Code]
    spaces: Mapping[str, KeySpace]
    facts: Callable[[], Facts]
    look: Callable[[Mapping[str, Sequence[int]], Facts], Observations]


@dataclass(slots=True)
class Replay:
    """A stored plan laid over the world of now. ``done`` steps were built by an earlier try."""

    plan: Plan
    done: int
    tries: tuple[str, ...] = ()


def note_of(plan_id: str) -> str:
    """What a run of a stored plan is marked with."""
    return f"plan {plan_id}"


def stored_time(stored: PlanFile) -> datetime:
    """The instant that the plan was made for.

    Raises UsageError for a file that holds none.
    """
    try:
        found = datetime.fromisoformat(stored.now)
    except ValueError as error:
        raise UsageError(f"The plan's time {stored.now!r} is none.") from error
    if found.tzinfo is None:
        raise UsageError(f"The plan's time {stored.now!r} has no time zone.")
    return found


def replay(stored: PlanFile, world: ReplayContext) -> Replay:
    """The steps of a stored plan that are left to do.

    Raises PlanMovedError naming everything that has moved and touches them.
    """
    return _Replayer(stored, world).replay()


@dataclass(slots=True)
class _Moved:
    """What has moved, by kind, each told once."""

    told: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, text: str) -> None:
        self.told.setdefault(kind, []).append(text)

    def refuse(self, stored: PlanFile) -> None:
        """Raise if anything has moved."""
        if not self.told:
            return
        facts = {}
        for kind, texts in self.told.items():
            more = len(texts) - _SHOWN
            shown = texts[:_SHOWN] + ([f"and {more:,} more"] if more > 0 else [])
            facts[kind] = "\n".join(shown)
        raise PlanMovedError(
            f"Plan {stored.id[:12]} is not run: what it was made for has moved.",
            facts=facts,
            hint="Plan again, review, and run the new plan: assets plan -o plan.json",
        )


class _Replayer:
    """One comparison of a stored plan with the world of now."""

    def __init__(self, stored: PlanFile, world: ReplayContext) -> None:
        self.stored = stored
        self.world = world
        self.moved = _Moved()
        self.facts = world.facts()
        self.resolved = ResolvedGraph(world.graph, world.spaces)
        self.known: dict[str, bool] = {}
        self.observations = Observations()

    def replay(self) -> Replay:
        self._same_log()
        batches = [b for pinned in self.stored.ops if (b := self._batch(pinned)) is not None]
        self.moved.refuse(self.stored)
        left = [rest for batch in batches if (rest := self._left(batch)) is not None]
        left = self._without_released(left)
        planned = {batch.op.name: batch.ordinals for batch in batches}
        self._compare_codes({batch.op.name for batch in left})
        self._compare_inputs(batches, {batch.op.name for batch in left})
        self._compare_reads(left, planned)
        self.moved.refuse(self.stored)
        done = sum(b.asset_partitions for b in batches) - sum(b.asset_partitions for b in left)
        return Replay(
            self._plan(left),
            done,
            tuple(sorted(run for run, is_try in self.known.items() if is_try)),
        )

    def _plan(self, left: Sequence[OpSteps]) -> Plan:
        assets = {name for batch in left for name in batch.op.outputs}
        return Plan(
            environment=self.stored.environment,
            now=stored_time(self.stored),
            revision=self.facts.revision,
            batches=tuple(left),
            waiting_batches=(),
            graph=self.world.graph,
            facts=self.facts,
            digests=Digests(self.resolved, self.facts),
            codes={name: code.hex for name, code in self.world.codes.items()},
            parts={name: code.parts for name, code in self.world.codes.items()},
            selected=tuple(name for name in self.world.graph.order if name in assets),
            forced=self.stored.forced,
            observations=self.observations,
            note=note_of(self.stored.id),
            withdrawn=self._withdrawn(left),
        )

    def _withdrawn(self, left: Sequence[OpSteps]) -> dict[str, np.ndarray]:
        """What is neither there nor expected; of what holds data only what these steps take out."""
        going = {}
        for batch in left:
            mask = going[batch.op.name] = np.zeros(self.world.spaces[batch.op.name].n, bool)
            mask[batch.ordinals] = batch.reasons & WITHDRAWN != 0

        def chosen(name: str) -> np.ndarray:
            return going.get(name, np.zeros(self.world.spaces[name].n, bool))

        return find_withdrawn(
            self.world.graph, self.resolved, self.facts, chosen, self.observations
        )

    def _same_log(self) -> None:
        """The revision means something in the log that it was read from only."""
        revision = self.stored.revision
        if revision and self.world.state.mark(revision) != self.stored.log:
            self.moved.add(
                "state store", "it is another one, or was restored or compacted since the plan"
            )
            self.moved.refuse(self.stored)

    # The steps ---------------------------------------------------------------------------------

    def _batch(self, pinned: PinnedOp) -> OpSteps | None:
        """The pinned steps as they lie in the key spaces of now; None, and why, if they don't."""
        op = self.world.graph.op_of.get(pinned.assets[0])
        if op is None or list(op.outputs) != pinned.assets or set(pinned.code) != set(op.outputs):
            names = ", ".join(pinned.assets)
            self.moved.add("definitions", f"{names} is not there any more, or is made otherwise")
            return None
        space = self.world.spaces[op.name]
        reasons = np.zeros(space.n, np.int64)
        for group in pinned.steps:
            at = self._at(space, op.name, group.ranges, group.count)
            if at is None:
                return None
            reasons[at] = group.reasons + 1
        ordinals = np.flatnonzero(reasons)
        return OpSteps(op, ordinals, (reasons[ordinals] - 1).astype(np.uint8))

    def _at(
        self, space: KeySpace, asset: str, spans: Sequence[Sequence[str]], number: int
    ) -> np.ndarray | None:
        """The ordinals of inclusive ranges; None, and why, when they are not what they were."""
        firsts = space.ordinals([span[0] for span in spans])
        lasts = space.ordinals([span[-1] for span in spans])
        gone = np.flatnonzero((firsts < 0) | (lasts < firsts))
        if len(gone):
            span = spans[int(gone[0])]
            where = range_text(span[0], span[-1])
            self.moved.add("partitions", f"{asset}@{where} is not there any more")
            return None
        pairs = zip(firsts.tolist(), lasts.tolist(), strict=True)
        found = np.concatenate([np.arange(first, last + 1) for first, last in pairs])
        if len(found) != number:
            self.moved.add(
                "partitions", f"{asset} had {number:,} of them in these ranges, now {len(found):,}"
            )
            return None
        return found

    def _left(self, batch: OpSteps) -> OpSteps | None:
        """The steps that no earlier try of this plan has built. Notes what others have built."""
        done = np.ones(len(batch.ordinals), bool)
        for asset in batch.op.outputs:
            ids = self.facts.assets[asset].id[batch.ordinals]
            newer = np.flatnonzero(ids > self.stored.revision)
            built = np.zeros(len(ids), bool)
            facts = self._facts_of(asset, ids[newer])
            for at in newer.tolist():
                fact = facts[int(ids[at])]
                if self._is_try(fact.run):
                    built[at] = True
                else:
                    by = f"run {fact.run}" if fact.run else "nobody of ours"
                    self.moved.add(
                        "materialized since", f"{asset}@{fact.partition} by {by} ({fact.kind})"
                    )
            done &= built
        return None if done.all() else batch.where(~done)

    def _without_released(self, left: Sequence[OpSteps]) -> list[OpSteps]:
        """Without steps that only may run, and that an earlier try has found to be fresh still.

        Nothing that they read is left to do, and they are as they would be built.
        """
        found: dict[str, OpSteps] = {}
        digests = Digests(self.resolved, self.facts)
        place = {op.name: i for i, op in enumerate(self.world.graph.ops)}
        for batch in sorted(left, key=lambda each: place[each.op.name]):
            open_ = (batch.reasons != 0) | self._reads_what_is_left(batch, found)
            if not open_.all():
                open_ |= ~self._fresh(batch, digests)
            if open_.any():
                found[batch.op.name] = batch.where(open_)
        return list(found.values())

    def _reads_what_is_left(self, batch: OpSteps, left: Mapping[str, OpSteps]) -> np.ndarray:
        total = np.zeros(len(batch.ordinals), bool)
        for read in batch.op.inputs:
            name = self.world.graph.op_of[read.asset].name
            # Of its own past any step may be one that runs.
            upstream = batch if name == batch.op.name else left.get(name)
            if upstream is not None:
                mask = np.zeros(self.world.spaces[read.asset].n, bool)
                mask[upstream.ordinals] = True
                total |= self.resolved.edge(batch.op, read).any(mask)[batch.ordinals]
        return total

    def _fresh(self, batch: OpSteps, digests: Digests) -> np.ndarray:
        now, at = digests.column(batch.op)[batch.ordinals], batch.ordinals
        fresh = np.ones(len(at), bool)
        for name in batch.op.outputs:
            own = self.facts.assets[name]
            fresh &= self.facts.of_current_code(name, self.world.codes[name].hex)[at]
            fresh &= own.there_at(at) & (own.digest[at] == now).all(axis=1)
        return fresh

    def _facts_of(self, asset: str, ids: np.ndarray) -> dict[int, Materialization]:
        read = self.world.state.materializations
        found = read(self.stored.environment, asset, ids=ids.tolist()) if len(ids) else []
        return {fact.id: fact for fact in found}

    def _is_try(self, run: str) -> bool:
        """Whether a run was one of this stored plan."""
        if run not in self.known:
            found = self.world.state.run(run) if run else None
            mark = note_of(self.stored.id)
            self.known[run] = found is not None and found.note.startswith(mark)
        return self.known[run]

    # What they depend on -----------------------------------------------------------------------

    def _compare_codes(self, left: set[str]) -> None:
        for pinned in self.stored.ops:
            if pinned.assets[0] not in left:
                continue
            for asset, code in pinned.code.items():
                now = self.world.codes[asset]
                if now.hex != code.version:
                    changes = changed_parts(code.parts, now.parts)
                    self.moved.add("code", f"{asset}: {'; '.join(changes) or 'another version'}")

    def _compare_inputs(self, batches: Sequence[OpSteps], left: set[str]) -> None:
        """Whether each step reads the partitions that it read when the plan was made."""
        pinned = {op.assets[0]: op.inputs for op in self.stored.ops}
        for batch in batches:
            if batch.op.name not in left:
                continue
            was = {(one.name, one.asset): one.partitions for one in pinned[batch.op.name]}
            found = pinned_inputs(self.resolved, self.facts, batch.op, batch.ordinals)
            now = {(one.name, one.asset): one.partitions for one in found}
            for name, asset in sorted(was.keys() | now.keys()):
                if was.get((name, asset)) != now.get((name, asset)):
                    self.moved.add("inputs", f"{batch.op.name} reads other partitions of {asset}")

    def _compare_reads(self, left: Sequence[OpSteps], planned: Mapping[str, np.ndarray]) -> None:
        """Whether what the steps read, and the plan does not build, has the versions of then."""
        graph = self.world.graph
        needed = read_by(graph, self.resolved, self.facts, left, planned)
        sources = {n: at.tolist() for n, at in needed.items() if graph.assets[n].kind == "source"}
        if sources:
            self.observations = self.world.look(sources, self.facts)
            for name, errors in self.observations.errors.items():
                for ordinal, error in errors.items():
                    key = self.world.spaces[name].key(ordinal)
                    self.moved.add("can't be looked at", f"{name}@{key}: {error}")
            if self.observations.moved:
                self.facts = self.world.facts()
        for pinned in self.stored.reads:
            if pinned.asset in needed:
                self._compare_versions(pinned, needed[pinned.asset])

    def _compare_versions(self, pinned: PinnedReads, needed: np.ndarray) -> None:
        space, own = self.world.spaces[pinned.asset], self.facts.assets[pinned.asset]
        at = self._at(space, pinned.asset, pinned.ranges, pinned.count)
        if at is None:
            return
        data = own.data[at].copy()
        wanted = np.isin(at, needed)
        self._compare_marks(pinned.asset, space, needed)
        newer = np.flatnonzero(own.id[at] > self.stored.revision)
        for place, was in self._as_of(pinned.asset, space, at[newer], newer):
            then = was.data_version if was is not None else (0, 0)
            if wanted[place] and then != own.version(int(at[place])):
                self._name(pinned.asset, space, int(at[place]), was)
            data[place] = then
        if (
            versions_digest(space, at, data) != pinned.versions
            and "upstream" not in self.moved.told
        ):
            where = ranges(at, space, most=2)
            self.moved.add("upstream", f"{pinned.asset} {where}: not what the plan was made of")

    def _compare_marks(self, asset: str, space: KeySpace, needed: np.ndarray) -> None:
        """Whether what the steps read was declared stale since, and not built again."""
        column = self.facts.invalidated(asset)
        if column is None:
            return
        newer = column[needed] > self.stored.revision
        held = needed[newer & (self.facts.assets[asset].id[needed] < column[needed])]
        if len(held):
            one = self.facts.invalidation(asset, int(held[-1]))
            where = ranges(held, space, most=2)
            self.moved.add("invalidated since", f"{asset} {where}, {one}")

    def _as_of(
        self, asset: str, space: KeySpace, ordinals: np.ndarray, places: np.ndarray
    ) -> Iterator[tuple[int, Materialization | None]]:
        """The versions that these partitions had when the plan was made, by their places."""
        for start in range(0, len(ordinals), _CHUNK):
            keys = space.keys(ordinals[start : start + _CHUNK])
            found = self.world.state.version_as_of(
                self.stored.environment, asset, keys, self.stored.revision, "", 0
            )
            yield from zip(places[start : start + _CHUNK].tolist(), found, strict=True)

    def _name(self, asset: str, space: KeySpace, ordinal: int, was: Materialization | None) -> None:
        key, lookup = space.key(ordinal), self.facts.lookup
        fact = lookup.current(asset, key) if lookup is not None else None
        by = f"run {fact.run}" if fact is not None and fact.run else "observation"
        before = version_hex(was.data_version)[:12] if was is not None else "nothing"
        now = version_hex(fact.data_version)[:12] if fact is not None else "nothing"
        self.moved.add("upstream", f"{asset}@{key} ({before} → {now}, by {by})")


def replay_line(found: Replay) -> str:
    """What a replay does, in a line."""
    left = len(found.plan)
    text = f"{count(left, 'step')} of the stored plan to do"
    if found.done:
        text += f", {found.done:,} done by run {', '.join(found.tries[-3:])}"
    return text
