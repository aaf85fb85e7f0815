"""What users declare: assets, sources, groups, retries, freshness, and `Definitions`.

Declarations are values; nothing here runs, reads or connects to anything. A declaration keeps
the user's function as an ordinary function, and its signature is read once, by the graph.
"""

from __future__ import annotations

import difflib
import inspect
import random
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Literal, overload

from assets_core.checks import Check
from assets_core.deferring import deferred, refuse
from assets_core.durations import parse_duration
from assets_core.errors import DefinitionError, OutputError, UsageError
from assets_core.partitions import (
    UNPARTITIONED,
    AnyOrder,
    Partition,
    PartitionMapping,
    Partitions,
    PartitionsDefinition,
    Require,
    all_partitions,
    lag,
    last,
    latest,
    mapped,
    require,
    window,
)
from assets_core.sqltext import is_ordered

if TYPE_CHECKING:
    from assets_core.contracts import IOManager

Kind = Literal["python", "sql", "source"]
Executor = Literal["thread", "process"]
SchemaPolicy = Literal["evolve", "strict"]
Vanished = Literal["keep", "withdraw"]
Backoff = Literal["exponential", "linear", "constant"]
OnFailure = Literal["halve", "fail"]

BUGS: tuple[type[BaseException], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    OutputError,
    SyntaxError,
    TypeError,
)
"""Exceptions that a second try does not mend; a `Retry` leaves them alone unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and how soon, a failed attempt is tried again.

    ``max`` counts retries, not attempts. ``delay`` and ``max_delay`` are durations (``"1s"``,
    ``"5m"``, seconds, `timedelta`). ``on`` names exception classes that are worth another try,
    ``never_on`` those that are not; the more specific of the two wins. ``jitter`` is the fraction
    by which a delay is shortened at random, so that many failures do not come back together.
    """

    max: int = 3
    delay: str | float | timedelta = "1s"
    backoff: Backoff = "exponential"
    max_delay: str | float | timedelta = "5m"
    jitter: float = 0.25
    on: type[BaseException] | tuple[type[BaseException], ...] = Exception
    never_on: type[BaseException] | tuple[type[BaseException], ...] = BUGS

    @deferred(lambda: None)
    def __post_init__(self) -> None:
        if self.max < 0:
            raise DefinitionError(
                f"Retry(max={self.max}): the number of retries can't be negative."
            )
        if not 0 <= self.jitter <= 1:
            raise DefinitionError(f"Retry(jitter={self.jitter}): a fraction between 0 and 1.")
        if self.backoff not in typing.get_args(Backoff):
            raise DefinitionError(
                f"Retry(backoff={self.backoff!r}) is not known.",
                hint=f"One of {', '.join(typing.get_args(Backoff))}.",
            )
        parse_duration(self.delay)
        parse_duration(self.max_delay)

    def applies(self, error: BaseException) -> bool:
        """Whether another try is worth it after ``error``."""
        wanted = _closest(type(error), self.on)
        unwanted = _closest(type(error), self.never_on)
        return wanted is not None and (unwanted is None or wanted < unwanted)

    def wait(self, attempt: int, rng: random.Random | None = None) -> float:
        """Seconds to wait after the failed ``attempt`` (1 for the first)."""
        base = parse_duration(self.delay).total_seconds()
        factor = {"exponential": 2.0 ** (attempt - 1), "linear": float(attempt), "constant": 1.0}
        seconds = min(base * factor[self.backoff], parse_duration(self.max_delay).total_seconds())
        return seconds * (1 - self.jitter * (rng or random).random())


def _closest(
    kind: type[BaseException], classes: type[BaseException] | tuple[type[BaseException], ...]
) -> int | None:
    """How far up the ancestry of ``kind`` the first of ``classes`` stands; None when none does."""
    wanted = classes if isinstance(classes, tuple) else (classes,)
    return next((i for i, base in enumerate(kind.__mro__) if base in wanted), None)


