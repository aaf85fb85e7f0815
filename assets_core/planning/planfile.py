"""Plans in files, written to be reviewed; `replay` runs them.

A file pins what its plan is about: the steps by ranges, the code versions, which partitions the
steps read and the data versions of those, as digests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assets_core.errors import UsageError
from assets_core.fingerprint.hashing import hexdigest
from assets_core.graph import Graph, Op
from assets_core.partitions import KeySpace
from assets_core.planning.cause_finder import find_causes
from assets_core.planning.columns import OpSteps
from assets_core.planning.cost import estimate
from assets_core.planning.facts import Facts
from assets_core.planning.plan import Plan
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.records import Code
from assets_core.wording import key_pairs

if TYPE_CHECKING:
    from assets_core.contracts import StateStore


FORMAT = "assets plan"

SCHEMA = 1


class _Strict(BaseModel):
    """Nothing beside what is declared, and nothing turned into what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


PinnedRanges = Annotated[
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
    ranges: PinnedRanges


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
    ranges: PinnedRanges
    versions: str


class ReviewSummary(_Strict):
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
    summary: ReviewSummary
    ops: list[PinnedOp]
    reads: list[PinnedReads]

    def digest(self) -> str:
        """What ``id`` must be."""
        return hexdigest("plan file", self.model_dump(mode="json", exclude={"id"}, by_alias=True))


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
        summary=ReviewSummary(
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


def _pinned_op(plan: Plan, batch: OpSteps, codes: Mapping[str, Code]) -> PinnedOp:
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
        inputs=pinned_inputs(plan.resolved, plan.facts, op, batch.ordinals),
        steps=groups,
    )


def pinned_inputs(
    resolved: ResolvedGraph, facts: Facts, op: Op, ordinals: np.ndarray
) -> list[PinnedInput]:
    """Which partitions these of an op read through each input, as digests."""
    own = facts.spaces[op.name].salts()[ordinals]
    found = []
    for read in op.inputs:
        salts = facts.spaces[read.asset].salts()
        read_by = resolved.edge(op, read).sum(salts)[ordinals]
        digest = hexdigest("partitions read", _bytes(own), _bytes(read_by))
        found.append(PinnedInput(name=read.name, asset=read.asset, partitions=digest))
    return found


def _bytes(words: np.ndarray) -> bytes:
    return np.ascontiguousarray(words, "<u8").tobytes()


def _reads(plan: Plan, batches: Sequence[OpSteps]) -> dict[str, np.ndarray]:
    """By asset: the ordinals that steps of these batches read and that the plan does not build."""
    planned = {batch.op.name: batch.ordinals for batch in plan.batches}
    return read_by(plan.graph, plan.resolved, plan.facts, batches, planned)


def read_by(
    graph: Graph,
    resolved: ResolvedGraph,
    facts: Facts,
    batches: Iterable[OpSteps],
    planned: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """By asset: the ordinals that these steps read, without those that are ``planned``."""
    masks: dict[str, np.ndarray] = {}
    for batch in batches:
        own = np.zeros(facts.spaces[batch.op.name].n, bool)
        own[batch.ordinals] = True
        for read in batch.op.inputs:
            covered = resolved.edge(batch.op, read).cover(own)
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
        versions=versions_digest(space, ordinals, plan.facts.assets[asset].data[ordinals]),
    )


def versions_digest(space: KeySpace, ordinals: np.ndarray, data: np.ndarray) -> str:
    """The data versions of these partitions as one digest."""
    return hexdigest("versions read", _bytes(space.salts()[ordinals]), _bytes(data))


def _key_ranges(space: KeySpace, ordinals: np.ndarray) -> list[list[str]]:
    return [list(pair) for pair in key_pairs(ordinals, space)]


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
