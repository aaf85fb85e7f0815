"""Mappings equal what they say, window by window; edges equal their brute force, both ways."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core.errors import AssetsError, PartitionError
from assets_core.partitions import (
    UNPARTITIONED,
    Edge,
    KeySpace,
    PartitionMapping,
    all_partitions,
    by_dimension,
    cron_windows,
    daily,
    default_mapping,
    dynamic,
    hourly,
    identity,
    lag,
    last,
    latest,
    mapped,
    monthly,
    overlap,
    product,
    quarterly,
    static,
    table,
    weekly,
    window,
    yearly,
)

NOW = datetime(2024, 6, 15, 10, 30, tzinfo=UTC)
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"]
quick = settings(max_examples=150)


@st.composite
def time_spaces(draw: st.DrawFn, now: datetime = NOW) -> KeySpace:
    make: Any = draw(
        st.sampled_from([hourly, daily, weekly, monthly, quarterly, yearly, cron_windows])
    )
    most = 12 if make is hourly else 70 if make in (daily, cron_windows) else 900
    first = (now - timedelta(days=draw(st.integers(0, most)))).date()
    end = None
    if draw(st.integers(0, 3)) == 0 and make in (hourly, daily):
        end = first + timedelta(days=draw(st.integers(1, most + 1)))
    zone = draw(st.sampled_from(ZONES))
    if make is cron_windows:
        return cron_windows("30 6 * * MON-FRI", first, timezone=zone).resolve(now)
    offset = draw(st.sampled_from([0, "30m"] if make is hourly else [0, "6h"]))
    return make(first, end, timezone=zone, offset=offset).resolve(
        now, include_open=draw(st.booleans())
    )


names = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=4, unique=True)


@st.composite
def spaces(draw: st.DrawFn) -> KeySpace:
    """Spaces of every kind, small enough for brute force."""
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return UNPARTITIONED.resolve(NOW)
    if kind == 1:
        return static(draw(names), name="station").resolve(NOW)
    day = (NOW - timedelta(days=draw(st.integers(0, 6)))).date()
    time = draw(st.sampled_from([daily(day), daily(day, timezone="Europe/Berlin"), weekly(day)]))
    if kind == 2:
        return time.resolve(NOW)
    station = static(draw(names), name="station")
    if kind == 3:
        return product(date=time, station=station).resolve(NOW)
    if kind == 4:
        return product(station=station, date=time).resolve(NOW)
    country = static(["x", "y"], name="country")
    return product(country=country, date=time, station=station).resolve(NOW)


def forward(edge: Edge) -> list[list[int]]:
    """Upstream ordinals of each downstream partition."""
    return [edge.upstream(i).tolist() for i in range(edge.n_down)]


def overlapping(down: KeySpace, up: KeySpace) -> list[list[int]]:
    """By comparing every pair of windows."""
    lows, highs = up.starts(), up.ends()
    return [
        np.flatnonzero((lows < end) & (highs > start) & visible(up, end)).tolist()
        for start, end in zip(down.starts().tolist(), down.ends().tolist(), strict=True)
    ]


def visible(up: KeySpace, end: int) -> np.ndarray:
    """What a reader whose window has that end may read: only an open one reads open windows."""
    now = NOW.timestamp()
    seen: np.ndarray = (up.ends() <= now) | (end > now)
    return seen


@quick
@given(time_spaces(), time_spaces())
def test_overlap_is_the_overlap_of_windows(down: KeySpace, up: KeySpace) -> None:
    assert forward(overlap().resolve(down, up)) == overlapping(down, up)


def relative(down: KeySpace, up: KeySpace, choose: Callable[[int, int], range]) -> list[list[int]]:
    """By counting windows of the upstream's own calendar, as if it had no start and end."""
    definition = up.definition
    lo = min([*down.starts().tolist(), *up.starts().tolist()]) - 86_400
    hi = max([*down.ends().tolist(), *up.ends().tolist()]) + 86_400
    edges = definition.windows_around(lo, hi).edges
    own = {int(start): i for i, start in enumerate(up.starts().tolist())}
    found = []
    for start, end in zip(down.starts().tolist(), down.ends().tolist(), strict=True):
        touching = np.flatnonzero((edges[:-1] < end) & (edges[1:] > start)).tolist()
        wanted = choose(touching[0], touching[-1] + 1)
        at = [own.get(int(edges[i])) for i in wanted if 0 <= i < len(edges) - 1]
        may = visible(up, end)
        found.append([i for i in at if i is not None and may[i]])
    return found


