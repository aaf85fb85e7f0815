"""Handing a step its inputs: the recorded versions, as what the function asked for."""

from __future__ import annotations

import contextlib
import inspect
import shlex
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Protocol

import numpy as np

from assets_core.declare.asset import Asset
from assets_core.errors import MissingDataError, OutputError, StepError
from assets_core.execution.task import InputData, Runtime
from assets_core.graph import Input, Op
from assets_core.partitions import Edge, KeySpace, Partition
from assets_core.partitions.range_sets import keys_to_ranges
from assets_core.records import InputRead, Receipt, Version


class FactsAt(Protocol):
    """What is recorded at one moment: a plan's facts, or those of a run."""

    @property
    def spaces(self) -> Mapping[str, KeySpace]:
        """The key space of each asset."""

    @property
    def revision(self) -> int:
        """The log position of the moment."""

    def there_at(self, asset: str, ordinals: np.ndarray) -> np.ndarray:
        """Which of these partitions have data, bool."""


def read_of(facts: FactsAt, read: Input, edge: Edge, ordinal: int, total: Version) -> InputRead:
    """What is recorded of an input of one partition; ``total`` is its share of the digest."""
    space = facts.spaces[read.asset]
    bounds = edge.bounds(ordinal) if read.require.is_all else None
    if bounds is not None:
        lo, hi = bounds
        ranges = keys_to_ranges(space, ()) if hi <= lo else ((space.key(lo), space.key(hi - 1)),)
        count = max(hi - lo, 0)
    else:
        at = edge.upstream(ordinal)
        at = at[facts.there_at(read.asset, at)]
        ranges, count = keys_to_ranges(space, at.tolist()), len(at)
    return InputRead(read.name, read.asset, ranges, count, facts.revision, total)


def load_inputs(
    runtime: Runtime,
    op: Op,
    data: Sequence[InputData],
    held: contextlib.ExitStack,
    inside: str = "",
) -> dict[str, Any]:
    """The value of each parameter (or table) that carries data. What must be closed is ``held``.

    Of rows that lie in the store ``inside`` which a query runs, it is their receipts.
    """
    handed = [read for read in op.inputs if read.data]
    return {
        read.name: one.receipts
        if inside and _lies_in(inside, one)
        else _load(runtime, op, read, one, held)
        for read, one in zip(handed, data, strict=True)
    }


def _lies_in(store: str, data: InputData) -> bool:
    places = {(receipt.store, receipt.kind) for receipt in data.receipts}
    return places == {(store, "table")}


def _load(
    runtime: Runtime, op: Op, read: Input, data: InputData, held: contextlib.ExitStack
) -> Any:
    upstream = runtime.graph.assets[read.asset]
    if not data.keys:
        return _nothing(runtime, op, read)
    if upstream.kind == "source":
        return _from_source(runtime, upstream, read, data)
    kinds = {receipt.kind for receipt in data.receipts}
    if kinds == {"none"}:
        return None
    if kinds == {"file"} or _wants_path(read.annotation):
        return _files(runtime, read, data)
    plain = _not_none(read.annotation)
    if typing.get_origin(plain) is dict:
        each = typing.get_args(plain)[1]
        return {
            key: _rows(runtime, (receipt,), each, held)
            for key, receipt in zip(data.keys, data.receipts, strict=True)
        }
    return _rows(runtime, data.receipts, plain, held)


def _nothing(runtime: Runtime, op: Op, read: Input) -> Any:
    """An input that maps to no partition, such as the day before the first."""
    if runtime.graph.assets[op.name].kind == "sql":
        raise StepError(
            f"Table {read.name!r} maps to no partition here, so the query has nothing to read.",
            facts={"asset": op.name, "reads": read.asset, "through": read.mapping},
            hint="Make it a Python asset, which gets None, or start the asset one partition later.",
        )
    return None


def _rows(
    runtime: Runtime, receipts: tuple[Receipt, ...], annotation: Any, held: contextlib.ExitStack
) -> Any:
    from assets_core.tabular.inputs import from_reader, from_table

    manager = runtime.io[receipts[0].store]
    if _streams(annotation):
        reader = manager.open(receipts)
        held.callback(reader.close)
        return from_reader(reader, annotation)
    return from_table(manager.read(receipts), annotation)


