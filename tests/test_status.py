"""Status: one state per partition, compact bars, and what is said of trouble."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World

from assets_core.declare.decorators import asset, multi_asset, source
from assets_core.display.status import SIGNS, heat_map
from assets_core.lineage.status import FAILED, FRESH, STALE, STATES, AssetStatus
from assets_core.partitions import daily, hourly, lag, monthly, static

DAYS = daily("2024-01-01")


@source(partitions=DAYS)
def landing() -> Any: ...


@asset(partitions=DAYS)
def clean(landing: Any) -> Any: ...


@asset(partitions=DAYS)
def report(clean: Any) -> Any: ...


@asset(name="balance", partitions=DAYS, inputs={"before": "balance"})
def balance(clean: Any, before: Annotated[Any, lag(1)]) -> Any: ...


@multi_asset(["left", "right"], partitions=DAYS)
def both(clean: Any) -> Any: ...


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, [landing, clean, report], "2024-01-06T00:00:00")
    yield made
    made.state.close()


def states(made: World, name: str) -> list[str]:
    return [STATES[code] for code in made.status()[name].codes.tolist()]


def test_a_source_is_observed_or_not_seen(world: World) -> None:
    world.observe("landing", "2024-01-01", at="2024-01-02T00:00:00")
    assert states(world, "landing") == ["observed", *["not seen"] * 4]


def test_missing_behind_a_source_not_seen_is_blocked(world: World) -> None:
    world.observe("landing", "2024-01-01", at="2024-01-02T00:00:00")
    assert states(world, "clean") == ["missing", *["blocked"] * 4]


def test_what_nobody_has_looked_for_blocks_nothing(world: World) -> None:
    world.observe("landing", "2024-01-01", at="2024-01-02T00:00:00")
    assert world.status(observed=False)["clean"].counts["missing"] == 5


def test_a_window_that_has_not_closed_upstream_blocks(tmp_path: Path) -> None:
    @asset(partitions=monthly("2024-01-01"))
    def month() -> Any: ...

    @asset(partitions=DAYS)
    def share(month: Any) -> Any: ...

    made = World(tmp_path, [month, share], "2024-02-03T00:00:00")
    codes = made.status(observed=False)["share"]
    assert codes.keys("blocked") == ["2024-02-01", "2024-02-02"]
    assert codes.waiting == "waits for partitions of month that do not exist yet"
    made.state.close()


def test_blocked_spreads_downstream(world: World) -> None:
    world.observe("landing", "2024-01-01", at="2024-01-02T00:00:00")
    assert states(world, "report") == ["missing", *["blocked"] * 4]


def test_built_from_what_is_there_now_is_fresh(world: World) -> None:
    world.observe("landing", at="2024-01-02T00:00:00")
    world.build_at_once("clean")
    assert set(states(world, "clean")) == {"fresh"}


def test_built_from_what_has_moved_is_stale_and_so_is_what_may_follow(world: World) -> None:
    world.observe("landing", at="2024-01-02T00:00:00")
    world.build_at_once("clean")
    world.build_at_once("report")
    world.observe("landing", "2024-01-03", version=2, at="2024-01-04T00:00:00")
    expected = ["fresh", "fresh", "stale", "fresh", "fresh"]
    assert states(world, "clean") == expected
    assert states(world, "report") == expected


def test_a_failed_attempt_shows_and_blocks_what_reads_it(world: World) -> None:
    world.observe("landing", at="2024-01-02T00:00:00")
    world.fail("clean", "2024-01-02")
    assert states(world, "clean")[1] == "failed"
    assert states(world, "report") == ["missing", "blocked", *["missing"] * 3]


def test_a_failure_is_healed_by_a_later_build(world: World) -> None:
    world.observe("landing", at="2024-01-02T00:00:00")
    world.fail("clean", "2024-01-02")
    world.build("clean", "2024-01-02")
    assert states(world, "clean")[1] == "fresh"


def test_what_is_fresh_stays_fresh_when_a_forced_attempt_fails(world: World) -> None:
    world.observe("landing", at="2024-01-02T00:00:00")
    world.build_at_once("clean")
    world.fail("clean", "2024-01-02")
    assert states(world, "clean")[1] == "fresh"


def test_a_failure_blocks_everything_after_it_that_reads_its_own_past(tmp_path: Path) -> None:
    made = World(tmp_path, [landing, clean, balance], "2024-01-06T00:00:00")
    made.observe("landing", at="2024-01-02T00:00:00")
    made.build_at_once("clean")
    made.fail("balance", "2024-01-02")
    assert states(made, "balance") == ["missing", "failed", "blocked", "blocked", "blocked"]
    made.state.close()


def test_outputs_made_together_fail_together_and_are_missing_apart(tmp_path: Path) -> None:
    made = World(tmp_path, [landing, clean, *both], "2024-01-06T00:00:00")
    made.observe("landing", at="2024-01-02T00:00:00")
    made.build_at_once("clean")
    made.build("left", "2024-01-01")
    made.fail("left", "2024-01-02")
    assert states(made, "left")[:3] == ["stale", "failed", "missing"]
    assert states(made, "right")[:3] == ["missing", "failed", "missing"]
    made.state.close()


def test_a_failure_is_kept_with_its_error(world: World) -> None:
    world.observe("landing", at="2024-01-02T00:00:00")
    world.fail("clean", "2024-01-02", "ValueError: no sensor")
    assert world.status()["clean"].failures["2024-01-02"].error == "ValueError: no sensor"


def test_a_fresh_partition_whose_last_attempt_failed_is_fresh_and_says_so(world: World) -> None:
    world.observe("landing", at="2024-01-02T00:00:00")
    world.build_at_once("clean")
    world.fail("clean", "2024-01-02", "ValueError: no sensor")
    status = world.status()
    assert states(world, "clean")[1] == "fresh"
    assert status["clean"].failures == {}
    assert list(status["clean"].fresh_failures) == ["2024-01-02"]
    assert "clean@2024-01-02  still serves; the last attempt failed: ValueError" in str(status)
    assert status["clean"].to_dict()["fresh_failures"][0]["partition"] == "2024-01-02"


def test_a_failure_of_a_key_that_has_left_the_space_is_not_shown(world: World) -> None:
    world.fail("clean", "2031-01-01")
    assert "failed" not in states(world, "clean")


def test_only_chosen_assets_have_rows_but_all_count_for_what_is_blocked(world: World) -> None:
    from assets_core.lineage.status_rows import make_status
    from assets_core.planning.staleness import assess

    facts = world.facts()
    found = assess(world.graph, facts, world.codes)
    status = make_status(world.graph, facts, found, {}, ["report"], now=world.now, observed=True)
    assert [row.asset for row in status] == ["report"]
    assert status["report"].counts["blocked"] == 5


def test_counts_are_of_states_that_the_kind_can_be_in(world: World) -> None:
    status = world.status()
    assert list(status["landing"].counts) == ["observed", "not seen"]
    assert list(status["clean"].counts) == ["fresh", "stale", "missing", "blocked", "failed"]


def test_the_dict_is_strict_json_with_ranges(world: World) -> None:
    world.observe("landing", "2024-01-01", at="2024-01-02T00:00:00")
    found = world.status().to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    clean_row = found["assets"][1]
    assert clean_row["partitions"]["blocked"] == [["2024-01-02", "2024-01-05"]]


def test_text_reads_without_colour(world: World) -> None:
    world.observe("landing", "2024-01-01", "2024-01-02", at="2024-01-02T00:00:00")
    world.build("clean", "2024-01-01")
    world.fail("clean", "2024-01-02", "ValueError: \x1b[31mred")
    text = str(world.status())
    assert "█×!!!" in text
    assert "failed   clean@2024-01-02  ValueError: red" in text
    assert "blocked  clean  2024-01-03..2024-01-05" in text


# --------------------------------------------------------------------------------------------
# Bars


def row(codes: list[int]) -> AssetStatus:
    from datetime import UTC, datetime

    space = static([f"k{i}" for i in range(len(codes))]).resolve(datetime(2024, 1, 1, tzinfo=UTC))
    return AssetStatus("a", "asset", space, np.array(codes, np.uint8))


def test_signs_tell_the_states_of_assets_apart() -> None:
    assert len({SIGNS[state] for state in ("fresh", "stale", "missing", "blocked", "failed")}) == 5


def test_few_partitions_are_a_cell_each() -> None:
    codes = [FRESH, STALE, FAILED]
    assert [cell.state for cell in row(codes).bar(60)] == ["fresh", "stale", "failed"]


def test_no_partitions_are_no_cells() -> None:
    assert row([]).bar(60) == []


@given(st.lists(st.integers(0, len(STATES) - 1), min_size=1, max_size=300), st.integers(1, 80))
def test_cells_cover_all_partitions_in_order_and_the_worst_wins(
    codes: list[int], width: int
) -> None:
    cells = row(codes).bar(width)
    covered = [i for cell in cells for i in range(cell.first, cell.last + 1)]
    assert covered == list(range(len(codes)))
    assert len(cells) == min(width, len(codes))
    for cell in cells:
        inside = codes[cell.first : cell.last + 1]
        assert cell.state == STATES[max(inside)]
        assert cell.share == inside.count(max(inside)) / len(inside)


def test_one_failure_among_a_million_partitions_is_seen() -> None:
    codes = np.zeros(1_000_000, np.uint8)
    codes[123_456] = FAILED
    many = AssetStatus("a", "asset", row([0]).space, codes)
    cells = many.bar(80)
    assert len(cells) == 80
    assert [cell.state for cell in cells].count("failed") == 1


def test_time_windows_of_different_lengths_stand_on_one_axis(tmp_path: Path) -> None:
    @asset(partitions=hourly("2024-01-01"))
    def ticks() -> Any: ...

    made = World(tmp_path, [landing, ticks], "2024-01-03T00:00:00")
    shapes = [e for e in ET.fromstring(heat_map(made.status())).iter() if e.tag.endswith("rect")]
    right = {round(float(e.get("x", 0)) + float(e.get("width", 0))) for e in shapes}
    ends = [x for x in right if x >= max(right) - 2]
    assert ends, "both rows end at the same place"
    widths = [float(e.get("width", 0)) for e in shapes]
    assert widths[0] == pytest.approx(24 * widths[-1], rel=0.15)
    made.state.close()


def test_html_shows_bars_and_troubles(world: World) -> None:
    world.fail("clean", "2024-01-02", "<script>alert(1)</script>")
    html = world.status()._repr_html_()
    assert "<svg" in html
    assert "<script" not in html


def test_no_assets_say_so() -> None:
    from datetime import UTC, datetime

    from assets_core.lineage.status import Status

    assert str(Status(datetime(2024, 1, 1, tzinfo=UTC), ())) == "No assets."
