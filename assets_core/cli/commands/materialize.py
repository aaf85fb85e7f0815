"""`assets materialize`, `assets accept`, `assets invalidate`: what changes what is current."""

from __future__ import annotations

import shlex
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assets_core.cli import options
from assets_core.cli.asking import confirm
from assets_core.cli.commands.plan import print_plan, told_as_json
from assets_core.cli.completing import complete_run
from assets_core.cli.screen import print_json, results, stderr, stdout
from assets_core.cli.session import (
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
from assets_core.observe.format import count

if TYPE_CHECKING:
    from assets_core.cli.summary import Again
    from assets_core.execute.result import RunResult
    from assets_core.observe.failures import FailureGroup
    from assets_core.plan import Plan
    from assets_core.project import Project


class Executor(Enum):
    """Where steps run."""

    thread = "thread"
    process = "process"


def materialize(
    ctx: typer.Context,
    selection: options.Selection = None,
    select: options.Select = None,
    partition: options.Partition = None,
    partitions: options.Partitions = None,
    force: options.Force = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="With --force: leave what this run, or one after it, has built.",
            autocompletion=complete_run,
            show_default=False,
        ),
    ] = None,
    stored: Annotated[
        Path | None,
        typer.Option(
            "--plan",
            metavar="FILE",
            help="Run a plan that `assets plan -o FILE` wrote, exactly, or refuse.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and stop, as `assets plan` does.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Start nothing more after the first failed step.")
    ] = False,
    jobs: options.Jobs = None,
    executor: Annotated[
        Executor | None,
        typer.Option(
            "--executor",
            help="Where steps run whose asset does not say: threads, or worker processes.",
            show_default=False,
        ),
    ] = None,
    include_open: options.IncludeOpen = False,
    config: options.Config = None,
    allow_schema_change: Annotated[
        bool,
        typer.Option(
            "--allow-schema-change", help="Let outputs of a strict schema change it this once."
        ),
    ] = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Build what is stale in the selection, and nothing else.

    Without --partition or --partitions that means every closed partition: the plan is shown
    first, and on a terminal you are asked.
    """
    if resume and not force:
        raise UsageError(
            "--resume goes with --force.",
            hint="Without --force only what is stale runs, so the same command goes on by itself.",
        )
    assets, keys = options.both(selection, select), options.both(partition, partitions)
    if stored is not None and (assets or keys or force or include_open):
        raise UsageError(
            "--plan says what runs: a selection, --force and --include-open don't go with it.",
            hint="Select when the plan is made: assets plan SELECTION -o plan.json",
        )
    with project(ctx, options.parse_config(config)) as loaded:
        left = f"everything selected is built since run {resume}" if resume else ""
        if stored is not None:
            from assets_core.planfile import replay_line

            found = loaded.replay(stored)
            made, left = found.plan, "everything selected is built by an earlier run of this plan"
            stderr().line(replay_line(found), "dim")
        else:
            made = loaded.plan(
                assets, keys, force=force, resume=resume or "", include_open=include_open
            )
        say_recovered(loaded)
        say_code_warnings(loaded)
        if dry_run:
            many = jobs or loaded.settings.jobs
            print_json(told_as_json(made, many)) if as_json else print_plan(stdout(), made, many)
            fail_unseen(made)
            return
        shown = keys is None and stored is None and bool(made)
        if as_json or not shown:
            say_gone(made)
        if made.idle and not as_json:
            from assets_core.observe.display import fresh_text

            stdout().line(f"Nothing to do: {left or fresh_text(made)}.", "green")
            return
        if shown:
            many = jobs or loaded.settings.jobs
            ask(made, "Materialize", len(made), yes=yes, quiet=as_json, jobs=many)
        command = line_of(
            ctx,
            "materialize",
            [
                ("--select", assets or []),
                ("--partition", partition or []),
                ("--partitions", partitions or []),
                ("--force", force),
                ("--plan", str(stored) if stored is not None else None),
                ("--fail-fast", fail_fast),
                ("--jobs", jobs),
                ("--executor", executor.value if executor else None),
                ("--include-open", include_open),
                ("--config", config or []),
                ("--allow-schema-change", allow_schema_change),
                ("--yes", keys is None and stored is None),
            ],
        )
        result = _run(
            loaded,
            made,
            again=retrying(
                ctx,
                [
                    ("--jobs", jobs),
                    ("--executor", executor.value if executor else None),
                    ("--include-open", include_open),
                    ("--config", config or []),
                    ("--allow-schema-change", allow_schema_change),
                ],
            ),
            jobs=jobs,
            fail_fast=fail_fast,
            executor=executor.value if executor else None,
            allow_schema_change=allow_schema_change,
            command=command,
            resume=resume or "",
            as_json=as_json,
            spell=speller(ctx),
        )
    raise typer.Exit(result.exit_code)


def _run(
    loaded: Project,
    made: Plan,
    *,
    again: Again,
    jobs: int | None,
    fail_fast: bool,
    executor: str | None,
    allow_schema_change: bool,
    command: str,
    resume: str,
    as_json: bool,
    spell: Speller,
) -> RunResult:
    """Execute the plan under a progress display, and print what came of it."""
    from assets_core.cli.progress import watching
    from assets_core.cli.stopping import two_steps
    from assets_core.cli.summary import print_summary, told_failures

    results().flush()  # the plan comes before the progress also where both go to one file
    with watching(len(made)) as (watched, on_event), two_steps(watched.stop):
        result = loaded.materialize(
            plan=made,
            jobs=jobs,
            fail_fast=fail_fast,
            executor=executor,
            allow_schema_change=allow_schema_change,
            on_event=on_event,
            command=command,
            resume=resume,
        )
    for item in result.recovered:
        stderr().line(f"Recovered: {item}", "yellow")
    if as_json:
        groups = told_failures(loaded, made, result, again)
        print_json({**result.to_dict(), "failure_groups": groups})
    else:
        print_summary(stdout(), loaded, made, result, watched, again, spell)
    return result


def retrying(ctx: typer.Context, words: list[tuple[str, object]]) -> Again:
    """How one kind of failure is retried alone, with these options of the run that it was in."""

    def again(group: FailureGroup, made: Plan) -> str:
        own = group.retry(made.facts.spaces.get(group.asset), forced=made.forced)
        # What is built beside a stored plan would be in that one's way: it is retried itself.
        if not own or made.note:
            return ""
        options = words if own[0] == "materialize" else []
        return line_of(ctx, shlex.join(own), options)

    return again


def recorded(made: Plan) -> int:
    """How many of a plan's asset partitions have a materialization already."""
    ids = (made.facts.assets[a].id[b.ordinals] for b in made.batches for a in b.op.outputs)
    return sum(int((each > 0).sum()) for each in ids)


