"""Plans, graphs and results of runs as people read them: text, and HTML with drawings of our own.

A plan is told by groups: partitions of one asset that are stale for the same cause are one line,
and the cause is found once, not once per partition. `plan_groups` is what the command prints too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assets_core.graph import Graph, Op
from assets_core.observe import svg
from assets_core.observe.format import (
    GONE,
    count,
    first_line,
    human_duration,
    one_line,
    ranges,
    reference,
    table,
)
from assets_core.observe.layout import MOST, Box, draw
from assets_core.plan import Batch, Plan
from assets_core.staleness import CODE, INPUT, Reason

if TYPE_CHECKING:
    from assets_core.execute.result import RunResult

_EXPLAINED = 24
"""So many partitions of a group are explained one by one; of more, one stands as an example."""

_LINES = 60
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
    where: str
    why: str

    @property
    def count(self) -> int:
        """How many partitions."""
        return len(self.ordinals)


def plan_groups(plan: Plan) -> list[PlanGroup]:
    """The steps of a plan by asset and cause, upstream first; what waits comes last."""
    found: list[PlanGroup] = _source_groups(plan)
    planned = {batch.op.name: batch.ordinals for batch in plan.batches}
    for batch in plan.batches:
        for asset in batch.op.outputs:
            found += _groups_of(plan, batch, asset, planned)
    for batch in plan.waiting_batches:
        why = _waits_for(plan, batch, planned)
        found += [_group(plan, a, "blocked", batch.ordinals, why) for a in batch.op.outputs]
    return found


def _source_groups(plan: Plan) -> list[PlanGroup]:
    """Source partitions that could not be looked at, by error, and those that are gone."""
    found = []
    for source, errors in plan.sightings.errors.items():
        alike: dict[str, list[int]] = {}
        for ordinal, error in errors.items():
            alike.setdefault(first_line(str(error), 160), []).append(ordinal)
        for told, ordinals in alike.items():
            found.append(_group(plan, source, "failed", np.array(ordinals), told))
    for source, gone in plan.sightings.gone.items():
        found.append(_group(plan, source, "gone", np.array(gone), GONE))
    return found


def _group(plan: Plan, asset: str, status: str, ordinals: np.ndarray, why: str) -> PlanGroup:
    where = ranges(ordinals, plan.facts.spaces[asset], most=_RANGES)
    return PlanGroup(asset, status, ordinals, where, why)


def _groups_of(
    plan: Plan, batch: Batch, asset: str, planned: Mapping[str, np.ndarray]
) -> Iterator[PlanGroup]:
    # What must run first, then what only may (no bits).
    for bits in sorted(np.unique(batch.reasons).tolist(), key=lambda bits: bits == 0):
        ordinals = batch.ordinals[batch.reasons == bits]
        if bits == 0:
            yield from _may_groups(plan, batch.op, asset, ordinals, planned)
        elif bits & INPUT and len(ordinals) <= _EXPLAINED:
            yield from _told_apart(plan, asset, ordinals, bits)
        else:
            yield from _must_groups(plan, asset, ordinals, bits)


def _must_groups(plan: Plan, asset: str, ordinals: np.ndarray, bits: int) -> Iterator[PlanGroup]:
    """Same bits and same recorded code have the same cause, but for which inputs moved."""
    own = plan.facts.assets[asset]
    # What a multi-asset's sibling lacks shows on all its outputs: ask each what is its own.
    causes = np.where(own.id[ordinals] == 0, -1, own.code[ordinals] if bits & CODE else 0)
    for cause in np.unique(causes).tolist():
        alike = ordinals[causes == cause]
        reasons = plan.explain(asset, int(alike[0]), bits)
        yield _group(plan, asset, "must", alike, _why(reasons, example=len(alike) > 1))


def _told_apart(plan: Plan, asset: str, ordinals: np.ndarray, bits: int) -> Iterator[PlanGroup]:
    """A few partitions, grouped by what each of them says."""
    by_cause: dict[tuple[tuple[str, str], ...], list[int]] = {}
    told: dict[int, tuple[Reason, ...]] = {}
    for ordinal in ordinals.tolist():
        told[ordinal] = plan.explain(asset, ordinal, bits)
        cause = tuple(dict.fromkeys((r.kind, _without_partition(r)) for r in told[ordinal]))
        by_cause.setdefault(cause, []).append(ordinal)
    for cause, alike in by_cause.items():
        alone = len(alike) == 1
        why = _why(told[alike[0]]) if alone else "; ".join(_phrase(k, d) for k, d in cause)
        yield _group(plan, asset, "must", np.array(alike, np.int64), why)


def _without_partition(reason: Reason) -> str:
    """``late data in landing[2024-01-05]`` → ``late data in landing``."""
    if reason.kind not in ("late data", "input changed"):
        return reason.detail
    return reason.detail.split("[", 1)[0]


def _phrase(kind: str, detail: str) -> str:
    """A kind and its detail, without saying the same twice."""
    if kind == "input changed" and detail.startswith("input "):
        return f"{detail} changed"
    if kind in ("missing", "forced"):
        return kind
    return detail if detail.startswith(kind) or kind == "sibling" else f"{kind}: {detail}"


def _why(reasons: Sequence[Reason], *, example: bool = False) -> str:
    """Reasons in one line; as an ``example`` the partitions that they name are only some."""
    parts = []
    for reason in reasons:
        named = reason.kind in ("late data", "input changed")
        text = _phrase(reason.kind, reason.detail)
        if named and example:
            text = _phrase(reason.kind, _without_partition(reason))
        parts.append(text + _versions(reason) if not (named and example) else text)
    return one_line("; ".join(dict.fromkeys(parts)), 160)


def _versions(reason: Reason) -> str:
    return f" ({reason.was[:8]} → {reason.now[:8]})" if reason.was and reason.now else ""


def _may_groups(
    plan: Plan, op: Op, asset: str, ordinals: np.ndarray, planned: Mapping[str, np.ndarray]
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
        hit = plan.wiring.edge(op, read).any(mask)[ordinals]
        signs |= hit.astype(np.int64) << names.index(read.asset)
    for sign in np.unique(signs).tolist():
        moving = [name for i, name in enumerate(names) if sign >> i & 1]
        why = f"if {' or '.join(moving)} changes" if moving else "if its upstream changes"
        yield _group(plan, asset, "may", ordinals[signs == sign], one_line(why, 160))


def _waits_for(plan: Plan, batch: Batch, planned: Mapping[str, np.ndarray]) -> str:
    """What the partitions of a batch wait for."""
    parts = []
    waiting = np.zeros(plan.facts.spaces[batch.op.name].n, bool)
    waiting[batch.ordinals] = True
    for read in batch.op.inputs:
        gone = plan.wiring.edge(batch.op, read).cover(waiting)
        gone &= plan.lacking(read.asset)
        upstream = planned.get(plan.graph.op_of[read.asset].name)
        if upstream is not None:
            gone[upstream] = False
        if gone.any():
            where = ranges(np.flatnonzero(gone), plan.facts.spaces[read.asset], most=2)
            parts.append(f"{read.asset} {where}")
    return "waits for " + ("; ".join(dict.fromkeys(parts)) or "partitions that do not exist yet")


# --------------------------------------------------------------------------------------------
# Plans


def plan_title(plan: Plan) -> str:
    """``Plan for prod: 3 must run, 2 may run, 1 blocked``; or that there is nothing to do."""
    if plan.idle:
        return f"Nothing to do in {plan.environment}: everything selected is fresh."
    parts = [f"{plan.must:,} must run", f"{plan.may:,} may run"]
    if plan.blocked:
        parts.append(f"{plan.blocked:,} blocked")
    if plan.sightings.errors:
        parts.append(f"{sum(map(len, plan.sightings.errors.values())):,} could not be observed")
    return f"Plan for {plan.environment}: {', '.join(parts)}"


def plan_text(plan: Plan) -> str:
    """The plan, a line per asset and cause."""
    groups = plan_groups(plan)
    rows = [
        [group.asset, f"{group.where} ({count(group.count)})", group.status, group.why]
        for group in groups[:_LINES]
    ]
    lines = [plan_title(plan), *table((), rows)]
    if len(groups) > _LINES:
        lines.append(f"and {count(len(groups) - _LINES, 'more line')}")
    return "\n".join(lines)


def plan_html(plan: Plan) -> str:
    """The plan as a drawing of what takes part, and a table of causes."""
    groups = plan_groups(plan)
    if not groups:
        return svg.note(plan_title(plan))
    rows = [
        [
            svg.text_of(group.asset),
            svg.text_of(group.where),
            count(group.count),
            svg.badge(group.status),
            svg.text_of(group.why),
        ]
        for group in groups[:_LINES]
    ]
    more = len(groups) - _LINES
    return svg.block(
        svg.heading(plan_title(plan)),
        _plan_drawing(plan, groups),
        svg.html_table(("asset", "partitions", "", "status", "why"), rows, right=(2,)),
        svg.note(f"and {count(more, 'more line')}") if more > 0 else "",
    )


def _plan_drawing(plan: Plan, groups: Iterable[PlanGroup]) -> str:
    numbers: dict[str, Counter[str]] = {}
    for group in groups:
        numbers.setdefault(group.asset, Counter())[group.status] += group.count
    graph = plan.graph
    shown = set(graph.assets)
    if len(shown) > MOST:
        # What is planned and what it reads directly; the rest of a large graph is scenery.
        shown = {n for name in numbers for n in (name, *graph.op_of[name].upstream)}
    boxes = []
    for name in (n for n in graph.order if n in shown):
        counts = numbers.get(name, Counter())
        text = ", ".join(f"{counts[word]:,} {word}" for word in _WORDS if counts[word])
        word = next((word for word in _WORDS if counts[word]), "")
        boxes.append(Box(name, name, text or _idle(plan, name), word))
    return draw(boxes, _edges(graph, shown), label="plan")


_WORDS = ("must", "may", "blocked")


def _idle(plan: Plan, name: str) -> str:
    """What is said of an asset that is not in the plan."""
    if plan.graph.assets[name].kind == "source":
        return "source"
    return "fresh" if name in plan.selected else "not selected"


def _edges(graph: Graph, shown: set[str]) -> list[tuple[str, str]]:
    return [
        (upstream, name)
        for name in graph.order
        if name in shown
        for upstream in graph.op_of[name].upstream
        if upstream in shown
    ]


# --------------------------------------------------------------------------------------------
# Graphs


def graph_html(graph: Graph) -> str:
    """The graph: a box per asset, with its kind and partitions."""
    boxes = []
    for name in graph.order:
        asset = graph.assets[name]
        word = {"source": "observed", "sql": "may", "python": "fresh"}[asset.kind]
        boxes.append(Box(name, name, f"{asset.kind} · {asset.partitions.kind}", word))
    drawn = draw(boxes, _edges(graph, set(graph.assets)), label="graph of assets")
    return svg.block(svg.heading(_graph_title(graph)), drawn)


def _graph_title(graph: Graph) -> str:
    sources = sum(asset.kind == "source" for asset in graph.assets.values())
    parts = [count(len(graph.assets) - sources, "asset")]
    if sources:
        parts.append(count(sources, "source"))
    return ", ".join(parts)


# --------------------------------------------------------------------------------------------
# Results of runs

RESULTS = ("done", "unchanged", "released", "failed", "blocked")
_FAILURES = 10


def result_title(result: RunResult) -> str:
    """A run in one line."""
    if not result.run_id:
        return "Nothing to do: everything selected is fresh."
    text = f"Run {result.run_id} {result.status} in {human_duration(result.seconds)}: "
    parts = [f"{result.counts[name]:,} {name}" for name in RESULTS if result.counts.get(name)]
    parts.append(count(result.rows, "row"))
    if result.rejected:
        parts.append(f"{result.rejected:,} rejected")
    if result.warnings:
        parts.append(count(result.warnings, "warning"))
    return text + ", ".join(parts)


def result_text(result: RunResult) -> str:
    """What came of a run: numbers by asset, then each failure's first line, and how to go on."""
    lines = [result_title(result)]
    header, rows = _result_rows(result)
    if rows:
        lines += table(header, rows, right=range(1, len(header)))
    lines += _problem_lines(result)
    if result.resume and not result.ok:
        lines.append(f"Resume with: {result.resume}")
    return "\n".join(lines)


