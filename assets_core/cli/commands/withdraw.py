"""`assets withdraw`: partitions of a source that are gone leave what is built."""

from __future__ import annotations

from typing import Annotated

import typer

from assets_core.cli import options
from assets_core.cli.confirmation import confirm
from assets_core.cli.screen import print_json, stdout
from assets_core.cli.session import project, say_recovered, speller


def withdraw(
    ctx: typer.Context,
    source: options.AssetName,
    partition: options.PartitionOption = None,
    partitions: options.PartitionsOption = None,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help="Why; told wherever the data is missed."),
    ] = "",
    undo: Annotated[
        bool, typer.Option("--undo", help="Take a withdrawal back: the version seen last counts.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which it would be.")] = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Take partitions of a source out that are gone: neither there nor expected.

    What read them is stale, and is built without them; what nothing is left for is withdrawn by
    the next run. Without --partition or --partitions all that are gone, and you are asked. It
    ends by itself when a partition is there again.
    """
    keys = options.both(partition, partitions)
    with project(ctx) as loaded:
        found = loaded.withdraw(source, keys, reason=reason, undo=undo, dry_run=True)
        say_recovered(loaded)
        if len(found) and not dry_run:
            if keys is None:
                if not as_json and not yes:
                    stdout().line(f"  {found}")
                verb = "Take back the withdrawal of" if undo else "Withdraw"
                confirm(verb, len(found), yes=yes, quiet=as_json)
            found = loaded.withdraw(source, keys, reason=reason, undo=undo)
        if as_json:
            print_json({**found.to_dict(), "dry_run": dry_run})
        elif not len(found):
            what = "is withdrawn" if undo else "is gone that is not withdrawn already"
            stdout().line(f"Nothing to do: nothing of it {what}.", "green")
        else:
            stdout().line(f"{'Would be: ' if dry_run else ''}{found}")
            if not dry_run:
                stdout().line(f"See what follows with: {speller(ctx)('plan')}", "dim")
