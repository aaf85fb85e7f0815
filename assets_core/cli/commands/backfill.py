"""`assets backfill`: work over many partitions that outlives the command that began it."""

from __future__ import annotations

import os
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assets_core.cli import options
from assets_core.cli.commands.plan import confirm_plan, print_plan, told_as_json
from assets_core.cli.completion import complete_selection
from assets_core.cli.screen import Cell, Screen, print_json, results, stderr, stdout
from assets_core.cli.session import (
    SHARED,
    Speller,
    fail_unseen,
    line_of,
    project,
    say_code_warnings,
    say_gone,
    say_recovered,
    speller,
)
from assets_core.errors import UsageError
from assets_core.wording import count, human_time

if TYPE_CHECKING:
    from assets_core.operations.backfill.progress import Progress
    from assets_core.planning.plan import Plan
    from assets_core.project import Project
    from assets_core.records import Backfill

_NICE = 10
ACTIONS = ("list", "show", "pause", "resume", "cancel", "retry-failed")
_GOING_ON = ("resume", "retry-failed")
_HEEDED = {"words", "yes", "as_json", *SHARED}
_STYLES = {
    "running": "cyan",
    "paused": "yellow",
    "interrupted": "yellow",
    "failed": "bold red",
    "done": "green",
    "cancelled": "dim",
}


class ReprocessChoice(Enum):
    """Which partitions of the selection are built."""

    stale = "stale"
    missing = "missing"
    failed = "failed"
    all = "all"


class Order(Enum):
    """Where in time a backfill begins."""

    oldest = "oldest"
    newest = "newest"


