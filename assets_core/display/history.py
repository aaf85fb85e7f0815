"""Histories: a line for each entry, and marks along time."""

from __future__ import annotations

from collections.abc import Sequence

from assets_core.display import svg
from assets_core.lineage.history import History, HistoryEntry
from assets_core.wording import (
    count,
    first_line,
    human_bytes,
    human_duration,
    human_time,
    one_line,
    short,
    table,
)

_ROWS = 50


def history_text(history: History) -> str:
    """Every entry, newest first."""
    if not history.entries:
        return f"Nothing is recorded of {history.title}."
    rows = [_cells(history, entry) for entry in history.entries]
    return "\n".join(table(_header(history), rows, right=_right(history)))


def history_html(history: History) -> str:
    """The newest entries, under a drawing of all."""
    if not history.entries:
        return svg.note(f"Nothing is recorded of {history.title}.")
    rows = [_html_cells(history, entry) for entry in history.entries[:_ROWS]]
    more = len(history.entries) - _ROWS
    return svg.block(
        svg.heading(f"History of {history.title}"),
        timeline(history.entries),
        svg.html_table(_header(history), rows, right=_right(history)),
        svg.note(f"and {count(more, 'older entry', 'older entries')}") if more > 0 else "",
    )


def _header(history: History) -> list[str]:
    where = ["partition"] if history.partition is None else []
    return ["when", *where, "what", "changed", "rows", "size", "took", "data", "code", "run", ""]


def _right(history: History) -> tuple[int, ...]:
    first = 4 if history.partition is None else 3
    return first, first + 1, first + 2


def _cells(history: History, entry: HistoryEntry) -> list[str]:
    where = [one_line(entry.partition)] if history.partition is None else []
    what = entry.what if entry.attempt <= 1 else f"{entry.what} (try {entry.attempt})"
    return [
        human_time(entry.at),
        *where,
        what,
        _changed_text(entry),
        count(entry.rows) if entry.published else "",
        human_bytes(entry.bytes) if entry.bytes else "",
        human_duration(entry.seconds) if entry.what not in _NOT_BUILT else "",
        short(entry.data_version),
        short(entry.code_version) if entry.what not in _NOT_BUILT else "",
        entry.run,
        _remarks(entry),
    ]


_NOT_BUILT = ("observed", "invalidated", "withdrawn")


def _changed_text(entry: HistoryEntry) -> str:
    if entry.changed is None:
        return ""
    return ", ".join(entry.changed) or "nothing"


def _remarks(entry: HistoryEntry) -> str:
    parts = [first_line(entry.message, 100)]
    if entry.rejected:
        parts.append(f"{count(entry.rejected, 'row')} rejected")
    # A promise is kept or broken by the first landing; a rebuild changes nothing about it.
    if entry.margin is not None and entry.margin < 0 and entry.landing:
        late = f"{human_duration(-entry.margin)} late"
        parts.append("backfilled" if entry.backfilled else late)
    return "; ".join(part for part in parts if part)


def _html_cells(history: History, entry: HistoryEntry) -> list[str]:
    cells = [svg.text_of(cell) for cell in _cells(history, entry)]
    at = 2 if history.partition is None else 1
    cells[at] = svg.badge(entry.what) + cells[at][len(svg.text_of(entry.what)) :]
    return cells


_WIDTH, _LANE, _MOST_LANES = 620.0, 18.0, 12


def timeline(entries: Sequence[HistoryEntry]) -> str:
    """Marks along time, one lane per partition (one for all when there are many).

    Invalidations are left out: they are of ranges.
    """
    entries = [entry for entry in entries if entry.what != "invalidated"]
    if not entries:
        return ""
    partitions = sorted({entry.partition for entry in entries})
    lanes = partitions if len(partitions) <= _MOST_LANES else [""]
    left = 7.2 * min(max(len(one_line(lane)) for lane in lanes), 24) + 10
    if len(lanes) < 2:
        left = 4.0
    first, last = min(e.at for e in entries), max(e.at for e in entries)
    shapes = []
    for i, lane in enumerate(lanes):
        y = _LANE * i + 10
        shapes.append(svg.line(left, y, left + _WIDTH, y, stroke_opacity=0.2))
        if len(lanes) > 1:
            shapes.append(svg.text(0, y + 4, one_line(lane, 24), font_size=11))
    for entry in reversed(entries):
        lane_at = lanes.index(entry.partition) if len(lanes) > 1 else 0
        share = (entry.at - first) / (last - first) if last > first else 0.5
        shapes.append(_mark(entry, left + 6 + share * (_WIDTH - 12), _LANE * lane_at + 10))
    bottom = _LANE * len(lanes) + 8
    style = {"font_size": 10.5, "opacity": 0.7}
    shapes.append(svg.text(left, bottom + 8, human_time(first), **style))
    if last > first:
        end = svg.text(left + _WIDTH, bottom + 8, human_time(last), text_anchor="end", **style)
        shapes.append(end)
    return svg.drawing(left + _WIDTH + 4, bottom + 14, *shapes, label="timeline")


def _mark(entry: HistoryEntry, x: float, y: float) -> str:
    tip = f"{one_line(entry.partition)} {entry.what} {human_time(entry.at)}"
    shade = svg.colour(entry.what)
    if entry.published:
        hollow = entry.changed is not None and "data" not in entry.changed
        fill = {"fill": "none", "stroke": shade, "stroke_width": 2} if hollow else {"fill": shade}
        return svg.element(
            "circle", svg.title(tip), cx=x, cy=y, r=4.5 if not hollow else 3.5, **fill
        )
    d = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
    return svg.element("path", svg.title(tip), d=d, stroke=shade, stroke_width=2.4, fill="none")
