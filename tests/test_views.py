"""The outside view follows the definitions: what they no longer have goes out of sight."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core import (
    Definitions,
    Partition,
    Project,
    asset,
    daily,
    dynamic,
    monthly,
    product,
    static,
    weekly,
)
from io_managers import DuckDBTables, ParquetFiles

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEEKS = weekly("2024-01-01", end="2024-02-05")
DAYS = daily("2024-01-20", end="2024-01-25")
LETTERS = static(["A", "B"])
PAIRS = product(line=static(["A", "B"]), month=monthly("2024-01", end="2024-03"))


EXAMPLES = int(os.environ.get("ASSETS_MODEL_EXAMPLES", "15"))


class Shop:
    def __init__(self, root: Path, store: str) -> None:
        self.root, self.store = root, store
        self.project: Project | None = None

    def open(self, **partitions: Any) -> Project:
        """A project of assets whose rows are their partitions' keys."""
        self.close()

        def declare(name: str, definition: Any) -> Any:
            def build(partition: Partition) -> pa.Table:
                return pa.table({"k": [partition.key]})

            return asset(partitions=definition, name=name)(build)

        def whole() -> pa.Table:
            return pa.table({"k": ["all"]})

        made = DuckDBTables("shop.duckdb") if self.store == "duckdb" else ParquetFiles("data")
        assets = [
            declare(name, definition) if definition else asset(name=name)(whole)
            for name, definition in partitions.items()
        ]
        self.project = Project(Definitions(assets, io_managers={"default": made}), root=self.root)
        return self.project

    def close(self) -> None:
        if self.project is not None:
            self.project.close()
            self.project = None

    def outside(self, name: str) -> list[str]:
        """What everybody else reads; nothing where there is no table or folder."""
        self.close()
        try:
            if self.store == "duckdb":
                with duckdb.connect(str(self.root / "shop.duckdb"), read_only=True) as connection:
                    rows = connection.sql(f"SELECT k FROM {name}").fetchall()
            else:
                scan = f"read_parquet('{self.root}/data/{name}/**/*.parquet', hive_partitioning=1)"
                rows = duckdb.sql(f"SELECT k FROM {scan}").fetchall()
        except (duckdb.CatalogException, duckdb.IOException):
            return []
        return sorted(row[0] for row in rows)


