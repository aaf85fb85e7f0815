"""How users declare one dataset at a time: `asset`, `source`, `sql_asset` and `multi_asset`.

Nothing here runs, reads or connects to anything. A declaration keeps the user's function as an
ordinary function; its signature is read once, by the graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

from assets_core.checks import Check
from assets_core.declare.asset import (
    Asset,
    AssetKind,
    ExecutorName,
    MultiAsset,
    Out,
    Reference,
    SchemaPolicy,
)
from assets_core.declare.options import settings_of
from assets_core.declare.places import Location, caller, local_names, location_of
from assets_core.declare.policies import Batch, Freshness, Retry
from assets_core.declare.registry import register
from assets_core.errors import DefinitionError
from assets_core.partitions import (
    PartitionsDefinition,
    Require,
)
from assets_core.problems import deferred, refuse


def _description(function: Callable[..., Any], given: str) -> str:
    return given or inspect.cleandoc(function.__doc__ or "")


@overload
def asset(function: Callable[..., Any], /) -> Asset: ...


@overload
def asset(
    *,
    name: str | None = None,
    partitions: PartitionsDefinition | None = None,
    io: str | None = None,
    owner: str | None = None,
    tags: Sequence[str] | None = None,
    group: str | None = None,
    description: str = "",
    columns: Mapping[str, str] | None = None,
    checks: Sequence[Check] | None = None,
    retry: Retry | None = None,
    freshness: Freshness | None = None,
    depends_on: Sequence[str | Asset | Reference] | None = None,
    inputs: Mapping[str, str | Asset | Reference] | None = None,
    version: str | None = None,
    libraries: Sequence[str] | None = None,
    reads_files: Sequence[str | Path] | None = None,
    reads_env: Sequence[str] | None = None,
    executor: ExecutorName | None = None,
    schema: SchemaPolicy | None = None,
    partition_column: str | None = None,
    max_rejected: float | None = None,
    exclude: Sequence[str] | None = None,
    batch: bool | Batch | None = None,
    require: Require | Literal["all", "any"] | float | Callable[..., bool] | None = None,
    ordered: bool | None = None,
    float_digits: int | None = None,
) -> Callable[[Callable[..., Any]], Asset]: ...


def asset(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Declare the asset that a function makes. Its parameters name what it reads.

    A parameter is an upstream asset's name; annotated with `Partition`, `Context` or a pydantic
    model it receives the partition, the context or the asset's config instead. The annotation
    chooses what the data comes as; ``Annotated[T, mapping]`` chooses which partitions are read.

    Options:
        name: the asset's name, when it is not the function's.
        partitions: its key space; unpartitioned without one.
        io: the name of the IO manager that keeps it.
        owner, tags, group, description, columns: what people read about it; ``description`` is
            the docstring unless given, ``columns`` maps a column to a sentence.
        checks: audits of the staged data.
        retry: which failures are tried again, and when.
        freshness: by when a partition must have landed.
        depends_on: upstream assets that are waited for, and whose change is followed, but that
            are not handed over.
        inputs: parameter → upstream, where a parameter has another name than the asset.
        version: replaces the fingerprint of the code; change it when the output would change.
        libraries: installed distributions whose version is part of the code version.
        reads_files: files, folders or patterns that the code reads besides its inputs, relative to
            the project's root: their content counts as code. What Python itself opens is noticed
            without this; readers in native code (DuckDB, pyarrow, polars) are not.
        reads_env: environment variables that the code reads: their values count as code.
        executor: ``"process"`` for CPU-bound Python.
        schema: ``"evolve"`` accepts added, dropped and widened columns, ``"strict"`` none.
        partition_column: a column whose values must lie inside the partition: dates, timestamps
            or ISO text of these within its window, or text or numbers as its key writes them.
        max_rejected: the fraction of rows that may be set aside before the step fails.
        exclude: columns that do not count for the data version (a load time, say).
        batch: True, or a `Batch`: neighbouring partitions that are ready are built by one call
            and published one by one. The result's rows are told apart by ``partition_column``.
            A parameter annotated with `Partitions` receives which ones they are.
        require: how much of what each input maps to must be there before a partition is built:
            ``"all"``, ``"any"``, a fraction, or a function; see `assets_core.require`.
        ordered: the order of the rows is part of the content: another order is another data
            version. An SQL asset whose query ends with ORDER BY is ordered unless this is False.
        float_digits: floats count by so many significant digits (1 to 17) in the data version, for
            sums whose last digits differ from run to run; what is stored is not rounded.

    Raises:
        DefinitionError: an option makes no sense.
    """
    if function is not None:
        return _declare(function, "python", options)
    return lambda fn: _declare(fn, "python", options)


