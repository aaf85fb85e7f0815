"""The names that users import, and that importing them costs next to nothing."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import assets_core
import io_managers

HEAVY = ("duckdb", "pyarrow", "sqlalchemy", "typer", "pydantic", "rich", "sqlglot", "polars")
HEAVY_ALSO = ("pandas", "alembic", "numpy", "io_managers", "IPython")

PUBLIC = {
    # declaring
    *("asset", "source", "sql_asset", "multi_asset", "Out", "Group", "Definitions"),
    *("Asset", "MultiAsset", "Retry", "Freshness"),
    # partitions
    *("hourly", "daily", "weekly", "monthly", "quarterly", "yearly", "cron_windows"),
    *("static", "dynamic", "product", "UNPARTITIONED", "Partition", "Partitions", "Batch"),
    # mappings
    *("identity", "overlap", "lag", "last", "window", "all_partitions", "latest", "mapped"),
    *("by_dimension", "require"),
    # checks
    *("not_null", "unique", "row_count", "in_range", "accepted_values", "freshness_of_column"),
    *("check", "Check", "checks"),
    # running
    *("Project", "Resource", "any_order", "Plan", "RunResult", "Context", "errors", "__version__"),
}


def test_the_public_names_are_these() -> None:
    assert set(assets_core.__all__) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(assets_core, name) is not None


def test_public_callables_and_classes_are_documented() -> None:
    values = {name: getattr(assets_core, name) for name in sorted(PUBLIC)}
    bare = [n for n, value in values.items() if callable(value) and not value.__doc__]
    assert bare == []


def test_dir_lists_names_that_are_not_loaded_yet() -> None:
    assert set(dir(assets_core)) >= PUBLIC


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'assets'"):
        _ = assets_core.assets


def test_the_decorator_is_not_hidden_by_its_module() -> None:
    importlib.import_module("assets_core.declare.asset")
    assert callable(assets_core.asset)


def test_the_version_is_the_distributions() -> None:
    pyproject = Path(__file__).parent.parent / "pyproject.toml"
    assert f'\nversion = "{assets_core.__version__}"\n' in pyproject.read_text()


def test_the_stores_are_these() -> None:
    assert set(io_managers.__all__) == {"DeltaTables", "DuckDBTables", "Memory", "ParquetFiles"}


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh process has loaded after running the code."""
    script = f"import sys\n{code}\nimport json; print(json.dumps(sorted(sys.modules)))"
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    return {name.split(".")[0] for name in json.loads(done.stdout)}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import assets_core") & {*HEAVY, *HEAVY_ALSO} == set()


def test_declaring_loads_no_data_library() -> None:
    code = """
from assets_core import Group, Retry, Freshness, daily, last, not_null
group = Group("g", partitions=daily("2024-01-01"), retry=Retry(2), freshness=Freshness("8h"))
@group.asset(checks=[not_null("id")])
def orders(): ...
"""
    assert loaded_by(code) & {*HEAVY, "pandas"} == set()
