"""The laws of an IO manager, on every store that comes with the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from assets_core.contracts import IOManager
from assets_core.testing import IOManagerContract
from io_managers import DeltaTables, DuckDBTables, Memory, ParquetFiles


class TestParquetFiles(IOManagerContract):
    @pytest.fixture
    def manager(self, tmp_path: Path) -> IOManager:
        store = ParquetFiles("data")
        store.bind("lake", tmp_path)
        return store


class TestDuckDBTables(IOManagerContract):
    keeps_files = False

    @pytest.fixture
    def manager(self, tmp_path: Path) -> IOManager:
        store = DuckDBTables("data/warehouse.duckdb")
        store.bind("warehouse", tmp_path)
        return store


class TestMemory(IOManagerContract):
    @pytest.fixture
    def manager(self, tmp_path: Path) -> IOManager:
        store = Memory()
        store.bind("memory", tmp_path)
        return store


class TestDeltaTables(IOManagerContract):
    keeps_files = False

    @pytest.fixture
    def manager(self, tmp_path: Path) -> IOManager:
        store = DeltaTables("data/delta")
        store.bind("delta", tmp_path)
        return store