@quick
@given(time_spaces(), time_spaces(), st.integers(1, 9))
def test_last_counts_the_upstreams_windows(down: KeySpace, up: KeySpace, n: int) -> None:
    if down.n and up.n:
        expected = relative(down, up, lambda lo, hi: range(hi - n, hi))
        assert forward(last(n).resolve(down, up)) == expected


@quick
@given(time_spaces(), time_spaces(), st.integers(1, 9))
def test_lag_shifts_by_the_upstreams_windows(down: KeySpace, up: KeySpace, n: int) -> None:
    if down.n and up.n:
        expected = relative(down, up, lambda lo, hi: range(lo - n, hi - n))
        assert forward(lag(n).resolve(down, up)) == expected


@quick
@given(time_spaces(), time_spaces(), st.integers(0, 9), st.integers(-2, 9))
def test_a_window_reaches_both_ways(down: KeySpace, up: KeySpace, before: int, after: int) -> None:
    if down.n and up.n and -after <= before:
        expected = relative(down, up, lambda lo, hi: range(lo - before, hi + after))
        assert forward(window(before, after).resolve(down, up)) == expected


def test_a_day_reads_its_23_and_25_hours() -> None:
    days = daily("2024-03-30", "2024-11", timezone="Europe/Berlin").resolve(NOW.replace(year=2025))
    hours = hourly("2024-03-30", "2024-11", timezone="Europe/Berlin").resolve(
        NOW.replace(year=2025)
    )
    widths = overlap().resolve(days, hours).count(np.ones(hours.n, bool))
    by_day = dict(zip(days.keys(), widths.tolist(), strict=True))
    assert by_day["2024-03-31"] == 23
    assert by_day["2024-10-27"] == 25
    assert by_day["2024-06-01"] == 24


def test_a_window_that_has_not_ended_is_waited_for() -> None:
    now = datetime(2024, 6, 15, 16, tzinfo=UTC)
    here = daily("2024-06-05", timezone="Asia/Tokyo").resolve(now)
    there = daily("2024-06-01", timezone="America/New_York").resolve(now)
    edge = overlap().resolve(here, there)
    assert edge.short.tolist() == [False] * (here.n - 1) + [True]


def test_an_open_window_reads_what_there_is_and_waits_for_nothing() -> None:
    months = monthly("2024-05").resolve(NOW, include_open=True)
    days = daily("2024-05-01").resolve(NOW, include_open=True)
    edge = overlap().resolve(months, days)
    assert days.keys(edge.upstream(1)) == [f"2024-06-{day:02}" for day in range(1, 16)]
    assert edge.short is None


@pytest.mark.parametrize("mapping", [overlap(), all_partitions(), latest(), identity()])
def test_only_an_open_window_reads_open_windows(mapping: PartitionMapping) -> None:
    days = daily("2024-06-10").resolve(NOW, include_open=True)
    for up in (days, product(date=daily("2024-06-10"), s=STATIONS).resolve(NOW, include_open=True)):
        if mapping == identity() and up is not days:
            continue
        reads = forward(mapping.resolve(days, up))
        still = {i for i, end in enumerate(up.ends().tolist()) if end > NOW.timestamp()}
        assert all(still.isdisjoint(row) for row in reads[:-1])
        assert still & set(reads[-1])


def test_what_has_no_window_reads_no_open_windows() -> None:
    days = daily("2024-06-10").resolve(NOW, include_open=True)
    for mapping in (overlap(), all_partitions(), latest()):
        (row,) = forward(mapping.resolve(UNPARTITIONED.resolve(NOW), days))
        assert row[-1] == days.n - 2


def test_a_closed_window_waits_for_an_upstream_window_that_is_open() -> None:
    now = datetime(2024, 6, 15, 16, tzinfo=UTC)
    here = daily("2024-06-05", timezone="Asia/Tokyo").resolve(now)
    there = daily("2024-06-01", timezone="America/New_York").resolve(now, include_open=True)
    mine = mapped(lambda p: [p.key])
    for edge in (overlap().resolve(here, there), mine.resolve(here, there)):
        assert edge.short.tolist() == [False] * (here.n - 1) + [True]


