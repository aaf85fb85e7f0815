"""Selections: exact keys win, dates select what they overlap, nonsense is told with a hint."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core.errors import PartitionError
from assets_core.partitions import (
    UNPARTITIONED,
    PartitionsDefinition,
    daily,
    hourly,
    monthly,
    parse_selection,
    product,
    static,
    weekly,
    yearly,
)
from assets_core.wording import key_pairs, range_text

NOW = datetime(2024, 6, 15, 10, 30, tzinfo=UTC)
DAYS = daily("2024-01-01")
FLIGHTS = product(date=daily("2024-06-01"), station=static(["EWR", "JFK"], name="station"))


def chosen(texts: object, definition: PartitionsDefinition, now: datetime = NOW) -> list[str]:
    space = definition.resolve(now)
    return space.keys(parse_selection(texts).mask(space).nonzero()[0])


def test_a_key_selects_itself() -> None:
    assert chosen("2024-02-03", DAYS) == ["2024-02-03"]


def test_a_range_holds_both_ends() -> None:
    assert chosen("2024-02-03..2024-02-05", DAYS) == ["2024-02-03", "2024-02-04", "2024-02-05"]


@pytest.mark.parametrize(
    ("text", "count"),
    [("..2024-01-03", 3), ("2024-06-13..", 2), ("*", 166), ("2024-02", 29), ("2024-Q1", 91)],
)
def test_open_ranges_and_longer_times(text: str, count: int) -> None:
    assert len(chosen(text, DAYS)) == count


def test_lists_are_joined() -> None:
    assert chosen("2024-02-03,2024-03-01", DAYS) == chosen(["2024-03-01", "2024-02-03"], DAYS)


@pytest.mark.parametrize(
    ("definition", "keys"),
    [
        (weekly("2024-W01"), ["2024-W09"]),
        (monthly("2024-01"), ["2024-02"]),
        (yearly("2023"), []),
        (UNPARTITIONED, ["all"]),
        (static(["a", "b"]), ["a", "b"]),
        (hourly("2024-02-29T22"), ["2024-02-29T22", "2024-02-29T23"]),
    ],
)
def test_a_date_selects_what_overlaps_it(definition: PartitionsDefinition, keys: list[str]) -> None:
    assert chosen("2024-02-29", definition) == keys


def test_a_date_is_read_on_the_clock_of_each_space() -> None:
    hours = hourly("2024-03-30", timezone="Europe/Berlin")
    assert len(chosen("2024-03-31", hours)) == 23


def test_a_month_selects_business_days_by_their_names() -> None:
    found = chosen("2024-02", daily("2024-01-01", offset="6h"))
    assert (found[0], found[-1], len(found)) == ("2024-02-01", "2024-02-29", 29)


def test_an_hour_selects_the_business_day_it_lies_in() -> None:
    assert chosen("2024-02-03T05", daily("2024-01-01", offset="6h")) == ["2024-02-02"]


def test_a_doubled_hour_can_be_chosen_exactly_and_by_its_name() -> None:
    hours, now = hourly("2024-10-27", timezone="Europe/Berlin"), NOW.replace(year=2025)
    assert chosen("2024-10-27T02+01:00", hours, now) == ["2024-10-27T02+01:00"]
    assert len(chosen("2024-10-27T02", hours, now)) == 2
    assert chosen("2024-10-27T02+01:00", daily("2024-10-01"), now) == ["2024-10-27"]


def test_a_product_is_selected_by_date_name_and_key() -> None:
    assert chosen("2024-06-03", FLIGHTS) == ["2024-06-03|EWR", "2024-06-03|JFK"]
    assert len(chosen("JFK", FLIGHTS)) == 14
    assert chosen("2024-06-03|JFK", FLIGHTS) == ["2024-06-03|JFK"]


def test_a_products_key_selects_its_date_where_there_is_only_time() -> None:
    assert chosen("2024-06-03|JFK", DAYS) == ["2024-06-03"]


def test_dimensions_are_selected_together() -> None:
    assert chosen("date=2024-06-03..2024-06-04,station=JFK", FLIGHTS) == [
        "2024-06-03|JFK",
        "2024-06-04|JFK",
    ]
    assert chosen("date=2024-06-03,station=*", FLIGHTS) == ["2024-06-03|EWR", "2024-06-03|JFK"]


def test_values_of_one_dimension_are_alternatives() -> None:
    assert len(chosen("date=2024-06-03,station=JFK,station=EWR", FLIGHTS)) == 2


def test_a_dimension_that_a_space_lacks_says_nothing_about_it() -> None:
    assert chosen("date=2024-06-03,station=JFK", DAYS) == ["2024-06-03"]


def test_date_means_the_time_dimension_whatever_its_name() -> None:
    assert chosen("date=2024-02", monthly("2024-01")) == ["2024-02"]


@pytest.mark.parametrize("key", ["a,b", "a=b", "a..b", "2024-02", "*"])
def test_an_exact_key_wins_whatever_it_looks_like(key: str) -> None:
    assert chosen(key, static(["x", key, "y"])) == [key]


@settings(max_examples=60)
@given(st.lists(st.text(alphabet="ab,=.*- 2024T", min_size=1, max_size=8), min_size=1, max_size=4))
def test_every_key_of_a_space_can_be_selected(names: list[str]) -> None:
    keys = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if keys:
        assert chosen(keys, static(keys)) == keys
        assert all(chosen(key, static(keys)) == [key] for key in keys)


@settings(max_examples=80)
@given(st.text(max_size=30))
def test_any_text_is_a_selection_or_is_refused(text: str) -> None:
    try:
        selection = parse_selection(text)
        selection.check([DAYS.resolve(NOW), FLIGHTS.resolve(NOW)])
    except PartitionError:
        return
    assert selection.mask(DAYS.resolve(NOW)).any() or selection.mask(FLIGHTS.resolve(NOW)).any()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2024-06-15", "--include-open"),
        ("2031-01-01", "2024-06-14"),
        ("2023-12-31", "2024-01-01"),
        ("banana", "banana"),
        ("2024-01-99", "2024-01-99"),
        ("statoin=EWR", "station"),
        ("station=LAX", "LAX"),
        ("2024-01-05..2023-01-01", "2023-01-01"),
    ],
)
def test_what_selects_nothing_is_told(text: str, told: str) -> None:
    spaces = [d.resolve(NOW) for d in (DAYS, FLIGHTS, UNPARTITIONED)]
    with pytest.raises(PartitionError) as error:
        parse_selection(text).check(spaces)
    assert told in str(error.value)


def test_a_typing_error_is_told_with_the_nearest_name() -> None:
    with pytest.raises(PartitionError, match="EWR"):
        parse_selection("EWE").check([static(["EWR", "JFK"]).resolve(NOW)])


def test_each_part_of_a_list_must_select_something() -> None:
    with pytest.raises(PartitionError, match="2031"):
        parse_selection("2024-01-05,2031-01-01").check([DAYS.resolve(NOW)])


def test_one_asset_that_knows_it_is_enough() -> None:
    spaces = [d.resolve(NOW) for d in (DAYS, static(["EWR"]), UNPARTITIONED)]
    parse_selection("EWR").check(spaces)
    parse_selection("2024-01-05").check(spaces)


def test_a_date_is_fine_where_nothing_has_time() -> None:
    parse_selection("2024-01-05").check([UNPARTITIONED.resolve(NOW)])


@pytest.mark.parametrize("text", ["", " ", ",", "=x", "a b=c", "x\0y"])
def test_what_is_no_selection_is_refused(text: str) -> None:
    with pytest.raises(PartitionError):
        parse_selection(text).check([DAYS.resolve(NOW)])


@given(data=st.data(), second=st.integers(1, 4), third=st.integers(1, 3), timed=st.booleans())
def test_told_ranges_of_a_product_select_what_they_tell(
    data: st.DataObject, second: int, third: int, timed: bool
) -> None:
    """Also where the time is not the dimension named first."""
    parts: dict[str, PartitionsDefinition] = {
        "station": static([f"s{i}" for i in range(second)], name="station"),
        "date": daily("2024-06-10") if timed else static(["x", "y", "z"], name="date"),
        "kind": static([f"k{i}" for i in range(third)], name="kind"),
    }
    space = product(**parts).resolve(NOW)
    bits = data.draw(st.lists(st.booleans(), min_size=space.n, max_size=space.n))
    ordinals = [i for i, bit in enumerate(bits) if bit]
    pairs = key_pairs(ordinals, space)
    if ordinals:
        texts = [range_text(first, last) for first, last in pairs]
        assert parse_selection(texts).mask(space).nonzero()[0].tolist() == ordinals


def test_a_whole_product_is_one_range() -> None:
    space = FLIGHTS.resolve(NOW)
    assert key_pairs(range(space.n), space) == [("2024-06-01|EWR", "2024-06-14|JFK")]
    assert key_pairs(range(1, space.n), space) == [
        ("2024-06-01|JFK", "2024-06-01|JFK"),
        ("2024-06-02|EWR", "2024-06-14|JFK"),
    ]
