"""`assets runs` and `assets logs`: what ran, how it ended, what it printed."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assets_core.cli import options
from assets_core.cli.completion import complete_asset, complete_partition, complete_run
from assets_core.cli.error_report import safe
from assets_core.cli.screen import Cell, Screen, print_json, stdout
from assets_core.cli.session import line_of, project, speller
from assets_core.cli.summary import key_ranges, print_group
from assets_core.lineage.failures import FailedStep, FailureGroup, group_alike, group_failures
from assets_core.wording import (
    count,
    first_line,
    human_duration,
    human_time,
    iso_time,
    moment,
    reference,
)

if TYPE_CHECKING:
    from assets_core.partitions import KeySpace
    from assets_core.project import Project
    from assets_core.records import Attempt, Materialization, Run

RUN_STYLES = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "blocked": "red",
    "died": "red",
    "interrupted": "yellow",
}
_MOST_ERRORS = 20
_RunId = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="A run's id, the beginning of one, or 'latest'.",
        autocompletion=complete_run,
        show_default=False,
    ),
]


def runs(
    ctx: typer.Context,
    run: _RunId = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", min=1, max=options.MOST, metavar="N", help="How many, newest first."
        ),
    ] = 20,
    as_json: options.Json = False,
) -> None:
    """Recorded runs, newest first; with a run's id all about that run."""
    with project(ctx) as loaded:
        if run is not None:
            _one_run(ctx, loaded, loaded.run(run), as_json=as_json)
            return
        found, working = loaded.runs(limit), loaded.backfills.open()
        if as_json:
            print_json(
                {
                    "runs": [run_dict(each) for each in found],
                    "backfills": [one.to_dict() for one in working],
                }
            )
            return
        _print_runs(stdout(), found)
        for one in working:
            stdout().line(one.title if one.state == "running" else f"{one.title} ({one.state})")


def run_dict(run: Run) -> dict[str, Any]:
    """A run in strict JSON values."""
    return {
        "run": run.id,
        "environment": run.environment,
        "status": run.status,
        "started": iso_time(run.started),
        "finished": iso_time(run.finished),
        "seconds": _seconds(run) if run.finished else None,
        "counts": dict(run.counts),
        "command": run.command,
        "host": run.host,
        "pid": run.pid,
        "note": run.note,
        "priority": run.priority,
        "backfill": run.backfill or None,
    }


def _seconds(run: Run) -> float:
    """How long it took, or has been going on for."""
    end = run.finished or time.time_ns() // 1000
    return round(max(end - run.started, 0) / 1e6, 3)


def _print_runs(screen: Screen, found: list[Run]) -> None:
    if not found:
        screen.line("Nothing has run yet. Start with: assets materialize")
        return
    rows: list[list[Cell]] = [
        [
            (run.id, "bold"),
            human_time(run.started),
            (run.status, RUN_STYLES.get(run.status, "")),
            human_duration(_seconds(run)),
            counts_text(run),
            first_line(run.command),
        ]
        for run in found
    ]
    screen.table(["run", "started", "status", "took", "asset partitions", "command"], rows)


def counts_text(run: Run) -> str:
    """``12 done, 1 failed``."""
    return ", ".join(f"{n:,} {name}" for name, n in run.counts.items() if n)


def _one_run(ctx: typer.Context, loaded: Project, run: Run, *, as_json: bool) -> None:
    facts = loaded.materialized_by(run.id)
    attempts = loaded.attempts(run.id)
    spaces = loaded.spaces(include_open=True)
    groups = _failures(attempts, spaces)
    if as_json:
        print_json(
            {
                **run_dict(run),
                "materializations": [_made_dict(fact) for fact in facts],
                "attempts": [attempt_dict(attempt) for attempt in attempts],
                "failure_groups": [g.to_dict(_retry(ctx, run, g, spaces)) for g in groups],
            }
        )
        return
    screen = stdout()
    _print_run(screen, run)
    _print_made(screen, facts)
    others = [attempt for attempt in attempts if attempt.status != "failed"]
    _print_attempts(screen, spaces, others)
    if groups:
        screen.line()
        _print_failures(ctx, screen, run, groups, spaces)


def _failures(attempts: list[Attempt], spaces: Mapping[str, KeySpace]) -> tuple[FailureGroup, ...]:
    """What failed in a run, by kind; attempts come newest first."""
    told = (
        FailedStep(
            a.asset,
            a.partition,
            first_line(a.error),
            details=a.error,
            traceback=a.traceback,
            tries=a.attempt,
        )
        for a in reversed(attempts)
        if a.status == "failed"
    )
    return group_failures(told, spaces)


def _retry(
    ctx: typer.Context, run: Run, group: FailureGroup, spaces: Mapping[str, KeySpace]
) -> str:
    """The command line that retries just one kind of failure of a run."""
    if run.backfill:
        return line_of(ctx, f"backfill retry-failed {run.backfill}", [])
    if run.note.startswith("plan "):
        return run.command
    forced = "--force" in run.command.split()
    own = group.retry(spaces.get(group.asset), forced=forced)
    return line_of(ctx, shlex.join(own), []) if own else ""


def _print_failures(
    ctx: typer.Context,
    screen: Screen,
    run: Run,
    groups: tuple[FailureGroup, ...],
    spaces: Mapping[str, KeySpace],
) -> None:
    number = sum(len(group.partitions) for group in groups)
    screen.line(f"{count(number, 'step')} failed", RUN_STYLES["failed"])
    for group in groups[:_MOST_ERRORS]:
        print_group(screen, group)
        retry = _retry(ctx, run, group, spaces)
        if retry:
            screen.line(f"    {screen.paint('retry just this:', 'dim')} {retry}")
    if len(groups) > _MOST_ERRORS:
        screen.line(f"  and {count(len(groups) - _MOST_ERRORS, 'more kind')} of errors")
    screen.line()
    screen.line(f"What steps printed: {speller(ctx)('logs', run.id)}")


