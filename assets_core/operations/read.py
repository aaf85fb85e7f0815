"""Loading materialized data for people: notebooks, tests and the command."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from assets_core.errors import MissingDataError, UsageError, VersionReplacedError
from assets_core.operations.arguments import asset_name, split_reference
from assets_core.operations.recover import recover

if TYPE_CHECKING:
    import numpy as np

    from assets_core.declare.asset import Asset
    from assets_core.partitions import KeySpace
    from assets_core.records import Receipt
    from assets_core.workspace.workspace import Workspace

FORMS = ("arrow", "polars", "pandas", "reader", "duckdb", "path")
"""The names that `read` takes for ``as_``, besides a type."""

_PATIENCE_SECONDS = 5.0


def read(
    workspace: Workspace,
    asset: str | Asset,
    partition: Any = None,
    *,
    partitions: Any = None,
    as_: Any = None,
) -> Any:
    """The data of an asset: one partition, a selection of them, or all, in one scan.

    ``as_`` is what it comes as: a type such as ``polars.DataFrame``, or one of the names
    ``"arrow"``, ``"polars"``, ``"pandas"``, ``"reader"``, ``"duckdb"``, ``"path"``. The data
    of a source comes as its function gives it.

    Raises MissingDataError when nothing of it is materialized.
    """
    name, wanted = split_reference(asset, partition)
    if wanted is not None and partitions is not None:
        raise UsageError(f"The partition is given twice: {wanted!r} and {partitions!r}.")
    selected = wanted if wanted is not None else partitions
    return _of_newest(workspace, lambda: _read(workspace, name, selected, as_))


def rejects(workspace: Workspace, asset: str | Asset, partition: str | None = None) -> Any:
    """The rows set aside, as one Arrow table with ``_partition`` and ``_reason``, or None."""
    name, key = split_reference(asset, partition)
    return _of_newest(workspace, lambda: _read_rejects(workspace, name, key))


def columns(workspace: Workspace, asset: str | Asset) -> list[dict[str, Any]]:
    """The columns of what was published last: name, type, nullable; none before that."""
    name = workspace.graph.asset(asset_name(asset)).name
    text = workspace.state.schema(workspace.environment, name)
    if not text:
        return []
    from assets_core.execution.schemas import schema_of

    return [{"name": f.name, "type": str(f.type), "nullable": f.nullable} for f in schema_of(text)]


def _of_newest(workspace: Workspace, read: Callable[[], Any]) -> Any:
    """What ``read`` gives, called again while a store without history is ahead of its records.

    A writer is between its commit and its record then; one that died there is recovered.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    pause = 0.002
    while True:
        try:
            return read()
        except VersionReplacedError:
            if time.monotonic() > deadline:
                raise
        recover(workspace)
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def _read(workspace: Workspace, name: str, partitions: Any, as_: Any) -> Any:
    asset = workspace.graph.asset(name)
    keys, receipts = current_receipts(workspace, name, partitions)
    annotation = _form(as_)
    if asset.kind == "source":
        return _from_source(workspace, name, keys)
    kinds = {receipt.kind for receipt in receipts}
    manager = workspace.io[receipts[0].store] if "none" not in kinds else None
    if manager is None:
        raise UsageError(
            f"Asset {name!r} writes by itself, so there is nothing to load.",
            hint="Read it from where its function puts it.",
        )
    if kinds == {"file"} or as_ == "path":
        paths = [manager.path(receipt) for receipt in receipts]
        return paths[0] if len(paths) == 1 else paths
    from assets_core.tabular.inputs import from_reader

    return from_reader(manager.open(receipts), annotation)


def _form(as_: Any) -> Any:
    if as_ is None or as_ == "arrow":
        import pyarrow as pa

        return pa.Table
    if not isinstance(as_, str):
        return as_
    return _named_form(as_)


def _named_form(name: str) -> Any:
    if name == "polars":
        import polars

        return polars.DataFrame
    if name == "pandas":
        import pandas

        return pandas.DataFrame
    if name == "reader":
        import pyarrow as pa

        return pa.RecordBatchReader
    if name == "duckdb":
        import duckdb

        return duckdb.DuckDBPyRelation
    if name == "path":
        return None
    raise UsageError(f"as_={name!r} is not known.", hint=f"One of {', '.join(FORMS)}, or a type.")


def current_receipts(
    workspace: Workspace, name: str, partitions: Any
) -> tuple[list[str], Sequence[Receipt]]:
    """Keys and receipts of what is materialized in a selection of an asset's partitions.

    Raises MissingDataError when there is nothing, or when a single key that was asked for is
    missing.
    """
    import numpy as np

    from assets_core.partitions import parse_selection

    space = workspace.spaces(include_open=True)[name]
    selection = None if partitions is None else parse_selection(partitions)
    if selection is not None:
        selection.check([space])
    mask = np.ones(space.n, bool) if selection is None else selection.mask(space)
    columns = workspace.state.snapshot(workspace.environment, [name]).assets[name]
    ordinals = space.ordinals(columns.keys)
    there = (ordinals >= 0) & (columns.data != 0).any(axis=1)
    order = np.argsort(ordinals[there], kind="stable")
    at, ids = ordinals[there][order], columns.id[there][order]
    wanted = mask[at]
    at, ids = at[wanted], ids[wanted]
    if not len(at):
        _refuse_withdrawn(workspace, name, columns.keys, mask, space)
        shown = space.keys(np.flatnonzero(mask)[:3])
        raise MissingDataError(
            f"Nothing of {name!r} is materialized there.",
            facts={"asked for": ", ".join(shown) or "no partition"},
            hint=f"Build it with: assets materialize --select {name}"
            + (f" --partition {shown[0]}" if len(shown) == 1 else ""),
        )
    receipts = workspace.state.receipts(ids.tolist())
    return space.keys(at), [receipts[i] for i in ids.tolist()]


def _refuse_withdrawn(
    workspace: Workspace, name: str, keys: Sequence[str], mask: np.ndarray, space: KeySpace
) -> None:
    """Raise MissingDataError when what was asked for is recorded, and so is withdrawn."""
    import numpy as np

    asked = set(space.keys(np.flatnonzero(mask)))
    key = next((key for key in keys if key in asked), None)
    if key is None:
        return
    from assets_core.records import withdrawn_for

    fact = workspace.state.materializations(workspace.environment, name, key, limit=1)[0]
    raise MissingDataError(
        f"{name}@{key} is withdrawn {withdrawn_for(fact)}".rstrip() + ".",
        hint=f"See: assets history {name}@{key}",
    )


def _from_source(workspace: Workspace, name: str, keys: Sequence[str]) -> Any:
    from assets_core.execution.inputs import call_source

    space = workspace.spaces(include_open=True)[name]
    asset = workspace.graph.assets[name]
    values = [
        call_source(workspace.runtime, asset, space.partition(space.ordinal(key))) for key in keys
    ]
    return values[0] if len(values) == 1 else values


def _read_rejects(workspace: Workspace, name: str, partition: str | None) -> Any:
    import pyarrow as pa

    from assets_core.execution.context import PARTITION_COLUMN, stacked

    workspace.graph.asset(name)
    keys, receipts = current_receipts(workspace, name, partition)
    tables = []
    for key, receipt in zip(keys, receipts, strict=True):
        if receipt.rejected:
            rows = workspace.io[receipt.store].open_rejects(receipt)
            if rows is not None:
                column = pa.repeat(pa.scalar(key), rows.num_rows)
                tables.append(rows.append_column(pa.field(PARTITION_COLUMN, pa.string()), column))
    return stacked(tables) if tables else None
