"""`assets partitions`: the keys of an asset, and those registered at run time."""

from __future__ import annotations

from typing import Annotated

import typer

from assets_core.cli import options
from assets_core.cli.completion import complete_dynamic, complete_dynamic_key
from assets_core.cli.screen import print_json, stdout
from assets_core.cli.session import project
from assets_core.wording import count

partitions = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The partitions of an asset; add and remove those of a dynamic definition.",
)

_Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The name in dynamic('…').",
        autocompletion=complete_dynamic,
    ),
]


@partitions.command("list")
def list_(
    ctx: typer.Context,
    asset: options.AssetName,
    include_open: options.IncludeOpen = False,
    as_json: options.Json = False,
) -> None:
    """The keys of an asset's partitions, one to a line."""
    with project(ctx) as loaded:
        keys = loaded.partitions(asset, include_open=include_open)
        if as_json:
            print_json({"asset": asset, "count": len(keys), "partitions": keys})
        else:
            stdout().lines(keys)


@partitions.command("add")
def add(
    ctx: typer.Context,
    name: _Name,
    keys: Annotated[list[str], typer.Argument(metavar="KEY", help="The keys to register.")],
    as_json: options.Json = False,
) -> None:
    """Register partitions of a dynamic definition."""
    with project(ctx) as loaded:
        added = loaded.add_partitions(name, keys)
        known = len(set(keys)) - added
        if as_json:
            print_json({"name": name, "added": added, "known": known})
        else:
            more = f"; {count(known)} known before" if known else ""
            stdout().line(f"Added {count(added, 'partition')} to {name}{more}.")


@partitions.command("remove")
def remove(
    ctx: typer.Context,
    name: _Name,
    keys: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY", help="The keys to remove.", autocompletion=complete_dynamic_key
        ),
    ],
    as_json: options.Json = False,
) -> None:
    """Remove partitions of a dynamic definition; their data and history stay."""
    with project(ctx) as loaded:
        removed = loaded.remove_partitions(name, keys)
        unknown = len(set(keys)) - removed
        if as_json:
            print_json({"name": name, "removed": removed, "unknown": unknown})
        else:
            more = f"; {count(unknown)} not there" if unknown else ""
            stdout().line(f"Removed {count(removed, 'partition')} from {name}{more}.")
