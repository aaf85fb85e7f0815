"""`assets materialize`: build what is stale."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assets_core.cli import options
from assets_core.cli.commands.plan import confirm_plan, print_plan, told_as_json
from assets_core.cli.completion import complete_run
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

if TYPE_CHECKING:
    from assets_core.cli.summary import Again
    from assets_core.execution.result import RunResult
    from assets_core.lineage.failures import FailureGroup
    from assets_core.planning.plan import Plan
    from assets_core.project import Project


class ExecutorChoice(Enum):
    """Where steps run."""

    thread = "thread"
    process = "process"


def materialize(
    ctx: typer.Context,
    selection: options.Selection = None,
    select: options.SelectOption = None,
    partition: options.PartitionOption = None,
    partitions: options.PartitionsOption = None,
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
        ExecutorChoice | None,
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
            from assets_core.planning.replay import replay_line

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
            from assets_core.planning.summary import fresh_text

            stdout().line(f"Nothing to do: {left or fresh_text(made)}.", "green")
            return
        if shown:
            many = jobs or loaded.settings.jobs
            confirm_plan(made, "Materialize", len(made), yes=yes, quiet=as_json, jobs=many)
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
    from assets_core.cli.interrupts import two_steps
    from assets_core.cli.progress import watching
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