def _streams(annotation: Any) -> bool:
    return getattr(annotation, "__name__", "") in ("RecordBatchReader", "DuckDBPyRelation")


def _wants_path(annotation: Any) -> bool:
    plain = _not_none(annotation)
    return plain is Path or (
        typing.get_origin(plain) in (list, dict) and typing.get_args(plain)[-1] is Path
    )


def _not_none(annotation: Any) -> Any:
    """``T | None`` → ``T``."""
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        others = [a for a in typing.get_args(annotation) if a is not NoneType]
        if len(others) == 1:
            return others[0]
    return annotation


def _files(runtime: Runtime, read: Input, data: InputData) -> Any:
    paths = [runtime.io[receipt.store].path(receipt) for receipt in data.receipts]
    return _one_or_many(read, list(data.keys), paths)


def _one_or_many(read: Input, keys: list[str], values: list[Any]) -> Any:
    plain = _not_none(read.annotation)
    origin = typing.get_origin(plain)
    if origin is dict:
        return dict(zip(keys, values, strict=True))
    if origin is list:
        return values
    if len(values) == 1:
        return values[0]
    if plain is Path:
        raise StepError(
            f"Parameter {read.name!r} asks for one Path and maps to {len(values)} partitions.",
            facts={"reads": read.asset, "partitions": f"{keys[0]} … {keys[-1]}"},
            hint="Annotate it list[Path], or dict[str, Path] by partition.",
        )
    return values


def _from_source(runtime: Runtime, source: Asset, read: Input, data: InputData) -> Any:
    values = [call_source(runtime, source, partition) for partition in data.partitions]
    for key, value in zip(data.keys, values, strict=True):
        if value is None:
            raise MissingDataError(
                f"Source {source.name!r} no longer has partition {key}.",
                facts={"declared": source.location},
                hint="It was there when it was last observed: bring it back, or go on without it: "
                f"assets withdraw {source.name} --partition {shlex.quote(key)} --reason TEXT",
            )
    if all(isinstance(value, Path) for value in values):
        return _paths_or_refuse(read, list(data.keys), values)
    return _source_rows(source, read, list(data.keys), values)


def _paths_or_refuse(read: Input, keys: list[str], values: list[Any]) -> Any:
    plain = _not_none(read.annotation)
    if plain in (None, inspect.Parameter.empty, Any) or _wants_path(read.annotation):
        return _one_or_many(read, keys, values)
    raise OutputError(
        f"Source {read.asset!r} is a file, and parameter {read.name!r} asks for "
        f"{getattr(plain, '__name__', plain)}.",
        hint=f"Annotate it as Path and read the file: {read.name}: Path.",
    )


def _source_rows(source: Asset, read: Input, keys: list[str], values: list[Any]) -> Any:
    import pyarrow as pa

    from assets_core.tabular.inputs import from_table
    from assets_core.tabular.outputs import to_reader

    tables = []
    for value in values:
        output = to_reader(value, what=f"source {source.name!r}")
        tables.append(output.table if output.table is not None else output.reader.read_all())  # type: ignore[union-attr]  # rows are one of the two
    plain = _not_none(read.annotation)
    if typing.get_origin(plain) is dict:
        each = typing.get_args(plain)[1]
        return {key: from_table(t, each) for key, t in zip(keys, tables, strict=True)}
    whole = (
        tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="permissive")
    )
    return from_table(whole, plain)


def call_source(runtime: Runtime, source: Asset, partition: Partition) -> Any:
    """Call a source's function for one partition."""
    from assets_core.execution.context import Context

    signature = runtime.graph.op_of[source.name].signature
    assert source.function is not None
    values: dict[str, Any] = {}
    if signature.partition:
        values[signature.partition] = partition
    if signature.context:
        values[signature.context] = Context(
            asset=source.name, partition=partition, resources=runtime.resources
        )
    if signature.config:
        values[signature.config] = runtime.config.get(source.name)
    return source.function(**values)
