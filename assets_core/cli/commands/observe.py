"""`assets observe`: look at the sources, and say what moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from assets_core.cli import options
from assets_core.cli.observation_bar import looking
from assets_core.cli.screen import Screen, print_json, stdout
from assets_core.cli.session import project

if TYPE_CHECKING:
    from assets_core.planning.observations import ObservationReport

_STYLES = {
    "new": "green",
    "changed": "yellow",
    "withdrawn": "yellow",
    "gone": "yellow",
    "failed": "bold red",
}


def observe(
    ctx: typer.Context,
    selection: options.Selection = None,
    select: options.SelectOption = None,
    partition: options.PartitionOption = None,
    partitions: options.PartitionsOption = None,
    everything: bool = typer.Option(
        False, "--all", help="Also what closed_after= leaves alone since it is over."
    ),
    include_open: options.IncludeOpen = False,
    jobs: options.Jobs = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Look at the sources, and record what moved. Nothing is built.

    Those of the selection, and those that it reads. A plan does the same by itself.
    """
    with project(ctx, options.parse_config(config)) as loaded:
        with looking() as bar:
            found = loaded.observe(
                options.both(selection, select),
                options.both(partition, partitions),
                everything=everything,
                include_open=include_open,
                jobs=jobs,
                on_look=bar.looked,
                on_total=bar.begin,
            )
        if as_json:
            print_json(found.to_dict())
        else:
            print_observation(stdout(), found)
        if found.failed:
            raise typer.Exit(1)


def print_observation(screen: Screen, found: ObservationReport) -> None:
    """The numbers, then a line for each source and each thing that came of it."""
    from assets_core.planning.observations import TOLD

    if not found.sources:
        screen.line("No source is selected, and none is read by what is.")
        return
    screen.line(found.title, "bold" if found.moved or found.failed else "green")
    screen.table(
        (),
        [
            [(name, "bold"), (TOLD[kind], _STYLES.get(kind, "dim")), where, number]
            for name, kind, where, number in found.rows()
        ],
        indent=2,
    )
    for told in found.troubles():
        screen.line(f"{screen.paint('failed', 'bold red')}  {told}")