def backfill(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SELECTION | ACTION [ID]",
            help="Which assets, as for materialize; or list, show, pause, resume, cancel, "
            "retry-failed, with a backfill's id.",
            autocompletion=complete_selection,
            show_default=False,
        ),
    ] = None,
    select: options.SelectOption = None,
    partition: options.PartitionOption = None,
    partitions: options.PartitionsOption = None,
    reprocess: Annotated[
        ReprocessChoice, typer.Option("--reprocess", help="What of the selection is built.")
    ] = ReprocessChoice.stale,
    order: Annotated[
        Order, typer.Option("--order", help="Where in time it begins.")
    ] = Order.oldest,
    jobs: options.Jobs = None,
    priority: Annotated[
        int,
        typer.Option(
            "--priority",
            min=-options.MOST,
            max=options.MOST,
            help="Other runs have 0; whoever is higher goes first.",
        ),
    ] = -10,
    pin_code: Annotated[
        bool, typer.Option("--pin-code", help="Refuse to go on once the code has changed.")
    ] = False,
    max_failures: Annotated[
        int,
        typer.Option(
            "--max-failures",
            min=0,
            max=options.MOST,
            help="So many failed steps stop it; 0: none do.",
        ),
    ] = 0,
    max_cost: Annotated[
        str,
        typer.Option(
            "--max-cost",
            metavar="COST",
            help="Refuse what is expected to take more: '2h', '500 GB', '1000000 rows'.",
            show_default=False,
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and store nothing.")
    ] = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Build many partitions, to be paused, resumed, and continued after a crash.

    The backfill is stored, then executed here; what other runs want goes first. An asset that is
    named like an action is selected with --select.
    """
    from assets_core.operations.backfill.request import BackfillRequest

    action = words[0] if words and words[0] in ACTIONS else ""
    with project(ctx) as loaded:
        if action:
            _refuse_options(ctx, action)
            rest = (words or [])[1:]
            _act(ctx, loaded, action, rest, jobs=jobs, dry_run=dry_run, as_json=as_json)
            return
        assets, keys = options.both(words, select), options.both(partition, partitions)
        request = BackfillRequest(
            select=tuple(assets) if assets is not None else None,
            partitions=tuple(keys) if keys is not None else None,
            reprocess=reprocess.value,
            order=order.value,
            jobs=jobs,
            priority=priority,
            pin_code=pin_code,
            max_failures=max_failures,
            max_cost=max_cost,
        )
        made = loaded.backfills.plan(request)
        say_recovered(loaded)
        say_code_warnings(loaded)
        many = jobs or loaded.settings.jobs
        if dry_run:
            _show_plan(made, many, as_json)
            return
        if as_json or keys is not None or not made:
            say_gone(made)
        if made.idle:
            nothing = f"Nothing to do: nothing selected is {reprocess.value}."
            _say(nothing, {"backfill": None, "total": 0}, as_json)
            return
        if keys is None:
            confirm_plan(made, "Backfill", len(made), yes=yes, quiet=as_json, jobs=many)
        one = loaded.backfills.begin(request, made)
        command = line_of(
            ctx,
            "backfill",
            [
                ("--select", assets or []),
                ("--partition", partition or []),
                ("--partitions", partitions or []),
                ("--reprocess", reprocess.value),
                ("--order", order.value),
                ("--priority", str(priority)),
                ("--jobs", jobs),
                ("--pin-code", pin_code),
                ("--max-failures", max_failures),
                ("--max-cost", max_cost or None),
            ],
        )
        if not as_json:
            stdout().line(f"Backfill {one.id}: {count(one.total, 'asset partition')}")
        code = _proceed(loaded, one, made, command, speller(ctx), jobs=jobs, as_json=as_json)
    raise typer.Exit(code)


def _say(text: str, told: dict[str, Any], as_json: bool) -> None:
    print_json(told) if as_json else stdout().line(text, "green")


def _show_plan(made: Plan, jobs: int, as_json: bool) -> None:
    print_json(told_as_json(made, jobs)) if as_json else print_plan(stdout(), made, jobs)
    fail_unseen(made)


def _refuse_options(ctx: typer.Context, action: str) -> None:
    """A backfill keeps what it was begun with; nothing else may seem to be heeded."""
    heeded = _HEEDED | ({"jobs", "dry_run"} if action in _GOING_ON else set())
    given = [
        param.opts[0]
        for param in ctx.command.params
        if param.name not in heeded and _is_given(ctx, str(param.name))
    ]
    if given:
        raise UsageError(
            f"'assets backfill {action}' takes no {' and no '.join(given)}.",
            hint="A backfill keeps what it was begun with; for something else begin another.",
        )


def _is_given(ctx: typer.Context, param: str) -> bool:
    source = ctx.get_parameter_source(param)
    return source is not None and source.name == "COMMANDLINE"


def _act(
    ctx: typer.Context,
    loaded: Project,
    action: str,
    words: list[str],
    *,
    jobs: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    if action == "list":
        if words:
            raise UsageError(
                "'assets backfill list' lists all of them.",
                hint=f"For one of them: assets backfill show {words[0]}",
            )
        _list(loaded, as_json)
        return
    if len(words) != 1:
        raise UsageError(
            f"'assets backfill {action}' takes the id of one backfill.",
            hint="See: assets backfill list",
        )
    (backfill_id,) = words
    backfills = loaded.backfills
    if action in ("pause", "cancel"):
        change = backfills.pause if action == "pause" else backfills.cancel
        backfill_id = change(backfill_id).id
    if action in ("show", "pause", "cancel"):
        _show(backfills.progress(backfill_id), speller(ctx), as_json)
        return
    one = backfills.get(backfill_id)
    changed = backfills.changed(one)
    failed_only = action == "retry-failed"
    made = backfills.left(one.id, failed_only=failed_only)
    if changed:
        stderr().line(f"The code of {', '.join(changed)} has changed since it was begun.", "yellow")
    if dry_run:
        _show_plan(made, jobs or one.options["jobs"] or loaded.settings.jobs, as_json)
        return
    if made.idle:
        nothing = f"Nothing of backfill {one.id} has failed."
        if not failed_only:
            backfills.proceed(one.id, made)
            nothing = f"Nothing is left of backfill {one.id}."
        _say(nothing, {**backfills.progress(one.id).to_dict(), "run": None}, as_json)
        return
    command = line_of(ctx, f"backfill {action} {one.id}", [("--jobs", jobs)])
    raise typer.Exit(
        _proceed(
            loaded,
            one,
            made,
            command,
            speller(ctx),
            failed_only=failed_only,
            jobs=jobs,
            as_json=as_json,
        )
    )


def _proceed(
    loaded: Project,
    one: Backfill,
    made: Plan,
    command: str,
    spell: Speller,
    *,
    failed_only: bool = False,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Execute it under a progress display; the exit code."""
    from assets_core.cli.interrupts import two_steps
    from assets_core.cli.progress import watching
    from assets_core.cli.summary import print_summary, told_failures

    results().flush()
    if one.options["priority"] < 0:
        _step_back()
    with watching(len(made)) as (watched, on_event), two_steps(watched.stop):
        result = loaded.backfills.proceed(
            one.id, made, failed_only=failed_only, on_event=on_event, jobs=jobs, command=command
        )
    now = loaded.backfills.progress(one.id)
    if as_json:
        retry = spell("backfill", "retry-failed", one.id)
        groups = told_failures(loaded, made, result, lambda *_: retry)
        print_json({**now.to_dict(), "run": {**result.to_dict(), "failure_groups": groups}})
    elif result.run_id:
        # What failed of a backfill is retried together; its own last lines say how.
        print_summary(stdout(), loaded, made, result, watched, lambda *_: "", spell)
        _print_progress(stdout(), now, spell)
    return result.exit_code


def _step_back() -> None:
    """Leave the processors to those who go first, also while they are still starting up."""
    if hasattr(os, "setpriority"):
        now = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, max(now, _NICE))