@pytest.mark.parametrize("is_known", [False, True])
def test_the_same_key_is_waited_for_where_its_window_closes_later(is_known: bool) -> None:
    now = datetime(2024, 6, 15, 1, tzinfo=UTC)
    here = daily("2024-06-05").resolve(now)
    there = daily("2024-06-01", timezone="America/New_York").resolve(now, include_open=is_known)
    edge = identity().resolve(here, there)
    assert edge.short is not None
    assert edge.short.tolist() == [False] * (here.n - 1) + [True]
    assert forward(edge)[-2:] == [[here.n + 2], []]


def test_the_same_key_outside_of_an_upstream_is_not_waited_for() -> None:
    down = daily("2024-06-01").resolve(NOW)
    for start, end in (("2024-06-10", None), ("2024-06-01", "2024-06-05")):
        up = daily(start, end, timezone="America/New_York").resolve(NOW)
        assert identity().resolve(down, up).short is None


def test_an_upstream_that_has_ended_is_not_waited_for() -> None:
    down = daily("2024-06-01").resolve(NOW)
    up = daily("2024-06-01", "2024-06-05").resolve(NOW)
    edge = last(3).resolve(down, up)
    assert edge.short is None
    assert forward(edge)[7:] == [[]] * (down.n - 7)


def test_the_same_definition_is_read_one_to_one() -> None:
    space = daily("2020-01-01", timezone="Europe/Berlin").resolve(NOW)
    assert overlap().resolve(space, space).is_identity


# --------------------------------------------------------------------------------------------
# Edges


MAPPINGS = [
    overlap(),
    all_partitions(),
    latest(),
    last(3),
    lag(1),
    window(2, 1),
    window(2, -1),
    by_dimension(date=last(2)),
    by_dimension(date=lag(1), station=all_partitions()),
    by_dimension(station=identity()),
    by_dimension(date=latest()),
    by_dimension(date=all_partitions()),
]


@st.composite
def edges(draw: st.DrawFn) -> tuple[Edge, list[list[int]]]:
    """An edge between any two spaces that it fits, and its upstream ordinals by brute force."""
    if draw(st.booleans()):
        down, up = draw(time_spaces()), draw(time_spaces())
    else:
        down, up = draw(spaces()), draw(spaces())
    mapping = draw(st.sampled_from(MAPPINGS))
    if mapping.check(down.definition, up.definition) is not None:
        mapping = all_partitions()
    edge = mapping.resolve(down, up)
    assert (edge.n_down, edge.n_up) == (down.n, up.n)
    return edge, forward(edge)


def matrix(lists: list[list[int]], n_up: int) -> np.ndarray:
    found = np.zeros((len(lists), n_up), np.int64)
    for i, row in enumerate(lists):
        found[i, row] = 1
    return found


@quick
@given(edges())
def test_upstream_ordinals_rise_and_lie_in_the_space(made: tuple[Edge, list[list[int]]]) -> None:
    edge, lists = made
    for row in lists:
        assert row == sorted(set(row))
        assert not row or (row[0] >= 0 and row[-1] < edge.n_up)


@quick
@given(edges(), st.data())
def test_columns_equal_brute_force(made: tuple[Edge, list[list[int]]], data: st.DataObject) -> None:
    edge, lists = made
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    values = rng.integers(0, 2**64, (edge.n_up, 2), dtype=np.uint64)
    mask = rng.random(edge.n_up) < data.draw(st.sampled_from([0.0, 0.2, 1.0]))
    dense = matrix(lists, edge.n_up)
    sums = dense.astype(np.uint64) @ values if edge.n_up else np.zeros((edge.n_down, 2), np.uint64)
    assert (edge.sum(values) == sums).all()
    assert (edge.sum(values[:, 0]) == sums[:, 0]).all()
    assert edge.count(mask).tolist() == (dense @ mask).tolist()
    assert edge.any(mask).tolist() == ((dense @ mask) > 0).tolist()
    for combine in (np.bitwise_or, np.maximum):
        each = [combine.reduce(values[row], axis=0, initial=0).tolist() for row in lists]
        assert edge.over(values, combine).tolist() == each
        assert edge.over(values[:, 0], combine).tolist() == [first for first, _ in each]
    chosen = rng.random(edge.n_down) < 0.3
    assert edge.cover(chosen).tolist() == ((chosen @ dense) > 0).tolist()


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (static(["a", "b", "c", "d"]), static(["d", "x", "b", "a"])),
        (
            product(date=daily("2024-06-12"), s=static(["a", "b", "c"])),
            product(s=static(["c", "y", "a"]), date=daily("2024-06-11")),
        ),
    ],
)
def test_columns_of_permuted_names_equal_brute_force(down: Any, up: Any) -> None:
    edge = overlap().resolve(down.resolve(NOW), up.resolve(NOW))
    dense = matrix(forward(edge), edge.n_up)
    values = np.arange(1, 2 * edge.n_up + 1, dtype=np.uint64).reshape(-1, 2) ** np.uint64(3)
    assert (edge.sum(values) == dense.astype(np.uint64) @ values).all()
    assert (edge.sum(values[:, 1]) == dense.astype(np.uint64) @ values[:, 1]).all()