@dataclass(frozen=True, slots=True)
class Freshness:
    """The promise that a partition lands within a time after its window has closed.

    ``lands_within`` counts from the end of the partition's window; from ``warn_within`` on the
    partition is reported as ``warn`` before it is ``late``. Durations as for `Retry`.
    """

    lands_within: str | float | timedelta
    warn_within: str | float | timedelta | None = None

    @deferred(lambda: None)
    def __post_init__(self) -> None:
        lands = parse_duration(self.lands_within)
        if self.warn_within is not None and parse_duration(self.warn_within) > lands:
            raise DefinitionError(
                f"Freshness: warn_within={self.warn_within} lies after "
                f"lands_within={self.lands_within}.",
                hint="A warning comes before the deadline.",
            )


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbouring partitions that are ready are built by one call, and published one by one.

    A call gets at most ``max_partitions``. When it fails, ``halve`` tries each half of them until
    the bad partition is found alone and fails alone; ``fail`` fails them all.
    """

    max_partitions: int = 366
    on_failure: OnFailure = "halve"

    @deferred(lambda: None)
    def __post_init__(self) -> None:
        if isinstance(self.max_partitions, bool) or self.max_partitions < 1:
            raise DefinitionError(
                f"Batch(max_partitions={self.max_partitions!r}): a call needs at least one.",
                hint="Write Batch(max_partitions=366), or batch=True for just that.",
            )
        if self.on_failure not in typing.get_args(OnFailure):
            raise DefinitionError(
                f"Batch(on_failure={self.on_failure!r}) is not known.",
                hint=f"One of {', '.join(typing.get_args(OnFailure))}.",
            )


@dataclass(frozen=True, slots=True)
class Reference:
    """An upstream asset by name, read through a mapping (None: the default for the two).

    ``required`` says how much of it must be there (None: what the reader says of all it reads),
    ``any_row_order`` that only its rows count, and not their order.
    """

    asset: str
    mapping: PartitionMapping | None = None
    required: Require | None = None
    any_row_order: bool = False

    def require(self, policy: object) -> Reference:
        """The same, where not all of it must be there: see `assets_core.require`."""
        return replace(self, required=require(policy))

    def any_order(self) -> Reference:
        """The same, where the order of rows does not matter: see `assets_core.any_order`."""
        return replace(self, any_row_order=True)


@dataclass(frozen=True, slots=True)
class Location:
    """Where something was declared."""

    file: str
    line: int

    def __str__(self) -> str:
        try:
            shown = Path(self.file).relative_to(Path.cwd())
        except ValueError:
            shown = Path(self.file)
        return f"{shown}:{self.line}"


@dataclass(frozen=True, slots=True)
class Out:
    """One of the assets that a `multi_asset` makes, where it differs from its siblings."""

    checks: Sequence[Check] = ()
    description: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    freshness: Freshness | None = None
    io: str | None = None
    schema: SchemaPolicy | None = None
    partition_column: str | None = None
    exclude: Sequence[str] = ()
    max_rejected: float | None = None
    ordered: bool | None = None
    float_digits: int | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource with a version that stands for it, where it has no plain form (a connection).

    Functions find ``value`` itself in ``context.resources``. Change ``version`` when what is built
    with it would change.
    """

    value: Any
    version: str


