"""Loading materialized data for people: notebooks, tests and `Project.load`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from assets_core.errors import MissingDataError, UsageError, VersionReplacedError
from assets_core.partitions import KeySpace, parse_selection
from assets_core.records import Receipt, withdrawn_for

if TYPE_CHECKING:
    from assets_core.project import Project

FORMS = ("arrow", "polars", "pandas", "reader", "duckdb", "path")
"""The names that `Project.load` takes for ``as_``, besides a type."""

_PATIENCE_SECONDS = 5.0


def load(project: Project, name: str, partitions: Any, as_: Any) -> Any:
    """The data of an asset's partitions; see `Project.load`."""
    return _of_newest(project, lambda: _load(project, name, partitions, as_))


def _of_newest(project: Project, read: Callable[[], Any]) -> Any:
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
        project.recover()
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def _load(project: Project, name: str, partitions: Any, as_: Any) -> Any:
    asset = project.graph.asset(name)
    keys, receipts = current_receipts(project, name, partitions)
    annotation = _form(as_)
    if asset.kind == "source":
        return _from_source(project, name, keys)
    kinds = {receipt.kind for receipt in receipts}
    manager = project.io[receipts[0].store] if "none" not in kinds else None
    if manager is None:
        raise UsageError(
            f"Asset {name!r} writes by itself, so there is nothing to load.",
            hint="Read it from where its function puts it.",
        )
    if kinds == {"file"} or as_ == "path":
        paths = [manager.path(receipt) for receipt in receipts]
        return paths[0] if len(paths) == 1 else paths
    from assets_core.tabular import from_reader

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
    project: Project, name: str, partitions: Any
) -> tuple[list[str], Sequence[Receipt]]:
    """Keys and receipts of what is materialized in a selection of an asset's partitions.

    Raises MissingDataError when there is nothing, or when a single key that was asked for is
    missing.
    """
    space = project.spaces(include_open=True)[name]
    selection = None if partitions is None else parse_selection(partitions)
    if selection is not None:
        selection.check([space])
    mask = np.ones(space.n, bool) if selection is None else selection.mask(space)
    columns = project.state.snapshot(project.environment, [name]).assets[name]
    ordinals = space.ordinals(columns.keys)
    there = (ordinals >= 0) & (columns.data != 0).any(axis=1)
    order = np.argsort(ordinals[there], kind="stable")
    at, ids = ordinals[there][order], columns.id[there][order]
    wanted = mask[at]
    at, ids = at[wanted], ids[wanted]
    if not len(at):
        _refuse_withdrawn(project, name, columns.keys, mask, space)
        shown = space.keys(np.flatnonzero(mask)[:3])
        raise MissingDataError(
            f"Nothing of {name!r} is materialized there.",
            facts={"asked for": ", ".join(shown) or "no partition"},
            hint=f"Build it with: assets materialize --select {name}"
            + (f" --partition {shown[0]}" if len(shown) == 1 else ""),
        )
    receipts = project.state.receipts(ids.tolist())
    return space.keys(at), [receipts[i] for i in ids.tolist()]


def _refuse_withdrawn(
    project: Project, name: str, keys: Sequence[str], mask: np.ndarray, space: KeySpace
) -> None:
    """Raise MissingDataError when what was asked for is recorded, and so is withdrawn."""
    asked = set(space.keys(np.flatnonzero(mask)))
    key = next((key for key in keys if key in asked), None)
    if key is None:
        return
    fact = project.state.materializations(project.environment, name, key, limit=1)[0]
    raise MissingDataError(
        f"{name}@{key} is withdrawn {withdrawn_for(fact)}".rstrip() + ".",
        hint=f"See: assets history {name}@{key}",
    )


def _from_source(project: Project, name: str, keys: Sequence[str]) -> Any:
    from assets_core.execute.inputs import call_source

    space = project.spaces(include_open=True)[name]
    asset = project.graph.assets[name]
    values = [
        call_source(project.runtime, asset, space.partition(space.ordinal(key))) for key in keys
    ]
    return values[0] if len(values) == 1 else values


def load_rejects(project: Project, name: str, partition: str | None) -> Any:
    """The rejected rows of an asset as one table; None when nothing was rejected."""
    return _of_newest(project, lambda: _load_rejects(project, name, partition))


def _load_rejects(project: Project, name: str, partition: str | None) -> Any:
    import pyarrow as pa

    from assets_core.execute.context import PARTITION_COLUMN, stacked

    project.graph.asset(name)
    keys, receipts = current_receipts(project, name, partition)
    tables = []
    for key, receipt in zip(keys, receipts, strict=True):
        if receipt.rejected:
            rows = project.io[receipt.store].open_rejects(receipt)
            if rows is not None:
                column = pa.repeat(pa.scalar(key), rows.num_rows)
                tables.append(rows.append_column(pa.field(PARTITION_COLUMN, pa.string()), column))
    return stacked(tables) if tables else None
