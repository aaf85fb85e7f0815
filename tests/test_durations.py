"""Durations as users write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets_core.durations import parse_duration
from assets_core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("8h", timedelta(hours=8)),
        ("30m", timedelta(minutes=30)),
        ("1d 2h", timedelta(days=1, hours=2)),
        ("1d2h30m", timedelta(days=1, hours=2, minutes=30)),
        ("1.5 hours", timedelta(minutes=90)),
        ("  2 W ", timedelta(weeks=2)),
        ("250ms", timedelta(milliseconds=250)),
        ("0s", timedelta(0)),
        (90, timedelta(seconds=90)),
        (0.5, timedelta(milliseconds=500)),
        (timedelta(days=3), timedelta(days=3)),
    ],
)
def test_a_duration_is_text_with_units_seconds_or_a_timedelta(text, wanted):
    assert parse_duration(text) == wanted


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        " ",
        "90",
        "h",
        "8 x",
        "8h!",
        "1h 2h",
        "-8h",
        "1e3s",
        "1mo",
        "8h,",
        "٣h",
        "8.h",
        "9" * 30 + "w",
    ],
)
def test_text_that_is_no_duration_is_refused_with_what_to_write(nonsense):
    with pytest.raises(UsageError, match="such as '30m'") as caught:
        parse_duration(nonsense)
    assert repr(nonsense) in str(caught.value)


@pytest.mark.parametrize("nonsense", [True, None, float("nan"), float("inf"), 1e300, [], b"8h"])
def test_other_values_are_refused(nonsense):
    with pytest.raises(UsageError):
        parse_duration(nonsense)


@pytest.mark.parametrize("negative", [-1, -0.5, timedelta(seconds=-1)])
def test_a_negative_duration_is_refused(negative):
    with pytest.raises(UsageError, match="negative"):
        parse_duration(negative)


@given(st.integers(0, 900), st.integers(0, 900), st.integers(0, 900))
def test_parts_add_up(days, hours, seconds):
    wanted = timedelta(days=days, hours=hours, seconds=seconds)
    assert parse_duration(f"{days}d {hours}h {seconds}s") == wanted


@pytest.mark.parametrize("long", ["365001d", "100000w", timedelta.max, 1e13])
def test_a_thousand_years_is_the_longest(long):
    assert parse_duration("365000d") == timedelta(days=365_000)
    with pytest.raises(UsageError, match="longer than a thousand years"):
        parse_duration(long)
