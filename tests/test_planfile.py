"""Stored plans: run as they are, or refused by the name of what has moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pytest

from assets_core import Definitions, Partition, Project, asset, daily, dynamic, last, source
from assets_core.errors import PlanMovedError, UsageError
from io_managers import Memory

NOW = datetime(2024, 1, 6, tzinfo=UTC)
LATER = datetime(2024, 1, 8, tzinfo=UTC)
DAYS = daily("2024-01-01")


class Shop:
    """A project whose data, code and troubles a test can change."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "plan.json"
        self.landed: dict[str, int] = {}
        self.failing: set[str] = set()
        self.built: list[str] = []
        self.now = NOW
        self.version = "1"
        self.window = last(2)
        self.memory = Memory()
        self.project = self.open()

    def open(self) -> Project:
        """The project as it is declared now."""
        if hasattr(self, "project"):
            self.project.close()

        @source(partitions=DAYS)
        def landing(partition: Partition) -> pa.Table:
            if self.landed.get(partition.key) == -1:
                raise OSError("no such share")
            return pa.table({"n": [self.landed.get(partition.key, 1)]})

        @asset(partitions=DAYS, version=self.version, io="memory")
        def clean(landing: pa.Table, partition: Partition) -> pa.Table:
            self.built.append(f"clean@{partition.key}")
            if partition.key in self.failing:
                raise ValueError("not today")
            return landing

        @asset(partitions=DAYS, version="1", io="memory")
        def trend(clean: Annotated[pa.Table, self.window], partition: Partition) -> pa.Table:
            self.built.append(f"trend@{partition.key}")
            return clean

        @asset(partitions=dynamic("shops"), version="1", io="memory")
        def stock(partition: Partition) -> pa.Table:
            return pa.table({"shop": [partition.key]})

        definitions = Definitions(
            assets=[landing, clean, trend, stock], io_managers={"memory": self.memory}
        )
        self.project = Project(definitions, root=self.folder)
        self.project.now = lambda: self.now  # type: ignore[method-assign]  # the clock of the test
        return self.project

    def store(self, *select: str, partitions: Any = None, **options: Any) -> str:
        plan = self.project.plan(list(select) or None, partitions, **options)
        return self.project.store_plan(plan, self.path)

    def run(self, **options: Any) -> Any:
        self.built.clear()
        return self.project.materialize(plan=self.project.replay(self.path).plan, **options)

    def steps(self) -> list[str]:
        return [str(step) for step in self.project.replay(self.path).plan.steps()]

    def moved(self) -> dict[str, str]:
        with pytest.raises(PlanMovedError) as caught:
            self.project.replay(self.path)
        return caught.value.facts


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.project.close()


def test_a_stored_plan_runs_the_steps_of_the_plan(shop: Shop) -> None:
    planned = [str(step) for step in shop.project.plan().steps()]
    shop.store()
    assert shop.steps() == planned
    assert shop.run().counts["done"] == 10
    assert sorted(shop.built) == sorted(planned)


def test_statuses_and_reasons_come_back(shop: Shop) -> None:
    shop.project.materialize()
    shop.landed["2024-01-03"] = 7
    shop.store()
    plan = shop.project.replay(shop.path).plan
    assert {str(s): (s.status, s.reasons[0].kind) for s in plan.steps()} == {
        "clean@2024-01-03": ("must", "late data"),
        "trend@2024-01-03": ("may", "upstream"),
        "trend@2024-01-04": ("may", "upstream"),
    }


def test_a_window_that_closed_since_is_not_added(shop: Shop) -> None:
    shop.store()
    shop.now = LATER
    shop.run()
    assert not [step for step in shop.built if step > "trend@2024-01-05"]
    assert [str(s) for s in shop.project.plan("clean").steps()] == [
        "clean@2024-01-06",
        "clean@2024-01-07",
    ]


def test_a_retry_does_what_the_first_try_left(shop: Shop) -> None:
    shop.store()
    shop.failing = {"2024-01-03"}
    assert shop.run().status == "failed"
    shop.failing.clear()
    shop.now = LATER
    found = shop.project.replay(shop.path)
    assert (found.done, len(found.plan)) == (7, 3)
    assert shop.run().status == "done"
    assert sorted(shop.built) == ["clean@2024-01-03", "trend@2024-01-03", "trend@2024-01-04"]


def test_a_plan_that_is_done_has_nothing_left(shop: Shop) -> None:
    shop.store()
    shop.run()
    assert shop.run().run_id == ""


