"""A state store that was lost, or put back from a backup, beside data that moved on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from assets_core import Definitions, Partition, Project, asset, daily
from assets_core.errors import StateBehindError
from io_managers import DuckDBTables, ParquetFiles

DAYS = ["2024-01-01", "2024-01-02", "2024-01-03"]


class Shop:
    """One asset of three days, whose value is what it was opened with."""

    def __init__(self, root: Path, store: str) -> None:
        self.root, self.store = root, store
        self.opened: list[Project] = []

    def open(self, value: int = 1, environment: str | None = None) -> Project:
        self.close()

        @asset(partitions=daily(DAYS[0], end="2024-01-04"), version=str(value))
        def orders(partition: Partition) -> pa.Table:
            return pa.table({"v": [value]})

        made = DuckDBTables("shop.duckdb") if self.store == "duckdb" else ParquetFiles("data")
        project = Project(
            Definitions([orders], io_managers={"default": made}),
            root=self.root,
            environment=environment,
        )
        self.opened.append(project)
        return project

    def close(self) -> None:
        while self.opened:
            self.opened.pop().close()

    def lose(self) -> None:
        self.close()
        shutil.rmtree(self.root / ".assets")

    def back_up(self) -> None:
        self.close()
        shutil.copytree(self.root / ".assets", self.root / "backup")

    def put_back(self) -> None:
        self.lose()
        shutil.copytree(self.root / "backup", self.root / ".assets")

    def outside(self) -> list[int]:
        """What everybody else reads."""
        self.close()
        if self.store == "duckdb":
            with duckdb.connect(str(self.root / "shop.duckdb"), read_only=True) as connection:
                rows = connection.sql("SELECT v FROM orders ORDER BY v").fetchall()
        else:
            scan = f"read_parquet('{self.root}/data/orders/*/*.parquet')"
            rows = duckdb.sql(f"SELECT v FROM {scan} ORDER BY v").fetchall()
        return [row[0] for row in rows]


@pytest.fixture(params=["parquet", "duckdb"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    found = Shop(tmp_path, request.param)
    yield found
    found.close()


def _lost(shop: Shop) -> Shop:
    shop.open().materialize()
    shop.lose()
    return shop


def _older(shop: Shop) -> Shop:
    shop.open().materialize()
    shop.back_up()
    shop.open(2).materialize()
    shop.put_back()
    return shop


@pytest.fixture
def lost(shop: Shop) -> Shop:
    return _lost(shop)


@pytest.fixture
def older(shop: Shop) -> Shop:
    return _older(shop)


@pytest.fixture(params=[_lost, _older])
def apart(request: pytest.FixtureRequest, shop: Shop) -> Shop:
    return request.param(shop)


def values(project: Project) -> list[int]:
    return sorted(project.load("orders", as_=pa.Table)["v"].to_pylist())


def test_nothing_is_built_by_such_a_state(apart: Shop) -> None:
    before = apart.outside()
    project = apart.open(3)
    with pytest.raises(StateBehindError) as refused:
        project.materialize()
    assert refused.value.exit_code == 3
    assert refused.value.facts["newer"] == "orders (3 partitions)"
    assert "assets repair --rebuild" in refused.value.hint
    assert [run for run in project.runs() if run.status == "running"] == []
    assert apart.outside() == before


def test_plan_and_status_say_so(apart: Shop) -> None:
    project = apart.open(2)
    project.status()
    assert project.disagreement is not None
    project.disagreement = None
    project.plan()
    assert project.disagreement is not None


def test_doctor_finds_it(apart: Shop) -> None:
    found = {entry["name"]: entry for entry in apart.open(2).doctor()}
    assert found["agreement"]["status"] == "error"
    assert "orders (3 partitions)" in found["agreement"]["detail"]


@pytest.mark.parametrize(
    "change", ["accept", "invalidate", "repair", "backfill", "compact", "withdraw"]
)
def test_nothing_is_recorded_by_such_a_state(older: Shop, change: str) -> None:
    project = older.open(2)
    calls = {
        "accept": lambda: project.accept(),
        "invalidate": lambda: project.invalidate(None, reason="why"),
        "repair": lambda: project.repair(),
        "backfill": lambda: project.backfill(),
        "compact": lambda: project.compact("90d"),
        "withdraw": lambda: project.withdraw("orders", reason="why"),
    }
    with pytest.raises(StateBehindError):
        calls[change]()


def test_what_the_data_says_is_recorded(apart: Shop) -> None:
    (value, *_) = apart.outside()
    project = apart.open(value)
    assert project.rebuild() == {"recorded": 3, "damaged": 0}
    assert project.plan().must == 0
    assert values(project) == [value] * 3
    assert project.materialize().status == "done"
    project.status()
    assert project.disagreement is None


def test_what_is_built_after_it_has_a_higher_token(older: Shop) -> None:
    project = older.open(2)
    project.rebuild()
    before = {f.partition: f.token for f in project.state.materializations("prod", "orders")}
    project = older.open(3)
    assert project.materialize().counts["done"] == 3
    after = {
        f.partition: f.token for f in project.state.materializations("prod", "orders", limit=3)
    }
    assert all(after[key] > before[key] for key in DAYS)
    assert older.outside() == [3] * 3


def test_what_the_state_says_is_shown(older: Shop) -> None:
    older.open(1).repair(views=True)
    # A store that keeps only the newest version has no older one: there the newer is recorded.
    right = [1] * 3 if older.store == "parquet" else [2] * 3
    assert older.outside() == right
    project = older.open(1)
    assert values(project) == right
    project.materialize()
    assert values(project) == [1] * 3


def test_what_the_state_does_not_know_goes_out_of_sight(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "parquet")
    shop.open().materialize(partitions=DAYS[0])
    shop.back_up()
    shop.open().materialize()
    shop.put_back()
    shop.open().repair(views=True)
    assert shop.outside() == [1]
    assert shop.open().materialize().counts["done"] == 2


def test_a_dead_run_of_the_backup_shows_nothing_older(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "parquet")
    first = shop.open()
    first.materialize()
    run = first.runs()[0]
    dead = replace(run, id="dead1", status="running", host="elsewhere")
    first.state.begin(dead, 0.01)
    shop.back_up()
    later = shop.open(2)
    later.recover()
    later.materialize()
    shop.put_back()
    shop.open(2).status()
    assert shop.outside() == [2] * 3
    shop.open(2).rebuild()
    assert shop.outside() == [2] * 3


def test_data_that_is_gone_too_is_no_disagreement(lost: Shop) -> None:
    for data in [lost.root / "data" / ".versions", lost.root / "data" / "orders"]:
        shutil.rmtree(data, ignore_errors=True)
    (lost.root / "shop.duckdb").unlink(missing_ok=True)
    project = lost.open()
    assert project.materialize().counts["done"] == 3
    project.status()
    assert project.disagreement is None


def test_another_environment_is_not_concerned(older: Shop) -> None:
    assert older.open(2, environment="dev").materialize().counts["done"] == 3


def test_what_belongs_together_is_never_looked_through(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = shop.open()
    project.materialize()
    monkeypatch.setattr(type(project.io["default"]), "scan", None)
    project.plan()
    project.status()
    assert project.disagreement is None