def attempt_dict(attempt: Attempt) -> dict[str, Any]:
    """An attempt that did not publish, in strict JSON values."""
    return {
        "asset": attempt.asset,
        "partition": attempt.partition,
        "attempt": attempt.attempt,
        "status": attempt.status,
        "started": iso_time(attempt.started),
        "finished": iso_time(attempt.finished),
        "error": attempt.error,
        "traceback": attempt.traceback,
    }


def _made_dict(fact: Materialization) -> dict[str, Any]:
    return {
        "asset": fact.asset,
        "partition": fact.partition,
        "kind": fact.kind,
        "attempt": fact.attempt,
        "finished": iso_time(fact.finished),
        "rows": fact.receipt.rows,
        "rejected": fact.receipt.rejected,
        "bytes": fact.receipt.bytes,
    }


def _print_run(screen: Screen, run: Run) -> None:
    status = screen.paint(run.status, RUN_STYLES.get(run.status, ""))
    screen.line(f"Run {screen.paint(run.id, 'bold')}: {status}")
    facts = [
        ("environment", run.environment),
        ("started", human_time(run.started)),
        ("took", human_duration(_seconds(run)) + ("" if run.finished else " so far")),
        ("counts", counts_text(run)),
        ("command", first_line(run.command)),
        ("process", f"{run.pid} on {run.host}" if run.host else ""),
        ("note", first_line(run.note)),
    ]
    screen.table((), [[(name, "dim"), value] for name, value in facts if value], indent=2)


def _print_made(screen: Screen, facts: list[Materialization]) -> None:
    by_asset: dict[str, Counter[str]] = {}
    for fact in facts:
        numbers = by_asset.setdefault(fact.asset, Counter())
        numbers["partitions"] += 1
        numbers["rows"] += fact.receipt.rows
        numbers["rejected"] += fact.receipt.rejected
        numbers["unchanged"] += fact.kind == "unchanged"
    if not by_asset:
        return
    names = ("partitions", "unchanged", "rows", "rejected")
    used = [name for name in names if any(numbers[name] for numbers in by_asset.values())]
    rows: list[list[Cell]] = [
        [(asset, "bold"), *(count(numbers[name]) for name in used)]
        for asset, numbers in sorted(by_asset.items())
    ]
    screen.line()
    screen.table(["asset", *used], rows, right=range(1, len(used) + 1), indent=2)


def _print_attempts(
    screen: Screen, spaces: Mapping[str, KeySpace], attempts: list[Attempt]
) -> None:
    """Attempts that neither published nor failed, those about which the same is said together."""
    by_status: dict[str, list[Attempt]] = {}
    for attempt in reversed(attempts):
        by_status.setdefault(attempt.status, []).append(attempt)
    for status, found in by_status.items():
        screen.line()
        screen.line(f"{count(len(found), 'attempt')} {status}", RUN_STYLES.get(status, "yellow"))
        groups = group_alike((a.asset, first_line(a.error), a.partition) for a in found)
        for group in groups[:_MOST_ERRORS]:
            keys = list(dict.fromkeys(group.partitions))
            many = len(keys) > 1 and group.asset in spaces
            where = (
                f"{group.asset} {key_ranges(spaces[group.asset], keys)}"
                if many
                else reference(group.asset, keys[0])
            )
            screen.line(f"  {screen.paint(where, 'bold')}  {group.text}")
        if len(groups) > _MOST_ERRORS:
            screen.line(f"  and {count(len(groups) - _MOST_ERRORS, 'more kind')} of errors")


def logs(
    ctx: typer.Context,
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run's id, the beginning of one, or 'latest'.",
            autocompletion=complete_run,
        ),
    ],
    asset: Annotated[
        str | None,
        typer.Argument(
            metavar="ASSET",
            help="Only this asset.",
            autocompletion=complete_asset,
            show_default=False,
        ),
    ] = None,
    partition: Annotated[
        str | None,
        typer.Argument(
            metavar="PARTITION",
            help="Only this partition.",
            autocompletion=complete_partition,
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """What the steps of a run printed and logged, attempt by attempt."""
    with project(ctx) as loaded:
        found = loaded.run(run)
        if asset is not None and "@" in asset and partition is None:
            asset, _, partition = asset.partition("@")
        lines = loaded.log_lines(found.id, asset, partition)
        if as_json:
            print_json({"run": found.id, "lines": [_line_dict(line) for line in lines]})
        elif not _print_log(stdout(), lines):
            step = reference(asset, partition) if asset and partition else asset
            where = f" by {step}" if step else ""
            stdout().line(f"Nothing was printed or logged{where} in run {found.id}.")


def _line_dict(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "at": iso_time(line["at"])}


_STREAM_STYLES = {"stderr": "yellow", "log": "cyan", "stdout": ""}


def _print_log(screen: Screen, lines: Any) -> bool:
    """Lines as they were written, under a heading for each attempt; whether there were any."""
    heading = None
    for line in lines:
        attempt = (line["asset"], line["partition"], line["attempt"])
        if attempt != heading:
            if heading is not None:
                screen.line()
            heading = attempt
            tries = f", try {attempt[2]}" if attempt[2] > 1 else ""
            screen.line(f"{reference(attempt[0], attempt[1])}{tries}", "bold")
        at = screen.paint(f"{moment(line['at']):%H:%M:%S.%f}"[:-3], "dim")
        screen.line(f"  {at}  {screen.paint(safe(line['text']), _STREAM_STYLES[line['stream']])}")
    return heading is not None
