"""Parquet files: see ``store``."""

from io_managers.parquet.store import ParquetFiles

__all__ = ["ParquetFiles"]
