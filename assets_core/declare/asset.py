"""Declared assets as values: `Asset`, `MultiAsset`, and references between them.

How users make them is in ``decorators`` and ``group``; options are checked in ``options``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from assets_core.checks import Check
from assets_core.declare.places import NOWHERE, Location
from assets_core.declare.policies import Batch, Freshness, Retry
from assets_core.fingerprint.sql_tokens import is_ordered
from assets_core.partitions import (
    UNPARTITIONED,
    PartitionMapping,
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

AssetKind = Literal["python", "sql", "source"]
ExecutorName = Literal["thread", "process"]
SchemaPolicy = Literal["evolve", "strict"]
Vanished = Literal["keep", "withdraw"]


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


@dataclass(frozen=True, slots=True, eq=False)
class Asset:
    """A named dataset and the function or SQL that makes it. Calling it calls the function."""

    name: str
    kind: AssetKind = "python"
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
    executor: ExecutorName | None = None
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
    location: Location = NOWHERE
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
