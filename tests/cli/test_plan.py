"""`assets plan` as people and scripts use it."""

from __future__ import annotations

from pathlib import Path

from cli.shop import Command, write_project


def test_the_plan_tells_its_cost(assets: Command, built: Path) -> None:
    out = assets("plan", "--force", "orders", "--jobs", "2").out
    assert out.splitlines()[-1].startswith("Takes about ")
    assert " with 2 jobs; " in out.splitlines()[-1]


SLOW = """
import time

import pyarrow as pa

from assets_core import Partition, daily, source


@source(partitions=daily("2024-01-01", end="2024-01-04"))
def measured(partition: Partition) -> pa.Table:
    time.sleep(0.4)
    return pa.table({"day": [partition.key]})
"""


def test_a_source_that_is_slow_to_look_at_is_told_once_with_the_remedy(
    assets: Command, folder: Path
) -> None:
    write_project(folder, SLOW)
    done = assets("plan")
    assert done.err.count("measured: 3 partitions read in ") == 1
    assert "observe_range=" in done.err
    assert "token=" in done.err
    assert "token=" not in done.out


def test_json_has_causes_and_cost(assets: Command, built: Path) -> None:
    found = assets("plan", "--force", "orders", "--json").json
    assert [cause["kind"] for cause in found["causes"]] == ["forced"]
    assert found["cost"]["must"]["partitions"] == found["must"]


def test_one_partition_is_explained(assets: Command, built: Path) -> None:
    done = assets("plan", "--explain", "orders@2024-01-02")
    assert (done.code, done.out.splitlines()[0]) == (0, "orders@2024-01-02 is fresh")


def test_an_explanation_is_json_too(assets: Command, built: Path) -> None:
    found = assets("plan", "--explain", "orders@2024-01-02", "--json").json
    assert (found["asset"], found["partition"], found["status"]) == (
        "orders",
        "2024-01-02",
        "fresh",
    )


def test_an_unknown_partition_is_wrong_usage(assets: Command, built: Path) -> None:
    done = assets("plan", "--explain", "orders@2023-01-02")
    assert done.code == 2
    assert "2023-01-02" in done.err


def test_a_stored_plan_is_run_and_is_done_then(assets: Command, shop: Path) -> None:
    assert "written to plan.json" in assets("plan", "orders", "-o", "plan.json").err
    done = assets("materialize", "--plan", "plan.json")
    assert done.code == 0
    assert assets("plan", "orders").out.startswith("Nothing to do")
    again = assets("materialize", "--plan", "plan.json")
    assert again.out.startswith("Nothing to do: everything selected is built by an earlier run")


def test_a_stored_plan_is_refused_with_3_when_something_moved(assets: Command, shop: Path) -> None:
    assets("plan", "orders", "-o", "plan.json")
    assets("materialize", "orders", "--partition", "2024-01-02")
    done = assets("materialize", "--plan", "plan.json")
    assert done.code == 3
    assert "orders@2024-01-02 by run" in done.err


def test_a_stored_plan_takes_no_selection(assets: Command, shop: Path) -> None:
    assets("plan", "orders", "-o", "plan.json")
    assert assets("materialize", "orders", "--plan", "plan.json").code == 2


def test_a_file_that_is_no_plan_is_wrong_usage(assets: Command, shop: Path) -> None:
    (shop / "plan.json").write_text("{", encoding="utf-8")
    done = assets("materialize", "--plan", "plan.json")
    assert (done.code, "is not whole JSON" in done.err) == (2, True)


def test_what_a_stored_plan_would_do_is_shown(assets: Command, shop: Path) -> None:
    assets("plan", "orders", "-o", "plan.json")
    done = assets("materialize", "--plan", "plan.json", "--dry-run")
    assert done.out.startswith("Plan for prod: 3 must run, 0 may run")


def test_a_stored_plan_that_failed_is_resumed_as_it_was_stored(assets: Command, shop: Path) -> None:
    (shop / "fail-2024-01-02").touch()
    assets("plan", "+totals", "--partitions", "2024-01-01..2024-01-02", "-o", "plan.json")
    out = assets("materialize", "--plan", "plan.json").out
    assert "Resume with: assets materialize --plan plan.json" in out
    assert "retry just this" not in out
    (group,) = assets("runs", "latest", "--json").json["failure_groups"]
    assert group["retry"] == "assets materialize --plan plan.json"
    (shop / "fail-2024-01-02").unlink()
    found = assets("materialize", "--plan", "plan.json", "--json").json
    assert found["by_asset"] == {"totals": {"done": 1}}
