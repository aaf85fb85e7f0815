"""`assets plan` as people and scripts use it."""

from __future__ import annotations

from pathlib import Path

from cli.shop import Command


def test_the_plan_tells_its_cost(assets: Command, built: Path) -> None:
    out = assets("plan", "--force", "orders", "--jobs", "2").out
    assert out.splitlines()[-1].startswith("Takes about ")
    assert " with 2 jobs; " in out.splitlines()[-1]


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