def ask(made: Plan, verb: str, number: int, *, yes: bool, quiet: bool, jobs: int = 0) -> None:
    """Show the plan and have it confirmed, unless ``yes``.

    Raises UsageError where nobody can be asked, and ends the command with 130 at a no.
    """
    if not quiet:
        print_plan(stdout(), made, jobs)
    confirm(verb, number, yes=yes, quiet=quiet)


def accept(
    ctx: typer.Context,
    selection: options.Selection = None,
    select: options.Select = None,
    partition: options.Partition = None,
    partitions: options.Partitions = None,
    upgraded: Annotated[
        bool,
        typer.Option("--upgraded", help="Only what is stale since fingerprints got better."),
    ] = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Take stale partitions as right: stamp them with the code and inputs of now.

    For a change that is known not to alter the output. Nothing runs; what is missing stays
    missing.
    """
    from assets_core.execute.accepting import acceptable

    with project(ctx) as loaded:
        assets, keys = options.both(selection, select), options.both(partition, partitions)
        made = loaded.plan(assets, keys)
        say_recovered(loaded)
        number = sum(len(found) for _, _, found in acceptable(made, upgraded=upgraded))
        if number:
            ask(made, "Accept", number, yes=yes, quiet=as_json)
        accepted = loaded.accept(plan=made, upgraded=upgraded)
        if as_json:
            print_json({"accepted": [{"asset": a, "partition": p} for a, p in accepted]})
        else:
            _print_accepted(made, accepted, upgraded=upgraded)
        fail_unseen(made)


def _print_accepted(made: Plan, accepted: list[tuple[str, str]], *, upgraded: bool) -> None:
    from assets_core.cli.summary import key_ranges

    screen = stdout()
    if accepted:
        screen.line(f"Accepted {count(len(accepted), 'asset partition')}.", "green")
    elif made and upgraded:
        screen.line("Nothing is stale only since fingerprints got better.", "green")
    elif made:
        screen.line("Nothing to accept: what is stale was never materialized.", "green")
    elif not made.blocked:
        screen.line("Nothing to accept: everything is fresh.", "green")
    for asset, each in groupby(accepted, key=lambda one: one[0]):
        where = key_ranges(made.facts.spaces[asset], [key for _, key in each])
        screen.line(f"  {asset} {where}")
    if made.blocked:
        left = count(made.blocked, "asset partition")
        screen.line(f"Left as it is: {left} waiting for upstream; see: assets plan", "yellow")


def invalidate(
    ctx: typer.Context,
    selection: options.Selection = None,
    select: options.Select = None,
    partition: options.Partition = None,
    partitions: options.Partitions = None,
    downstream: Annotated[
        bool, typer.Option("--downstream", help="Also all that reads them, built again anyhow.")
    ] = False,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help="Why; told by every plan until it is built."),
    ] = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Declare what is recorded stale, by your name and for a reason.

    It stays so until it is built again, or accepted. Nothing runs, and what serves goes on
    serving. Without --partition or --partitions, and with --downstream, you are asked.
    """
    assets, keys = options.both(selection, select), options.both(partition, partitions)
    if assets is None:
        raise UsageError(
            "Nothing is selected to invalidate.",
            hint="Name the assets: assets invalidate orders --partitions A..B --reason TEXT",
        )
    with project(ctx) as loaded:
        screen = stdout()
        found = loaded.invalidate(assets, keys, reason=reason, downstream=downstream, dry_run=True)
        say_recovered(loaded)
        if len(found):
            if downstream or keys is None:
                if not as_json and not yes:
                    for mark in found.marks:
                        screen.line(f"  {mark}")
                confirm("Invalidate", len(found), yes=yes, quiet=as_json)
            found = loaded.invalidate(assets, keys, reason=reason, downstream=downstream)
        if as_json:
            print_json(found.to_dict())
        elif not len(found):
            screen.line("Nothing to invalidate: nothing of it was ever built.", "green")
        else:
            screen.line(str(found))
            if found.missing:
                told = f"Never built, and so missing anyway: {found.missing:,} more."
                screen.line(told, "dim")
