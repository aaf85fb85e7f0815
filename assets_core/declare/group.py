"""Defaults that several declarations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from assets_core.declare.asset import Asset, ExecutorName, Out, SchemaPolicy, Vanished
from assets_core.declare.decorators import asset, multi_asset, source, sql_asset
from assets_core.declare.options import as_tuple, settings_of
from assets_core.declare.policies import Batch, Freshness, Retry
from assets_core.partitions import (
    PartitionsDefinition,
    Require,
)

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
        executor: ExecutorName | None = None,
        schema: SchemaPolicy | None = None,
        batch: bool | Batch | None = None,
        require: Require | Literal["all", "any"] | float | Callable[..., bool] | None = None,
        reads_files: Sequence[str | Path] | None = None,
        reads_env: Sequence[str] | None = None,
        vanished: Vanished | None = None,
        ordered: bool | None = None,
        float_digits: int | None = None,
    ) -> None:
        # First of all, while nothing but the parameters is named here.
        defaults = {n: value for n, value in locals().items() if n not in ("self", "name")}
        self.name = name
        # Told once, where the group stands, and not of each of its assets.
        self.defaults = settings_of(defaults)
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
        merged["tags"] = (*self.tags, *as_tuple(given.get("tags", ()), "tags"))
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
