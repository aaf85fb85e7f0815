"""Status: a bar or a row of cells for each asset, and what is wrong in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from zoneinfo import ZoneInfo

import numpy as np

from assets_core.display import svg
from assets_core.lineage.status import STATES, AssetStatus, Status, StatusCell, summary
from assets_core.planning.digests import WAS_OPEN
from assets_core.records import Attempt
from assets_core.wording import (
    first_line,
    gone_text,
    human_time,
    moment,
    one_line,
    ranges,
    reference,
    table,
)

SIGNS = dict(zip(STATES, "██–▒··!×", strict=True))
"""One character per state, told apart without colour."""

_TROUBLES = 8


def status_text(status: Status) -> str:
    """A bar for each asset, what its signs mean, and what is wrong."""
    if not status.rows:
        return "No assets."
    rows = [[row.asset, _bar(row), summary(row.counts)] for row in status.rows]
    lines = table(("asset", "partitions", ""), rows)
    lines += ["", legend(status)]
    for row in status.rows:
        lines += _trouble(row)
    return "\n".join(lines)


def _bar(row: AssetStatus) -> str:
    return "".join(SIGNS[cell.state] for cell in row.bar())


def legend(status: Status) -> str:
    """What the characters of the bars mean, of the states that occur."""
    present = [state for state, n in status.counts.items() if n]
    return "   ".join(f"{SIGNS[state]} {state}" for state in present)


def failed_though_fresh(attempt: Attempt) -> str:
    """What is said of a fresh partition whose newest attempt failed."""
    error = first_line(attempt.error, 80)
    return f"still serves; the last attempt failed: {error}  (run {attempt.run})"


def _trouble(row: AssetStatus) -> list[str]:
    """Failed partitions with their errors, and which are blocked."""
    lines = []
    for key, attempt in list(row.failures.items())[-_TROUBLES:]:
        lines.append(
            f"failed   {reference(row.asset, key)}  {first_line(attempt.error, 100)}  "
            f"({human_time(attempt.finished)}, run {attempt.run})"
        )
    if len(row.failures) > _TROUBLES:
        lines.insert(0, f"failed   {row.asset}: {len(row.failures) - _TROUBLES:,} more, and:")
    for key, attempt in list(row.fresh_failures.items())[-_TROUBLES:]:
        lines.append(f"fresh    {reference(row.asset, key)}  {failed_though_fresh(attempt)}")
    if len(row.fresh_failures) > _TROUBLES:
        lines.append(f"fresh    {row.asset}: {len(row.fresh_failures) - _TROUBLES:,} more of these")
    blocked = row.ordinals("blocked")
    if len(blocked):
        lines.append(f"blocked  {row.asset}  {ranges(blocked, row.space)}  {row.waiting}".rstrip())
    if len(incomplete := row.incomplete_text):
        lines.append(f"open     {incomplete}")
    lines += [f"{label:<8} {where}  {told}" for label, where, told in source_troubles(row)]
    lines += [f"stale    {where}  {told}" for where, told in stale_told(row)]
    return lines


def stale_told(row: AssetStatus) -> list[tuple[str, str]]:
    """What is stale though nothing that it reads need have moved, as where and why: windows that
    were open, and the newest invalidations in force."""
    was_open = row.was_open if row.was_open is not None else ()
    closed = [(f"{row.asset} {ranges(was_open, row.space)}", WAS_OPEN)] if len(was_open) else []
    return closed + [
        (f"{row.asset} {ranges(at, row.space)}", one_line(f"invalidated {one}", 160))
        for one, at in row.invalidated[-_TROUBLES:]
    ]


def source_troubles(row: AssetStatus) -> list[tuple[str, str, str]]:
    """What is wrong with a source, as label, where and what: errors of looking, what is gone."""
    alike: dict[str, list[str]] = {}
    for key, error in row.unseen.items():
        alike.setdefault(error, []).append(key)
    found = [
        ("failed", f"{row.asset} {ranges(row.space.ordinals(keys), row.space)}", error)
        for error, keys in list(alike.items())[:_TROUBLES]
    ]
    if row.gone is not None and len(row.gone):
        told = gone_text(row.asset, row.gone.tolist(), row.space, {row.asset: row.held_back})
        found.append(("gone", f"{row.asset} {ranges(row.gone, row.space)}", told))
    return found


_WIDTH, _ROW, _LEFT = 560.0, 22.0, 8.0
_CELLS = 140


def status_html(status: Status) -> str:
    """The partitions as a heat map, and what is wrong."""
    if not status.rows:
        return svg.note("No assets.")
    present = [state for state, n in status.counts.items() if n]
    keys = "&ensp;".join(svg.badge(state) for state in present)
    troubles = [line for row in status.rows for line in _trouble(row)]
    parts = [svg.heading("Status", keys), heat_map(status)]
    if troubles:
        parts.append(svg.preformatted("\n".join(troubles)))
    return svg.block(*parts)


def heat_map(status: Status) -> str:
    """A row of cells for each asset; those with time windows stand on one common time axis."""
    names = min(max(len(row.asset) for row in status.rows), 32)
    left = _LEFT + 7.2 * names
    span = _span(status)
    shapes = []
    for i, row in enumerate(status.rows):
        y = _ROW * i + 4
        shapes.append(svg.text(0, y + 12, row.asset[:32]))
        shapes += _cells(row, left, y, span)
        shapes.append(
            svg.text(left + _WIDTH + 10, y + 12, summary(row.counts), font_size=11, opacity=0.75)
        )
    height = _ROW * len(status.rows) + 4
    if span is not None:
        shapes += _axis(span, _zone(status), left, height)
        height += 18
    return svg.drawing(left + _WIDTH + 210, height, *shapes, label="partitions by state")


def _windows(row: AssetStatus) -> tuple[np.ndarray, np.ndarray] | None:
    """Starts and ends of a row that can stand on a time axis: strictly one after the other."""
    starts, ends = row.space.starts(), row.space.ends()
    if starts is None or ends is None or not len(starts) or (np.diff(starts) <= 0).any():
        return None
    return starts, ends


def _span(status: Status) -> tuple[int, int] | None:
    """The first and the last second of all windows."""
    windows = [found for row in status.rows if (found := _windows(row)) is not None]
    if not windows:
        return None
    return int(min(w[0][0] for w in windows)), int(max(w[1][-1] for w in windows))


def _cells(row: AssetStatus, left: float, y: float, span: tuple[int, int] | None) -> list[str]:
    shapes = []
    cells = row.bar(_CELLS)
    narrow = len(cells) * _GAP_FROM > _WIDTH
    for cell in _joined(cells) if narrow else cells:
        x, width = _extent(row, cell, span)
        gap = 0.0 if narrow or width < _GAP_FROM else 1.0
        fill = {"fill": svg.colour(cell.state), "fill_opacity": svg.opacity(cell.state)}
        tip = _cell_tip(row, cell)
        shapes.append(svg.rect(left + x, y, max(width - gap, 0.8), 15, tip, **fill))
    return shapes


_GAP_FROM = 6.0
"""Cells of this width and more are set apart; narrower ones run together."""


def _joined(cells: Sequence[StatusCell]) -> list[StatusCell]:
    """Neighbouring cells of one state as one."""
    out: list[StatusCell] = []
    for cell in cells:
        if out and out[-1].state == cell.state:
            before, own = out[-1], cell.last - cell.first + 1
            n = cell.last - before.first + 1
            share = (before.share * (n - own) + cell.share * own) / n
            out[-1] = StatusCell(cell.state, before.first, cell.last, share)
        else:
            out.append(cell)
    return out


def _extent(
    row: AssetStatus, cell: StatusCell, span: tuple[int, int] | None
) -> tuple[float, float]:
    """Where a cell begins and how wide it is: by its window, or by its place among all."""
    windows = _windows(row)
    if windows is None or span is None:
        scale = _WIDTH / len(row.codes)
        return scale * cell.first, scale * (cell.last - cell.first + 1)
    scale = _WIDTH / max(span[1] - span[0], 1)
    start, end = int(windows[0][cell.first]), int(windows[1][cell.last])
    return scale * (start - span[0]), scale * (end - start)


def _cell_tip(row: AssetStatus, cell: StatusCell) -> str:
    where = ranges(range(cell.first, cell.last + 1), row.space)
    many = cell.last > cell.first and cell.share < 1
    return f"{row.asset} {where}: {cell.state}" + (f" ({cell.share:.0%} of them)" if many else "")


def _zone(status: Status) -> tzinfo:
    """The zone of the first row that stands on the axis."""
    row = next(row for row in status.rows if _windows(row) is not None)
    return ZoneInfo(row.space.definition.zone_name)


def _axis(span: tuple[int, int], zone: tzinfo, left: float, y: float) -> list[str]:
    """The dates (or times) at both ends and in the middle."""
    shapes = [svg.line(left, y, left + _WIDTH, y)]
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        at = moment(int(span[0] + share * (span[1] - span[0])) * 1_000_000).astimezone(zone)
        long = span[1] - span[0] > 3 * 86_400
        label = f"{at:%Y-%m-%d}" if long else f"{at:%m-%d %H:%M}"
        style = {"text_anchor": anchor, "font_size": 10.5, "opacity": 0.7}
        shapes.append(svg.text(left + share * _WIDTH, y + 13, label, **style))
    return shapes