@quick
@given(edges())
def test_the_reverse_is_the_transpose(made: tuple[Edge, list[list[int]]]) -> None:
    edge, lists = made
    dense = matrix(lists, edge.n_up)
    for j in range(edge.n_up):
        expected = np.flatnonzero(dense[:, j]).tolist()
        assert edge.downstream(j).tolist() == expected
        bounds = edge.reverse_bounds(j)
        assert bounds is None or list(range(*bounds)) == expected


@quick
@given(edges())
def test_bounds_are_the_interval_or_none(made: tuple[Edge, list[list[int]]]) -> None:
    edge, lists = made
    for i, row in enumerate(lists):
        bounds = edge.bounds(i)
        assert bounds is None or list(range(*bounds)) == row


# --------------------------------------------------------------------------------------------
# Dimensions, told by keys


def by_keys(mapping: PartitionMapping, down: KeySpace, up: KeySpace) -> dict[str, set[str]]:
    edge = mapping.resolve(down, up)
    return {down.key(i): set(up.keys(edge.upstream(i))) for i in range(down.n)}


FLIGHTS = product(date=daily("2024-06-11"), station=static(["EWR", "JFK"], name="station"))
TURNED = product(station=static(["JFK", "EWR"], name="station"), date=daily("2024-06-12"))


def test_dimensions_of_one_name_map_to_each_other_in_any_order() -> None:
    found = by_keys(overlap(), FLIGHTS.resolve(NOW), TURNED.resolve(NOW))
    assert found["2024-06-11|EWR"] == set()
    assert found["2024-06-13|EWR"] == {"EWR|2024-06-13"}


def test_a_dimension_that_the_reader_lacks_is_read_whole() -> None:
    found = by_keys(overlap(), daily("2024-06-11").resolve(NOW), FLIGHTS.resolve(NOW))
    assert found["2024-06-12"] == {"2024-06-12|EWR", "2024-06-12|JFK"}


def test_a_dimension_that_the_upstream_lacks_does_not_matter() -> None:
    found = by_keys(overlap(), FLIGHTS.resolve(NOW), daily("2024-06-11").resolve(NOW))
    assert found["2024-06-12|JFK"] == {"2024-06-12"}


def test_time_dimensions_of_other_names_overlap() -> None:
    up = product(hour=hourly("2024-06-11"), station=static(["EWR", "JFK"]))
    found = by_keys(overlap(), FLIGHTS.resolve(NOW), up.resolve(NOW))
    assert len(found["2024-06-12|JFK"]) == 24


def test_a_window_of_a_product_keeps_the_other_dimension() -> None:
    found = by_keys(last(2), FLIGHTS.resolve(NOW), FLIGHTS.resolve(NOW))
    assert found["2024-06-12|JFK"] == {"2024-06-11|JFK", "2024-06-12|JFK"}


def test_each_dimension_can_be_mapped_by_itself() -> None:
    mapping = by_dimension(date=lag(1), station=all_partitions())
    found = by_keys(mapping, FLIGHTS.resolve(NOW), FLIGHTS.resolve(NOW))
    assert found["2024-06-12|JFK"] == {"2024-06-11|EWR", "2024-06-11|JFK"}


