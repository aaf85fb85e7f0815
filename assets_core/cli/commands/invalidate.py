"""`assets invalidate`: declare partitions stale, for a reason."""

from __future__ import annotations

from typing import Annotated

import typer

from assets_core.cli import options
from assets_core.cli.confirmation import confirm
from assets_core.cli.screen import print_json, stdout
from assets_core.cli.session import project, say_recovered
from assets_core.errors import UsageError


def invalidate(
    ctx: typer.Context,
    selection: options.Selection = None,
    select: options.SelectOption = None,
    partition: options.PartitionOption = None,
    partitions: options.PartitionsOption = None,
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
