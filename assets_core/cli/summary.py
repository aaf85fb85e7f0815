"""What came of a run, as the command prints it: numbers by asset, errors, how to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from assets_core.cli.error_report import safe, show_traceback
from assets_core.cli.screen import Cell, Screen
from assets_core.execution.events import RESULTS
from assets_core.lineage.failures import (
    AlikeGroup,
    FailedStep,
    FailureGroup,
    group_alike,
    group_failures,
)
from assets_core.partitions.products import ProductSpace
from assets_core.planning.causes import names
from assets_core.wording import (
    count,
    first_line,
    human_duration,
    ranges,
    reference,
)

if TYPE_CHECKING:
    from assets_core.cli.progress import Watched
    from assets_core.cli.session import Speller
    from assets_core.execution.result import RunResult
    from assets_core.partitions import KeySpace
    from assets_core.planning.plan import Plan
    from assets_core.project import Project
    from assets_core.records import Attempt

Again = Callable[["FailureGroup", "Plan"], str]
"""The command line that retries just one kind of failure, empty where there is none."""

_STATUS_STYLES = {"done": "green", "failed": "bold red", "blocked": "red", "interrupted": "yellow"}
_COUNT_STYLES = {"failed": "red", "blocked": "red", "unchanged": "dim", "released": "dim"}
_MOST_GROUPS = 10
_TRACEBACKS = 3
_HELPS = 5


def print_summary(
    screen: Screen,
    project: Project,
    plan: Plan,
    result: RunResult,
    watched: Watched,
    again: Again,
    spell: Speller,
) -> None:
    """The whole summary of a run."""
    _print_title(screen, result)
    _print_counts(screen, result, watched)
    _print_made_along(screen, plan)
    _print_rejected(screen, watched, spell)
    _print_warnings(screen, plan, watched)
    if result.failures:
        _print_failures(screen, project, plan, result, again, spell)
    if result.blocked:
        _print_blocked(screen, plan, result, spell)
    if not result.ok and result.resume:
        screen.line()
        screen.line(f"Resume with: {screen.paint(result.resume, 'bold')}")


def _print_made_along(screen: Screen, plan: Plan) -> None:
    for asset, selected in list(plan.made_along.items())[:_MOST_GROUPS]:
        screen.line(f"{asset} was not selected; one function makes it and {names(selected)}.")


def _print_title(screen: Screen, result: RunResult) -> None:
    status = screen.paint(result.status, _STATUS_STYLES.get(result.status, ""))
    screen.line(
        f"Run {result.run_id}: {status} in {human_duration(result.seconds)}, "
        f"{count(result.rows, 'row')} written"
    )


def _print_counts(screen: Screen, result: RunResult, watched: Watched) -> None:
    used = [name for name in RESULTS if result.counts.get(name)]
    rows: list[list[Cell]] = []
    for asset, counts in result.by_asset.items():
        numbers = [_number(name, counts.get(name, 0)) for name in used]
        rows.append([(asset, "bold"), *numbers, count(watched.rows[asset])])
    if len(rows) > 1:
        totals = [_number(name, result.counts[name]) for name in used]
        rows.append([("in all", "dim"), *totals, count(result.rows)])
    header = ["asset", *used, "rows"]
    screen.table(header, rows, right=range(1, len(header)), indent=2)


def _number(name: str, n: int) -> Cell:
    return (count(n), _COUNT_STYLES.get(name, "")) if n else ("·", "dim")


def _print_rejected(screen: Screen, watched: Watched, spell: Speller) -> None:
    for asset, n in watched.rejected.items():
        text = f"{count(n, 'row')} of {asset} set aside; see: {spell('rejects', asset)}"
        screen.line(text, "yellow")


def _print_warnings(screen: Screen, plan: Plan, watched: Watched) -> None:
    groups = group_alike(
        (asset, text, key) for (asset, text), keys in watched.warnings.items() for key in keys
    )
    for group in groups[:_MOST_GROUPS]:
        where = _where(plan, group)
        screen.line(f"{screen.paint('warning', 'yellow')}  {where}  {group.text}")
    if len(groups) > _MOST_GROUPS:
        screen.line(f"and {count(len(groups) - _MOST_GROUPS, 'more kind')} of warnings", "yellow")


# --------------------------------------------------------------------------------------------
# Failures


def _where(plan: Plan, group: AlikeGroup) -> str:
    if len(group.partitions) == 1:
        return reference(group.asset, group.partitions[0])
    return f"{group.asset} {key_ranges(plan.facts.spaces[group.asset], group.partitions)}"


def key_ranges(space: KeySpace, keys: Sequence[str]) -> str:
    """Keys in order, runs of them as ranges, with their number."""
    ordinals = space.ordinals(keys)
    shown = ranges(np.unique(ordinals[ordinals >= 0]), space)
    return f"{shown} ({count(len(keys))})"


def failure_groups(project: Project, plan: Plan, result: RunResult) -> tuple[FailureGroup, ...]:
    """The failures of a run by kind, each kind with a traceback where there is one."""
    tracebacks = _tracebacks(project.attempts(result.run_id)) if result.failures else {}
    failures = (
        FailedStep(
            f.asset,
            f.partition,
            f.error,
            details=f.details,
            traceback=tracebacks.get((f.asset, f.partition), ""),
            tries=f.attempts,
        )
        for f in result.failures
    )
    return group_failures(failures, plan.facts.spaces)


def told_failures(
    project: Project, plan: Plan, result: RunResult, again: Again
) -> list[dict[str, Any]]:
    """The same as plain JSON values, each with the command line that retries just it."""
    groups = failure_groups(project, plan, result)
    return [group.to_dict(retry=again(group, plan)) for group in groups]


def _print_failures(
    screen: Screen,
    project: Project,
    plan: Plan,
    result: RunResult,
    again: Again,
    spell: Speller,
) -> None:
    groups = failure_groups(project, plan, result)
    log = project.run_log(result.run_id)
    screen.line()
    screen.line(f"{count(len(result.failures), 'step')} failed", "bold red")
    for i, group in enumerate(groups[:_MOST_GROUPS]):
        print_group(screen, group, with_traceback=i < _TRACEBACKS)
        first = group.first
        if next(log.read(first.asset, first.partition), None) is not None:
            line = spell("logs", result.run_id, first.asset, first.partition)
            screen.line(f"    {screen.paint('what it printed:', 'dim')} {line}")
        retry = again(group, plan)
        if retry:
            screen.line(f"    {screen.paint('retry just this:', 'dim')} {retry}")
    if len(groups) > _MOST_GROUPS:
        more = count(len(groups) - _MOST_GROUPS, "more kind")
        screen.line(f"  and {more} of errors; see: {spell('runs', result.run_id)}")


def print_group(screen: Screen, group: FailureGroup, *, with_traceback: bool = True) -> None:
    """One kind of failure: what it is, where, then a traceback or the error's facts."""
    tries = f"  ({count(group.tries, 'try', 'tries')})" if group.tries > 1 else ""
    screen.line(f"  {screen.paint(group.title, 'bold')}{tries}")
    if len(group.partitions) > 1 and group.ranges:
        screen.line(f"    {group.where()}")
    if group.traceback and with_traceback:
        show_traceback(screen, group.traceback, indent="    ")
        return
    lines = safe(group.first.details).splitlines()[1 : _DETAIL_LINES + 1]
    screen.lines(f"    {line}" for line in lines if line.strip())


