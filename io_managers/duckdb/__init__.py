"""DuckDB tables: see ``store``."""

from io_managers.duckdb.store import DuckDBTables

__all__ = ["DuckDBTables"]
