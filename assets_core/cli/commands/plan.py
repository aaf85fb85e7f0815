"""`assets plan`: what would run, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assets_core.cli import options
from assets_core.cli.completion import complete_reference
from assets_core.cli.confirmation import confirm
from assets_core.cli.screen import Screen, print_json, results, stderr, stdout
from assets_core.cli.session import fail_unseen, project, say_code_warnings, say_recovered, say_slow
from assets_core.errors import UsageError
from assets_core.wording import count, one_line

if TYPE_CHECKING:
    from assets_core.planning.comparison import Comparison
    from assets_core.planning.plan import Plan, Step
    from assets_core.planning.summary import PlanGroup
    from assets_core.planning.why import Why

STATUS_STYLES = {
    "must": "yellow",
    "may": "cyan",
    "blocked": "red",
    "failed": "bold red",
    "gone": "yellow",
}


def plan(
    ctx: typer.Context,
    selection: options.Selection = None,
    select: options.SelectOption = None,
    partition: options.PartitionOption = None,
    partitions: options.PartitionsOption = None,
    force: options.Force = False,
    include_open: options.IncludeOpen = False,
    jobs: options.Jobs = None,
    config: options.Config = None,
    each: bool = typer.Option(False, "--each", help="A line for each partition, not for groups."),
    explained: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="ASSET@PARTITION",
            help="Why this one partition is stale: upstream to what really changed.",
            autocompletion=complete_reference,
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Also write the plan to a file, for `assets materialize --plan FILE`.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="REVISION",
            help="What this change of code makes stale, against a git revision (or a file of "
            "--code-to); reads only.",
            show_default=False,
        ),
    ] = None,
    markdown: Annotated[
        bool,
        typer.Option("--markdown", help="With --against: as Markdown, for a review's comment."),
    ] = False,
    code_to: Annotated[
        Path | None,
        typer.Option(
            "--code-to",
            metavar="FILE",
            help="Only write the code versions of now to a file, for --against FILE.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """What would run, and why.

    "must" runs; "may" runs only if what it reads really comes out different.
    """
    others = force or include_open or each or explained is not None or output is not None
    if base is not None and others:
        raise UsageError(
            "--against tells of a change of code: only a selection, --jobs, --config and --json "
            "go with it.",
        )
    selected = selection or select or partition or partitions
    if code_to is not None and (base is not None or others or selected):
        raise UsageError(
            "--code-to only writes the code versions of all assets: only --config goes with it.",
        )
    if markdown and (base is None or as_json):
        raise UsageError("--markdown goes with --against, and without --json.")
    with project(ctx, options.parse_config(config)) as loaded:
        if code_to is not None:
            loaded.store_code(code_to)
            stderr().line(f"Code versions written to {code_to}.", "dim")
            return
        if base is not None:
            keys = options.both(partition, partitions)
            found = loaded.against(base, options.both(selection, select), keys)
            _tell(found, jobs or loaded.settings.jobs, markdown=markdown, as_json=as_json)
            return
        made = loaded.plan(
            options.both(selection, select),
            options.both(partition, partitions),
            force=force,
            include_open=include_open,
        )
        say_recovered(loaded)
        say_code_warnings(loaded)
        say_slow(made)
        if output is not None:
            stored = loaded.store_plan(made, output, jobs=jobs)
            stderr().line(f"Plan {stored[:12]} written to {output}.", "dim")
        if explained is not None:
            why = made.why(explained)
            print_json(why.to_dict()) if as_json else print_why(stdout(), why)
        elif as_json:
            print_json(told_as_json(made, jobs or loaded.settings.jobs))
        elif each:
            _print_each(stdout(), made)
        else:
            print_plan(stdout(), made, jobs or loaded.settings.jobs)
        fail_unseen(made)


def _tell(found: Comparison, jobs: int, *, markdown: bool, as_json: bool) -> None:
    """What a change of code makes stale, in one of three forms."""
    from assets_core.display.comparison import against_markdown

    if as_json:
        print_json(found.to_dict(jobs))
    elif markdown:
        # Written as it is, never wrapped or coloured.
        results().write(against_markdown(found, jobs))
    else:
        print_against(stdout(), found, jobs)


def print_against(screen: Screen, found: Comparison, jobs: int) -> None:
    """The root causes, a line per asset, how the definitions differ, and what it will take."""
    told = found.summary()
    screen.line(found.title, "bold" if told.groups else "green")
    screen.lines(f"  {line}" for line in told.because)
    screen.table((), [_group_row(group) for group in told.groups], indent=2)
    if told.more:
        screen.line(f"  {told.more}")
    screen.lines(f"  {line}" for line in found.changes.lines())
    cost = found.cost_text(jobs)
    screen.lines([cost] if cost else [])
    for remark in found.remarks():
        screen.line(remark, "dim")


def print_why(screen: Screen, why: Why) -> None:
    """Why one partition is in a plan: itself, the way up, and each root cause."""
    from assets_core.display.why import why_lines

    for i, line in enumerate(why_lines(why)):
        screen.line(line, "bold" if not i or line.startswith("root cause") else "")


def told_as_json(made: Plan, jobs: int) -> dict[str, Any]:
    """The plan with its root causes and what it will take, as plain JSON values."""
    from assets_core.planning.cause_finder import find_causes
    from assets_core.planning.cost import estimate

    causes = find_causes(made).to_dict()
    return {**made.to_dict(), "causes": causes, "cost": estimate(made, jobs).to_dict()}


def print_plan(screen: Screen, made: Plan, jobs: int = 0) -> None:
    """The root causes, a line per asset and kind of cause, and what it will take."""
    from assets_core.planning.summary import summarize_plan

    told = summarize_plan(made, jobs)
    screen.line(told.title, "bold" if told.groups else "green")
    screen.lines(f"  {line}" for line in told.because)
    screen.table((), [_group_row(group) for group in told.groups], indent=2)
    if told.more:
        screen.line(f"  {told.more}; see all with --each")
    if told.cost:
        screen.line(told.cost)


def confirm_plan(
    made: Plan, verb: str, number: int, *, yes: bool, quiet: bool, jobs: int = 0
) -> None:
    """Show the plan and have it confirmed, unless ``yes``.

    Raises UsageError where nobody can be asked, and ends the command with 130 at a no.
    """
    if not quiet:
        print_plan(stdout(), made, jobs)
    confirm(verb, number, yes=yes, quiet=quiet)


def _group_row(group: PlanGroup) -> list[str | tuple[str, str]]:
    number = f"({count(group.count)})" if group.count > 1 else ""
    status = (group.status, STATUS_STYLES[group.status])
    return [(group.asset, "bold"), group.where, number, status, one_line(group.why)]


def _print_each(screen: Screen, made: Plan) -> None:
    """A line per asset partition, printed as it is found: a plan may be very long."""
    from assets_core.planning.summary import plan_title

    screen.line(plan_title(made), "bold")
    for step in made.steps():
        status = screen.paint(f"{step.status:<7}", STATUS_STYLES[step.status])
        screen.line(f"{status}  {step}  {'; '.join(_reasons(step))}")
    for waiting in made.waiting():
        where = f"{waiting.asset}@{waiting.partition}"
        screen.line(f"{screen.paint('blocked', 'red')}  {where}  {one_line(waiting.told)}")


def _reasons(step: Step) -> Iterator[str]:
    for reason in step.reasons:
        told = reason.detail if reason.detail.startswith(reason.kind) else ""
        yield one_line(told or f"{reason.kind}: {reason.detail}".removesuffix(": "))