def test_what_was_released_is_not_looked_at_again(shop: Shop) -> None:
    shop.project.materialize()
    shop.version = "2"
    shop.open()
    shop.store()
    assert shop.run().counts["released"] == 5
    assert shop.run().run_id == ""


def test_what_reads_a_step_that_is_left_is_left_too(shop: Shop) -> None:
    shop.project.materialize()
    shop.version = "2"
    shop.open()
    shop.store()
    shop.failing = {"2024-01-03"}
    assert shop.run().status == "failed"
    assert shop.steps() == ["clean@2024-01-03", "trend@2024-01-03", "trend@2024-01-04"]


def test_a_retry_takes_in_nothing_that_became_stale_since(shop: Shop) -> None:
    shop.store("clean")
    shop.failing = {"2024-01-03"}
    shop.run()
    shop.failing.clear()
    shop.landed["2024-01-01"] = 9  # its step is done: today's plan would build it again
    shop.run()
    assert shop.built == ["clean@2024-01-03"]
    assert [str(step) for step in shop.project.plan("clean").steps()] == ["clean@2024-01-01"]


def test_a_retry_of_a_forced_plan_forces_only_what_is_left(shop: Shop) -> None:
    shop.project.materialize()
    shop.store("clean", force=True)
    shop.failing = {"2024-01-03"}
    assert "--resume" not in shop.run(command="assets materialize --plan plan.json").resume
    shop.failing.clear()
    shop.run()
    assert shop.built == ["clean@2024-01-03"]


def test_another_code_is_named(shop: Shop) -> None:
    shop.store()
    shop.version = "2"
    shop.open()
    assert shop.moved() == {"code": "clean: version 1 → 2"}


def test_a_partition_built_since_is_named_with_its_run(shop: Shop) -> None:
    shop.store()
    run = shop.project.materialize("clean", "2024-01-02").run_id
    assert shop.moved() == {"materialized since": f"clean@2024-01-02 by run {run} (built)"}


def test_a_source_partition_that_moved_is_named_with_both_versions(shop: Shop) -> None:
    shop.store()
    shop.landed["2024-01-03"] = 7
    assert shop.moved()["upstream"].startswith("landing@2024-01-03 (")


def test_an_upstream_outside_the_plan_that_moved_is_named_with_its_run(shop: Shop) -> None:
    shop.project.materialize("clean")
    shop.store("trend", partitions="2024-01-03")
    shop.landed["2024-01-02"] = 7
    run = shop.project.materialize("clean", "2024-01-02").run_id
    told = shop.moved()["upstream"]
    assert told.startswith("clean@2024-01-02 (")
    assert told.endswith(f"by run {run})")


def test_what_moved_elsewhere_does_not_matter(shop: Shop) -> None:
    shop.project.materialize("clean")
    shop.store("trend", partitions="2024-01-03")
    shop.landed["2024-01-05"] = 7
    shop.project.materialize("clean", "2024-01-05")
    assert shop.steps() == ["trend@2024-01-03"]


def test_an_upstream_rebuilt_with_equal_content_does_not_matter(shop: Shop) -> None:
    shop.project.materialize("clean")
    shop.store("trend", partitions="2024-01-03")
    shop.project.materialize("clean", "2024-01-02", force=True)
    assert shop.steps() == ["trend@2024-01-03"]


def test_what_only_done_steps_read_does_not_matter(shop: Shop) -> None:
    shop.store("clean")
    shop.failing = {"2024-01-03"}
    shop.run()
    shop.landed["2024-01-05"] = 7
    assert shop.steps() == ["clean@2024-01-03"]


def test_another_mapping_is_named(shop: Shop) -> None:
    shop.store()
    shop.window = last(3)
    shop.open()
    assert shop.moved()["inputs"] == "trend reads other partitions of clean"


def test_a_partition_that_is_no_more_is_named(shop: Shop) -> None:
    shop.project.add_partitions("shops", ["north", "south"])
    shop.store("stock")
    shop.project.remove_partitions("shops", ["south"])
    assert shop.moved() == {"partitions": "stock@north..south is not there any more"}


def test_a_source_that_cannot_be_looked_at_is_named(shop: Shop) -> None:
    shop.store()
    shop.landed["2024-01-03"] = -1
    told = shop.moved()["can't be looked at"]
    assert told.startswith("landing@2024-01-03: ")


def test_another_state_store_is_refused(shop: Shop) -> None:
    shop.project.materialize("clean")
    shop.store("trend")
    shop.project.close()
    shutil.rmtree(shop.folder / ".assets")
    shop.open()
    shop.project.materialize("clean")
    assert list(shop.moved()) == ["state store"]