def test_an_assets_own_past_lies_at_lower_ordinals() -> None:
    space = TURNED.resolve(NOW)
    mapping = by_dimension(date=lag(1), station=all_partitions())
    assert mapping.check(TURNED, TURNED, same_asset=True) is None
    edge = mapping.resolve(space, space)
    assert all(j < i for i in range(space.n) for j in edge.upstream(i).tolist())


def test_names_map_by_key() -> None:
    down = static(["b", "c", "x"]).resolve(NOW)
    found = by_keys(overlap(), down, static(["a", "b", "c"]).resolve(NOW))
    assert found == {"b": {"b"}, "c": {"c"}, "x": set()}


def test_a_table_says_which_keys() -> None:
    mapping = table({"EU": ["FR", "DE"], "US": "NY"})
    down, up = static(["EU", "US", "AS"]), static(["DE", "NY", "FR"])
    assert mapping.check(down, up) is None
    found = by_keys(mapping, down.resolve(NOW), up.resolve(NOW))
    assert found == {"EU": {"DE", "FR"}, "US": {"NY"}, "AS": set()}


def test_a_table_waits_for_keys_that_are_not_registered_yet() -> None:
    down, up = static(["EU"]), dynamic("country")
    edge = table({"EU": ["DE", "FR"]}).resolve(
        down.resolve(NOW), up.resolve(NOW, dynamic={"country": ["FR"]})
    )
    assert forward(edge) == [[0]]
    assert edge.short.tolist() == [True]


def test_a_function_says_which_keys() -> None:
    space = daily("2024-06-01").resolve(NOW)
    same_weekday = mapped(lambda p: [(p.start - timedelta(days=7)).date().isoformat()])
    found = by_keys(same_weekday, space, space)
    assert found["2024-06-08"] == {"2024-06-01"}
    assert found["2024-06-07"] == set()


def test_what_lies_before_the_start_is_not_waited_for() -> None:
    space = daily("2024-06-01").resolve(NOW)
    before = mapped(lambda p: [(p.start - timedelta(days=1)).date().isoformat()])
    assert before.resolve(space, space).short is None


def test_what_is_not_closed_yet_is_waited_for() -> None:
    space = daily("2024-06-01").resolve(NOW)
    after = mapped(lambda p: [p.end.date().isoformat()])
    assert after.resolve(space, space).short.tolist() == [False] * (space.n - 1) + [True]


def test_a_functions_nonsense_is_refused() -> None:
    space = daily("2024-06-01").resolve(NOW)
    with pytest.raises(PartitionError, match="yesterday"):
        mapped(lambda p: ["yesterday"]).resolve(space, space)


def test_latest_is_the_newest_of_time_and_the_same_of_the_rest() -> None:
    down = static(["EWR", "JFK"], name="station")
    found = by_keys(latest(), down.resolve(NOW), FLIGHTS.resolve(NOW))
    assert found["JFK"] == {"2024-06-14|JFK"}


def test_all_and_latest_are_cheap_for_many() -> None:
    days = daily("1900-01-01").resolve(NOW)
    edge = all_partitions().resolve(days, days)
    total = edge.sum(np.ones((days.n, 2), np.uint64))
    assert (total == days.n).all()


def test_a_large_product_is_never_laid_out() -> None:
    up = product(date=daily("1990-01-01"), station=static([f"s{i}" for i in range(40)]))
    space = up.resolve(NOW)
    edge = by_dimension(date=all_partitions(), station=identity()).resolve(space, space)
    days = space.n // 40
    assert (edge.count(np.ones(space.n, bool)) == days).all()
    assert len(edge.upstream(0)) == len(edge.downstream(0)) == days


# --------------------------------------------------------------------------------------------
# The default, against a model that compares partitions one by one


VALUES = [["EWR", "JFK"], ["JFK", "EWR"], ["EWR", "JFK", "LAX"], ["north", "south"]]
TIMES = [daily("2024-06-11"), daily("2024-06-12", timezone="Asia/Tokyo"), hourly("2024-06-14")]


@st.composite
def named_parts(draw: st.DrawFn) -> dict[str, Any]:
    """One to three dimensions by name, time at most once."""
    taken = draw(
        st.lists(st.sampled_from(["date", "station", "side"]), min_size=1, max_size=3, unique=True)
    )
    return {
        name: draw(st.sampled_from(TIMES))
        if name == "date"
        else static(draw(st.sampled_from(VALUES)))
        for name in taken
    }


