"""The stores that come with the project: Parquet files, DuckDB tables, Delta tables, memory.

Each is found by its entry point or imported from here; naming one imports no other, and none
imports its engine before data moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io_managers.delta import DeltaTables
    from io_managers.duckdb import DuckDBTables
    from io_managers.memory import Memory
    from io_managers.parquet import ParquetFiles

__all__ = ["DeltaTables", "DuckDBTables", "Memory", "ParquetFiles"]

_HOMES = {
    "DeltaTables": "io_managers.delta",
    "DuckDBTables": "io_managers.duckdb",
    "Memory": "io_managers.memory",
    "ParquetFiles": "io_managers.parquet",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