@dataclass(frozen=True, slots=True, eq=False)
class Asset:
    """A named dataset and the function or SQL that makes it. Calling it calls the function."""

    name: str
    kind: Kind = "python"
    function: Callable[..., Any] | None = None
    sql: str = ""
    partitions: PartitionsDefinition = UNPARTITIONED
    io: str = "default"
    owner: str = ""
    tags: tuple[str, ...] = ()
    group: str = ""
    description: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    retry: Retry | None = None
    freshness: Freshness | None = None
    depends_on: tuple[Reference, ...] = ()
    inputs: Mapping[str, Reference] = field(default_factory=dict)
    version: str | None = None
    libraries: tuple[str, ...] = ()
    reads_files: tuple[str, ...] = ()
    reads_env: tuple[str, ...] = ()
    executor: Executor | None = None
    schema: SchemaPolicy = "evolve"
    partition_column: str | None = None
    max_rejected: float | None = None
    exclude: tuple[str, ...] = ()
    batch: Batch | None = None
    required: Require | None = None
    ordered: bool | None = None
    float_digits: int | None = None
    token: Callable[..., Any] | None = None
    observe_range: Callable[..., Any] | None = None
    closed_after: str | float | timedelta | None = None
    vanished: Vanished | None = None
    siblings: tuple[str, ...] = ()
    location: Location = Location("", 0)
    names: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, with plain values."""
        if self.function is None:
            raise TypeError(f"asset {self.name!r} is made by SQL, not by a function")
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{'source' if self.kind == 'source' else 'asset'} {self.name}>"

    def identity(self) -> tuple[object, ...]:
        """What a function that mentions this object depends on: its name alone."""
        return ("asset", self.name)

    @property
    def is_ordered(self) -> bool:
        """Whether the order of its rows is part of its content: as declared, or as the query of an
        SQL asset says."""
        if self.ordered is None:
            return bool(self.sql) and is_ordered(self.sql)
        return self.ordered

    @property
    def demands(self) -> tuple[str, ...]:
        """The options that judge its rows, and so need rows to judge."""
        given = {
            "checks": self.checks or None,
            "partition_column": self.partition_column,
            "max_rejected": self.max_rejected,
        }
        return tuple(name for name, value in given.items() if value is not None)

    def last(self, n: int) -> Reference:
        """This asset's ``n`` partitions that end with the reader's own."""
        return Reference(self.name, last(n))

    def lag(self, n: int) -> Reference:
        """This asset's partition ``n`` before the reader's own."""
        return Reference(self.name, lag(n))

    def window(self, before: int, after: int = 0) -> Reference:
        """This asset's partitions from ``before`` before to ``after`` after the reader's own."""
        return Reference(self.name, window(before, after))

    def all_partitions(self) -> Reference:
        """Every partition of this asset."""
        return Reference(self.name, all_partitions())

    def latest(self) -> Reference:
        """The newest partition of this asset."""
        return Reference(self.name, latest())

    def require(self, policy: object) -> Reference:
        """This asset, mapped as usual, where not all of it must be there."""
        return Reference(self.name, required=require(policy))

    def any_order(self) -> Reference:
        """This asset, mapped as usual, where the order of its rows does not matter."""
        return Reference(self.name, any_row_order=True)

    def mapped(self, through: Any) -> Reference:
        """This asset's partitions by one's own function or table."""
        if isinstance(through, PartitionMapping):
            return Reference(self.name, through)
        return Reference(self.name, mapped(through))


@dataclass(frozen=True, slots=True, eq=False)
class MultiAsset:
    """One function that makes several assets; it returns a mapping of their names to data."""

    function: Callable[..., Any]
    assets: tuple[Asset, ...]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, with plain values."""
        return self.function(*args, **kwargs)

    def __iter__(self) -> Iterator[Asset]:
        return iter(self.assets)

    def __getitem__(self, name: str) -> Asset:
        return next(asset for asset in self.assets if asset.name == name)

    def identity(self) -> tuple[object, ...]:
        """What a function that mentions this object depends on: the names alone."""
        return ("assets", *(asset.name for asset in self.assets))


Declared = Asset | MultiAsset


# --------------------------------------------------------------------------------------------
# What was declared where, so that assets made in a loop are found without a global name each.

_declared: dict[str, list[tuple[Asset, CodeType]]] = {}


def declared_in(module: str) -> list[Asset]:
    """Assets declared so far by code of the module, without those that it replaced.

    A module that is imported anew, or a cell that is run again, declares the same name at the
    same place by code that was compiled anew. The same code doing so twice, a loop over a list
    that names something twice, is a mistake that the graph reports.
    """
    declared = _declared.get(module, ())
    newest = {(a.name, a.location): code for a, code in declared}
    return [a for a, code in declared if newest[(a.name, a.location)] is code]


def forget(module: str) -> None:
    """Drop what the module declared, before it is imported anew."""
    _declared.pop(module, None)


def _register(asset: Asset, module: str) -> Asset:
    _declared.setdefault(module, []).append((asset, _running()))
    return asset


def _running() -> CodeType:
    """The code of the module, or of the notebook's cell, that is declaring something."""
    frame = _caller()
    while not frame.f_code.co_name.startswith(("<module", "<cell")) and frame.f_back is not None:
        frame = frame.f_back
    code: CodeType = frame.f_code
    return code


# --------------------------------------------------------------------------------------------
# Declaring