def _result_rows(result: RunResult) -> tuple[list[str], list[list[str]]]:
    used = [name for name in RESULTS if result.counts.get(name)]
    rows = [
        [asset, *(count(counts.get(name, 0)) for name in used)]
        for asset, counts in result.by_asset.items()
    ]
    return ["asset", *used], rows


def _problem_lines(result: RunResult) -> list[str]:
    lines = []
    for failure in result.failures[:_FAILURES]:
        tries = f" ({failure.attempts} tries)" if failure.attempts > 1 else ""
        where = reference(failure.asset, failure.partition)
        lines.append(f"failed   {where}{tries}  {first_line(failure.error, 160)}")
    if len(result.failures) > _FAILURES:
        lines.append(f"failed   {len(result.failures) - _FAILURES:,} more")
    by_reason: dict[tuple[str, str], list[str]] = {}
    for asset, partition, reason in result.blocked:
        by_reason.setdefault((asset, reason), []).append(partition)
    for (asset, reason), keys in list(by_reason.items())[:_FAILURES]:
        where = reference(asset, keys[0]) + (f" and {len(keys) - 1:,} more" if keys[1:] else "")
        lines.append(f"blocked  {where}  {first_line(reason, 160)}")
    if len(by_reason) > _FAILURES:
        lines.append(f"blocked  {sum(map(len, list(by_reason.values())[_FAILURES:])):,} more")
    return lines


def result_html(result: RunResult) -> str:
    """What came of a run, with a bar per asset."""
    if not result.run_id:
        return svg.note(result_title(result))
    used = [name for name in RESULTS if result.counts.get(name)]
    rows = [_result_row(asset, counts, used) for asset, counts in result.by_asset.items()]
    problems = _problem_lines(result)
    if result.resume and not result.ok:
        problems.append(f"Resume with: {result.resume}")
    return svg.block(
        svg.heading(result_title(result)),
        svg.html_table(("asset", "", *used), rows, right=range(2, 2 + len(used))) if rows else "",
        svg.preformatted("\n".join(problems)) if problems else "",
    )


def _result_row(asset: str, counts: Mapping[str, int], used: Sequence[str]) -> list[str]:
    runs = [(name, counts.get(name, 0)) for name in used]
    bar = svg.strip(runs, width=180, label=asset)
    return [svg.text_of(asset), bar, *(count(number) for _, number in runs)]