_DETAIL_LINES = 12


def _tracebacks(attempts: Iterable[Attempt]) -> dict[tuple[str, str], str]:
    """The newest traceback of each asset partition; attempts come newest first."""
    found: dict[tuple[str, str], str] = {}
    for attempt in attempts:
        if attempt.traceback:
            found.setdefault((attempt.asset, attempt.partition), attempt.traceback)
    return found


# --------------------------------------------------------------------------------------------
# Blocked


def _print_blocked(screen: Screen, plan: Plan, result: RunResult, spell: Speller) -> None:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for asset, partition, reason in result.blocked:
        by_reason.setdefault((asset, reason), []).append(partition)
    groups = [AlikeGroup(asset, reason, keys) for (asset, reason), keys in by_reason.items()]
    screen.line()
    screen.line(f"{count(len(result.blocked), 'step')} blocked", "bold red")
    for group in groups[:_MOST_GROUPS]:
        screen.line(f"  {screen.paint(_where(plan, group), 'bold')}  {first_line(group.text, 200)}")
    if len(groups) > _MOST_GROUPS:
        screen.line(f"  and {sum(len(g.partitions) for g in groups[_MOST_GROUPS:]):,} more")
    for line in helping_commands(plan, spell):
        screen.line(f"  {line}")


def helping_commands(plan: Plan, spell: Speller) -> list[str]:
    """What would unblock what waits for upstream partitions outside the selection."""
    missing = _missing(plan)
    lines = []
    for asset, ordinals in missing.items():
        space = plan.facts.spaces[asset]
        if plan.graph.assets[asset].kind == "source":
            lines.append(f"Not there (yet): source {asset}, {ranges(ordinals, space)}")
        else:
            lines.append(f"Build it with: {_build_command(plan, asset, ordinals, spell)}")
    more = len(lines) - _HELPS
    return [*lines[:_HELPS], *([f"and {count(more, 'more asset')}"] if more > 0 else [])]


def _missing(plan: Plan) -> dict[str, np.ndarray]:
    """Missing upstream partitions that are not in the plan, as ordinals by asset."""
    planned = {batch.op.name: batch.ordinals for batch in plan.batches}
    waiting = {batch.op.name: batch.ordinals for batch in plan.waiting_batches}
    found: dict[str, np.ndarray] = {}
    for batch in plan.waiting_batches:
        mask = np.zeros(plan.facts.spaces[batch.op.name].n, bool)
        mask[batch.ordinals] = True
        for read in batch.op.inputs:
            gone = plan.resolved.edge(batch.op, read).cover(mask)
            gone &= plan.unavailable(read.asset)
            gone[list(plan.observations.errors.get(read.asset, ()))] = False  # told as failed
            upstream = plan.graph.op_of[read.asset].name
            for known in (planned.get(upstream), waiting.get(upstream)):
                if known is not None:
                    gone[known] = False
            if gone.any():
                found[read.asset] = np.union1d(
                    found.get(read.asset, np.zeros(0, np.int64)), np.flatnonzero(gone)
                )
    return found


def _corners(space: KeySpace, ordinals: np.ndarray) -> tuple[int, int]:
    """The ends of the range that holds them all: of a product a box, from corner to corner."""
    if not isinstance(space, ProductSpace):
        return int(ordinals[0]), int(ordinals[-1])
    first = last = 0
    for part, stride in zip(space.spaces, space.strides, strict=True):
        at = ordinals // stride % part.n
        first, last = first + int(at.min()) * stride, last + int(at.max()) * stride
    return first, last


def _build_command(plan: Plan, asset: str, ordinals: np.ndarray, spell: Speller) -> str:
    space = plan.facts.spaces[asset]
    words = ["materialize", f"+{asset}"]
    first, last = map(space.key, _corners(space, ordinals))
    if plan.graph.assets[asset].partitions.dimensions:
        one = first == last
        words += ["--partition", first] if one else ["--partitions", f"{first}..{last}"]
    else:
        words.append("--yes")
    return spell(*words)