def _references(depends_on: Iterable[str | Asset | Reference]) -> tuple[Reference, ...]:
    found = (_reference_or_none(upstream) for upstream in depends_on)
    return tuple(reference for reference in found if reference is not None)


def _reference_or_none(upstream: Any) -> Reference | None:
    try:
        return as_reference(upstream)
    except DefinitionError as error:
        refuse(error)
        return None


def as_reference(upstream: str | Asset | Reference | PartitionMapping) -> Reference:
    """An upstream given as a name, an asset or a reference."""
    if isinstance(upstream, Reference):
        return upstream
    if isinstance(upstream, Asset):
        return Reference(upstream.name)
    if isinstance(upstream, str):
        return Reference(upstream)
    raise DefinitionError(
        f"{upstream!r} does not name an upstream asset.",
        hint="Give a name, an asset, or asset.last(7) and the like.",
    )


def _location(function: Callable[..., Any]) -> Location:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return Location(code.co_filename, code.co_firstlineno) if code else Location("", 0)


def _description(function: Callable[..., Any], given: str) -> str:
    return given or inspect.cleandoc(function.__doc__ or "")


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as users write them → fields of `Asset`; those refused are left out."""
    _refuse_misspelt(options)
    if options.get("require") is not None:
        options = {**options, "required": require(options["require"])}
    settings = {n: value for n, value in options.items() if value is not None and n in _FIELDS}
    for name in ("tags", "checks", "exclude", "libraries", "reads_files", "reads_env"):
        if name in settings:
            settings[name] = _as_tuple(settings[name], name)
    _refuse_no_names(settings)
    if "depends_on" in settings:
        settings["depends_on"] = _references(_as_tuple(settings["depends_on"], "depends_on"))
    if "inputs" in settings:
        found = {name: _reference_or_none(r) for name, r in settings["inputs"].items()}
        settings["inputs"] = {name: r for name, r in found.items() if r is not None}
    if isinstance(settings.get("batch"), bool):
        settings["batch"] = Batch() if settings["batch"] else None
    _refuse_unknown(settings)
    _refuse_other_kinds(settings)
    return settings


@deferred(tuple)
def _as_tuple(value: Any, name: str) -> tuple[Any, ...]:
    if isinstance(value, (str, Path, Asset, Reference, Check)):
        raise DefinitionError(f"{name}={value!r} is one value.", hint=f"Write {name}=[…].")
    return tuple(value)


def _refuse_no_names(settings: dict[str, Any]) -> None:
    """Paths and variables are told by text, or a path where a file is meant."""
    for name, kinds in (("reads_files", (str, Path)), ("reads_env", (str,))):
        for value in settings.get(name, ()):
            if not isinstance(value, kinds) or not str(value).strip() or "\0" in str(value):
                what = "file, folder or pattern" if name == "reads_files" else "variable"
                refuse(
                    DefinitionError(
                        f"{name}={value!r} names no {what}.",
                        hint="Write reads_files=['sql/orders.sql'] or reads_env=['REGION'].",
                    )
                )
        if name in settings:
            settings[name] = tuple(str(v) for v in settings[name] if isinstance(v, kinds))


_OPTIONS = tuple(
    {"required": "require"}.get(f.name, f.name)
    for f in fields(Asset)
    if f.name not in ("kind", "function", "sql", "siblings", "location", "names")
)

_FIELDS = {*_OPTIONS, "required"} - {"require"}


def _refuse_misspelt(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in _OPTIONS:
            close = difflib.get_close_matches(name, _OPTIONS, n=1)
            known = f"There are: {', '.join(_OPTIONS)}."
            refuse(
                DefinitionError(
                    f"There is no option {name!r}.",
                    hint=f"Did you mean {close[0]!r}?" if close else known,
                )
            )


_KINDS: Mapping[str, tuple[type, str]] = {
    "partitions": (PartitionsDefinition, "daily('2024-01-01') or static(['north', 'south'])"),
    "retry": (Retry, "Retry(3)"),
    "freshness": (Freshness, "Freshness('8h')"),
    "batch": (Batch, "True, or Batch(max_partitions=100)"),
}


def _refuse_other_kinds(settings: dict[str, Any]) -> None:
    for name, (kind, example) in _KINDS.items():
        if settings.get(name) is not None and not isinstance(settings[name], kind):
            refuse(
                DefinitionError(
                    f"{name}={settings.pop(name)!r} is no {kind.__name__}.",
                    hint=f"Write {name}={example}, for example.",
                )
            )


_CHOICES = {"schema": SchemaPolicy, "executor": Executor, "vanished": Vanished}


def _refuse_unknown(settings: dict[str, Any]) -> None:
    for name, choices in _CHOICES.items():
        if name in settings and settings[name] not in typing.get_args(choices):
            refuse(
                DefinitionError(
                    f"{name}={settings.pop(name)!r} is not known.",
                    hint=f"One of {', '.join(typing.get_args(choices))}.",
                )
            )
    if not isinstance(settings.get("ordered", True), bool):
        refuse(
            DefinitionError(
                f"ordered={settings.pop('ordered')!r} is neither True nor False.",
                hint="Write ordered=True where the order of rows is part of the content.",
            )
        )
    digits = settings.get("float_digits", 17)
    if not isinstance(digits, int) or isinstance(digits, bool) or not 1 <= digits <= 17:
        refuse(
            DefinitionError(
                f"float_digits={settings.pop('float_digits')!r} is no number of digits.",
                hint="Between 1 and 17: float_digits=12 leaves out the last few of a sum.",
            )
        )
    _refuse_unknown_duration(settings)
    limit = settings.get("max_rejected")
    if limit is not None and not (isinstance(limit, int | float) and 0 <= limit <= 1):
        refuse(
            DefinitionError(
                f"max_rejected={settings.pop('max_rejected')!r} is not a fraction.",
                hint="0.01 allows one row in a hundred.",
            )
        )


def _refuse_unknown_duration(settings: dict[str, Any]) -> None:
    if settings.get("closed_after") is None:
        return
    try:
        parse_duration(settings["closed_after"])
    except UsageError as error:
        given = settings.pop("closed_after")
        refuse(
            DefinitionError(
                f"closed_after={given!r} is no length of time.",
                facts={"reason": error.message},
                hint="Write closed_after='30d', for example.",
            )
        )


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
    executor: Executor | None = None,
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


def _declare(function: Callable[..., Any], kind: Kind, options: Mapping[str, Any]) -> Asset:
    settings = _settings(options)
    settings.setdefault("name", getattr(function, "__name__", ""))
    settings["description"] = _description(function, settings.get("description", ""))
    made = Asset(
        kind=kind,
        function=function,
        location=_location(function),
        names=_local_names(function),
        **settings,
    )
    return _register(made, getattr(function, "__module__", "") or "")


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
    frame = _caller()
    where = Location(frame.f_code.co_filename, frame.f_lineno)
    text = _read_sql(query, where)
    settings = _settings(options)
    made = Asset(name=name, kind="sql", sql=text, location=where, **settings)
    return _register(made, frame.f_globals.get("__name__", ""))


def _local_names(function: Callable[..., Any]) -> dict[str, Any]:
    """What the annotations of a function inside a function name, as it is there.

    Such annotations are text that the function's module alone can't resolve.
    """
    notes = getattr(inspect.unwrap(function), "__annotations__", {}).values()
    texts = [note for note in notes if isinstance(note, str)]
    if not texts or "<locals>" not in getattr(function, "__qualname__", ""):
        return {}
    wanted = {name for text in texts for name in re.findall(r"[^\W\d]\w*", text)}
    found: dict[str, Any] = {}
    frame = _caller()
    while frame is not None and frame.f_globals.get("__name__") == function.__module__:
        local = frame.f_locals
        found = {**{name: local[name] for name in wanted & local.keys()}, **found}
        frame = frame.f_back
    return found


def _caller() -> Any:
    """The first frame outside this module: where the user's declaration stands."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__") == __name__ and frame.f_back is not None:
        frame = frame.f_back
    return frame


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
    shared = _settings(options)
    shared.pop("name", None)
    module = getattr(function, "__module__", "") or ""
    common = Asset(
        name="",
        function=function,
        siblings=tuple(outs),
        location=_location(function),
        names=_local_names(function),
        **{**shared, "description": _description(function, shared.get("description", ""))},
    )
    made = [_register(_out_of(common, name, out), module) for name, out in outs.items()]
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


