"""Plans in files: written to be reviewed, and replayed as they are, or not at all.

A file pins what its plan is about: the steps by ranges, the code versions, which partitions the
steps read and the data versions of those, as digests. Replaying compares all of it with the world
of now, and refuses by name what has moved; what moved elsewhere does not matter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assets_core.errors import PlanMovedError, UsageError
from assets_core.fingerprint import changed_parts
from assets_core.graph import Graph, Op
from assets_core.hashing import hexdigest
from assets_core.observe.causes import find_causes
from assets_core.observe.cost import estimate
from assets_core.observe.format import count, key_pairs, range_text, ranges
from assets_core.partitions import KeySpace
from assets_core.plan import Batch, Plan
from assets_core.records import Code, Materialization
from assets_core.staleness import WITHDRAWN, Digests, Facts, Sightings, Wiring, find_withdrawn

if TYPE_CHECKING:
    from assets_core.contracts import StateStore

FORMAT = "assets plan"
SCHEMA = 1

_SHOWN = 6
_CHUNK = 500


class _Strict(BaseModel):
    """Nothing beside what is declared, and nothing turned into what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Ranges = Annotated[
    list[Annotated[list[str], Field(min_length=2, max_length=2)]], Field(min_length=1)
]
"""Inclusive key pairs in the order of a key space."""


class PinnedCode(_Strict):
    """A code version with the short hash of each part, so that a change can be named."""

    version: str
    parts: dict[str, str] = Field(default_factory=dict)


class PinnedInput(_Strict):
    """Which partitions the steps read through one input, as a digest of them in order."""

    name: str
    asset: str
    partitions: str


class PinnedSteps(_Strict):
    """Steps of one function that are alike: ``reasons`` are bits, 0 for those that only may run.

    ``ranges`` are inclusive key pairs in the order of the key space, ``count`` of partitions.
    """

    status: Literal["must", "may"]
    reasons: int = Field(ge=0, le=255)
    count: int = Field(ge=1)
    ranges: Ranges


class PinnedOp(_Strict):
    """One function or query: what it makes, by which code, which of it, out of what."""

    assets: list[str] = Field(min_length=1)
    code: dict[str, PinnedCode]
    inputs: list[PinnedInput]
    steps: list[PinnedSteps] = Field(min_length=1)


class PinnedReads(_Strict):
    """Partitions that the steps read and that the plan does not build, with their data versions."""

    asset: str
    count: int = Field(ge=1)
    ranges: Ranges
    versions: str


class Summary(_Strict):
    """For whoever reviews the file; replaying does not look at it."""

    must: int
    may: int
    blocked: int
    because: list[str]
    cost: dict[str, Any]


class PlanFile(_Strict):
    """A plan as a file. ``id`` is a digest of everything else in it."""

    format: Literal["assets plan"]
    schema_: Literal[1] = Field(alias="schema")
    id: str
    environment: str
    now: str
    include_open: bool
    forced: bool
    revision: int = Field(ge=0, lt=2**63)
    log: str
    summary: Summary
    ops: list[PinnedOp]
    reads: list[PinnedReads]

    def digest(self) -> str:
        """What ``id`` must be."""
        return hexdigest("plan file", self.model_dump(mode="json", exclude={"id"}, by_alias=True))


# --------------------------------------------------------------------------------------------
# Writing


def plan_file(plan: Plan, codes: Mapping[str, Code], state: StateStore, jobs: int) -> PlanFile:
    """A plan with everything pinned that replaying it depends on."""
    causes = find_causes(plan)
    made = PlanFile(
        format="assets plan",
        schema=1,
        id="",
        environment=plan.environment,
        now=plan.now.astimezone(UTC).isoformat(),
        include_open=any(space.closed < space.n for space in plan.facts.spaces.values()),
        forced=plan.forced,
        revision=plan.revision,
        log=state.mark(plan.revision) if plan.revision else "",
        summary=Summary(
            must=plan.must,
            may=plan.may,
            blocked=plan.blocked,
            because=[f"{causes.text(cause)} → {cause.effect}" for cause in causes.found],
            cost=estimate(plan, jobs).to_dict(),
        ),
        ops=[_pinned_op(plan, batch, codes) for batch in plan.batches],
        reads=[_pinned_reads(plan, name, at) for name, at in _reads(plan, plan.batches).items()],
    )
    return made.model_copy(update={"id": made.digest()})


