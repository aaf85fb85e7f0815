"""Freshness: partitions against their promise, and the report over assets."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World

from assets_core.declare.decorators import asset
from assets_core.declare.policies import Freshness
from assets_core.errors import PartitionError
from assets_core.graph import Graph
from assets_core.lineage.freshness import (
    STATUSES,
    FreshnessReport,
    evaluate_columns,
    make_report,
)
from assets_core.partitions import daily
from assets_core.wording import micros_of, moment

END = datetime(2024, 1, 2, tzinfo=UTC)
PROMISE = Freshness(lands_within="8h", warn_within="6h")


def evaluate(
    promise: Freshness, end: datetime, landed: datetime | None, now: datetime
) -> tuple[str, datetime]:
    """Status and deadline of one partition, a column of one."""
    at = 0 if landed is None else micros_of(landed)
    codes, deadlines = evaluate_columns(promise, np.array([micros_of(end)]), np.array([at]), now)
    return STATUSES[int(codes[0])], moment(int(deadlines[0]))


def by_the_book(
    promise: Freshness, end: int, landed: int | None, now: int, since: int | None
) -> str:
    """The status in seconds, out of the definitions; durations are numbers of seconds."""
    there = landed is not None and landed <= now
    at = landed if there and landed is not None else now
    deadline, warning = end + int(promise.lands_within), end + int(promise.warn_within or 0)
    if at <= warning:
        return "pass" if there else "not due"
    if since is not None and deadline < since:
        return "backfilled" if there else "not due"
    return "warn" if at <= deadline else "late"


def hours(number: float) -> datetime:
    return END + timedelta(hours=number)


@pytest.mark.parametrize(
    ("landed", "now", "status"),
    [
        (None, 0, "not due"),
        (None, 6, "not due"),
        (None, 6.001, "warn"),
        (None, 8, "warn"),
        (None, 8.001, "late"),
        (1, 9, "pass"),
        (6, 9, "pass"),
        (6.001, 9, "warn"),
        (8, 9, "warn"),
        (8.001, 9, "late"),
        (-1, 9, "pass"),
    ],
)
def test_status_follows_the_table(landed: float | None, now: float, status: str) -> None:
    at = None if landed is None else hours(landed)
    assert evaluate(PROMISE, END, at, hours(now))[0] == status


def test_without_a_warning_it_is_due_until_the_deadline() -> None:
    assert evaluate(Freshness("8h"), END, None, hours(7.99))[0] == "not due"


def test_the_deadline_counts_from_the_end_of_the_window() -> None:
    assert evaluate(PROMISE, END, None, hours(1))[1] == hours(8)


def test_what_landed_later_has_not_landed_at_an_earlier_instant() -> None:
    assert evaluate(PROMISE, END, hours(7), hours(2))[0] == "not due"


def test_the_zone_of_an_instant_does_not_matter() -> None:
    from zoneinfo import ZoneInfo

    tokyo = ZoneInfo("Asia/Tokyo")
    one = evaluate(PROMISE, END, hours(7), hours(9))
    other = evaluate(PROMISE, END.astimezone(tokyo), hours(7).astimezone(tokyo), hours(9))
    assert one == other


SECONDS = st.integers(-100_000, 100_000)


@given(
    st.lists(st.tuples(SECONDS, st.none() | SECONDS), min_size=1, max_size=20),
    st.integers(0, 50_000),
    st.integers(0, 50_000),
    SECONDS,
    st.none() | SECONDS,
)
def test_columns_follow_the_book(
    partitions: list[tuple[int, int | None]], lands: int, earlier: int, now: int, since: int | None
) -> None:
    promise = Freshness(lands_within=lands, warn_within=max(lands - earlier, 0))
    base = datetime(2024, 6, 1, tzinfo=UTC)
    micros = int(base.timestamp()) * 1_000_000
    ends = np.array([micros + end * 1_000_000 for end, _ in partitions], np.int64)
    landed = np.array(
        [0 if at is None else micros + at * 1_000_000 for _, at in partitions], np.int64
    )
    instant = base + timedelta(seconds=now)
    begins = 0 if since is None else micros + since * 1_000_000
    codes, deadlines = evaluate_columns(promise, ends, landed, instant, begins)
    for i, (end, at) in enumerate(partitions):
        assert STATUSES[codes[i]] == by_the_book(promise, end, at, now, since)
        assert int(deadlines[i]) == micros + (end + lands) * 1_000_000


# --------------------------------------------------------------------------------------------
# The report


@asset(
    partitions=daily("2024-01-01", timezone="Europe/Berlin"),
    freshness=Freshness(lands_within="8h", warn_within="6h", since="2024-01-01"),
)
def punctual() -> Any: ...


@asset(partitions=daily("2024-01-01"), freshness=PROMISE)
def since_its_first_build() -> Any: ...


@asset(partitions=daily("2024-01-01"))
def unpromised() -> Any: ...


@asset(freshness=Freshness("1h"))
def whole() -> Any: ...


def world(folder: Path, now: str = "2024-01-05T04:00:00") -> World:
    return World(folder, [punctual, unpromised, whole], now)


def report(made: World) -> FreshnessReport:
    return make_report(made.graph, made.facts(), made.graph.order, made.now)


def test_only_promised_assets_are_reported(tmp_path: Path) -> None:
    assert [row.asset for row in report(world(tmp_path))] == ["punctual", "whole"]


def beginning(folder: Path, now: str = "2024-01-05T12:00:00") -> World:
    """An asset whose promise begins with its first build: a day is due on the next at eight."""
    return World(folder, [since_its_first_build], now)


def statuses(made: World) -> list[str]:
    return [p.state.status for p in next(iter(report(made))).partitions()]


def test_history_that_is_filled_in_today_is_not_late(tmp_path: Path) -> None:
    made = beginning(tmp_path)
    made.build("since_its_first_build", at="2024-01-05T11:00:00")
    assert statuses(made) == ["backfilled"] * 4
    assert (report(made).status, report(made).overdue) == ("backfilled", 0)


def test_what_was_never_built_is_not_promised_yet(tmp_path: Path) -> None:
    assert statuses(beginning(tmp_path)) == ["not due"] * 4


def test_after_the_first_build_the_promise_counts(tmp_path: Path) -> None:
    made = beginning(tmp_path)
    made.build("since_its_first_build", "2024-01-02", at="2024-01-03T07:00:00")
    # The first was due before, the second landed with a warning, the others are missing since.
    assert statuses(made) == ["not due", "warn", "late", "late"]
    made.build("since_its_first_build", "2024-01-01", "2024-01-03", at="2024-01-05T11:00:00")
    assert statuses(made) == ["backfilled", "warn", "late", "late"]


def test_a_rebuild_does_not_move_the_beginning_of_a_promise(tmp_path: Path) -> None:
    made = beginning(tmp_path)
    made.build("since_its_first_build", "2024-01-01", at="2024-01-02T07:00:00")
    made.build("since_its_first_build", version=2, at="2024-01-05T11:00:00")
    assert statuses(made) == ["warn", "late", "late", "late"]


def test_builds_before_it_was_promised_do_not_begin_a_promise(tmp_path: Path) -> None:
    made = beginning(tmp_path)
    made.build("since_its_first_build", "2024-01-01", at="2024-01-02T07:00:00", deadline=0)
    made.build("since_its_first_build", "2024-01-02", at="2024-01-05T07:00:00")
    assert statuses(made) == ["backfilled", "backfilled", "not due", "late"]


def test_a_try_that_failed_begins_a_promise(tmp_path: Path) -> None:
    made = beginning(tmp_path)
    made.fail("since_its_first_build", "2024-01-02", at="2024-01-03T07:00:00")
    assert statuses(made) == ["not due", "late", "late", "late"]


def test_a_promise_counts_from_where_it_says(tmp_path: Path) -> None:
    made = World(tmp_path, [punctual], "2024-01-05T12:00:00")
    assert statuses(made) == ["late"] * 4
    later = replace(punctual, freshness=Freshness("8h", since="2024-01-04T08:00"))
    made.graph = Graph.build([later])
    made.build("punctual", at="2024-01-05T10:00:00")
    assert statuses(made) == ["backfilled", "backfilled", "late", "late"]


def test_the_beginning_of_a_promise_is_a_time() -> None:
    with pytest.raises(PartitionError, match="since='soon' is not a time"):
        Freshness("8h", since="soon")


def test_backfilled_has_a_column_where_it_occurs(tmp_path: Path) -> None:
    made = beginning(tmp_path)
    assert "backfilled" not in str(report(made))
    made.build("since_its_first_build", at="2024-01-05T11:00:00")
    assert "backfilled  pass  warn  late  not due" in str(report(made))
    assert ">backfilled<" in report(made)._repr_html_()
    assert report(made).to_dict()["assets"][0]["counts"]["backfilled"] == 4


def test_counts_by_status(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.build("punctual", "2024-01-01", at="2024-01-02T03:00:00")
    made.build("punctual", "2024-01-02", at="2024-01-03T06:30:00")
    # The third has not landed and is overdue, the fourth is not due at five o'clock in Berlin.
    assert report(made)["punctual"].counts == {
        "not due": 1,
        "backfilled": 0,
        "pass": 1,
        "warn": 1,
        "late": 1,
    }


def test_the_deadline_is_local_midnight_and_eight_hours(tmp_path: Path) -> None:
    first = next(report(world(tmp_path))["punctual"].partitions())
    assert first.state.deadline == datetime(2024, 1, 2, 7, tzinfo=UTC)


def test_the_worst_status_is_the_assets(tmp_path: Path) -> None:
    made = world(tmp_path)
    assert report(made)["punctual"].status == "late"
    made.build("punctual", at="2024-01-02T01:00:00")
    assert report(made)["punctual"].status == "pass"


def test_what_was_built_of_an_open_window_has_not_landed(tmp_path: Path) -> None:
    made = world(tmp_path, "2024-01-01T12:00:00")
    made.spaces = {
        name: asset.partitions.resolve(made.now, include_open=True)
        for name, asset in made.graph.assets.items()
    }
    made.build("punctual", "2024-01-01", at="2024-01-01T12:00:00")
    made.again("2024-01-02T08:00:00")
    assert next(report(made)["punctual"].partitions()).state.status == "late"
    made.build("punctual", "2024-01-01", at="2024-01-02T08:00:00")
    state = next(report(made)["punctual"].partitions()).state
    assert (state.status, state.landed) == ("late", datetime(2024, 1, 2, 8, tzinfo=UTC))


def test_the_margin_is_the_time_left_at_landing_or_now(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.build("punctual", "2024-01-01", at="2024-01-02T02:00:00")
    first, second, *_ = report(made)["punctual"].partitions()
    assert first.state.margin == timedelta(hours=5)
    assert second.state.margin == timedelta(hours=-45)


def test_a_rebuild_does_not_break_a_promise_that_was_kept(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.build("punctual", "2024-01-01", at="2024-01-02T01:00:00")
    made.build("punctual", "2024-01-01", version=2, at="2024-01-04T12:00:00")
    assert next(report(made)["punctual"].partitions()).state.status == "pass"


def test_a_rebuild_does_not_mend_a_promise_that_was_broken(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.build("punctual", "2024-01-01", at="2024-01-03T12:00:00")
    made.build("punctual", "2024-01-01", version=2, at="2024-01-04T12:00:00")
    state = next(report(made)["punctual"].partitions()).state
    assert (state.status, state.landed) == ("late", datetime(2024, 1, 3, 12, tzinfo=UTC))


def test_overdue_counts_what_is_late_and_not_there(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.build("punctual", "2024-01-01", at="2024-01-03T12:00:00")
    assert report(made).overdue == 2


def test_an_asset_without_windows_is_reported_without_a_status(tmp_path: Path) -> None:
    row = report(world(tmp_path))["whole"]
    assert row.status is None
    assert "no windows" in str(report(world(tmp_path)))


def test_the_dict_is_strict_json_and_leaves_out_what_passed(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.build("punctual", "2024-01-01", at="2024-01-02T01:00:00")
    found = report(made).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [p["partition"] for p in found["assets"][0]["partitions"]] == [
        "2024-01-02",
        "2024-01-03",
        "2024-01-04",
    ]


def test_the_text_says_by_how_much(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.build("punctual", "2024-01-01", at="2024-01-02T09:00:00")
    text = str(report(made))
    assert "landed 2024-01-02 09:00:00Z, 2 h late" in text
    assert "not landed, overdue by 1 d 21 h" in text


def test_html_has_a_bar_per_asset(tmp_path: Path) -> None:
    assert report(world(tmp_path))._repr_html_().count("<svg") == 2


def test_nothing_promised_says_so() -> None:
    assert str(FreshnessReport(END, ())) == "No asset of the selection promises freshness."
