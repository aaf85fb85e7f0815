"""History: what happened to a partition, newest first, and what changed each time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from world import World, micros

from assets_core.declare.decorators import asset, source
from assets_core.lineage.history import History
from assets_core.partitions import daily
from assets_core.records import CheckOutcome

DAYS = daily("2024-01-01")


@source(partitions=DAYS)
def landing() -> Any: ...


@asset(partitions=DAYS)
def clean(landing: Any) -> Any: ...


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, [landing, clean], "2024-01-06T00:00:00")
    yield made
    made.state.close()


def history(made: World, partition: str | None = "2024-01-02") -> History:
    facts = made.state.materializations("prod", "clean", partition)
    attempts = made.state.attempts(environment="prod", asset="clean", partition=partition)
    return History("clean", partition, tuple(facts), tuple(attempts))


def test_materializations_and_attempts_are_merged_newest_first(world: World) -> None:
    world.build("clean", "2024-01-02", at="2024-01-03T06:00:00")
    world.fail("clean", "2024-01-02", at="2024-01-04T06:00:00")
    world.build("clean", "2024-01-02", at="2024-01-05T06:00:00")
    assert [entry.what for entry in history(world)] == ["built", "failed", "built"]


def test_each_entry_says_what_changed_since_the_one_before(world: World) -> None:
    world.build("clean", "2024-01-02")
    world.observe("landing", "2024-01-02", at="2024-01-05T00:00:00")
    world.build("clean", "2024-01-02")
    world.codes["clean"] = "d" * 32
    world.build("clean", "2024-01-02", version=2)
    world.build("clean", "2024-01-02", version=2, kind="unchanged")
    changed = [entry.changed for entry in sorted(history(world), key=lambda entry: entry.id)]
    assert changed == [None, ("inputs",), ("code", "data"), ()]


def test_partitions_are_compared_with_themselves_only(world: World) -> None:
    world.build("clean", "2024-01-01", "2024-01-02")
    assert [entry.changed for entry in history(world, None)] == [None, None]


def test_margin_is_measured_at_landing(world: World) -> None:
    deadline = micros("2024-01-03T08:00:00")
    world.build("clean", "2024-01-02", at="2024-01-03T09:00:00", deadline=deadline)
    assert history(world).entries[0].margin == -3600.0
    assert "1 h late" in str(history(world))


def test_a_rebuild_after_the_deadline_is_not_called_late(world: World) -> None:
    deadline = micros("2024-01-03T08:00:00")
    world.build("clean", "2024-01-02", at="2024-01-03T06:00:00", deadline=deadline)
    world.build("clean", "2024-01-02", at="2024-01-05T06:00:00", deadline=deadline)
    assert "late" not in str(history(world))


def test_what_lands_after_it_was_built_of_an_open_window_is_called_late(world: World) -> None:
    deadline = micros("2024-01-03T08:00:00")
    world.now = datetime(2024, 1, 2, 12, tzinfo=UTC)
    closed = world.spaces
    world.spaces = {name: DAYS.resolve(world.now, include_open=True) for name in closed}
    world.build("clean", "2024-01-02", at="2024-01-02T12:00:00", deadline=deadline)
    assert "late" not in str(history(world))
    world.spaces = closed
    for at in ("2024-01-03T09:00:00", "2024-01-05T09:00:00"):
        world.build("clean", "2024-01-02", at=at, deadline=deadline)
    assert [" late" in line for line in str(history(world)).splitlines()[1:]] == [
        False,
        True,
        False,
    ]


def test_without_a_deadline_there_is_no_margin(world: World) -> None:
    world.build("clean", "2024-01-02")
    assert history(world).entries[0].margin is None


def test_failed_warnings_are_told(world: World) -> None:
    check = CheckOutcome("row_count", False, "warn", "only 3 rows")
    world.build("clean", "2024-01-02", checks=(check,))
    assert "row_count: only 3 rows" in str(history(world))


def test_a_failed_attempt_tells_its_first_line_without_terminal_escapes(world: World) -> None:
    world.fail("clean", "2024-01-02", "ValueError: \x1b[2Jgone\nsecond line")
    text = str(history(world))
    assert "ValueError: gone" in text
    assert "second line" not in text
    assert "\x1b" not in text


def test_of_all_partitions_each_line_names_its_own(world: World) -> None:
    world.build("clean", "2024-01-01", "2024-01-02")
    assert "2024-01-01" in str(history(world, None))
    assert "partition" in str(history(world, None)).splitlines()[0]


def test_nothing_recorded_says_so(world: World) -> None:
    assert str(history(world)) == "Nothing is recorded of clean@2024-01-02."
    assert "Nothing is recorded" in history(world)._repr_html_()


def test_the_dict_is_strict_json(world: World) -> None:
    world.build("clean", "2024-01-02", checks=(CheckOutcome("a", True, "error", ""),))
    world.fail("clean", "2024-01-02")
    found = history(world).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert len(found["entries"]) == 2


def test_html_marks_every_entry_on_a_time_line(world: World) -> None:
    world.build("clean", "2024-01-02", at="2024-01-03T06:00:00")
    world.build("clean", "2024-01-02", at="2024-01-04T06:00:00")
    world.fail("clean", "2024-01-02", "<b>no</b>")
    html = history(world)._repr_html_()
    assert html.count("<circle") == 2
    assert "<b>no" not in html


def test_equal_content_is_a_hollow_mark(world: World) -> None:
    world.build("clean", "2024-01-02", at="2024-01-03T06:00:00")
    world.build("clean", "2024-01-02", at="2024-01-04T06:00:00")
    circles = history(world)._repr_html_().split("<circle")[1:]
    assert ['fill="none"' in circle for circle in circles] == [False, True]