def test_an_asset_that_is_no_more_is_named(shop: Shop) -> None:
    shop.store("clean")
    text = shop.path.read_text().replace('"clean"', '"cleaner"')
    reseal(shop.path, json.loads(text))
    assert shop.moved() == {"definitions": "cleaner is not there any more, or is made otherwise"}


def test_all_that_moved_is_told_at_once(shop: Shop) -> None:
    shop.store()
    shop.project.materialize("clean", "2024-01-02")
    shop.landed["2024-01-03"] = 7
    shop.version = "2"
    shop.open()
    assert set(shop.moved()) == {"code", "materialized since", "upstream"}


# --------------------------------------------------------------------------------------------
# Files


def reseal(path: Path, content: dict[str, Any]) -> None:
    """Write content as if it had been made so, its digest right."""
    from assets_core.planning.planfile import PlanFile

    made = PlanFile.model_validate_json(json.dumps(content))
    path.write_text(made.model_copy(update={"id": made.digest()}).model_dump_json(by_alias=True))


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "can't be read"),
        (lambda path: path.write_text(path.read_text()[:-40]), "is not whole JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not whole JSON"),
        (lambda path: path.write_text("[" * 100_000), "is not whole JSON"),
        (lambda path: path.write_text("[]"), "holds no plan"),
        (lambda path: path.write_text('{"steps": []}'), "holds no plan"),
        (edited(lambda c: c.update(schema=2)), "newer release"),
        (edited(lambda c: c.update(extra=1)), "extra: Extra inputs"),
        (edited(lambda c: c.pop("ops")), "ops: Field required"),
        (edited(lambda c: c.update(forced="no")), "forced: Input should be"),
        (edited(lambda c: c.update(revision=2**63)), "revision: Input should be"),
        (edited(lambda c: c["ops"][0]["steps"][0].update(ranges=[])), "ranges: List should"),
        (edited(lambda c: c["reads"][0].update(ranges=[[]])), "ranges.0: List should"),
        (edited(lambda c: c["ops"][0]["steps"][0].update(count=4)), "was changed after"),
        (edited(lambda c: c["summary"].update(must=0)), "was changed after"),
        (edited(lambda c: c["ops"].pop()), "was changed after"),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_refused(
    shop: Shop, spoil: Callable[[Path], None], said: str
) -> None:
    shop.store()
    spoil(shop.path)
    with pytest.raises(UsageError) as caught:
        shop.project.replay(shop.path)
    assert said in caught.value.message


def test_a_time_without_a_zone_is_refused(shop: Shop) -> None:
    shop.store()
    reseal(shop.path, json.loads(shop.path.read_text()) | {"now": "2024-01-06T00:00:00"})
    with pytest.raises(UsageError, match="no time zone"):
        shop.project.replay(shop.path)


def test_a_plan_of_another_environment_is_refused(shop: Shop) -> None:
    shop.store()
    shop.project.environment = "dev"
    with pytest.raises(UsageError, match="environment 'prod'"):
        shop.project.replay(shop.path)


@pytest.mark.slow
def test_ten_thousand_steps_are_a_short_file(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.now = datetime(2051, 5, 19, tzinfo=UTC)
    plan = shop.project.plan("clean", "2024-01-01..2024-01-31")
    shop.project.store_plan(plan, shop.path)
    short = len(shop.path.read_text())
    shop.store("clean")
    assert len(shop.project.replay(shop.path).plan) == 10_000
    assert len(shop.path.read_text()) < short + 100
    shop.project.close()


def test_a_file_that_cannot_be_written_is_told(shop: Shop) -> None:
    plan = shop.project.plan()
    (shop.folder / "folder").mkdir()
    for path in (shop.folder / "none" / "plan.json", shop.folder / "folder", Path()):
        with pytest.raises(UsageError, match="can't be written"):
            shop.project.store_plan(plan, path)
        with pytest.raises(UsageError, match="can't be written"):
            shop.project.store_code(path)
    assert not [path for path in shop.folder.iterdir() if path.name.endswith(".new")]


def test_the_file_is_for_reviewers_too(shop: Shop) -> None:
    shop.project.materialize()
    shop.landed["2024-01-03"] = 7
    shop.store()
    summary = json.loads(shop.path.read_text())["summary"]
    assert (summary["must"], summary["may"]) == (1, 2)
    assert summary["because"][0].startswith("late data in landing[2024-01-03]")


def test_runs_of_a_stored_plan_are_marked(shop: Shop) -> None:
    made = shop.store()
    run = shop.project.run(shop.run().run_id)
    assert run.note == f"plan {made}"
