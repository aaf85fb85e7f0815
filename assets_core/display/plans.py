"""Plans: a line for each group of partitions, and a drawing of the assets that take part."""

from __future__ import annotations

from collections import Counter

from assets_core.display import svg
from assets_core.display.graphs import edges_among
from assets_core.display.layout import MOST, Box, draw
from assets_core.planning.columns import PlanColumns
from assets_core.planning.summary import summarize_plan
from assets_core.wording import count, table


def plan_text(plan: PlanColumns) -> str:
    """The plan: its root causes, then a line per asset and kind of cause."""
    told = summarize_plan(plan)
    rows = [
        [group.asset, f"{group.where} ({count(group.count)})", group.status, group.why]
        for group in told.groups
    ]
    lines = [told.title, *told.because, *table((), rows), told.more]
    return "\n".join(line for line in lines if line)


def plan_html(plan: PlanColumns) -> str:
    """The plan as a drawing of what takes part, its root causes, and a table."""
    told = summarize_plan(plan)
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


def _plan_drawing(plan: PlanColumns) -> str:
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
    return draw(boxes, edges_among(graph, shown), label="plan")


_WORDS = ("must", "may", "blocked")


def _numbers(plan: PlanColumns) -> dict[str, Counter[str]]:
    """How many partitions of each asset must, may, or wait."""
    numbers: dict[str, Counter[str]] = {}
    for batch in plan.batches:
        must = int((batch.reasons != 0).sum())
        for asset in batch.op.outputs:
            numbers.setdefault(asset, Counter()).update(must=must, may=len(batch.ordinals) - must)
    for batch in plan.waiting_batches:
        for asset in batch.op.outputs:
            numbers.setdefault(asset, Counter()).update(blocked=len(batch.ordinals))
    for source, errors in plan.observations.errors.items():
        numbers.setdefault(source, Counter()).update(failed=len(errors))
    for source, gone in plan.observations.gone.items():
        numbers.setdefault(source, Counter()).update(gone=len(gone))
    return numbers


def _idle(plan: PlanColumns, name: str) -> str:
    """What is said of an asset that is not in the plan."""
    if plan.graph.assets[name].kind == "source":
        return "source"
    return "fresh" if name in plan.selected else "not selected"