_NOT_FOR_SOURCES = (
    *("io", "retry", "executor", "schema", "batch", "require"),
    *("ordered", "float_digits"),
)


class Group:
    """Shared defaults for assets that belong together; an asset's own option wins, tags add up."""

    def __init__(
        self,
        name: str,
        *,
        partitions: PartitionsDefinition | None = None,
        io: str | None = None,
        owner: str | None = None,
        tags: Sequence[str] = (),
        retry: Retry | None = None,
        freshness: Freshness | None = None,
        executor: Executor | None = None,
        schema: SchemaPolicy | None = None,
        batch: bool | Batch | None = None,
        require: Require | Literal["all", "any"] | float | Callable[..., bool] | None = None,
        reads_files: Sequence[str | Path] | None = None,
        reads_env: Sequence[str] | None = None,
        vanished: Vanished | None = None,
        ordered: bool | None = None,
        float_digits: int | None = None,
    ) -> None:
        self.name = name
        defaults = {
            "partitions": partitions,
            "io": io,
            "owner": owner,
            "tags": tags,
            "retry": retry,
            "freshness": freshness,
            "executor": executor,
            "schema": schema,
            "batch": batch,
            "require": require,
            "reads_files": reads_files,
            "reads_env": reads_env,
            "vanished": vanished,
            "ordered": ordered,
            "float_digits": float_digits,
        }
        # Told once, where the group stands, and not of each of its assets.
        self.defaults = _settings(defaults)
        if "required" in self.defaults:  # as the option that it is handed on as
            self.defaults["require"] = self.defaults.pop("required")
        self.tags: tuple[str, ...] = self.defaults.pop("tags")

    def __repr__(self) -> str:
        return f"Group({self.name!r})"

    def identity(self) -> tuple[object, ...]:
        """What a function that mentions this object depends on: its name alone."""
        return ("group", self.name)

    def _options(self, options: Mapping[str, Any], *, built: bool = True) -> dict[str, Any]:
        given = {name: value for name, value in options.items() if value is not None}
        defaults = {n: v for n, v in self.defaults.items() if not (built and n == "vanished")}
        merged = {**defaults, **given, "group": given.get("group", self.name)}
        merged["tags"] = (*self.tags, *_as_tuple(given.get("tags", ()), "tags"))
        return merged

    def asset(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """`asset` with this group's defaults."""
        merged = self._options(options)
        return asset(**merged)(function) if function is not None else asset(**merged)

    def source(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """`source` with this group's defaults."""
        merged = self._options(options, built=False)
        for not_for_sources in _NOT_FOR_SOURCES:
            merged.pop(not_for_sources, None)
        return source(**merged)(function) if function is not None else source(**merged)

    def sql(self, name: str, query: str | Path, /, **options: Any) -> Asset:
        """`sql_asset` with this group's defaults."""
        return sql_asset(name, query, **self._options(options))

    def multi_asset(self, outs: Mapping[str, Out] | Sequence[str], /, **options: Any) -> Any:
        """`multi_asset` with this group's defaults."""
        return multi_asset(outs, **self._options(options))


@dataclass(frozen=True)
class Definitions:
    """Everything a project consists of.

    ``assets`` are assets, multi-assets, modules or iterables of these; None in a module that the
    command loads means all that the module or package declares. ``io_managers`` by name; an asset
    that names none uses ``"default"``, which exists without being given. ``resources`` are plain
    objects that functions find in ``context.resources``. ``config`` maps an asset's name to the
    values of its config model.
    """

    assets: Iterable[Declared | ModuleType | Iterable[Declared]] | None = None
    io_managers: Mapping[str, IOManager] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def flat(self) -> list[Asset]:
        """All assets, one by one."""
        return list(_flatten(self.assets or ()))


def _flatten(items: Iterable[Any]) -> Iterator[Asset]:
    for item in items:
        if isinstance(item, Asset):
            yield item
        elif isinstance(item, MultiAsset):
            yield from item.assets
        elif isinstance(item, ModuleType):
            yield from declared_in(item.__name__)
        elif isinstance(item, Iterable) and not isinstance(item, (str, bytes)):
            yield from _flatten(item)
        else:
            raise DefinitionError(
                f"Definitions(assets=…) holds {item!r}, which is no asset.",
                hint="Decorate the function with @asset, or give the module that declares it.",
            )


# --------------------------------------------------------------------------------------------
# Signatures


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that receives an upstream's data."""

    name: str
    annotation: Any
    reference: Reference


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function asks for, parameter by parameter."""

    inputs: tuple[Parameter, ...] = ()
    partition: str = ""
    partitions: str = ""
    context: str = ""
    config: str = ""
    config_model: Any = None
    returns: Any = None


_PLAIN = inspect.Parameter.empty


def read_signature(asset: Asset) -> Signature:
    """The signature of an asset's function.

    Raises DefinitionError for annotations that can't be resolved, ``*args`` and ``**kwargs``.
    """
    function = asset.function
    if function is None:
        return Signature()
    hints = _hints(asset, function)
    inputs: list[Parameter] = []
    roles: dict[str, Any] = {}
    for name in _parameter_names(asset, function, hints):
        annotation, markers = _unwrap(hints.get(name, _PLAIN))
        role = _role(annotation)
        if role is None:
            inputs.append(_input(asset, name, annotation, markers))
        else:
            roles[role] = name
            if role == "config":
                roles["config_model"] = annotation
    return Signature(inputs=tuple(inputs), returns=hints.get("return", _PLAIN), **roles)


def _hints(asset: Asset, function: Callable[..., Any]) -> dict[str, Any]:
    plain = inspect.unwrap(function)
    notes = getattr(plain, "__annotations__", {})
    if not any(isinstance(note, str) for note in notes.values()):
        return dict(notes)
    try:
        names = {**asset.names, **_closure(plain)}
        return typing.get_type_hints(plain, include_extras=True, localns=names)
    except Exception as error:
        raise DefinitionError(
            f"The annotations of asset {asset.name!r} can't be resolved: {error}",
            facts={"asset": asset.name, "declared": asset.location},
            hint="Import the names that the annotations use at the top of the module.",
        ) from error


def _closure(function: Any) -> dict[str, Any]:
    if not isinstance(function, FunctionType) or not function.__closure__:
        return {}
    return dict(inspect.getclosurevars(function).nonlocals)


def _parameter_names(
    asset: Asset, function: Callable[..., Any], hints: Mapping[str, Any]
) -> list[str]:
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in variable:
            raise DefinitionError(
                f"Asset {asset.name!r} takes {parameter}; each parameter must name one input.",
                facts={"asset": asset.name, "declared": asset.location},
                hint="Name the upstream assets one by one.",
            )
        # A parameter with a default is an ordinary one, unless something gives it a role.
        plain, markers = _unwrap(hints.get(name, _PLAIN))
        if parameter.default is _PLAIN or name in asset.inputs or _role(plain) or markers:
            names.append(name)
    return names


def _unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if typing.get_origin(annotation) is typing.Annotated:
        plain, *markers = typing.get_args(annotation)
        return plain, tuple(markers)
    return annotation, ()


def _role(annotation: Any) -> str | None:
    if not isinstance(annotation, type):
        return None
    if issubclass(annotation, Partition):
        return "partition"
    if issubclass(annotation, Partitions):
        return "partitions"
    if issubclass(annotation, ContextMarker):
        return "context"
    # A model class exists only when its library is loaded, so nothing is imported to ask.
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(annotation, pydantic.BaseModel):
        return "config"
    return None


class ContextMarker:
    """The base of `Context`, so that a signature is read without what a context needs to run."""


def _input(asset: Asset, name: str, annotation: Any, markers: tuple[Any, ...]) -> Parameter:
    given = asset.inputs.get(name)
    for marker in markers:
        known = given or Reference(name)
        if isinstance(marker, Reference):
            given = marker
        elif isinstance(marker, Asset):
            given = replace(known, asset=marker.name, mapping=None)
        elif isinstance(marker, PartitionMapping):
            given = replace(known, mapping=marker)
        elif isinstance(marker, Require):
            given = replace(known, required=marker)
        elif isinstance(marker, AnyOrder):
            given = replace(known, any_row_order=True)
    return Parameter(name, annotation, given or Reference(name))
