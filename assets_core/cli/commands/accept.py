"""`assets accept`: take stale partitions as right, without a run."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from assets_core.cli import options
from assets_core.cli.commands.plan import confirm_plan
from assets_core.cli.screen import print_json, stdout
from assets_core.cli.session import fail_unseen, project, say_recovered
from assets_core.wording import count

if TYPE_CHECKING:
    from assets_core.planning.plan import Plan


def accept(
    ctx: typer.Context,
    selection: options.Selection = None,
    select: options.SelectOption = None,
    partition: options.PartitionOption = None,
    partitions: options.PartitionsOption = None,
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
    with project(ctx) as loaded:
        assets, keys = options.both(selection, select), options.both(partition, partitions)
        made = loaded.plan(assets, keys)
        say_recovered(loaded)
        found = loaded.accept(plan=made, upgraded=upgraded, dry_run=True)
        if found:
            confirm_plan(made, "Accept", len(found), yes=yes, quiet=as_json)
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