def definition_of(parts: dict[str, Any]) -> Any:
    """One dimension is declared by itself, and so has no name of its own."""
    return product(**parts) if len(parts) > 1 else next(iter(parts.values()))


def followed(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, str]:
    """Upstream dimension → the reader's, as the rule says it."""
    if len(mine) > 1 and len(theirs) > 1:
        return {name: name for name in theirs if name in mine}
    if len(mine) == len(theirs) == 1:
        # Both plain: two lists of names match by their keys, two of windows by time.
        ((one, own),), ((other, up),) = mine.items(), theirs.items()
        return {other: one} if isinstance(own, type(up)) else {}
    if "date" in mine and "date" in theirs:
        return {"date": "date"}
    pairs = [
        (name, own)
        for name, up in theirs.items()
        for own, down in mine.items()
        if "date" not in (name, own) and set(up.values) == set(down.values)
    ]
    return dict(pairs) if len(pairs) == 1 else {}


def belongs(own: Any, up: Any) -> bool:
    """Whether one dimension's upstream partition is read by the reader's."""
    return bool(own.start < up.end and up.start < own.end) if up.start else own.key == up.key


def split(parts: dict[str, Any], keys: list[str], chosen: list[str]) -> dict[str, list[Any]]:
    """The partitions of the chosen dimensions, by key."""
    known = functools.cache(lambda name, key: parts[name].partition(key))
    each = {key: dict(zip(parts, key.split("|"), strict=True)) for key in keys}
    return {key: [known(name, own[name]) for name in chosen] for key, own in each.items()}


