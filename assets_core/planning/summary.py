"""A plan in few lines: its root causes, each once, and groups of partitions stale for one cause.

Values and sentences, from which `display` and the command draw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from assets_core.graph import Op
from assets_core.partitions import KeySpace
from assets_core.planning.cause_finder import find_causes
from assets_core.planning.causes import OTHERS, Causes, names
from assets_core.planning.columns import OpSteps, PlanColumns
from assets_core.planning.cost import cost_line, estimate
from assets_core.planning.missing_inputs import short_of
from assets_core.wording import count, first_line, gone_text, one_line, ranges

_LINES = 40
"""So many lines of assets and no more: a plan is told, not listed."""

_CAUSES = 12
_RANGES = 3


@dataclass(frozen=True, slots=True)
class PlanGroup:
    """Partitions of one asset that are in a plan for one cause.

    ``status`` is ``must``, ``may`` or ``blocked``, of sources ``failed`` or ``gone``; ``ordinals``
    int64; ``why`` the cause in words.
    """

    asset: str
    status: str
    ordinals: np.ndarray
    space: KeySpace
    why: str

    @property
    def count(self) -> int:
        """How many partitions."""
        return len(self.ordinals)

    @property
    def where(self) -> str:
        """Their keys, consecutive ones as ranges, the first few of many."""
        return ranges(self.ordinals, self.space, most=_RANGES)


def plan_groups(plan: PlanColumns, causes: Causes | None = None) -> list[PlanGroup]:
    """The steps of a plan by asset and kind of cause, upstream first; what waits comes last."""
    found: list[PlanGroup] = _source_groups(plan)
    known = causes or find_causes(plan)
    planned = {batch.op.name: batch.ordinals for batch in plan.batches}
    for batch in plan.batches:
        for asset in batch.op.outputs:
            found += _must_groups(known, batch, asset)
            may = batch.ordinals[batch.reasons == 0]
            if len(may):
                found += _may_groups(plan, batch.op, asset, may, planned)
    for batch in plan.waiting_batches:
        why = _waits_for(plan, batch)
        found += [_group(plan, a, "blocked", batch.ordinals, why) for a in batch.op.outputs]
    along = plan.made_along
    return [
        _told_along(group, along[group.asset]) if group.asset in along else group for group in found
    ]


def _told_along(group: PlanGroup, selected: Sequence[str]) -> PlanGroup:
    """Why an asset that was not selected is here, beside why it is stale."""
    told = f"made together with {names(selected)}"
    return group if group.why == told else replace(group, why=f"{group.why}; {told}")


def _source_groups(plan: PlanColumns) -> list[PlanGroup]:
    """Source partitions that could not be looked at, by error, and those that are gone."""
    found = []
    for source, errors in plan.observations.errors.items():
        alike: dict[str, list[int]] = {}
        for ordinal, error in errors.items():
            alike.setdefault(first_line(str(error), 160), []).append(ordinal)
        for told, ordinals in alike.items():
            found.append(_group(plan, source, "failed", np.array(ordinals), told))
    for source, gone in plan.observations.gone.items():
        told = gone_text(source, gone, plan.facts.spaces[source], plan.observations.held_back)
        found.append(_group(plan, source, "gone", np.array(gone), told))
    return found


def _group(plan: PlanColumns, asset: str, status: str, ordinals: np.ndarray, why: str) -> PlanGroup:
    return PlanGroup(asset, status, ordinals, plan.facts.spaces[asset], why)


def _must_groups(causes: Causes, batch: OpSteps, asset: str) -> Iterator[PlanGroup]:
    """Partitions with the same kinds of causes are one line."""
    must = batch.reasons != 0
    bits = causes.own[asset][must]
    phrases: dict[str, list[int]] = {}
    for value in np.unique(bits).tolist():
        phrases.setdefault(_phrase(causes, batch, asset, value), []).append(value)
    ordinals = batch.ordinals[must]
    for phrase, values in phrases.items():
        yield _group(causes.plan, asset, "must", ordinals[np.isin(bits, values)], phrase)


def _phrase(causes: Causes, batch: OpSteps, asset: str, bits: int) -> str:
    if not bits:
        others = [name for name in batch.op.outputs if name != asset]
        return f"made together with {names(others)}"
    return one_line(causes.phrases(bits), 160)


def _may_groups(
    plan: PlanColumns, op: Op, asset: str, ordinals: np.ndarray, planned: Mapping[str, np.ndarray]
) -> Iterator[PlanGroup]:
    """Grouped by which of the inputs are in the plan."""
    signs = np.zeros(len(ordinals), np.int64)
    names = list(dict.fromkeys(read.asset for read in op.inputs))
    for read in op.inputs:
        upstream = planned.get(plan.graph.op_of[read.asset].name)
        if upstream is None:
            continue
        mask = np.zeros(plan.facts.spaces[read.asset].n, bool)
        mask[upstream] = True
        hit = plan.resolved.edge(op, read).any(mask)[ordinals]
        signs |= hit.astype(np.int64) << names.index(read.asset)
    for sign in np.unique(signs).tolist():
        moving = [name for i, name in enumerate(names) if sign >> i & 1]
        why = f"if {' or '.join(moving)} changes" if moving else "if its upstream changes"
        yield _group(plan, asset, "may", ordinals[signs == sign], one_line(why, 160))


def _waits_for(plan: PlanColumns, batch: OpSteps) -> str:
    """What the partitions of a batch wait for."""
    parts = []
    waiting = np.zeros(plan.facts.spaces[batch.op.name].n, bool)
    waiting[batch.ordinals] = True
    for read in batch.op.inputs:
        edge, gone = plan.resolved.edge(batch.op, read), plan.still_unavailable(read)
        withdrawn = plan.withdrawn.get(plan.graph.op_of[read.asset].name)
        short = waiting & short_of(read, edge, gone, plan.facts.spaces[read.asset], withdrawn)
        expected = edge.cover(short)
        if withdrawn is not None:
            expected &= ~withdrawn
        missing = np.flatnonzero(expected & gone)
        if edge.short is not None and (edge.short & waiting).any():
            parts.append(str(plan.missing_input(read, missing[:0], 0)))
        if len(missing):
            # One partition's need is its own; of several, the numbers are those of all of them.
            needed = plan.missing_input(read, missing, int(expected.sum()))
            parts.append(str(needed if short.sum() == 1 else replace(needed, policy="all")))
    return "waits for " + ("; ".join(dict.fromkeys(parts)) or "partitions that do not exist yet")


def fresh_text(plan: PlanColumns) -> str:
    """What is said of a plan with nothing in it."""
    outside = plan.stale_outside_selection()
    but = f", but {outside:,} of it read something stale that is not" if outside else ""
    return f"everything selected is fresh{but}"


def plan_title(plan: PlanColumns) -> str:
    """``Plan for prod: 3 must run, 2 may run, 1 blocked``; or that there is nothing to do."""
    if plan.idle:
        return f"Nothing to do in {plan.environment}: {fresh_text(plan)}."
    parts = [f"{plan.must:,} must run", f"{plan.may:,} may run"]
    if plan.blocked:
        parts.append(f"{plan.blocked:,} blocked")
    if plan.observations.errors:
        parts.append(f"{sum(map(len, plan.observations.errors.values())):,} could not be observed")
    return f"Plan for {plan.environment}: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """A plan as text and pages show it: its title, root causes, lines, and what they leave out."""

    title: str
    causes: tuple[tuple[str, str], ...]
    groups: tuple[PlanGroup, ...]
    more: str
    cost: str

    @property
    def because(self) -> list[str]:
        """A line for each root cause, with what follows from it."""
        return [f"because {text} → {effect}" for text, effect in self.causes]


def summarize_plan(plan: PlanColumns, jobs: int = 0) -> PlanSummary:
    """What is told of a plan; what it will take, when ``jobs`` says with how many."""
    causes = find_causes(plan)
    groups = plan_groups(plan, causes)
    cost = cost_line(estimate(plan, jobs)) if jobs else ""
    return PlanSummary(
        plan_title(plan),
        tuple(_causes_told(causes)),
        tuple(groups[:_LINES]),
        _left_out(groups[_LINES:]),
        cost,
    )


def _causes_told(causes: Causes) -> Iterator[tuple[str, str]]:
    """The largest causes; none where the lines say it all by themselves."""
    if all(cause.kind in ("missing", "forced") and not cause.may for cause in causes.found):
        return
    for cause in causes.found[:_CAUSES]:
        yield causes.text(cause), cause.effect
    rest = causes.found[_CAUSES:]
    if rest:
        size = sum(cause.size for cause in rest)
        lumped = rest[-1].kind == OTHERS
        number = f"more than {len(rest) - 1:,} further causes" if lumped else ""
        yield number or count(len(rest), "further cause"), count(size, "asset partition")


def _left_out(groups: Sequence[PlanGroup]) -> str:
    """``and 23 more lines: 920 must, 1,840 may``."""
    if not groups:
        return ""
    numbers = Counter[str]()
    for group in groups:
        numbers[group.status] += group.count
    told = ", ".join(f"{n:,} {status}" for status, n in numbers.items())
    return f"and {count(len(groups), 'more line')}: {told}"
