"""`assets status` and `assets freshness`: how every partition stands."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from assets_core.cli import options
from assets_core.cli.screen import Cell, Screen, print_json, stdout
from assets_core.cli.session import project
from assets_core.errors import UsageError
from assets_core.wording import (
    count,
    first_line,
    human_duration,
    human_time,
    ranges,
    reference,
)

if TYPE_CHECKING:
    from assets_core.lineage.freshness import FreshnessReport
    from assets_core.lineage.status import AssetStatus, Status

STATE_STYLES = {
    "fresh": "green",
    "observed": "blue",
    "withdrawn": "dim",
    "stale": "yellow",
    "missing": "dim",
    "not seen": "dim",
    "blocked": "magenta",
    "failed": "bold red",
}
_FRESHNESS_STYLES = {
    "pass": "green",
    "backfilled": "blue",
    "warn": "yellow",
    "late": "bold red",
    "not due": "dim",
}
_WIDEST_BAR = 60
_NARROWEST_BAR = 10
_MOST_TROUBLES = 10

_Now = Annotated[
    str | None,
    typer.Option(
        "--now",
        metavar="TIME",
        help="As it was, or will be, at this instant (ISO, with a zone).",
        show_default=False,
    ),
]


def parse_now(text: str | None) -> datetime | None:
    """An instant with a zone. Raises UsageError for anything else."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise UsageError(
            f"{text!r} is not an instant.", hint="Write it as 2024-01-01T06:00:00+01:00 or …Z."
        )
    return at


def status(
    ctx: typer.Context,
    selection: options.Selection = None,
    select: options.SelectOption = None,
    include_open: options.IncludeOpen = False,
    as_json: options.Json = False,
) -> None:
    """Every asset's partitions at a glance: fresh, stale, missing, blocked, failed."""
    with project(ctx) as loaded:
        found = loaded.status(options.both(selection, select), include_open=include_open)
        if as_json:
            print_json(found.to_dict())
        else:
            print_status(stdout(), found)


def print_status(screen: Screen, found: Status) -> None:
    """A bar for each asset, the meaning of its signs, and what failed."""
    from assets_core.lineage.status import summary

    if not found.rows:
        screen.line("No asset is selected.")
        return
    names = max(len(row.asset) for row in found.rows)
    texts = [summary(row.counts) for row in found.rows]
    widest = max(map(len, texts))
    room = _WIDEST_BAR
    if screen.width:
        room = max(_NARROWEST_BAR, min(room, screen.width - names - widest - 4))
    width = min(room, max(len(row.codes) for row in found.rows))
    for row, text in zip(found.rows, texts, strict=True):
        bar = _bar(screen, row, width)
        screen.line(f"{screen.paint(row.asset.ljust(names), 'bold')}  {bar}  {text}")
    screen.line()
    screen.line(_legend(screen, found))
    for row in found.rows:
        _print_troubles(screen, row)


def _bar(screen: Screen, row: AssetStatus, width: int) -> str:
    from assets_core.display.status import SIGNS

    drawn = [screen.paint(SIGNS[cell.state], STATE_STYLES[cell.state]) for cell in row.bar(width)]
    return "".join(drawn) + " " * (width - len(drawn))


def _legend(screen: Screen, found: Status) -> str:
    from assets_core.display.status import SIGNS

    used = [state for state, n in found.counts.items() if n]
    signs = [f"{screen.paint(SIGNS[state], STATE_STYLES[state])} {state}" for state in used]
    return "  ".join(signs)


def _print_troubles(screen: Screen, row: AssetStatus) -> None:
    from assets_core.display.status import source_troubles, stale_told

    for key, attempt in list(row.failures.items())[:_MOST_TROUBLES]:
        where = screen.paint(reference(row.asset, key), "bold")
        error = first_line(attempt.error, 160)
        screen.line(f"{screen.paint('failed', 'red')}   {where}  {error}  (run {attempt.run})")
    if len(row.failures) > _MOST_TROUBLES:
        more = len(row.failures) - _MOST_TROUBLES
        screen.line(f"{screen.paint('failed', 'red')}   {row.asset}: {count(more)} more")
    _print_fresh_failures(screen, row)
    stuck = row.ordinals("blocked")
    if len(stuck):
        where = ranges(stuck, row.space)
        blocked = screen.paint("blocked", "magenta")
        screen.line(f"{blocked}  {row.asset} {where}  {row.waiting}".rstrip())
    if row.incomplete_text:
        screen.line(f"{screen.paint('open', 'yellow')}     {row.incomplete_text}")
    for label, where, told in source_troubles(row):
        screen.line(f"{screen.paint(f'{label:<8}', 'red')} {where}  {told}")
    for where, told in stale_told(row):
        screen.line(f"{screen.paint('stale', 'yellow')}    {where}  {told}")


def _print_fresh_failures(screen: Screen, row: AssetStatus) -> None:
    from assets_core.display.status import failed_though_fresh

    for key, attempt in list(row.fresh_failures.items())[:_MOST_TROUBLES]:
        where = screen.paint(reference(row.asset, key), "bold")
        told = failed_though_fresh(attempt)
        screen.line(f"{screen.paint('fresh', 'green')}    {where}  {told}")
    if len(row.fresh_failures) > _MOST_TROUBLES:
        more = count(len(row.fresh_failures) - _MOST_TROUBLES)
        screen.line(f"{screen.paint('fresh', 'green')}    {row.asset}: {more} more of these")


def freshness(
    ctx: typer.Context,
    selection: options.Selection = None,
    select: options.SelectOption = None,
    now: _Now = None,
    as_json: options.Json = False,
) -> None:
    """Which partitions landed in time, and which are late or about to be."""
    at = parse_now(now)
    with project(ctx) as loaded:
        found = loaded.freshness(options.both(selection, select), now=at)
        if as_json:
            print_json(found.to_dict())
        else:
            print_freshness(stdout(), found)


def print_freshness(screen: Screen, found: FreshnessReport) -> None:
    """Numbers by asset, then what is late or about to be."""
    if not found.rows:
        screen.line("No selected asset promises freshness.")
        return
    shown = found.statuses
    rows: list[list[Cell]] = []
    for row in found.rows:
        worst = row.status or "no windows"
        numbers = [count(row.counts[name]) for name in shown]
        style = _FRESHNESS_STYLES.get(worst, "")
        rows.append([(row.asset, "bold"), (worst, style), *numbers, row.promise_text])
    header = ["asset", "status", *shown, "promise"]
    screen.table(header, rows, right=range(2, len(header) - 1))
    for row in found.rows:
        troubled = list(row.partitions("late", "warn"))
        if not troubled:
            continue
        screen.line()
        screen.line(row.asset, "bold")
        if len(troubled) > _MOST_TROUBLES:
            screen.line(f"  {count(len(troubled) - _MOST_TROUBLES)} earlier ones")
        late: list[list[Cell]] = []
        for each in troubled[-_MOST_TROUBLES:]:
            state = each.state
            landed = f"landed {state.landed:%Y-%m-%d %H:%M:%SZ}" if state.landed else "not landed"
            side = "late" if state.margin.total_seconds() < 0 else "left"
            late.append(
                [
                    each.partition,
                    (state.status, _FRESHNESS_STYLES[state.status]),
                    f"due {human_time(int(state.deadline.timestamp() * 1e6))}",
                    f"{landed}, {human_duration(abs(state.margin))} {side}",
                ]
            )
        screen.table((), late, indent=2)