@settings(max_examples=60)
@given(named_parts(), named_parts())
def test_the_default_follows_each_dimension_the_two_have_in_common(
    mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    pairs = followed(mine, theirs)
    down, up = definition_of(mine), definition_of(theirs)
    clash = any(
        name != "date" and set(theirs[name].values).isdisjoint(mine[own].values)
        for name, own in pairs.items()
    )
    misfit = default_mapping(down, up).check(down, up)
    assert (misfit is None) == (bool(pairs) and not clash)
    if misfit is not None:
        return
    here, there = down.resolve(NOW), up.resolve(NOW)

    upstream = split(theirs, there.keys(), list(pairs))
    expected = {
        key: {
            other
            for other, up_parts in upstream.items()
            if all(belongs(own, part) for own, part in zip(down_parts, up_parts, strict=True))
        }
        for key, down_parts in split(mine, here.keys(), list(pairs.values())).items()
    }
    assert by_keys(default_mapping(down, up), here, there) == expected


def test_plain_names_follow_the_products_dimension_of_the_same_keys() -> None:
    found = by_keys(overlap(), static(["JFK", "EWR"]).resolve(NOW), FLIGHTS.resolve(NOW))
    assert found["JFK"] == {f"2024-06-{day}|JFK" for day in (11, 12, 13, 14)}


def test_a_product_reads_plain_names_of_the_same_keys_by_them() -> None:
    found = by_keys(overlap(), FLIGHTS.resolve(NOW), static(["JFK", "EWR"]).resolve(NOW))
    assert found["2024-06-12|JFK"] == {"JFK"}


def test_registered_keys_are_the_same_by_the_name_they_are_registered_under() -> None:
    keys = {"partner": ["acme", "bolt"]}
    up = product(date=daily("2024-06-13"), who=dynamic("partner")).resolve(NOW, dynamic=keys)
    found = by_keys(overlap(), dynamic("partner").resolve(NOW, dynamic=keys), up)
    assert found["bolt"] == {"2024-06-13|bolt", "2024-06-14|bolt"}


def test_names_that_fit_two_dimensions_follow_neither() -> None:
    both = product(origin=static(["EWR", "JFK"]), goal=static(["EWR", "JFK"]))
    assert default_mapping(STATIONS, both).check(STATIONS, both)


def test_dimensions_of_one_name_fit_whatever_their_parts_are_called() -> None:
    up = product(date=daily("2024-06-11"), station=static(["EWR", "LAX"], name="airport"))
    mapping = by_dimension(station=identity())
    assert mapping.check(FLIGHTS, up) is None
    assert by_keys(mapping, FLIGHTS.resolve(NOW), up.resolve(NOW))["2024-06-12|EWR"] == {
        "2024-06-12|EWR"
    }


def test_a_refusal_names_what_works() -> None:
    few = static(["EWR"])
    told = default_mapping(few, FLIGHTS).check(few, FLIGHTS)
    assert told is not None
    assert "static([…], name='station')" in told
    named = static(["EWR"], name="station")
    assert default_mapping(named, FLIGHTS).check(named, FLIGHTS) is None


def test_a_refusal_between_products_asks_for_the_same_name() -> None:
    one = product(a=static(["x"]), b=static(["y"]))
    told = default_mapping(one, other := product(c=static(["x"]), d=static(["z"]))).check(
        one, other
    )
    assert told is not None
    assert "'a' of the reader and 'c' of the upstream the same name" in told


def test_a_refusal_names_no_newest_window_where_there_is_no_time() -> None:
    told = default_mapping(DAYS, STATIONS).check(DAYS, STATIONS)
    assert told is not None
    assert "latest()" not in told


# --------------------------------------------------------------------------------------------
# Which mapping fits what


DAYS, STATIONS = daily("2024-01-01"), static(["EWR", "JFK"], name="station")


@pytest.mark.parametrize(
    ("mapping", "down", "up"),
    [
        (last(7), STATIONS, STATIONS),
        (lag(1), DAYS, STATIONS),
        (last(7), DAYS, UNPARTITIONED),
        (latest(), DAYS, STATIONS),
        (identity(), DAYS, STATIONS),
        (identity(), DAYS, hourly("2024-01-01")),
        (overlap(), static(["a"], name="x"), static(["b"], name="y")),
        (overlap(), static(["a"]), static(["b"])),
        (by_dimension(nowhere=last(7)), FLIGHTS, FLIGHTS),
        (by_dimension(station=last(7)), FLIGHTS, FLIGHTS),
        (table({"LAX": ["EWR"]}), STATIONS, STATIONS),
        (table({"JFK": ["LAX"]}), STATIONS, STATIONS),
    ],
)
def test_what_does_not_fit_is_told(mapping: PartitionMapping, down: Any, up: Any) -> None:
    assert mapping.check(down, up)


@pytest.mark.parametrize(
    ("mapping", "fits"),
    [
        (lag(1), True),
        (window(7, -1), True),
        (by_dimension(date=lag(1)), True),
        (overlap(), False),
        (last(7), False),
        (window(7), False),
        (latest(), False),
        (identity(), False),
        (all_partitions(), False),
        (by_dimension(station=all_partitions()), False),
        (mapped(lambda p: [p.key]), False),
        (table({"a": "b"}), False),
    ],
)
def test_an_asset_reads_only_its_own_past(mapping: PartitionMapping, fits: bool) -> None:
    assert (mapping.check(FLIGHTS, FLIGHTS, same_asset=True) is None) == fits


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (DAYS, DAYS),
        (DAYS, hourly("2024-01-01", timezone="Asia/Kathmandu")),
        (UNPARTITIONED, DAYS),
        (DAYS, UNPARTITIONED),
        (FLIGHTS, DAYS),
        (DAYS, FLIGHTS),
        (STATIONS, FLIGHTS),
        (UNPARTITIONED, UNPARTITIONED),
        (dynamic("p"), dynamic("p")),
    ],
)
def test_the_default_fits_what_has_something_in_common(down: Any, up: Any) -> None:
    assert default_mapping(down, up).check(down, up) is None


@pytest.mark.parametrize(
    "declare",
    [lambda: lag(0), lambda: last(0), lambda: last(1.5), lambda: window(1, -2), lambda: lag(-1)],
)
def test_a_mapping_of_nothing_is_refused(declare: Any) -> None:
    with pytest.raises(AssetsError):
        declare()


@pytest.mark.parametrize("mapping", [*MAPPINGS, table({"a": ["b"]})])
def test_mappings_are_values(mapping: PartitionMapping) -> None:
    again = pickle.loads(pickle.dumps(mapping))
    assert again == mapping
    assert hash(again) == hash(mapping)
    assert again.identity() == mapping.identity()


def test_an_empty_space_reads_and_is_read_by_nothing() -> None:
    none, some = daily("2030-01-01").resolve(NOW), daily("2024-06-01").resolve(NOW)
    assert forward(last(7).resolve(some, none)) == [[]] * some.n
    assert forward(last(7).resolve(none, some)) == []
