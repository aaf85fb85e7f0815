"""`assets lineage`, `assets history` and `assets rejects`: what is recorded of one asset."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assets_core.cli import options
from assets_core.cli.screen import Cell, Screen, print_json, stdout
from assets_core.cli.session import project
from assets_core.errors import UsageError
from assets_core.wording import count, one_line

if TYPE_CHECKING:
    import pyarrow as pa


def split_reference(text: str, partition: str | None) -> tuple[str, str | None]:
    """``asset@partition``, or the two as words."""
    asset, at, key = text.partition("@")
    if at and partition is not None:
        raise UsageError(f"The partition is given twice: {text!r} and {partition!r}.")
    return asset, key if at else partition


def lineage(
    ctx: typer.Context,
    reference: options.ReferenceArgument,
    partition: options.OnePartition = None,
    downstream: Annotated[
        bool, typer.Option("--downstream", help="Who read it, instead of what it was built from.")
    ] = False,
    depth: Annotated[
        int | None,
        typer.Option("--depth", min=1, metavar="N", help="How many steps.", show_default=False),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Exactly which partitions and versions a partition was built from, or who read it."""
    asset, key = split_reference(reference, partition)
    with project(ctx) as loaded:
        found = loaded.lineage(asset, key, downstream=downstream, depth=depth)
        if as_json:
            print_json(found.to_dict())
        else:
            stdout().line(str(found))


def history(
    ctx: typer.Context,
    reference: options.ReferenceArgument,
    partition: options.OnePartition = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", min=1, max=options.MOST, metavar="N", help="How many, newest first."
        ),
    ] = 50,
    as_json: options.Json = False,
) -> None:
    """What happened to an asset or a partition: materializations and failed attempts."""
    asset, key = split_reference(reference, partition)
    with project(ctx) as loaded:
        found = loaded.history(asset, key, limit=limit)
        if as_json:
            print_json(found.to_dict())
        else:
            stdout().line(str(found))


def rejects(
    ctx: typer.Context,
    reference: options.ReferenceArgument,
    partition: options.OnePartition = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", min=1, max=options.MOST, metavar="N", help="How many rows to print."
        ),
    ] = 50,
    as_json: options.Json = False,
) -> None:
    """The rows that were set aside, with their reasons and partitions.

    JSON has all of them, whatever the limit.
    """
    asset, key = split_reference(reference, partition)
    with project(ctx) as loaded:
        found = loaded.rejects(asset, key)
        if as_json:
            given = [] if found is None else found.to_pylist()
            rows = [{k: plain(v) for k, v in row.items()} for row in given]
            print_json({"asset": asset, "partition": key, "count": len(rows), "rows": rows})
        else:
            _print_rejects(stdout(), asset, found, limit)


def _print_rejects(screen: Screen, asset: str, found: pa.Table | None, limit: int) -> None:
    if found is None or not found.num_rows:
        screen.line(f"No row of {asset} was set aside.", "green")
        return
    by_reason: dict[str, int] = {}
    for reason in found["_reason"].to_pylist():
        by_reason[reason] = by_reason.get(reason, 0) + 1
    first = ["_partition", "_reason"]
    names = [*first, *(name for name in found.column_names if name not in first)]
    rows: list[list[Cell]] = [
        [one_line(shown(row[name]), 60) for name in names]
        for row in found.slice(0, limit).to_pylist()
    ]
    screen.table(["partition", "reason", *names[2:]], rows)
    screen.line()
    screen.line(f"{count(found.num_rows, 'row')} set aside", "yellow")
    for reason, n in sorted(by_reason.items(), key=lambda item: -item[1])[:20]:
        screen.line(f"  {count(n)}  {one_line(reason, 120)}")


def shown(value: Any) -> str:
    """A value of a row for a table's cell."""
    if isinstance(value, float):
        return str(value)  # NaN is no null
    return "null" if value is None else str(plain(value))


def plain(value: Any) -> Any:
    """A value of a row as strict JSON: no NaN, bytes in base64, times in ISO form."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return str(value)