@pytest.fixture(params=["parquet", "duckdb"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    found = Shop(tmp_path, request.param)
    yield found
    found.close()


def keys(definition: Any) -> list[str]:
    return sorted(definition.resolve(NOW).keys()) if definition else ["all"]


CHANGES = {
    "weekly to daily": (WEEKS, DAYS),
    "static to product": (LETTERS, PAIRS),
    "product to static": (PAIRS, LETTERS),
    "partitioned to not": (daily("2024-01-01", end="2024-01-03"), None),
    "not to partitioned": (None, LETTERS),
    "a value removed": (static(["A", "B", "C"]), LETTERS),
    "a value added": (LETTERS, static(["A", "B", "C"])),
    "a later start": (DAYS, daily("2024-01-22", end="2024-01-25")),
    "a dimension renamed": (product(a=LETTERS, b=LETTERS), product(a=LETTERS, c=LETTERS)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_view_shows_exactly_what_is_defined(shop: Shop, change: str) -> None:
    first, then = CHANGES[change]
    shop.open(a=first).materialize()
    assert shop.outside("a") == keys(first)
    shop.open(a=then).materialize()
    assert shop.outside("a") == keys(then)


@pytest.mark.parametrize("change", CHANGES)
def test_what_comes_back_into_the_definition_is_shown_again(shop: Shop, change: str) -> None:
    first, then = CHANGES[change]
    shop.open(a=first).materialize()
    shop.open(a=then).materialize()
    shop.open(a=first).materialize()
    assert shop.outside("a") == keys(first)
    with shop.open(a=first) as project:
        assert project.plan().must == 0
        assert sorted(project.load("a", as_=pa.Table)["k"].to_pylist()) == keys(first)


def test_what_kept_its_version_comes_back_without_running(shop: Shop) -> None:
    shop.open(a=static(["A", "B", "C"])).materialize()
    shop.open(a=LETTERS).materialize()
    assert shop.open(a=static(["A", "B", "C"])).materialize().counts["done"] == 0
    assert shop.outside("a") == ["A", "B", "C"]


def test_a_removed_asset_leaves_and_comes_back(shop: Shop) -> None:
    shop.open(a=LETTERS, b=LETTERS).materialize()
    shop.open(a=LETTERS).materialize()
    assert (shop.outside("a"), shop.outside("b")) == (["A", "B"], [])
    assert shop.open(a=LETTERS, b=LETTERS).materialize().counts["done"] == 0
    assert shop.outside("b") == ["A", "B"]


def test_a_key_that_is_not_registered_any_more_leaves(shop: Shop) -> None:
    project = shop.open(a=dynamic("lines"))
    project.add_partitions("lines", ["x", "y"])
    project.materialize()
    project.remove_partitions("lines", ["x"])
    project.materialize()
    assert shop.outside("a") == ["y"]


def test_another_modules_assets_stay(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            "import pyarrow as pa\nfrom assets_core import asset\n\n"
            f"@asset\ndef {name}() -> pa.Table:\n    return pa.table({{'k': ['{name}']}})\n"
        )
    shop = Shop(tmp_path, "parquet")
    for name in ("one", "two"):
        with Project.load(name, root=tmp_path) as project:
            project.materialize()
    assert (shop.outside("one"), shop.outside("two")) == (["one"], ["two"])


def test_plan_and_status_change_nothing_and_doctor_says_so(shop: Shop) -> None:
    shop.open(a=static(["A", "B", "C"])).materialize()
    project = shop.open(a=LETTERS)
    project.plan()
    project.status()
    found = {entry["name"]: entry for entry in project.doctor()}["outside view"]
    assert (found["status"], found["detail"].endswith("no longer have: a")) == ("error", True)
    assert shop.outside("a") == ["A", "B", "C"]


def test_doctor_tells_what_is_kept_out_of_sight(shop: Shop) -> None:
    shop.open(a=static(["A", "B", "C"]), b=LETTERS).materialize()
    project = shop.open(a=LETTERS)
    project.materialize()
    found = {entry["name"]: entry for entry in project.doctor()}["outside view"]
    assert found["status"] == "ok"
    assert found["detail"].endswith("out of sight: a (1), b (2)")


def test_repair_brings_the_view_in_line(shop: Shop) -> None:
    shop.open(a=static(["A", "B", "C"])).materialize()
    shop.open(a=LETTERS).repair()
    assert shop.outside("a") == ["A", "B"]
    shop.open(a=LETTERS).repair()
    assert shop.outside("a") == ["A", "B"]


def test_a_failed_build_leaves_the_old_version_serving(shop: Shop) -> None:
    shop.open(a=LETTERS).materialize()
    shop.close()

    @asset(partitions=static(["A", "B", "C"]))
    def a(partition: Partition) -> pa.Table:
        raise ValueError("no")

    made = DuckDBTables("shop.duckdb") if shop.store == "duckdb" else ParquetFiles("data")
    with Project(Definitions([a], io_managers={"default": made}), root=shop.root) as project:
        assert project.materialize().status == "failed"
    assert shop.outside("a") == ["A", "B"]


def test_nothing_changed_looks_at_no_view(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.open(a=LETTERS).materialize()
    project = shop.open(a=LETTERS)
    monkeypatch.setattr(type(project.io["default"]), "restrict", None)
    project.materialize(force=True)
    assert shop.outside("a") == ["A", "B"]


def test_a_damaged_note_is_written_anew(shop: Shop) -> None:
    project = shop.open(a=LETTERS)
    project.materialize()
    project.io["default"].note("prod", "views", "{")  # type: ignore[attr-defined]
    shop.open(a=static(["A"])).materialize()
    assert shop.outside("a") == ["A"]


change = st.tuples(
    st.sets(st.sampled_from("ABCD"), min_size=1),
    st.integers(1, 2),
    st.one_of(st.none(), st.sampled_from("ABCD")),
    st.booleans(),
)
"""The values of the definition, its code, which of them is built (all without), whether a note is
lost meanwhile."""


@pytest.mark.slow
@pytest.mark.parametrize("store", ["parquet", "duckdb"])
@settings(max_examples=EXAMPLES)
@given(changes=st.lists(change, min_size=2, max_size=6))
def test_any_history_of_definitions_shows_what_the_model_says(
    store: str, changes: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    shop = Shop(tmp_path_factory.mktemp("shop"), store)
    built: dict[str, int] = {}
    seen: set[str] = set()
    for values, code, only, loses_note in changes:
        if only is not None and only not in values:
            continue
        made = DuckDBTables("shop.duckdb") if store == "duckdb" else ParquetFiles("data")

        @asset(partitions=static(sorted(values)), version=str(code))
        def a(partition: Partition, code: int = code) -> pa.Table:
            return pa.table({"k": [f"{partition.key}{code}"]})

        with Project(Definitions([a], io_managers={"default": made}), root=shop.root) as project:
            if loses_note:
                project.io["default"].note("prod", "views", "")  # type: ignore[attr-defined]
            project.materialize(partitions=only)
        # What left comes back where the code is the same; what is in sight stays.
        seen = {v for v in values if v in seen or built.get(v) == code}
        for value in values if only is None else {only}:
            built[value] = code
            seen.add(value)
        assert shop.outside("a") == sorted(f"{value}{built[value]}" for value in seen)


def test_what_a_crash_left_half_done_is_ended_by_the_next_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.open(a=static(["A", "B", "C"])).materialize()
    project = shop.open(a=LETTERS)

    def crash(*_: object) -> None:
        raise KeyError("the machine")

    with monkeypatch.context() as broken:
        broken.setattr(type(project.io["default"]), "note", crash)
        with pytest.raises(KeyError):
            project.materialize()
    shop.open(a=LETTERS).materialize()
    assert shop.outside("a") == ["A", "B"]
    shop.open(a=static(["A", "B", "C"])).materialize()
    assert shop.outside("a") == ["A", "B", "C"]
