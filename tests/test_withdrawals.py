"""Withdrawn partitions: neither there nor expected, and what is built of them follows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pytest

from assets_core.declare.asset import Asset
from assets_core.declare.decorators import asset, multi_asset, source
from assets_core.declare.definitions import Definitions
from assets_core.declare.policies import Batch, Freshness
from assets_core.errors import DefinitionError, MissingDataError, PlanMovedError, UsageError
from assets_core.partitions import (
    Partition,
    Partitions,
    all_partitions,
    daily,
    lag,
    last,
    monthly,
    require,
)
from assets_core.project import Project
from io_managers.duckdb import DuckDBTables
from io_managers.memory import Memory
from io_managers.parquet import ParquetFiles

NOW = datetime(2024, 3, 1, tzinfo=UTC)
DAYS = daily("2024-01-01", end="2024-01-05")
KEYS = ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]
SECOND = "2024-01-02"


class Shop:
    """A project whose source finds what ``there`` holds."""

    def __init__(self, root: Path, make: Callable[[Shop], list[Any]], **more: Any) -> None:
        self.root = root
        self.there: dict[str, Any] = {key: i + 1 for i, key in enumerate(KEYS)}
        self.calls: list[tuple[str, str]] = []
        managers = {"default": more.pop("io", None) or Memory()}
        self.project = Project(Definitions(make(self), io_managers=managers), root=root)

    def source(self, name: str = "src", **options: Any) -> Asset:
        def find(partition: Partition) -> pa.Table | None:
            value = self.there.get(partition.key)
            if isinstance(value, Exception):
                raise value
            return None if value is None else pa.table({"v": [value]})

        made: Asset = source(name=name, partitions=DAYS, **options)(find)
        return made

    def run(self, *select: str, **options: Any) -> Mapping[str, int]:
        found = self.project.materialize(list(select) or None, now=NOW, **options)
        found.raise_for_status()
        return {kind: n for kind, n in found.counts.items() if n}

    def plan(self, **options: Any) -> list[str]:
        made = self.project.plan(now=NOW, **options)
        return [f"{step} {step.reasons[0].kind}" for step in made.steps()]

    def withdraw(self, *keys: str, **options: Any) -> int:
        for key in keys:
            self.there.pop(key, None)
        options = {"reason": "taken back", "by": "ann", **options}
        return len(self.project.withdraw("src", list(keys) or None, now=NOW, **options))

    def values(self, name: str) -> list[int]:
        return self.project.read(name)["v"].to_pylist()


def day(shop: Shop) -> Asset:
    @asset(name="day", partitions=DAYS)
    def day(src: pa.Table, partition: Partition) -> pa.Table:
        shop.calls.append(("day", partition.key))
        return src

    return day


def total(shop: Shop, policy: Any = "all", **options: Any) -> Asset:
    @asset(name="total", **options)
    def total(day: Annotated[pa.Table, all_partitions(), require(policy)]) -> pa.Table:
        shop.calls.append(("total", "all"))
        return pa.table({"v": [sum(day["v"].to_pylist())]})

    return total


def chain(shop: Shop) -> list[Any]:
    return [shop.source(), day(shop), total(shop)]


STORES: dict[str, Callable[[], Any]] = {
    "memory": Memory,
    "parquet": lambda: ParquetFiles("data"),
    "duckdb": lambda: DuckDBTables("data.duckdb"),
}


@pytest.fixture(params=list(STORES))
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path, chain, io=STORES[request.param]())
    made.run()
    yield made
    made.project.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    made: list[Shop] = []

    def build(parts: Callable[[Shop], list[Any]], **options: Any) -> Shop:
        made.append(Shop(tmp_path, parts, **options))
        return made[-1]

    yield build
    for one in made:
        one.project.close()


# ---------------------------------------------------------------------------------------------
# What follows


def test_what_read_it_is_built_again_without_it(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.run()
    assert shop.values("total") == [1 + 3 + 4]
    assert shop.plan() == []


def test_what_nothing_is_left_of_is_withdrawn_by_a_step_of_the_plan(shop: Shop) -> None:
    shop.withdraw(SECOND)
    assert shop.plan() == [f"day@{SECOND} withdrawn", "total@all upstream"]
    assert shop.run() == {"done": 2}
    assert ("day", SECOND) not in shop.calls[5:]


def test_readers_do_not_see_its_data_any_more(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.run()
    assert shop.values("day") == [1, 3, 4]
    with pytest.raises(MissingDataError, match="withdrawn"):
        shop.project.read("day", SECOND)


def test_everything_is_fresh_afterwards_and_says_which_are_withdrawn(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.run()
    status = shop.project.status(now=NOW)
    assert status.healthy
    assert status["day"].counts["withdrawn"] == status["src"].counts["withdrawn"] == 1
    assert status["day"].state(SECOND) == "withdrawn"


def test_a_partition_that_is_there_again_is_built_again(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.run()
    shop.there[SECOND] = 20
    assert shop.plan() == [f"day@{SECOND} missing", "total@all upstream"]
    shop.run()
    assert shop.values("day") == [1, 20, 3, 4]
    assert shop.values("total") == [28]


def test_undone_before_a_run_everything_is_as_it_was(shop: Shop) -> None:
    shop.withdraw(SECOND)
    assert shop.withdraw(SECOND, undo=True) == 1
    assert shop.plan() == []
    assert shop.values("day") == [1, 2, 3, 4]


def test_undone_after_a_run_it_is_missing_and_built_when_it_is_there(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.run()
    shop.withdraw(SECOND, undo=True)
    assert shop.plan() == [f"day@{SECOND} missing", "total@all upstream"]
    shop.there[SECOND] = 2
    shop.run()
    assert shop.values("total") == [10]


def test_force_and_invalidate_leave_it_withdrawn(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.run()
    shop.project.invalidate("day", SECOND, reason="doubt", now=NOW)
    assert shop.plan() == []
    assert shop.run(force=True) == {"done": 4}
    assert shop.values("day") == [1, 3, 4]


def test_accepting_does_not_keep_what_is_to_be_withdrawn(shop: Shop) -> None:
    shop.withdraw(SECOND)
    accepted = shop.project.accept(now=NOW)
    assert ("day", SECOND) not in accepted
    shop.run()
    assert shop.values("day") == [1, 3, 4]


def test_changed_code_does_not_bring_it_back(make: Callable[..., Shop]) -> None:
    shop = make(chain)
    shop.run()
    shop.withdraw(SECOND)
    shop.run()
    again = Shop.__new__(Shop)
    again.there, again.calls = shop.there, []
    changed = [again.source(), asset(partitions=DAYS, version="2")(_day), total(again)]
    project = Project(Definitions(changed, io_managers=shop.project.io), root=shop.root)
    assert {step.partition for step in project.plan("day", now=NOW).steps()} == {*KEYS} - {SECOND}
    project.close()


def _day(src: pa.Table) -> pa.Table:
    return src


_day.__name__ = "day"


def test_all_of_them_withdrawn_withdraw_the_total(shop: Shop) -> None:
    shop.withdraw(*KEYS)
    shop.run()
    assert shop.project.status(now=NOW)["total"].counts["withdrawn"] == 1
    with pytest.raises(MissingDataError):
        shop.values("total")
    shop.there["2024-01-01"] = 7
    shop.run()
    assert shop.values("total") == [7]


def test_what_was_never_built_is_not_expected_either(make: Callable[..., Shop]) -> None:
    shop = make(chain)
    shop.withdraw(SECOND)
    assert shop.run() == {"done": 4}
    assert shop.values("total") == [8]
    assert shop.project.status(now=NOW)["day"].counts["withdrawn"] == 1


def test_a_partition_that_never_came_can_be_withdrawn(make: Callable[..., Shop]) -> None:
    shop = make(chain)
    del shop.there[SECOND]
    assert shop.project.plan(now=NOW).blocked == 2
    assert shop.withdraw(SECOND) == 1
    shop.run()
    assert shop.values("total") == [8]
    shop.withdraw(SECOND, undo=True)
    assert shop.project.status(now=NOW)["src"].state(SECOND) == "not seen"


# ---------------------------------------------------------------------------------------------
# Policies, own past, shapes of assets


@pytest.mark.parametrize(
    "policy", ["all", "any", 0.9, lambda present, expected: present == expected]
)
def test_no_policy_counts_it_as_missing(make: Callable[..., Shop], policy: Any) -> None:
    shop = make(lambda s: [s.source(), day(s), total(s, policy)])
    shop.run()
    shop.withdraw(SECOND)
    shop.run()
    assert shop.values("total") == [8]
    shop.there["2024-01-01"] = 10
    shop.run()
    assert shop.values("total") == [17]


def test_a_fraction_is_of_what_is_expected(make: Callable[..., Shop]) -> None:
    """Two of four are too few for 0.6; of the three that are left they are enough."""
    shop = make(lambda s: [s.source(), day(s), total(s, 0.6)])
    del shop.there["2024-01-03"], shop.there["2024-01-04"]
    assert shop.project.plan(now=NOW).blocked == 3
    shop.withdraw("2024-01-03")
    assert shop.project.plan(now=NOW).blocked == 1  # the day alone: two of three are enough
    shop.project.materialize(now=NOW)
    assert shop.values("total") == [3]


def running(shop: Shop) -> Asset:
    @asset(name="running", partitions=DAYS)
    def running(src: pa.Table, running: Annotated[pa.Table | None, lag(1)]) -> pa.Table:
        before = running["v"].to_pylist() if running is not None else []
        return pa.table({"v": [sum(src["v"].to_pylist()) + sum(before)]})

    return running


def test_a_withdrawn_past_is_as_none(make: Callable[..., Shop]) -> None:
    shop = make(lambda s: [s.source(), running(s)])
    shop.run()
    assert shop.values("running") == [1, 3, 6, 10]
    shop.withdraw("2024-01-01")
    shop.run()
    assert shop.values("running") == [2, 5, 9]
    shop.withdraw("2024-01-03")
    shop.run()
    assert shop.values("running") == [2, 4]
    assert shop.plan() == []


def week(shop: Shop) -> Asset:
    @asset(name="week", partitions=DAYS)
    def week(day: Annotated[pa.Table, last(2)]) -> pa.Table:
        return pa.table({"v": [sum(day["v"].to_pylist())]})

    return week


def test_a_window_reads_what_is_left_of_it(make: Callable[..., Shop]) -> None:
    shop = make(lambda s: [s.source(), day(s), week(s)])
    shop.run()
    shop.withdraw(SECOND)
    shop.run()
    assert shop.values("week") == [1, 1, 3, 7]
    shop.withdraw("2024-01-01")
    shop.run()
    assert shop.values("week") == [3, 7]


def batched(shop: Shop) -> Asset:
    @asset(name="day", partitions=DAYS, batch=Batch(10), partition_column="k")
    def day(src: dict[str, pa.Table], part: Partitions) -> pa.Table:
        keys = [key for key in part.keys if key in src]
        return pa.table({"k": keys, "v": [src[key]["v"][0].as_py() for key in keys]})

    return day


def test_a_batch_withdraws_and_builds_side_by_side(make: Callable[..., Shop]) -> None:
    shop = make(lambda s: [s.source(), batched(s), total(s)])
    shop.run()
    shop.withdraw(SECOND)
    shop.there |= {"2024-01-01": 10, "2024-01-03": 30}
    shop.run()
    assert shop.values("day") == [10, 30, 4]
    assert shop.values("total") == [44]


def test_outputs_of_one_function_are_withdrawn_together(make: Callable[..., Shop]) -> None:
    @multi_asset(["good", "bad"], partitions=DAYS)
    def split(src: pa.Table) -> dict[str, pa.Table]:
        return {"good": src, "bad": src}

    shop = make(lambda s: [s.source(), split])
    shop.run()
    shop.withdraw(SECOND)
    assert shop.run() == {"done": 2}
    assert shop.values("good") == shop.values("bad") == [1, 3, 4]


def test_a_monthly_table_is_built_of_the_days_that_are_left(make: Callable[..., Shop]) -> None:
    @asset(partitions=monthly("2024-01", end="2024-02"))
    def month(day: pa.Table) -> pa.Table:
        return pa.table({"v": [sum(day["v"].to_pylist())]})

    shop = make(lambda s: [s.source(), day(s), month])
    for key in (f"2024-01-{n:02}" for n in range(5, 32)):
        shop.there[key] = 0
    shop.run()
    shop.withdraw(SECOND)
    shop.run()
    assert shop.values("month") == [8]


def test_a_file_leaves_the_outside_view(make: Callable[..., Shop], tmp_path: Path) -> None:
    @asset(partitions=DAYS)
    def paper(src: pa.Table, partition: Partition) -> Path:
        path = tmp_path / f"{partition.key}.txt"
        path.write_text(str(src["v"][0]))
        return path

    shop = make(lambda s: [s.source(), paper], io=ParquetFiles("data"))
    shop.run()
    shop.withdraw(SECOND)
    shop.run()
    shown = sorted(p.parent.name for p in (shop.root / "data" / "paper").rglob("data*"))
    assert shown == [f"date={key}" for key in KEYS if key != SECOND]


# ---------------------------------------------------------------------------------------------
# A part of the graph, plans in files, backfills


def test_what_is_not_selected_keeps_what_it_holds(shop: Shop) -> None:
    shop.withdraw(SECOND)
    assert shop.run("total") == {}
    assert shop.values("day") == [1, 2, 3, 4]
    shop.run("day")
    shop.run("total")
    assert shop.values("total") == [8]


def test_what_reads_it_is_not_withdrawn_while_it_holds_its_data(make: Callable[..., Shop]) -> None:
    @asset(partitions=DAYS)
    def copy(day: pa.Table) -> pa.Table:
        return day

    shop = make(lambda s: [s.source(), day(s), copy])
    shop.run()
    shop.withdraw(SECOND)
    assert shop.plan(select="copy") == []
    assert shop.plan() == [f"day@{SECOND} withdrawn", f"copy@{SECOND} withdrawn"]
    shop.run()
    assert shop.values("copy") == [1, 3, 4]


def test_a_stored_plan_withdraws_what_it_says(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.project.store_plan(shop.project.plan(now=NOW), shop.root / "plan.json")
    found = shop.project.replay(shop.root / "plan.json")
    shop.project.materialize(plan=found.plan).raise_for_status()
    assert shop.values("total") == [8]
    assert len(shop.project.replay(shop.root / "plan.json").plan) == 0


def test_a_stored_plan_is_refused_when_the_partition_is_there_again(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.project.store_plan(shop.project.plan(now=NOW), shop.root / "plan.json")
    shop.there[SECOND] = 5
    with pytest.raises(PlanMovedError, match="src"):
        shop.project.replay(shop.root / "plan.json")


def test_a_step_is_held_back_when_its_partition_came_back_since_the_plan(shop: Shop) -> None:
    shop.withdraw(SECOND)
    made = shop.project.plan(now=NOW)
    shop.there[SECOND] = 5
    shop.project.observe("src", now=NOW)
    result = shop.project.materialize(plan=made)
    assert shop.values("day") == [1, 2, 3, 4]
    assert result.counts["failed"] == 0
    shop.run()
    assert shop.values("total") == [13]


def test_a_backfill_withdraws_too(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.project.backfill("day", [f"{KEYS[0]}..{KEYS[-1]}"])
    assert shop.values("day") == [1, 3, 4]


def test_a_comparison_with_other_code_says_nothing_of_it(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.run()
    shop.project.store_code(shop.root / "code.json")
    assert len(shop.project.against(str(shop.root / "code.json"), now=NOW).summary().groups) == 0


# ---------------------------------------------------------------------------------------------
# Records


def test_history_and_lineage_say_by_whom_and_why(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.run()
    newest = shop.project.history(f"src@{SECOND}").entries[0]
    assert (newest.what, newest.message) == ("withdrawn", "by ann: taken back")
    built = shop.project.history(f"day@{SECOND}").entries[0]
    assert built.what == "withdrawn"
    assert "taken back" in built.message
    lineage = shop.project.lineage("total@all")
    kinds = {node.partition: node.kind for node in lineage.nodes.values() if node.asset == "day"}
    assert kinds[SECOND] == "withdrawn"
    assert all(node.verified is not False for node in lineage.nodes.values())


def test_lineage_of_what_was_built_before_stays_readable(shop: Shop) -> None:
    before = shop.project.history("total").facts[0]
    shop.withdraw(SECOND)
    shop.run()
    read = shop.project.state.version_as_of(
        "prod", "day", [SECOND], before.inputs[0].revision, before.run, before.id
    )
    assert read[0] is not None
    assert read[0].kind == "built"


def test_undoing_is_recorded_with_who_did_it(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.withdraw(SECOND, undo=True, by="bob", reason="it was right")
    newest = shop.project.history(f"src@{SECOND}").entries[0]
    assert newest.message == "withdrawal undone by bob: it was right"


def test_repair_finds_nothing_wrong(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.run()
    found = shop.project.repair(verify=True)
    assert found["damaged"] == []
    assert shop.values("day") == [1, 3, 4]
    assert all(check["status"] != "error" for check in shop.project.doctor())


def test_compacting_keeps_it_withdrawn(shop: Shop) -> None:
    shop.withdraw(SECOND)
    shop.run()
    shop.project.compact("1s")
    assert shop.plan() == []


def test_what_it_will_be_is_json(shop: Shop) -> None:
    shop.withdraw(SECOND)
    told = json.loads(shop.project.plan(now=NOW).to_json(), parse_constant=pytest.fail)
    assert told["steps"][0]["reasons"][0]["kind"] == "withdrawn"
    assert "taken back" in told["steps"][0]["reasons"][0]["detail"]
    json.dumps(shop.project.status(now=NOW).to_dict(), allow_nan=False)


def test_no_promise_is_broken_by_what_is_withdrawn(make: Callable[..., Shop]) -> None:
    @asset(partitions=DAYS, freshness=Freshness("1h", since="2024-01-01"))
    def day(src: pa.Table) -> pa.Table:
        return src

    shop = make(lambda s: [s.source(), day])
    shop.withdraw(SECOND)
    shop.run()
    report = shop.project.freshness(now=NOW)
    assert report.rows[0].counts["late"] == 3


# ---------------------------------------------------------------------------------------------
# Refusing


def test_what_is_still_there_is_refused(shop: Shop) -> None:
    with pytest.raises(UsageError, match="still there"):
        shop.project.withdraw("src", SECOND, reason="x", now=NOW)


def test_without_a_selection_it_is_what_is_gone(shop: Shop) -> None:
    del shop.there[SECOND], shop.there["2024-01-03"]
    assert shop.withdraw() == 2
    assert shop.withdraw() == 0


def test_a_dry_run_records_nothing(shop: Shop) -> None:
    assert shop.withdraw(SECOND, dry_run=True) == 1
    assert shop.plan() == []


def test_it_needs_a_reason(shop: Shop) -> None:
    with pytest.raises(UsageError, match="needs a reason"):
        shop.withdraw(SECOND, reason=" ")


def test_what_is_built_is_refused(shop: Shop) -> None:
    with pytest.raises(UsageError, match="is built, not a source"):
        shop.project.withdraw("day", SECOND, reason="x", now=NOW)


def test_what_can_not_be_looked_at_is_refused(shop: Shop) -> None:
    shop.there[SECOND] = ValueError("no network")
    with pytest.raises(UsageError, match="could not be looked at"):
        shop.project.withdraw("src", SECOND, reason="x", now=NOW)


# ---------------------------------------------------------------------------------------------
# By itself


def letting_go(shop: Shop) -> list[Any]:
    return [shop.source(vanished="withdraw"), day(shop), total(shop)]


def test_a_source_that_says_so_withdraws_by_itself(make: Callable[..., Shop]) -> None:
    shop = make(letting_go)
    shop.run()
    del shop.there[SECOND]
    shop.run()
    assert shop.values("total") == [8]
    shop.there[SECOND] = 2
    shop.run()
    assert shop.values("total") == [10]


def test_more_than_half_at_once_is_kept_and_told(make: Callable[..., Shop]) -> None:
    shop = make(letting_go)
    shop.run()
    shop.there = {"2024-01-01": 1}
    made = shop.project.plan(now=NOW)
    assert len(made) == 0
    assert "more than half" in made.observations.held_back["src"]
    assert "more than half" in str(made)
    assert shop.withdraw() == 3
    shop.run()
    assert shop.values("total") == [1]


def test_a_plan_of_one_day_looks_at_others_before_it_lets_go(make: Callable[..., Shop]) -> None:
    shop = make(letting_go)
    shop.run()
    kept, shop.there = shop.there, {}
    assert shop.plan(partitions=SECOND) == []
    shop.there = {key: v for key, v in kept.items() if key != SECOND}
    assert shop.plan(partitions=SECOND) == [f"day@{SECOND} withdrawn", "total@all upstream"]


def test_what_withdraws_by_itself_can_not_be_undone_while_it_is_gone(
    make: Callable[..., Shop],
) -> None:
    shop = make(letting_go)
    shop.run()
    del shop.there[SECOND]
    shop.run()
    with pytest.raises(UsageError, match="would do it again"):
        shop.withdraw(SECOND, undo=True)


def test_only_a_source_has_what_vanishes() -> None:
    @asset(vanished="withdraw")  # type: ignore[call-overload, untyped-decorator]
    def built() -> Any: ...

    with pytest.raises(DefinitionError, match="only a source is observed"):
        Project(Definitions([built]))


def test_until_it_is_withdrawn_a_plan_and_the_status_say_what_to_do(shop: Shop) -> None:
    del shop.there[SECOND]
    command = f"assets withdraw src --partition {SECOND} --reason TEXT"
    assert command in str(shop.project.plan(now=NOW))
    assert command in str(shop.project.status(now=NOW))


@pytest.mark.parametrize("store", ["parquet", "duckdb"])
def test_a_rebuilt_state_store_needs_the_withdrawal_again_and_nothing_else(
    make: Callable[..., Shop], store: str
) -> None:
    shop = make(chain, io=STORES[store]())
    shop.run()
    shop.withdraw(SECOND)
    shop.run()
    shop.project.close()
    for file in (shop.root / ".assets").glob("state.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    shop.project.rebuild()
    assert shop.project.plan(now=NOW).blocked == 2  # the day waits for what it read, and the total
    shop.withdraw(SECOND)
    assert shop.plan() == []
    assert shop.values("day") == [1, 3, 4]
