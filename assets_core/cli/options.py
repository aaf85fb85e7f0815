"""The options that several commands share, declared once."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import typer

from assets_core.cli.completion import (
    complete_asset,
    complete_partition,
    complete_range,
    complete_reference,
    complete_selection,
)
from assets_core.errors import UsageError

MOST = 1_000_000_000
"""No number that is asked for is larger; a store's own integers end somewhere above."""

AssetName = Annotated[
    str,
    typer.Argument(metavar="ASSET", help="The asset's name.", autocompletion=complete_asset),
]
ReferenceArgument = Annotated[
    str,
    typer.Argument(
        metavar="ASSET[@PARTITION]",
        help="The asset, with its partition (or give that as a second word).",
        autocompletion=complete_reference,
    ),
]
OnePartition = Annotated[
    str | None,
    typer.Argument(
        metavar="PARTITION",
        help="One partition's key.",
        autocompletion=complete_partition,
        show_default=False,
    ),
]
Selection = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SELECTION",
        help="Which assets: 'orders', '+report' (with all upstream), 'orders+' (with all "
        "downstream), 'raw_*', 'tag:daily', 'group:iot', '!this' (not). All without one.",
        autocompletion=complete_selection,
        show_default=False,
    ),
]
SelectOption = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        "-s",
        metavar="SELECTION",
        help="The same as an option; repeatable.",
        autocompletion=complete_selection,
        show_default=False,
    ),
]
PartitionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--partition",
        metavar="KEY",
        help="A partition's key, or dimensions of it: 'date=2024-01-01,station=*'; repeatable.",
        autocompletion=complete_partition,
        show_default=False,
    ),
]
PartitionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--partitions",
        metavar="A..B",
        help="A range of partitions, both ends included; repeatable.",
        autocompletion=complete_range,
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Also what is fresh.")]
IncludeOpen = Annotated[
    bool, typer.Option("--include-open", help="Also the window that has not closed yet.")
]
Config = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        metavar="[ASSET.]KEY=VALUE",
        help="A value of an asset's config (of every asset that has the key); repeatable.",
        show_default=False,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        max=1024,
        metavar="N",
        help="How many steps run at a time [default: one per processor, 8 at most].",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; for scripts.")]


def both(first: list[str] | None, second: list[str] | None) -> list[str] | None:
    """What was given as words and as options; None when nothing was.

    Raises UsageError for an option's name in the place of its value.
    """
    given = [*(first or ()), *(second or ())]
    for text in given:
        if re.fullmatch(r"-[a-z]|--[a-z-]+", text):
            raise UsageError(
                f"{text!r} was taken for a value, since the option before it has none.",
                hint="Give that option its value, or leave it out.",
            )
    return given or None


def parse_config(texts: list[str] | None) -> dict[str, dict[str, Any]]:
    """``asset.key=value`` and ``key=value`` (of every asset, ``"*"``) as values by asset.

    A value that is a JSON list or object is read as such, everything else is text.
    Raises UsageError for what has no key.
    """
    config: dict[str, dict[str, Any]] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        asset, _, key = name.strip().rpartition(".")
        if not equals or not key:
            raise UsageError(
                f"--config {text!r} sets nothing.",
                hint="Write --config asset.key=value, or key=value for every asset that has it.",
            )
        config.setdefault(asset or "*", {})[key] = _value(value)
    return config


def _value(text: str) -> Any:
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    return text