def write_plan_file(made: PlanFile, path: Path) -> None:
    """Write it whole or not at all.

    Raises UsageError where it can't be written.
    """
    write_whole(path, made.model_dump_json(indent=1, by_alias=True) + "\n", "The plan")


def write_whole(path: Path, text: str, what: str) -> None:
    """Write a file whole or not at all.

    Raises UsageError, which begins with ``what``, where it can't be written.
    """
    fresh = path.parent / f".{path.name}.new"
    try:
        try:
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        said = error.strerror or error
        raise UsageError(f"{what} can't be written to {path}: {said}.") from error


def _pinned_op(plan: Plan, batch: Batch, codes: Mapping[str, Code]) -> PinnedOp:
    op, space = batch.op, plan.facts.spaces[batch.op.name]
    groups = []
    for bits in np.unique(batch.reasons).tolist():
        at = batch.ordinals[batch.reasons == bits]
        groups.append(
            PinnedSteps(
                status="must" if bits else "may",
                reasons=bits,
                count=len(at),
                ranges=_key_ranges(space, at),
            )
        )
    pinned = {name: codes[name] for name in op.outputs}
    return PinnedOp(
        assets=list(op.outputs),
        code={n: PinnedCode(version=c.hex, parts=dict(c.parts)) for n, c in pinned.items()},
        inputs=_pinned_inputs(plan.wiring, plan.facts, op, batch.ordinals),
        steps=groups,
    )


def _pinned_inputs(wiring: Wiring, facts: Facts, op: Op, ordinals: np.ndarray) -> list[PinnedInput]:
    own = facts.spaces[op.name].salts()[ordinals]
    found = []
    for read in op.inputs:
        salts = facts.spaces[read.asset].salts()
        read_by = wiring.edge(op, read).sum(salts)[ordinals]
        digest = hexdigest("partitions read", _bytes(own), _bytes(read_by))
        found.append(PinnedInput(name=read.name, asset=read.asset, partitions=digest))
    return found


def _bytes(words: np.ndarray) -> bytes:
    return np.ascontiguousarray(words, "<u8").tobytes()


def _reads(plan: Plan, batches: Sequence[Batch]) -> dict[str, np.ndarray]:
    """By asset: the ordinals that steps of these batches read and that the plan does not build."""
    planned = {batch.op.name: batch.ordinals for batch in plan.batches}
    return _read_by(plan.graph, plan.wiring, plan.facts, batches, planned)


