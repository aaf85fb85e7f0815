"""Key spaces: windows tile the time line in every zone, keys are unique, stable and round-trip."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core.errors import AssetsError, DefinitionError, PartitionError
from assets_core.partitions import (
    UNPARTITIONED,
    KeySpace,
    Partition,
    PartitionsDefinition,
    cron_windows,
    daily,
    dynamic,
    hourly,
    monthly,
    product,
    quarterly,
    static,
    time_windows,
    weekly,
    yearly,
)

ZONES = [
    "UTC",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/London",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
]
KINDS = [hourly, daily, weekly, monthly, quarterly, yearly]
CRONS = [
    "30 6 * * *",
    "0 2 * * *",
    "30 2 * * MON-FRI",
    "*/30 * * * *",
    "15 */6 1,15 * *",
    "0 0 L * *",
]
NOW = datetime(2024, 6, 15, 10, 30, tzinfo=UTC)

quick = settings(max_examples=40)
zones = st.sampled_from(ZONES)
days = st.datetimes(datetime(1950, 1, 1), datetime(2035, 1, 1))
offsets = st.sampled_from([0, 0, "6h", "30m", "23h"])


@st.composite
def time_definitions(draw: st.DrawFn) -> tuple[PartitionsDefinition, datetime]:
    """A definition of windows, and an instant some windows later."""
    start, zone = draw(days), draw(zones)
    make = draw(st.sampled_from([*KINDS, cron_windows]))
    span = timedelta(days=draw(st.integers(1, 900)))
    if make is hourly or make is cron_windows:
        span = min(span, timedelta(days=60))
    now = (start + span).replace(tzinfo=UTC)
    day = start.date().isoformat()
    if make is cron_windows:
        return cron_windows(draw(st.sampled_from(CRONS)), day, timezone=zone), now
    offset = draw(st.sampled_from([0, "30m"]) if make is hourly else offsets)
    return make(day, timezone=zone, offset=offset), now


@quick
@given(time_definitions())
def test_windows_tile_the_time_line(made: tuple[PartitionsDefinition, datetime]) -> None:
    definition, now = made
    space = definition.resolve(now)
    starts, ends = space.starts(), space.ends()
    assert (starts < ends).all()
    assert (ends[:-1] == starts[1:]).all()
    assert (ends <= now.timestamp()).all()


@quick
@given(time_definitions())
def test_keys_are_unique_and_round_trip(made: tuple[PartitionsDefinition, datetime]) -> None:
    definition, now = made
    space = definition.resolve(now)
    keys = space.keys()
    assert len(set(keys)) == space.n
    assert space.ordinals(keys).tolist() == list(range(space.n))
    assert space.ordinals(keys[:5]).tolist() == list(range(min(space.n, 5)))
    assert [space.key(i) for i in range(0, space.n, 7)] == keys[::7]


@pytest.mark.slow
@quick
@given(time_definitions())
def test_some_keys_are_those_of_all(made: tuple[PartitionsDefinition, datetime]) -> None:
    definition, now = made
    space = definition.resolve(now)
    chosen, every = np.arange(0, space.n, 3)[::-1], space.keys()
    assert space.keys(chosen) == [every[i] for i in chosen.tolist()]


@quick
@given(time_definitions(), st.integers(0, 40))
def test_keys_and_salts_do_not_depend_on_when_it_is(
    made: tuple[PartitionsDefinition, datetime], later: int
) -> None:
    definition, now = made
    space, after = definition.resolve(now), definition.resolve(now + timedelta(days=later))
    assert after.keys()[: space.n] == space.keys()
    assert (after.salts()[: space.n] == space.salts()).all()
    assert (after.starts()[: space.n] == space.starts()).all()


@quick
@given(time_definitions(), st.data())
def test_a_partition_has_its_window_in_the_definitions_zone(
    made: tuple[PartitionsDefinition, datetime], data: st.DataObject
) -> None:
    definition, now = made
    space = definition.resolve(now)
    if not space.n:
        return
    i = data.draw(st.integers(0, space.n - 1))
    partition = space.partition(i)
    assert partition.key == space.key(i)
    assert partition.start.timestamp() == space.starts()[i]
    assert partition.end.timestamp() == space.ends()[i]
    assert str(partition.start.tzinfo) == definition.timezone
    assert definition.partition(partition.key) == partition


@quick
@given(time_definitions())
def test_the_open_window_is_the_one_that_contains_now(
    made: tuple[PartitionsDefinition, datetime],
) -> None:
    definition, now = made
    closed = definition.resolve(now)
    space = definition.resolve(now, include_open=True)
    assert space.keys()[: closed.n] == closed.keys()
    if space.n > closed.n:
        assert space.n == closed.n + 1
        assert space.starts()[-1] <= now.timestamp() < space.ends()[-1]


@quick
@given(zones, days, st.integers(1, 60))
def test_an_hour_is_what_the_clock_shows(zone: str, start: datetime, length: int) -> None:
    now = (start + timedelta(days=length)).replace(tzinfo=UTC)
    space = hourly(start.date(), timezone=zone).resolve(now)
    for key, lo, hi in zip(
        space.keys(), space.starts().tolist(), space.ends().tolist(), strict=True
    ):
        for instant in (lo, (lo + hi) // 2, hi - 1):
            shown = datetime.fromtimestamp(instant, ZoneInfo(zone))
            assert shown.strftime("%Y-%m-%dT%H") == key[:13]
            assert key[13:] in ("", shown.isoformat()[-6:])


@quick
@given(zones, days, st.integers(1, 1500))
def test_a_day_starts_when_its_clock_first_shows_it(
    zone: str, start: datetime, length: int
) -> None:
    now = (start + timedelta(days=length)).replace(tzinfo=UTC)
    space = daily(start.date(), timezone=zone).resolve(now)
    for key, lo in zip(space.keys(), space.starts().tolist(), strict=True):
        shown = datetime.fromtimestamp(lo, ZoneInfo(zone))
        assert shown.date().isoformat() == key
        midnight = datetime.fromisoformat(key).replace(tzinfo=ZoneInfo(zone))
        exists = (
            datetime.fromtimestamp(midnight.timestamp(), ZoneInfo(zone)).time() == midnight.time()
        )
        if exists:
            assert lo == midnight.timestamp()


@quick
@given(st.sampled_from(CRONS), zones, days)
def test_cron_windows_begin_at_cronsims_ticks(expression: str, zone: str, start: datetime) -> None:
    from cronsim import CronSim

    day = start.date().isoformat()
    now = (start + timedelta(days=20)).replace(tzinfo=UTC)
    space = cron_windows(expression, day, timezone=zone).resolve(now)
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)) - timedelta(seconds=1)
    expected: list[float] = []
    for tick in CronSim(expression, begin.astimezone(ZoneInfo(zone))):
        if tick.timestamp() >= now.timestamp():
            break
        if tick.timestamp() >= begin.timestamp() and tick.timestamp() not in expected:
            expected.append(tick.timestamp())
    assert space.starts().tolist() == expected[: space.n]
    assert len(expected) - space.n <= 1


# --------------------------------------------------------------------------------------------
# Known places and times


def lengths(space: KeySpace) -> dict[str, float]:
    """Hours by key."""
    hours = ((space.ends() - space.starts()) / 3600).tolist()
    return dict(zip(space.keys(), hours, strict=True))


def test_days_have_23_and_25_hours_where_the_clock_changes() -> None:
    days = lengths(
        daily("2024-01-01", "2025", timezone="Europe/Berlin").resolve(NOW.replace(year=2026))
    )
    assert days["2024-03-31"] == 23
    assert days["2024-10-27"] == 25
    assert sum(h != 24 for h in days.values()) == 2


def test_the_doubled_hour_has_two_keys_and_the_missing_one_none() -> None:
    space = hourly("2024-03-31", "2024-11", timezone="Europe/Berlin").resolve(
        NOW.replace(year=2025)
    )
    keys = space.keys()
    assert "2024-03-31T02" not in keys
    at = keys.index("2024-10-27T02+02:00")
    assert keys[at - 1 : at + 3] == [
        "2024-10-27T01",
        "2024-10-27T02+02:00",
        "2024-10-27T02+01:00",
        "2024-10-27T03",
    ]
    assert space.ordinals(["2024-10-27T02"]).tolist() == [-1]


def test_a_doubled_hour_keeps_its_key_when_only_one_of_the_two_is_in_the_space() -> None:
    definition = hourly("2024-10-27T01", timezone="Europe/Berlin")
    space = definition.resolve(datetime(2024, 10, 27, 1, 0, tzinfo=UTC))
    assert space.keys() == ["2024-10-27T01", "2024-10-27T02+02:00"]


def test_a_half_hour_shift_makes_windows_of_half_an_hour() -> None:
    hours = lengths(
        hourly("2024-04-06T23", "2024-10-08", timezone="Australia/Lord_Howe").resolve(
            NOW.replace(year=2025)
        )
    )
    assert hours["2024-04-07T01+11:00"] == 1
    assert hours["2024-04-07T01+10:30"] == 0.5
    assert hours["2024-10-06T02"] == 0.5


@pytest.mark.parametrize(
    ("zone", "day", "local_start"),
    [
        ("America/Sao_Paulo", "2017-10-15", "2017-10-15T01:00:00-02:00"),
        ("Asia/Beirut", "2021-03-28", "2021-03-28T01:00:00+03:00"),
        ("America/Havana", "2023-11-05", "2023-11-05T00:00:00-04:00"),
    ],
)
def test_a_day_without_its_midnight_starts_at_the_change(
    zone: str, day: str, local_start: str
) -> None:
    assert daily(day, timezone=zone).partition(day).start.isoformat() == local_start


def test_a_day_that_was_skipped_has_no_partition() -> None:
    keys = (
        daily("2011-12-28", timezone="Pacific/Apia")
        .resolve(datetime(2012, 1, 2, tzinfo=UTC))
        .keys()
    )
    assert keys == ["2011-12-28", "2011-12-29", "2011-12-31", "2012-01-01"]


@pytest.mark.parametrize(
    ("definition", "first", "last"),
    [
        (hourly("2024-01-01T05"), "2024-01-01T05", "2024-06-15T09"),
        (daily("2024-01-01"), "2024-01-01", "2024-06-14"),
        (weekly("2024-W01"), "2024-W01", "2024-W23"),
        (monthly("2024-01"), "2024-01", "2024-05"),
        (quarterly("2023-Q4"), "2023-Q4", "2024-Q1"),
        (yearly("2020"), "2020", "2023"),
        (cron_windows("30 6 * * *", "2024-01-01"), "2024-01-01T06:30", "2024-06-14T06:30"),
    ],
)
def test_keys_are_readable(definition: PartitionsDefinition, first: str, last: str) -> None:
    space = definition.resolve(NOW)
    assert (space.key(0), space.key(space.n - 1)) == (first, last)


def test_a_business_day_is_called_by_the_date_it_starts_on() -> None:
    partition = daily("2024-01-01", offset="6h", timezone="Europe/Berlin").partition("2024-01-01")
    assert partition.start.isoformat() == "2024-01-01T06:00:00+01:00"
    assert partition.end.isoformat() == "2024-01-02T06:00:00+01:00"


def test_a_window_is_closed_when_its_end_has_come() -> None:
    definition = daily("2024-01-01")
    assert definition.resolve(datetime(2024, 1, 2, tzinfo=UTC)).keys() == ["2024-01-01"]
    assert definition.resolve(datetime(2024, 1, 1, 23, 59, 59, tzinfo=UTC)).keys() == []


def test_before_the_start_there_is_nothing() -> None:
    assert daily("2030-01-01").resolve(NOW, include_open=True).keys() == []


def test_the_end_is_the_first_that_does_not_belong() -> None:
    assert daily("2024-01-01", "2024-01-03").resolve(NOW, include_open=True).keys() == [
        "2024-01-01",
        "2024-01-02",
    ]


def test_a_space_can_start_at_the_second_of_a_doubled_hour() -> None:
    definition = hourly("2024-10-27T02+01:00", timezone="Europe/Berlin")
    assert definition.resolve(NOW.replace(year=2025)).key(0) == "2024-10-27T02+01:00"


def test_an_aware_start_is_turned_to_the_zones_clock() -> None:
    definition = hourly(datetime(2024, 1, 1, 5, tzinfo=UTC), timezone="Europe/Berlin")
    assert definition.resolve(NOW).key(0) == "2024-01-01T06"


@pytest.mark.parametrize(
    "key",
    [
        "2024-1-1",
        "2024-01-32",
        "2023-02-29",
        "2024-01-01 ",
        "2024-01-01T05",
        "20240101",
        "NaT",
        "today",
        "-024-01-01",
        "２０２４-01-01",
        "2024-01-0１",
        "",
        "2024-01",
    ],
)
def test_what_only_looks_like_a_day_is_none(key: str) -> None:
    space = daily("2024-01-01").resolve(NOW)
    assert space.ordinals([key]).tolist() == [-1]
    assert space.ordinals(["2024-01-01", key] * 20).tolist() == [0, -1] * 20


@pytest.mark.parametrize("key", ["2024-01-01 05", "2024-01-01t05", "2024-01-01T24", "2024-01-01T5"])
def test_what_only_looks_like_an_hour_is_none(key: str) -> None:
    space = hourly("2024-01-01").resolve(NOW)
    assert space.ordinals([key]).tolist() == [-1]
    assert space.ordinals(["2024-01-01T00", key] * 20).tolist() == [0, -1] * 20


@pytest.mark.parametrize("key", ["2023-W53", "2024-W00", "2024-W54", "2024-W1"])
def test_a_week_that_a_year_does_not_have_is_none(key: str) -> None:
    assert weekly("2020-W01").resolve(NOW).ordinals([key, "2020-W53"]).tolist() == [-1, 52]


@quick
@given(st.lists(st.text(max_size=25), max_size=30), st.sampled_from(KINDS))
def test_any_text_is_a_key_or_is_not(texts: list[str], make: object) -> None:
    space = make("2024-01-01", timezone="Europe/Berlin").resolve(NOW)
    known = {key: i for i, key in enumerate(space.keys())}
    assert space.ordinals(texts).tolist() == [known.get(text, -1) for text in texts]


# --------------------------------------------------------------------------------------------
# Errors say what to do


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("2023-05-01", "2024-01-01"),
        ("2024-06-15", "--include-open"),
        ("2024-06-99", "2024-01-01"),
        ("2024-02-01T05", "2024-01-01"),
    ],
)
def test_an_unknown_day_is_explained(key: str, told: str) -> None:
    with pytest.raises(PartitionError) as error:
        daily("2024-01-01").resolve(NOW).ordinal(key)
    assert key in error.value.message
    assert told in str(error.value)


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(PartitionError, match="EWR"):
        static(["EWR", "JFK"]).resolve(NOW).ordinal("EWE")


def test_an_unknown_doubled_hour_is_told_with_its_two_keys() -> None:
    space = hourly("2024-10-27", timezone="Europe/Berlin").resolve(NOW.replace(year=2025))
    with pytest.raises(PartitionError, match=r"2024-10-27T02\+01:00"):
        space.ordinal("2024-10-27T02")


@pytest.mark.parametrize(
    "declare",
    [
        lambda: daily("2024-01-01", timezone="Europe/Berln"),
        lambda: daily("2024-13-01"),
        lambda: daily("yesterday"),
        lambda: daily("2024-01-02", "2024-01-01"),
        lambda: daily("2024-01-01", offset="6 parsecs"),
        lambda: daily("2024-01-01", offset="25h"),
        lambda: cron_windows("61 * * * *", "2024-01-01"),
        lambda: cron_windows("0 0 31 2 *", "2024-01-01"),
        lambda: static(["a", "a"]),
        lambda: static("abc"),
        lambda: static(["a|b"]),
        lambda: static(["a"], name="key"),
        lambda: static(["a"], name="no name"),
        lambda: dynamic("../.."),
        lambda: product(date=daily("2024-01-01")),
        lambda: product(a=UNPARTITIONED, b=static(["x"])),
    ],
)
def test_a_wrong_declaration_is_refused(declare: object) -> None:
    with pytest.raises(AssetsError):
        declare()


def test_now_must_be_aware() -> None:
    with pytest.raises(ValueError, match="aware"):
        daily("2024-01-01").resolve(datetime(2024, 6, 1))


# --------------------------------------------------------------------------------------------
# Names, products, declarations


def test_registered_keys_come_and_go() -> None:
    definition = dynamic("partners")
    assert definition.resolve(NOW).keys() == []
    assert definition.resolve(NOW, dynamic={"partners": ["b", "a"]}).keys() == ["b", "a"]
    assert definition.dynamic_names == ("partners",)


def test_what_is_not_partitioned_has_one_partition() -> None:
    space = UNPARTITIONED.resolve(NOW)
    assert space.keys() == ["all"]
    assert space.starts() is None
    assert UNPARTITIONED.path_parts("all") == ()


def test_salts_of_names_stay_when_names_are_added() -> None:
    before, after = static(["b", "c"]).resolve(NOW), static(["a", "b", "c"]).resolve(NOW)
    assert (after.salts()[1:] == before.salts()).all()


def test_salts_of_windows_stay_when_the_start_moves() -> None:
    before, after = daily("2024-01-01").resolve(NOW), daily("2020-01-01").resolve(NOW)
    assert (after.salts()[-before.n :] == before.salts()).all()


@pytest.fixture(name="flights")
def flights_() -> PartitionsDefinition:
    return product(station=static(["EWR", "JFK"]), date=daily("2024-06-10"))


def test_a_products_keys_name_its_dimensions_in_order(flights: PartitionsDefinition) -> None:
    space = flights.resolve(NOW)
    assert space.n == 10
    assert set(space.keys()) >= {"EWR|2024-06-10", "JFK|2024-06-14"}
    assert flights.path_parts("EWR|2024-06-10") == ("station=EWR", "date=2024-06-10")


def test_a_products_keys_round_trip(flights: PartitionsDefinition) -> None:
    space = flights.resolve(NOW)
    assert space.ordinals(space.keys()).tolist() == list(range(10))
    assert [space.key(i) for i in range(10)] == space.keys()
    assert space.ordinals(["EWR", "EWR|2024-06-10|x", "LAX|2024-06-10", "|"]).tolist() == [-1] * 4


def test_a_products_time_runs_slowest(flights: PartitionsDefinition) -> None:
    starts = flights.resolve(NOW).starts()
    assert (np.diff(starts) >= 0).all()


def test_a_products_partition_has_every_dimension(flights: PartitionsDefinition) -> None:
    space = flights.resolve(NOW)
    partition = space.partition(space.ordinal("JFK|2024-06-12"))
    assert (partition.station, partition["date"], str(partition)) == (
        "JFK",
        "2024-06-12",
        "JFK|2024-06-12",
    )
    assert partition.start == datetime(2024, 6, 12, tzinfo=UTC)
    assert flights.partition("JFK|2024-06-12") == partition


def test_a_products_salts_stay_when_a_name_is_added(flights: PartitionsDefinition) -> None:
    more = product(station=static(["BOS", "EWR", "JFK"]), date=daily("2024-06-01")).resolve(NOW)
    space = flights.resolve(NOW)
    assert (more.salts()[more.ordinals(space.keys())] == space.salts()).all()


def test_a_products_salts_differ(flights: PartitionsDefinition) -> None:
    assert len(set(flights.resolve(NOW).salts().tolist())) == 10


def test_a_product_of_two_times_takes_the_firsts_window() -> None:
    definition = product(made=daily("2024-06-13"), about=monthly("2024-04"))
    partition = definition.partition("2024-06-13|2024-04")
    assert partition.end == datetime(2024, 6, 14, tzinfo=UTC)


def test_a_partition_is_easily_made_in_a_test() -> None:
    assert Partition("2024-01-01").key == "2024-01-01"


def test_a_partition_without_a_dimension_says_so() -> None:
    with pytest.raises(AttributeError, match="station"):
        _ = Partition("2024-01-01", dimensions={"date": "2024-01-01"}).station


@pytest.mark.parametrize(
    "value",
    [
        Partition("a|b", dimensions={"x": "a", "y": "b"}),
        daily("2024-01-01", timezone="Europe/Berlin", offset="6h"),
        cron_windows("30 6 * * *", "2024-01-01"),
        static(["a", "b"]),
        dynamic("d"),
        UNPARTITIONED,
        product(date=daily("2024-01-01"), station=static(["EWR"])),
    ],
)
def test_declarations_survive_pickling(value: object) -> None:
    again = pickle.loads(pickle.dumps(value))
    assert again == value
    assert hash(again) == hash(value)


def test_equal_declarations_are_one() -> None:
    assert daily("2024-01-01") == daily(datetime(2024, 1, 1)) == daily("2024")
    assert daily("2024-01-01") != daily("2024-01-02")
    assert (
        daily("2024-01-01").identity() != daily("2024-01-01", timezone="Europe/Berlin").identity()
    )


def test_declaring_needs_no_numpy() -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from assets_core.partitions import daily, hourly, static, product, last, mapped\n"
        "product(date=daily('2024-01-01', timezone='Europe/Berlin'), s=static(['a'])); last(7)\n"
        "hourly('2024-10-27T02+01:00', timezone='Europe/Berlin')\n"
        "assert 'numpy' not in sys.modules, 'numpy was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_a_century_of_hours_tiles_in_every_zone(zone: str) -> None:
    space = hourly("1930-01-01", timezone=zone).resolve(datetime(2036, 1, 1, tzinfo=UTC))
    assert (space.ends() > space.starts()).all()
    keys = space.keys()
    assert len(set(keys)) == space.n
    assert (space.ordinals(keys) == np.arange(space.n)).all()
    assert space.n == pytest.approx(106 * 365.25 * 24, rel=1e-3)


def test_a_definition_error_is_one() -> None:
    with pytest.raises(DefinitionError):
        static(["a", "a"])


@pytest.mark.parametrize(
    "definition",
    [
        hourly("2023-10-28", timezone="Europe/Berlin"),
        hourly("2023-10-28", timezone="Australia/Lord_Howe", offset="20m"),
        daily("2011-12-20", timezone="Pacific/Apia", offset="6h"),
        weekly("2019-12-30"),
        monthly("2019-12"),
        quarterly("2019-Q4"),
        yearly("1999"),
        cron_windows("*/30 0-4 * * *", "2023-10-28", timezone="Europe/Berlin"),
    ],
    ids=lambda d: f"{d.kind} {d.zone_name}",
)
def test_a_key_by_itself_finds_the_partition_that_its_column_finds(definition) -> None:
    space = definition.resolve(definition.start.replace(tzinfo=UTC) + timedelta(days=400))
    keys = space.keys()
    assert [space.find(key) for key in keys] == space.ordinals(keys).tolist()
    assert [definition.partition(key) for key in keys] == [
        space.partition(i) for i in range(space.n)
    ]


@pytest.mark.parametrize(
    "key", ["", "2024", "2024-02-30", "2024-01-01T00", " 2024-01-01", "9" * 40]
)
def test_what_is_no_key_is_found_nowhere(key: str) -> None:
    space = daily("2024-01-01").resolve(datetime(2024, 3, 1, tzinfo=UTC))
    assert space.find(key) == space.ordinals([key])[0] == -1


def test_many_single_keys_lay_out_windows_once(monkeypatch: pytest.MonkeyPatch) -> None:
    days = daily("2015-01-01", timezone="Europe/Rome")
    keys = days.resolve(datetime(2016, 1, 1, tzinfo=UTC)).keys()
    laid: list[int] = []
    whole = time_windows.windows_around
    monkeypatch.setattr(
        time_windows, "windows_around", lambda *given: laid.append(1) or whole(*given)
    )
    assert len({days.partition(key) for key in keys}) == 365
    assert len(laid) <= 2
