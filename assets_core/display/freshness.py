"""Reports of freshness: a line for each asset under a promise, and what is late of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import numpy as np

from assets_core.display import svg
from assets_core.lineage.freshness import (
    STATUSES,
    AssetFreshness,
    FreshnessReport,
    FreshnessState,
    PartitionFreshness,
)
from assets_core.wording import (
    count,
    human_duration,
    human_time,
    micros_of,
    one_line,
    ranges,
    table,
)

_SHOWN = 5


def freshness_text(report: FreshnessReport) -> str:
    """A table of the assets, then what is late or about to be."""
    if not report.rows:
        return "No asset of the selection promises freshness."
    header = ["asset", "status", *report.statuses, "promise"]
    rows = [_row_text(row, report.statuses) for row in report.rows]
    lines = table(header, rows, right=range(2, len(header) - 1))
    for row in report.rows:
        lines += _late_lines(row)
    return "\n".join(lines)


def _row_text(row: AssetFreshness, statuses: Sequence[str]) -> list[str]:
    numbers = [count(row.counts[status]) for status in statuses]
    return [row.asset, row.status or "no windows", *numbers, row.promise_text]


def _late_lines(row: AssetFreshness) -> list[str]:
    """What is late or about to be, the newest last; older ones than the last few are counted."""
    troubled = row.ordinals("late", "warn")
    if not len(troubled):
        return []
    lines = ["", f"{row.asset}:"]
    if len(troubled) > _SHOWN:
        lines.append(f"  {count(len(troubled) - _SHOWN)} earlier ones, of {_span(row, troubled)}")
    cells = [["", one_line(p.partition), p.state.status, *_times(p.state)] for p in _last(row)]
    return lines + table((), cells)


def _span(row: AssetFreshness, troubled: np.ndarray) -> str:
    return ranges(troubled[:-_SHOWN], row.space)


def _last(row: AssetFreshness) -> Iterator[PartitionFreshness]:
    return row.at(row.ordinals("late", "warn")[-_SHOWN:])


def _times(state: FreshnessState) -> tuple[str, str]:
    due = f"due {human_time(micros_of(state.deadline))}"
    if state.landed is None:
        left = state.margin.total_seconds()
        return due, (
            f"not landed, {human_duration(left)} left"
            if left >= 0
            else f"not landed, overdue by {human_duration(-left)}"
        )
    late = state.margin < timedelta(0)
    by = human_duration(abs(state.margin))
    return due, f"landed {human_time(micros_of(state.landed))}, {by} {'late' if late else 'before'}"


def freshness_html(report: FreshnessReport) -> str:
    """The same with a bar for each asset."""
    if not report.rows:
        return svg.note("No asset of the selection promises freshness.")
    header = ("asset", "status", "partitions", *report.statuses, "promise")
    rows = [_row_html(row, report.statuses) for row in report.rows]
    late = [p for row in report.rows for p in _last(row)]
    parts = [svg.html_table(header, rows, right=range(3, len(header) - 1))]
    if late:
        cells = [
            [
                svg.text_of(p.asset),
                svg.text_of(one_line(p.partition)),
                svg.badge(p.state.status),
                *map(svg.text_of, _times(p.state)),
            ]
            for p in late
        ]
        parts.append(svg.html_table(("asset", "partition", "status", "due", "landed"), cells))
    return svg.block(*parts)


def _row_html(row: AssetFreshness, statuses: Sequence[str]) -> list[str]:
    return [
        svg.text_of(row.asset),
        svg.badge(row.status or "no windows"),
        svg.strip([(STATUSES[c], n) for c, n in _runs(row.codes)], width=220, label=row.asset),
        *(count(row.counts[status]) for status in statuses),
        svg.text_of(row.promise_text),
    ]


def _runs(codes: np.ndarray, cells: int = 60) -> list[tuple[int, int]]:
    """The worst code of each of at most ``cells`` stretches, as ``(code, partitions)``."""
    n = len(codes)
    if not n:
        return []
    bounds = np.arange(min(n, cells)) * n // min(n, cells)
    worst = np.maximum.reduceat(codes, bounds).tolist()
    lengths = np.diff(np.append(bounds, n)).tolist()
    return list(zip(worst, lengths, strict=True))