def _read_by(
    graph: Graph,
    wiring: Wiring,
    facts: Facts,
    batches: Iterable[Batch],
    planned: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    masks: dict[str, np.ndarray] = {}
    for batch in batches:
        own = np.zeros(facts.spaces[batch.op.name].n, bool)
        own[batch.ordinals] = True
        for read in batch.op.inputs:
            covered = wiring.edge(batch.op, read).cover(own)
            known = masks.get(read.asset)
            masks[read.asset] = covered if known is None else known | covered
    for asset, mask in masks.items():
        built = planned.get(graph.op_of[asset].name)
        if built is not None:
            mask[built] = False
    return {asset: np.flatnonzero(mask) for asset, mask in masks.items() if mask.any()}


def _pinned_reads(plan: Plan, asset: str, ordinals: np.ndarray) -> PinnedReads:
    space = plan.facts.spaces[asset]
    return PinnedReads(
        asset=asset,
        count=len(ordinals),
        ranges=_key_ranges(space, ordinals),
        versions=_versions(space, ordinals, plan.facts.assets[asset].data[ordinals]),
    )


def _versions(space: KeySpace, ordinals: np.ndarray, data: np.ndarray) -> str:
    return hexdigest("versions read", _bytes(space.salts()[ordinals]), _bytes(data))


def _key_ranges(space: KeySpace, ordinals: np.ndarray) -> list[list[str]]:
    return [list(pair) for pair in key_pairs(ordinals, space)]


# --------------------------------------------------------------------------------------------
# Reading


def read_plan_file(path: Path) -> PlanFile:
    """Read a file that `write_plan_file` wrote.

    Raises UsageError for what is no such file, is cut off, or was changed since.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"The plan {str(path)!r} can't be read: {error.strerror or error}.",
            hint="Write one with: assets plan -o plan.json",
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not whole JSON: {error}.",
            hint="It was cut off or overwritten. Plan again: assets plan -o plan.json",
        ) from error
    found = _validated(raw, path)
    if found.digest() != found.id:
        raise UsageError(
            f"{path} was changed after it was written.",
            facts={"plan": found.id[:12]},
            hint="A stored plan runs as it was made. For other steps, select them: "
            "assets plan SELECTION -o plan.json",
        )
    return found


def _validated(raw: Any, path: Path) -> PlanFile:
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise UsageError(
            f"{path} holds no plan.",
            hint="Write one with: assets plan -o plan.json (`assets plan --json` is for reading).",
        )
    schema = raw.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise UsageError(
            f"{path} was written by a newer release (schema {schema}; this one reads {SCHEMA}).",
            hint="Upgrade this installation, or plan again with it.",
        )
    try:
        return PlanFile.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{path} is not a plan as it was written: {where or 'it'}: {first['msg']}.",
            hint="Don't edit it; plan again with the selection that you want.",
        ) from error


# --------------------------------------------------------------------------------------------
# Replaying


@dataclass(slots=True)
class World:
    """What replaying compares with: the definitions, the store, and a way to look at sources."""

    graph: Graph
    state: StateStore
    codes: Mapping[str, Code]
    spaces: Mapping[str, KeySpace]
    facts: Callable[[], Facts]
    look: Callable[[Mapping[str, Sequence[int]], Facts], Sightings]


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


def replay(stored: PlanFile, world: World) -> Replay:
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

    def __init__(self, stored: PlanFile, world: World) -> None:
        self.stored = stored
        self.world = world
        self.moved = _Moved()
        self.facts = world.facts()
        self.wiring = Wiring(world.graph, world.spaces)
        self.known: dict[str, bool] = {}
        self.sightings = Sightings()

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
        done = sum(len(b.ordinals) * len(b.op.outputs) for b in batches)
        done -= sum(len(b.ordinals) * len(b.op.outputs) for b in left)
        return Replay(
            self._plan(left),
            done,
            tuple(sorted(run for run, is_try in self.known.items() if is_try)),
        )

    def _plan(self, left: Sequence[Batch]) -> Plan:
        assets = {name for batch in left for name in batch.op.outputs}
        return Plan(
            environment=self.stored.environment,
            now=stored_time(self.stored),
            revision=self.facts.revision,
            batches=tuple(left),
            waiting_batches=(),
            graph=self.world.graph,
            facts=self.facts,
            digests=Digests(self.wiring, self.facts),
            codes={name: code.hex for name, code in self.world.codes.items()},
            parts={name: code.parts for name, code in self.world.codes.items()},
            selected=tuple(name for name in self.world.graph.order if name in assets),
            forced=self.stored.forced,
            sightings=self.sightings,
            note=note_of(self.stored.id),
            withdrawn=self._withdrawn(left),
        )

    def _withdrawn(self, left: Sequence[Batch]) -> dict[str, np.ndarray]:
        """What is neither there nor expected; of what holds data only what these steps take out."""
        going = {}
        for batch in left:
            mask = going[batch.op.name] = np.zeros(self.world.spaces[batch.op.name].n, bool)
            mask[batch.ordinals] = batch.reasons & WITHDRAWN != 0

        def chosen(name: str) -> np.ndarray:
            return going.get(name, np.zeros(self.world.spaces[name].n, bool))

        return find_withdrawn(self.world.graph, self.wiring, self.facts, chosen, self.sightings)

    def _same_log(self) -> None:
        """The revision means something in the log that it was read from only."""
        revision = self.stored.revision
        if revision and self.world.state.mark(revision) != self.stored.log:
            self.moved.add(
                "state store", "it is another one, or was restored or compacted since the plan"
            )
            self.moved.refuse(self.stored)

    # The steps ---------------------------------------------------------------------------------

    def _batch(self, pinned: PinnedOp) -> Batch | None:
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
        return Batch(op, ordinals, (reasons[ordinals] - 1).astype(np.uint8))

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

    def _left(self, batch: Batch) -> Batch | None:
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
        rest = ~done
        if not rest.any():
            return None
        return Batch(batch.op, batch.ordinals[rest], batch.reasons[rest])

    def _without_released(self, left: Sequence[Batch]) -> list[Batch]:
        """Without steps that only may run, and that an earlier try has found to be fresh still.

        Nothing that they read is left to do, and they are as they would be built.
        """
        found: dict[str, Batch] = {}
        digests = Digests(self.wiring, self.facts)
        place = {op.name: i for i, op in enumerate(self.world.graph.ops)}
        for batch in sorted(left, key=lambda each: place[each.op.name]):
            open_ = (batch.reasons != 0) | self._reads_what_is_left(batch, found)
            if not open_.all():
                open_ |= ~self._fresh(batch, digests)
            if open_.any():
                rest = Batch(batch.op, batch.ordinals[open_], batch.reasons[open_])
                found[batch.op.name] = rest
        return list(found.values())

    def _reads_what_is_left(self, batch: Batch, left: Mapping[str, Batch]) -> np.ndarray:
        total = np.zeros(len(batch.ordinals), bool)
        for read in batch.op.inputs:
            name = self.world.graph.op_of[read.asset].name
            # Of its own past any step may be one that runs.
            upstream = batch if name == batch.op.name else left.get(name)
            if upstream is not None:
                mask = np.zeros(self.world.spaces[read.asset].n, bool)
                mask[upstream.ordinals] = True
                total |= self.wiring.edge(batch.op, read).any(mask)[batch.ordinals]
        return total

    def _fresh(self, batch: Batch, digests: Digests) -> np.ndarray:
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

    def _compare_inputs(self, batches: Sequence[Batch], left: set[str]) -> None:
        """Whether each step reads the partitions that it read when the plan was made."""
        pinned = {op.assets[0]: op.inputs for op in self.stored.ops}
        for batch in batches:
            if batch.op.name not in left:
                continue
            was = {(one.name, one.asset): one.partitions for one in pinned[batch.op.name]}
            found = _pinned_inputs(self.wiring, self.facts, batch.op, batch.ordinals)
            now = {(one.name, one.asset): one.partitions for one in found}
            for name, asset in sorted(was.keys() | now.keys()):
                if was.get((name, asset)) != now.get((name, asset)):
                    self.moved.add("inputs", f"{batch.op.name} reads other partitions of {asset}")

    def _compare_reads(self, left: Sequence[Batch], planned: Mapping[str, np.ndarray]) -> None:
        """Whether what the steps read, and the plan does not build, has the versions of then."""
        graph = self.world.graph
        needed = _read_by(graph, self.wiring, self.facts, left, planned)
        sources = {n: at.tolist() for n, at in needed.items() if graph.assets[n].kind == "source"}
        if sources:
            self.sightings = self.world.look(sources, self.facts)
            for name, errors in self.sightings.errors.items():
                for ordinal, error in errors.items():
                    key = self.world.spaces[name].key(ordinal)
                    self.moved.add("can't be looked at", f"{name}@{key}: {error}")
            if self.sightings.moved:
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
        if _versions(space, at, data) != pinned.versions and "upstream" not in self.moved.told:
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
        key, recall = space.key(ordinal), self.facts.recall
        fact = recall.current(asset, key) if recall is not None else None
        by = f"run {fact.run}" if fact is not None and fact.run else "observation"
        before = f"{was.data_version[0]:016x}"[:12] if was is not None else "nothing"
        now = f"{fact.data_version[0]:016x}"[:12] if fact is not None else "nothing"
        self.moved.add("upstream", f"{asset}@{key} ({before} → {now}, by {by})")


def replay_line(found: Replay) -> str:
    """What a replay does, in a line."""
    left = len(found.plan)
    text = f"{count(left, 'step')} of the stored plan to do"
    if found.done:
        text += f", {found.done:,} done by run {', '.join(found.tries[-3:])}"
    return text
