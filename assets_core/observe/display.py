"""Plans, graphs and results of runs as people read them: text, and HTML with drawings of our own.

A plan is told by its root causes, each once (`causes`), and by groups: partitions of one asset that
are stale for the same kind of cause are one line. `tell_plan` is what the command prints too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from assets_core.graph import Graph, Op
from assets_core.observe import svg
from assets_core.observe.causes import OTHERS, Causes, find_causes, names
from assets_core.observe.cost import cost_line, estimate
from assets_core.observe.format import (
    count,
    first_line,
    gone_text,
    human_duration,
    one_line,
    ranges,
    reference,
    table,
)
from assets_core.observe.layout import MOST, Box, draw
from assets_core.partitions import KeySpace
from assets_core.plan import Batch, Plan
from assets_core.staleness import lacks

if TYPE_CHECKING:
    from assets_core.execute.result import RunResult

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


def plan_groups(plan: Plan, causes: Causes | None = None) -> list[PlanGroup]:
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
        told = gone_text(source, gone, plan.facts.spaces[source], plan.sightings.held_back)
        found.append(_group(plan, source, "gone", np.array(gone), told))
    return found


def _group(plan: Plan, asset: str, status: str, ordinals: np.ndarray, why: str) -> PlanGroup:
    return PlanGroup(asset, status, ordinals, plan.facts.spaces[asset], why)


def _must_groups(causes: Causes, batch: Batch, asset: str) -> Iterator[PlanGroup]:
    """Partitions with the same kinds of causes are one line."""
    must = batch.reasons != 0
    bits = causes.own[asset][must]
    phrases: dict[str, list[int]] = {}
    for value in np.unique(bits).tolist():
        phrases.setdefault(_phrase(causes, batch, asset, value), []).append(value)
    ordinals = batch.ordinals[must]
    for phrase, values in phrases.items():
        yield _group(causes.plan, asset, "must", ordinals[np.isin(bits, values)], phrase)


def _phrase(causes: Causes, batch: Batch, asset: str, bits: int) -> str:
    if not bits:
        others = [name for name in batch.op.outputs if name != asset]
        return f"made together with {names(others)}"
    return one_line(causes.phrases(bits), 160)


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


def _waits_for(plan: Plan, batch: Batch) -> str:
    """What the partitions of a batch wait for."""
    parts = []
    waiting = np.zeros(plan.facts.spaces[batch.op.name].n, bool)
    waiting[batch.ordinals] = True
    for read in batch.op.inputs:
        edge, gone = plan.wiring.edge(batch.op, read), plan.gone(read)
        withdrawn = plan.withdrawn.get(plan.graph.op_of[read.asset].name)
        short = waiting & lacks(read, edge, gone, plan.facts.spaces[read.asset], withdrawn)
        expected = edge.cover(short)
        if withdrawn is not None:
            expected &= ~withdrawn
        missing = np.flatnonzero(expected & gone)
        if edge.short is not None and (edge.short & waiting).any():
            parts.append(str(plan.lack(read, missing[:0], 0)))
        if len(missing):
            # One partition's need is its own; of several, the numbers are those of all of them.
            lack = plan.lack(read, missing, int(expected.sum()))
            parts.append(str(lack if short.sum() == 1 else replace(lack, policy="all")))
    return "waits for " + ("; ".join(dict.fromkeys(parts)) or "partitions that do not exist yet")


# --------------------------------------------------------------------------------------------
# Plans


def fresh_text(plan: Plan) -> str:
    """What is said of a plan with nothing in it."""
    resting = plan.resting()
    but = f", but {resting:,} of it read something stale that is not" if resting else ""
    return f"everything selected is fresh{but}"


def plan_title(plan: Plan) -> str:
    """``Plan for prod: 3 must run, 2 may run, 1 blocked``; or that there is nothing to do."""
    if plan.idle:
        return f"Nothing to do in {plan.environment}: {fresh_text(plan)}."
    parts = [f"{plan.must:,} must run", f"{plan.may:,} may run"]
    if plan.blocked:
        parts.append(f"{plan.blocked:,} blocked")
    if plan.sightings.errors:
        parts.append(f"{sum(map(len, plan.sightings.errors.values())):,} could not be observed")
    return f"Plan for {plan.environment}: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class PlanTold:
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


def tell_plan(plan: Plan, jobs: int = 0) -> PlanTold:
    """What is told of a plan; what it will take, when ``jobs`` says with how many."""
    causes = find_causes(plan)
    groups = plan_groups(plan, causes)
    cost = cost_line(estimate(plan, jobs)) if jobs else ""
    return PlanTold(
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


def plan_text(plan: Plan) -> str:
    """The plan: its root causes, then a line per asset and kind of cause."""
    told = tell_plan(plan)
    rows = [
        [group.asset, f"{group.where} ({count(group.count)})", group.status, group.why]
        for group in told.groups
    ]
    lines = [told.title, *told.because, *table((), rows), told.more]
    return "\n".join(line for line in lines if line)


def plan_html(plan: Plan) -> str:
    """The plan as a drawing of what takes part, its root causes, and a table."""
    told = tell_plan(plan)
    if not told.groups:
        return svg.note(told.title)
    rows = [
        [
            svg.text_of(group.asset),
            svg.text_of(group.where),
            count(group.count),
            svg.badge(group.status),
            svg.text_of(group.why),
        ]
        for group in told.groups
    ]
    return svg.block(
        svg.heading(told.title),
        _plan_drawing(plan),
        *(svg.note(text) for text in told.because),
        svg.html_table(("asset", "partitions", "", "status", "why"), rows, right=(2,)),
        svg.note(told.more) if told.more else "",
    )


def _plan_drawing(plan: Plan) -> str:
    numbers = _numbers(plan)
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


def _numbers(plan: Plan) -> dict[str, Counter[str]]:
    """How many partitions of each asset must, may, or wait."""
    numbers: dict[str, Counter[str]] = {}
    for batch in plan.batches:
        must = int((batch.reasons != 0).sum())
        for asset in batch.op.outputs:
            numbers.setdefault(asset, Counter()).update(must=must, may=len(batch.ordinals) - must)
    for batch in plan.waiting_batches:
        for asset in batch.op.outputs:
            numbers.setdefault(asset, Counter()).update(blocked=len(batch.ordinals))
    for source, errors in plan.sightings.errors.items():
        numbers.setdefault(source, Counter()).update(failed=len(errors))
    for source, gone in plan.sightings.gone.items():
        numbers.setdefault(source, Counter()).update(gone=len(gone))
    return numbers


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
