"""What is wrong with a single declaration, whatever the others are.

What is wrong among several (names, edges, circles) is found by the graph.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from typing import cast

from assets_core.checks import Check
from assets_core.checks.declared import SqlCheck
from assets_core.declare.asset import Asset
from assets_core.declare.sql import check_syntax, parameters_of
from assets_core.errors import DefinitionError
from assets_core.partitions import UNPARTITIONED
from assets_core.problems import Collected

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[.-][A-Za-z0-9_]+)*")
_LONGEST_NAME = 120


def problem(asset: Asset, message: str, hint: str = "", **facts: object) -> DefinitionError:
    """Something wrong with a declaration, which is named as the first fact."""
    named = {"asset": f"{asset.name}  ({asset.location})", **facts}
    return DefinitionError(message, facts=named, hint=hint)


def problems_of(
    asset: Asset, io_managers: Collection[str], found: Collected
) -> Iterator[DefinitionError]:
    """Everything that is wrong with one declaration; what only stands in for one is excused."""
    if not _NAME.fullmatch(asset.name) or len(asset.name) > _LONGEST_NAME:
        yield problem(
            asset,
            f"{asset.name[:_LONGEST_NAME]!r} can't be an asset's name.",
            "Letters, digits and '_', starting with a letter; '.' or '-' between words; "
            f"at most {_LONGEST_NAME} characters.",
        )
    if asset.kind != "source" and asset.io not in io_managers:
        yield problem(
            asset,
            f"Asset {asset.name!r} is kept by an unknown IO manager.",
            did_you_mean(asset.io, io_managers),
            missing=asset.io,
        )

    for check in cast("tuple[object, ...]", asset.checks):  # whatever was given
        if not isinstance(check, Check):
            yield problem(
                asset,
                f"checks= of asset {asset.name!r} holds {check!r}, which is no check.",
                "Decorate a function with @check; the others are not_null(…) and its like.",
            )
        elif isinstance(check, SqlCheck):
            yield from _of_query(asset, check)
    yield from _of_batch(asset)
    yield from _of_observing(asset, found)


def _of_query(asset: Asset, check: SqlCheck) -> Iterator[DefinitionError]:
    try:
        check_syntax(check.query)
    except DefinitionError as error:
        yield problem(asset, error.message, error.hint, check=check.name, **error.facts)


def _of_observing(asset: Asset, found: Collected) -> Iterator[DefinitionError]:
    if asset.kind == "source" and asset.required is not None:
        yield problem(
            asset,
            f"Source {asset.name!r} has require=, and a source reads nothing.",
            "Give it to what reads the source.",
        )
    for name in _OF_WHAT_IS_BUILT if asset.kind == "source" else ():
        if getattr(asset, name) != getattr(_PLAIN, name):
            yield problem(
                asset,
                f"Source {asset.name!r} has {name}=, and a source is observed, never built.",
                "Give it to what reads the source.",
            )
    named = ("token", "observe_range", "closed_after", "vanished")
    given = [name for name in named if getattr(asset, name) is not None]
    if given and asset.kind != "source":
        yield problem(
            asset,
            f"Asset {asset.name!r} has {given[0]}=, and only a source is observed.",
            f"Declare it with @source, or drop {given[0]}=.",
        )
        return
    if {"token", "observe_range"} <= set(given):
        yield problem(
            asset,
            f"Source {asset.name!r} has both token= and observe_range=.",
            "Keep observe_range=: it gives the tokens of many partitions at once.",
        )
    timeless = not asset.partitions.has_time and asset.kind == "source"
    if "closed_after" in given and timeless and not found.stands_in(asset.partitions):
        yield problem(
            asset,
            f"Source {asset.name!r} has closed_after=, and its partitions have no windows "
            "that could end.",
            "Drop closed_after=, or give it partitions along time.",
        )


def _of_batch(asset: Asset) -> Iterator[DefinitionError]:
    if asset.batch is None or asset.kind == "source" or asset.partitions is UNPARTITIONED:
        return
    if asset.partition_column is None:
        yield problem(
            asset,
            f"Asset {asset.name!r} has batch= and no partition_column=.",
            "Name the column that tells which partition a row belongs to: partition_column='day'.",
        )
    if asset.sql and "partition_key" in parameters_of(asset.sql):
        yield problem(
            asset,
            f"The query of asset {asset.name!r} binds $partition_key, and batch= runs it for "
            "several partitions at a time.",
            "Use $partition_start and $partition_end, which bound them all, or drop batch=.",
        )


_PLAIN = Asset("")
_OF_WHAT_IS_BUILT = (
    *("io", "checks", "retry", "executor", "schema"),
    *("partition_column", "max_rejected", "exclude", "batch"),
)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is none of those known: the closest of them, or all."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(repr(n) for n in close)}?"
    shown = ", ".join(choices[:8]) + (", …" if len(choices) > 8 else "")
    return f"There are: {shown}." if choices else "There are none."
