"""The IO managers that settings and definitions name, made from the types that are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assets_core.errors import ConfigError

if TYPE_CHECKING:
    from assets_core.contracts import IOManager
    from assets_core.declare.definitions import Definitions
    from assets_core.settings import Settings

DEFAULT = "default"

_BUNDLED = {
    "parquet": ("io_managers.parquet", "ParquetFiles"),
    "duckdb": ("io_managers.duckdb", "DuckDBTables"),
    "memory": ("io_managers.memory", "Memory"),
}
"""A source checkout that was never installed has no entry points."""


def io_names(definitions: Definitions, settings: Settings) -> set[str]:
    """What assets may name as their IO manager."""
    return {DEFAULT, *definitions.io_managers, *settings.io}


def make_io_managers(definitions: Definitions, settings: Settings) -> dict[str, IOManager]:
    """The IO managers by name; the definitions' own win, and Parquet is the default.

    Raises ConfigError for a type that is not installed, and for options that it doesn't take.
    """
    managers = {name: _make(name, one) for name, one in settings.io.items()}
    managers.update(definitions.io_managers)
    if DEFAULT not in managers:
        managers[DEFAULT] = _type_of("parquet", DEFAULT)("data")
    return managers


def _make(name: str, settings: Any) -> IOManager:
    options = {k: v for k, v in settings.model_dump().items() if k != "type"}
    try:
        made: IOManager = _type_of(settings.type, name)(**options)
    except TypeError as error:
        raise ConfigError(
            f"IO manager {name!r} can't be made: {error}", facts={"options": options}
        ) from error
    return made


def _type_of(kind: str, name: str) -> Any:
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group="assets_core.io_managers")}
    if kind in found:
        return found[kind].load()
    if kind in _BUNDLED:
        import importlib

        module, attribute = _BUNDLED[kind]
        return getattr(importlib.import_module(module), attribute)
    raise ConfigError(
        f"IO manager {name!r} is of an unknown type {kind!r}.",
        hint=f"Installed types: {', '.join(sorted(found | _BUNDLED))}.",
    )
