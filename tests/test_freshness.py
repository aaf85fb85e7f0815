"""Freshness: one partition against its promise, columns of them, and the report over assets."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World

from assets_core.asset import Freshness, asset
from assets_core.observe.freshness import (
    STATUSES,
    FreshnessReport,
    evaluate,
    evaluate_columns,
    make_report,
)
from assets_core.partitions import daily

END = datetime(2024, 1, 2, tzinfo=UTC)
PROMISE = Freshness(lands_within="8h", warn_within="6h")


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
    assert evaluate(PROMISE, END, at, hours(now)).status == status


def test_without_a_warning_it_is_due_until_the_deadline() -> None:
    assert evaluate(Freshness("8h"), END, None, hours(7.99)).status == "not due"


def test_the_deadline_counts_from_the_end_of_the_window() -> None:
    assert evaluate(PROMISE, END, None, hours(1)).deadline == hours(8)


def test_margin_of_what_landed_is_the_time_left_then() -> None:
    assert evaluate(PROMISE, END, hours(3), hours(100)).margin == timedelta(hours=5)


def test_margin_of_what_has_not_landed_is_the_time_left_now() -> None:
    assert evaluate(PROMISE, END, None, hours(10)).margin == timedelta(hours=-2)


def test_what_landed_later_has_not_landed_at_an_earlier_instant() -> None:
    state = evaluate(PROMISE, END, hours(7), hours(2))
    assert (state.status, state.landed) == ("not due", None)


def test_overdue_is_late_and_not_there() -> None:
    assert evaluate(PROMISE, END, None, hours(9)).overdue
    assert not evaluate(PROMISE, END, hours(9), hours(10)).overdue


def test_the_zone_of_an_instant_does_not_matter() -> None:
    from zoneinfo import ZoneInfo

    tokyo = ZoneInfo("Asia/Tokyo")
    one = evaluate(PROMISE, END, hours(7), hours(9))
    other = evaluate(PROMISE, END.astimezone(tokyo), hours(7).astimezone(tokyo), hours(9))
    assert (one.status, one.margin) == (other.status, other.margin)


SECONDS = st.integers(-100_000, 100_000)


@given(
    st.lists(st.tuples(SECONDS, st.none() | SECONDS), min_size=1, max_size=20),
    st.integers(0, 50_000),
    st.integers(0, 50_000),
    SECONDS,
)
def test_columns_agree_with_one_by_one(
    partitions: list[tuple[int, int | None]], lands: int, earlier: int, now: int
) -> None:
    promise = Freshness(lands_within=lands, warn_within=max(lands - earlier, 0))
    base = datetime(2024, 6, 1, tzinfo=UTC)
    micros = int(base.timestamp()) * 1_000_000
    ends = np.array([micros + end * 1_000_000 for end, _ in partitions], np.int64)
    landed = np.array(
        [0 if at is None else micros + at * 1_000_000 for _, at in partitions], np.int64
    )
    instant = base + timedelta(seconds=now)
    codes, deadlines = evaluate_columns(promise, ends, landed, instant)
    for i, (end, at) in enumerate(partitions):
        there = None if at is None else base + timedelta(seconds=at)
        state = evaluate(promise, base + timedelta(seconds=end), there, instant)
        assert STATUSES[codes[i]] == state.status
        assert int(deadlines[i]) == int(state.deadline.timestamp()) * 1_000_000


# --------------------------------------------------------------------------------------------
# The report


@asset(partitions=daily("2024-01-01", timezone="Europe/Berlin"), freshness=PROMISE)
def punctual() -> Any: ...


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


def test_counts_by_status(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.build("punctual", "2024-01-01", at="2024-01-02T03:00:00")
    made.build("punctual", "2024-01-02", at="2024-01-03T06:30:00")
    # The third has not landed and is overdue, the fourth is not due at five o'clock in Berlin.
    assert report(made)["punctual"].counts == {"not due": 1, "pass": 1, "warn": 1, "late": 1}


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