def _list(loaded: Project, as_json: bool) -> None:
    found = loaded.backfills.all()
    if as_json:
        print_json({"backfills": [one.to_dict() for one in found]})
        return
    screen = stdout()
    if not found:
        screen.line(
            "There are no backfills. Begin one: assets backfill SELECTION --partitions A..B"
        )
        return
    rows: list[list[Cell]] = [
        [
            (one.backfill.id, "bold"),
            (one.state, _STYLES.get(one.state, "")),
            human_time(one.backfill.created),
            f"{one.done:,}",
            f"{one.left:,}",
            (f"{one.failed:,}", "red") if one.failed else ("·", "dim"),
            _selection(one),
        ]
        for one in found
    ]
    screen.table(["backfill", "status", "begun", "done", "left", "failed", "what"], rows)


def _selection(one: Progress) -> str:
    told = one.backfill.options
    words = [*(told["select"] or ["everything"]), *(told["partitions"] or [])]
    return " ".join([*words, told["reprocess"]])


def _show(one: Progress, spell: Speller, as_json: bool) -> None:
    if as_json:
        print_json(one.to_dict())
        return
    screen = stdout()
    note = f" ({one.backfill.note})" if one.backfill.note else ""
    status = screen.paint(one.state, _STYLES.get(one.state, ""))
    screen.line(f"Backfill {one.backfill.id}: {status}{note}")
    screen.line(
        f"  {_selection(one)}; begun {human_time(one.backfill.created)} by {one.backfill.by}"
    )
    rows: list[list[Cell]] = [
        [(name, "bold"), f"{done:,}", f"{max(total - done - failed, 0):,}", f"{failed:,}"]
        for name, (total, done, failed) in one.by_asset.items()
    ]
    screen.table(["asset", "done", "left", "failed"], rows, right=range(1, 4), indent=2)
    _print_progress(screen, one, spell)


def _print_progress(screen: Screen, one: Progress, spell: Speller) -> None:
    screen.line(one.title)
    if one.state in ("paused", "interrupted", "failed"):
        resume = screen.paint(spell("backfill", "resume", one.backfill.id), "bold")
        screen.line(f"Go on with: {resume}")
    if one.failed and one.state != "cancelled":
        retry = screen.paint(spell("backfill", "retry-failed", one.backfill.id), "bold")
        screen.line(f"Only what failed: {retry}")