def _declare(function: Callable[..., Any], kind: AssetKind, options: Mapping[str, Any]) -> Asset:
    settings = settings_of(options)
    settings.setdefault("name", getattr(function, "__name__", ""))
    settings["description"] = _description(function, settings.get("description", ""))
    made = Asset(
        kind=kind,
        function=function,
        location=location_of(function),
        names=local_names(function),
        **settings,
    )
    return register(made, getattr(function, "__module__", "") or "")


def source(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Declare a dataset that others make: the function finds it, and it is observed, never built.

    It returns a `Path` (observed by size and modification time first, by content only when those
    moved), tabular data, or None when the partition is not there (yet). What it returns is also
    what a downstream function receives.

    Options: name, partitions, owner, tags, group, description, columns, freshness as for `asset`;
    ``token``: a function of the same partition returning a cheap version text (an etag, a
    ``max(updated_at)``), asked first; the content is looked at only when the token has moved, or
    when it is None or empty and so says nothing.
    ``observe_range``: the same for many at once (one listing, one query): a function of
    `Partitions` returning a mapping of partition key → token, without those that are not there. A
    token is text, a number, a time, bytes, or a tuple of these.
    ``reads_files`` and ``reads_env``: what these functions read besides, as for `asset`.
    ``closed_after``: a partition whose window ended longer ago than this, and that was looked at
    since, is looked at no more (``assets observe --all`` does): ``"30d"``.
    ``vanished``: what becomes of a partition that was seen and is not there any more: ``"keep"``
    (as without it) lets the version seen last count on, ``"withdraw"`` takes it out, and with it
    what was built of it alone; more than half of the partitions at once are kept all the same.
    """
    if function is not None:
        return _declare(function, "source", options)
    return lambda fn: _declare(fn, "source", options)


def sql_asset(name: str, query: str | Path, /, **options: Any) -> Asset:
    """Declare an asset made by one SQL query (DuckDB's dialect) over other assets.

    Its inputs are the tables that the query names; in the query a name means the partitions that
    it maps to. ``$partition_key``, ``$partition_start`` and ``$partition_end`` are bound, never
    pasted. ``query`` is text, or the path of a ``.sql`` file: relative to the declaring module.

    Options: as for `asset`; ``inputs={"orders": orders.last(7)}`` gives a table another mapping.
    """
    frame = caller()
    where = Location(frame.f_code.co_filename, frame.f_lineno)
    text = _read_sql(query, where)
    settings = settings_of(options)
    made = Asset(name=name, kind="sql", sql=text, location=where, **settings)
    return register(made, frame.f_globals.get("__name__", ""))


@deferred(lambda: " ".join(("SELECT", "1")))  # a text of its own, unlike any other
def _read_sql(query: str | Path, where: Location) -> str:
    is_file = isinstance(query, Path) or (query.endswith(".sql") and "\n" not in query)
    if not is_file:
        return str(query)
    path = Path(where.file).parent / query
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DefinitionError(
            f"The SQL file {str(query)!r} can't be read.",
            facts={"looked at": path, "declared": where, "reason": error.strerror or error},
            hint="The path is relative to the module that declares the asset.",
        ) from error


def multi_asset(outs: Mapping[str, Out] | Sequence[str], /, **options: Any) -> Any:
    """Declare several assets that one function makes together.

    ``outs`` names them, with an `Out` where one has its own checks, docs or store. The function
    returns a mapping of name → data. All of them share partitions and inputs; when one is stale
    the function runs once and each output is published (or found unchanged) by itself.
    """
    outputs = dict(outs) if isinstance(outs, Mapping) else {name: Out() for name in outs}
    if not outputs:
        refuse(DefinitionError("multi_asset() names no asset.", hint="Give at least one name."))
    return lambda fn: _declare_several(fn, outputs, options)


def _declare_several(
    function: Callable[..., Any], outs: Mapping[str, Out], options: Mapping[str, Any]
) -> MultiAsset:
    shared = settings_of(options)
    shared.pop("name", None)
    module = getattr(function, "__module__", "") or ""
    common = Asset(
        name="",
        function=function,
        siblings=tuple(outs),
        location=location_of(function),
        names=local_names(function),
        **{**shared, "description": _description(function, shared.get("description", ""))},
    )
    made = [register(_out_of(common, name, out), module) for name, out in outs.items()]
    return MultiAsset(function=function, assets=tuple(made))


def _out_of(common: Asset, name: str, out: Out) -> Asset:
    own: dict[str, Any] = {
        "checks": (*common.checks, *out.checks),
        "tags": (*common.tags, *out.tags),
        "columns": {**common.columns, **out.columns},
        "exclude": (*common.exclude, *out.exclude),
    }
    content = ("schema", "partition_column", "max_rejected", "ordered", "float_digits")
    for option in ("description", "freshness", "io", *content):
        given = getattr(out, option)
        own[option] = getattr(common, option) if given in (None, "") else given
    return replace(common, name=name, **own)
