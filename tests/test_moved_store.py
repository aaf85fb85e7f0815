"""An IO manager that keeps its name and moves its place."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from assets_core import Asset, Definitions, Project, asset
from assets_core.contracts import IOManager
from io_managers import DuckDBTables, ParquetFiles


@asset
def numbers() -> pa.Table:
    return pa.table({"x": [1, 2]})


@asset
def doubled(numbers: pa.Table) -> pa.Table:
    return pa.table({"x": [2 * x for x in numbers["x"].to_pylist()]})


@asset
def note(numbers: pa.Table) -> Path:
    path = Path("note.txt").absolute()
    path.write_text("the same")
    return path


def built(store: IOManager, root: Path, assets: list[Asset]) -> dict[str, int]:
    with Project(Definitions(assets, io_managers={"default": store}), root=root) as project:
        counts = dict(project.materialize().raise_for_status().counts)
        for declared in assets:
            assert project.load(declared.name) is not None
        return counts


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ParquetFiles("old"), ParquetFiles("new")),
        (DuckDBTables("old.duckdb"), DuckDBTables("new.duckdb")),
    ],
    ids=["parquet", "duckdb"],
)
def test_equal_content_is_published_in_the_new_place(
    tmp_path: Path, before: IOManager, after: IOManager
) -> None:
    assert built(before, tmp_path, [numbers, doubled])["done"] == 2
    assert built(after, tmp_path, [numbers, doubled])["unchanged"] == 2


def test_files_are_published_in_the_new_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert built(ParquetFiles("old"), tmp_path, [numbers, note])["done"] == 2
    assert built(ParquetFiles("new"), tmp_path, [numbers, note])["unchanged"] == 2
