"""Checks: what they demand, what they say when it isn't so, and that they never misjudge."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assets_core import checks
from assets_core.checks import (
    Check,
    CheckResult,
    CheckRunner,
    accepted_values,
    check,
    checks_identity,
    freshness_of_column,
    in_range,
    not_null,
    row_count,
    unique,
)
from assets_core.checks import rows as held_rows
from assets_core.errors import CorruptDataError, DefinitionError, UsageError

if TYPE_CHECKING:
    from somewhere import Nothing

BERLIN = ZoneInfo("Europe/Berlin")


@dataclass(frozen=True)
class Day:
    """The parts of a partition that checks read."""

    key: str = "2024-01-01"
    start: datetime | None = datetime(2024, 1, 1, tzinfo=BERLIN)
    end: datetime | None = datetime(2024, 1, 2, tzinfo=BERLIN)
    dimensions: dict[str, str] = field(default_factory=dict)


DAY = Day()
NO_TIME = Day("EWR", None, None)


def run(
    one: Check,
    rows: pa.Table,
    *,
    partition: Any = DAY,
    size: int | None = None,
    reread: bool = True,
) -> CheckResult:
    reopen = (lambda: rows.to_reader(max_chunksize=size)) if reread else None
    runner = CheckRunner([one], rows.schema, partition, reopen=reopen)
    for batch in rows.to_reader(max_chunksize=size):
        runner.update(batch)
    (result,) = runner.finish()
    assert result.passed == (not result.message)
    assert (result.name, result.severity) == (one.name, one.severity)
    json.dumps([result.observed, result.sample], allow_nan=False)
    return result


def column(values: Sequence[Any], kind: pa.DataType | None = None) -> pa.Table:
    return pa.table({"v": pa.array(values, kind)})


@pytest.fixture
def tiny(monkeypatch):
    """Rows are never held, so that everything is read again from where it is staged."""
    monkeypatch.setattr(held_rows, "_HELD_BYTES", -1)


# ------------------------------------------------------------------ declarations


def test_importing_checks_imports_no_data_library():
    code = (
        "import sys; from assets_core.checks import not_null, sql, check;"
        "not_null('a'); sql('from this'); check(lambda rows: True);"
        "print(sorted({'pyarrow','polars','pandas','duckdb','numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("made", "name", "says"),
    [
        (not_null("a", "b"), "not_null(a, b)", "every row has a and b"),
        (unique("a"), "unique(a)", "no two rows have the same a"),
        (row_count(min=1), "row_count(min=1)", "there are at least 1 rows"),
        (in_range("v", 0, 10), "in_range(v, min=0, max=10)", "v is between 0 and 10"),
        (accepted_values("s", ["x", "y"]), "accepted_values(s)", "s is 'x' or 'y'"),
        (
            freshness_of_column("t", "1h"),
            "freshness_of_column(t, 1h)",
            "the newest t lies within 1:00:00 of the partition's end",
        ),
        (checks.sql("from this"), "sql(from this)", "this query finds nothing wrong: from this"),
    ],
)
def test_a_check_has_a_name_and_says_what_it_demands(made, name, says):
    assert (made.name, made.severity, made.describe()) == (name, "error", says)


def test_name_and_severity_can_be_chosen():
    made = not_null("a", severity="warn", name="mine")
    assert (made.name, made.severity) == ("mine", "warn")


@pytest.mark.parametrize(
    "declare",
    [
        lambda: not_null(),
        lambda: not_null(1),
        lambda: unique(""),
        lambda: not_null("a", severity="fatal"),
        lambda: row_count(),
        lambda: row_count(min=2, max=1),
        lambda: row_count(min=1.5),
        lambda: row_count(min=-1),
        lambda: row_count(min=True),
        lambda: in_range("v"),
        lambda: in_range("v", 2, 1),
        lambda: in_range("v", 0, "x"),
        lambda: in_range("v", math.nan),
        lambda: in_range("v", 0, 1, inclusive="yes"),
        lambda: accepted_values("v", []),
        lambda: accepted_values("v", "text"),
        lambda: accepted_values("v", 5),
        lambda: freshness_of_column("t", "soon"),
        lambda: checks.sql("  "),
        lambda: check(7),
        lambda: check(lambda: True),
        lambda: check(lambda a, b: True),
        lambda: check(lambda *rows: True),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused_at_once(declare):
    with pytest.raises(DefinitionError, match=r"^Check "):
        declare()


def test_a_function_whose_rows_cannot_be_supplied_is_refused_at_once():
    def mine(rows: int) -> bool:
        return True

    with pytest.raises(DefinitionError, match="rows can't be given as int"):
        check(mine)


def test_identities_are_plain_and_tell_checks_apart():
    some = [
        not_null("a"),
        not_null("a", severity="warn"),
        unique("a"),
        in_range("v", 0),
        in_range("v", 0.0),
        in_range("v", max=date(2024, 1, 1)),
        accepted_values("v", ["a", Decimal(1)]),
        freshness_of_column("t", "1h"),
        freshness_of_column("t", "2h"),
        checks.sql("from this"),
        check(lambda rows: True, name="mine"),
    ]
    identities = checks_identity(some)
    assert len(set(identities)) == len(some)
    assert checks_identity(some) == identities
    json.dumps(identities)


# ------------------------------------------------------------------ unknown columns


@pytest.mark.parametrize(
    "one",
    [
        not_null("sensr_id"),
        unique("sensr_id"),
        in_range("sensr_id", 0),
        accepted_values("sensr_id", [1]),
        freshness_of_column("sensr_id", "1h"),
    ],
)
def test_an_unknown_column_fails_and_is_answered_with_the_known_ones(one):
    result = run(one, pa.table({"sensor_id": [1], "v": [2.0]}))
    assert result.message == (
        "there is no column 'sensr_id', did you mean 'sensor_id'? The columns are sensor_id, v"
    )


def test_a_check_that_does_not_fit_leaves_the_others_alone():
    rows = pa.table({"v": [1, None]})
    runner = CheckRunner([not_null("w"), not_null("v"), row_count(max=5)], rows.schema, DAY)
    for batch in rows.to_batches():
        runner.update(batch)
    assert [result.passed for result in runner.finish()] == [False, False, True]


# ------------------------------------------------------------------ not_null


def test_not_null_passes_without_nulls():
    assert run(not_null("v"), column([1, 2])).passed


def test_not_null_counts_the_rows_and_names_the_first():
    rows = pa.table({"sensor_id": [None if i in (16, 500, 999) else i for i in range(1000)]})
    result = run(not_null("sensor_id"), rows, size=300)
    assert result.message == "3 of 1,000 rows have no sensor_id, first at row 17"
    assert result.failed_rows == 3
    assert result.sample == ({"row": 17}, {"row": 501}, {"row": 1000})


def test_not_null_counts_a_row_once_whatever_it_lacks():
    rows = pa.table({"a": [None, None, 1], "b": [None, 1, 1]})
    result = run(not_null("a", "b"), rows)
    assert result.failed_rows == 2
    assert result.observed == {"nulls": {"a": 2, "b": 1}}
    assert "2 of 3 rows have no a or b" in result.message


def test_nan_is_not_null():
    assert run(not_null("v"), column([math.nan])).passed


HIDDEN = [
    pa.DictionaryArray.from_arrays(pa.array([0, 1, 1]), pa.array(["a", None])),
    pa.RunEndEncodedArray.from_arrays(pa.array([1, 3], pa.int32()), pa.array(["a", None])),
    pa.nulls(2),
    pa.array(["a", None, None], pa.string_view()),
    pa.array([[1], None, None]),
]


@pytest.mark.parametrize("values", HIDDEN, ids=lambda values: str(values.type))
def test_a_null_is_found_in_every_encoding(values):
    assert run(not_null("v"), pa.table({"v": values})).failed_rows == 2


@pytest.mark.parametrize("rows", [column([], pa.int64()), column([], pa.string())])
def test_no_rows_have_no_nulls(rows):
    assert run(not_null("v"), rows).passed


# ------------------------------------------------------------------ row_count


@pytest.mark.parametrize(
    ("one", "passes"),
    [
        (row_count(min=3), True),
        (row_count(max=3), True),
        (row_count(min=4), False),
        (row_count(max=2), False),
        (row_count(3, 3), True),
    ],
)
def test_row_count_includes_its_bounds(one, passes):
    result = run(one, column([1, 2, 3]), size=2)
    assert (result.passed, result.observed) == (passes, {"rows": 3})


def test_row_count_says_what_there_is_and_what_was_expected():
    assert run(row_count(min=1), column([], pa.int64())).message == (
        "there are 0 rows, expected at least 1"
    )


# ------------------------------------------------------------------ in_range

MOMENT = datetime(2024, 1, 1, 12, tzinfo=UTC)
ORDERED = [
    ([1, 2, 3], pa.int8(), 1, 3),
    ([1, 2, 3], pa.uint64(), 1, 3),
    ([1, 2, 3], pa.int32(), 0.5, 3.5),
    ([1.0, 2.0, 3.0], pa.float64(), 1, 3),
    ([1.0, 2.0, 3.0], pa.float32(), Decimal(1), 3),
    ([1.0, 2.0, 3.0], pa.float16(), 1, 3),
    ([Decimal("1.10"), Decimal("2.20")], pa.decimal128(9, 2), Decimal("1.1"), 2.25),
    ([Decimal("1.10"), Decimal("2.20")], pa.decimal256(60, 20), Decimal("1.1"), 2.25),
    (["a", "b"], pa.string(), "a", "b"),
    (["a", "b"], pa.large_string(), "a", "b"),
    (["a", "b"], pa.string_view(), "a", "b"),
    (["a", "b"], pa.dictionary(pa.int8(), pa.string()), "a", "b"),
    ([b"a", b"b"], pa.binary(), b"a", b"b"),
    ([date(2024, 1, 1), date(2024, 1, 2)], pa.date32(), date(2024, 1, 1), date(2024, 1, 2)),
    ([date(2024, 1, 1), date(2024, 1, 2)], pa.date64(), date(2024, 1, 1), date(2024, 1, 2)),
    ([time(1), time(2)], pa.time32("s"), time(1), time(2)),
    ([time(1), time(2)], pa.time64("ns"), time(1), time(2)),
    ([timedelta(1), timedelta(2)], pa.duration("us"), timedelta(1), timedelta(2)),
    ([MOMENT], pa.timestamp("ns", "UTC"), MOMENT, MOMENT),
    ([MOMENT], pa.timestamp("s", "Asia/Tokyo"), MOMENT.astimezone(BERLIN), MOMENT),
    ([MOMENT.replace(tzinfo=None)], pa.timestamp("ms"), MOMENT.replace(tzinfo=None), None),
    ([MOMENT.replace(tzinfo=None)], pa.timestamp("us"), date(2024, 1, 1), date(2024, 1, 2)),
]


@pytest.mark.parametrize(("values", "kind", "low", "high"), ORDERED, ids=lambda v: str(v)[:30])
def test_in_range_takes_every_ordered_type(values, kind, low, high):
    rows = column([*values, None], kind)
    assert run(in_range("v", low, high), rows).passed
    if isinstance(low, int):
        assert run(in_range("v", low, high, inclusive="right"), rows).failed_rows == 1


@pytest.mark.parametrize(("values", "kind", "low", "high"), ORDERED, ids=lambda v: str(v)[:30])
def test_in_range_refuses_what_lies_below_every_ordered_type(values, kind, low, high):
    beyond = in_range("v", min=high if high is not None else low, inclusive="neither")
    assert run(beyond, column([values[0], None, values[0]], kind)).failed_rows == 2


@pytest.mark.parametrize(
    ("inclusive", "bad"), [("both", 0), ("left", 1), ("right", 1), ("neither", 2)]
)
def test_which_bounds_are_allowed_can_be_chosen(inclusive, bad):
    result = run(in_range("v", 1, 3, inclusive=inclusive), column([1, 2, 3]))
    assert (result.failed_rows or 0) == bad


def test_in_range_counts_and_shows_what_is_outside():
    result = run(in_range("v", 0, 100), column([5, -3, None, 101, 101]), size=2)
    assert result.message == "in 3 of 5 rows v is not between 0 and 100, first -3 at row 2"
    assert (result.observed, result.sample) == ({"min": -3, "max": 101}, (-3, 101))


@pytest.mark.parametrize("one", [in_range("v", 0), in_range("v", max=math.inf)])
def test_nan_is_outside_of_every_range(one):
    result = run(one, column([1.0, math.nan, None, math.nan]))
    assert (result.failed_rows, result.sample) == (2, ("nan",))
    assert "first nan at row 2" in result.message


@pytest.mark.parametrize("rows", [column([], pa.int64()), column([None], pa.float64())])
def test_nothing_is_outside_of_a_range(rows):
    assert run(in_range("v", 1, 2), rows).passed


def test_a_column_of_the_null_type_holds_nothing_that_is_outside():
    assert run(in_range("v", 1, 2), pa.table({"v": pa.nulls(3)})).passed
    assert run(accepted_values("v", [1]), pa.table({"v": pa.nulls(3)})).passed


@pytest.mark.parametrize(
    ("values", "bound"),
    [
        (["x"], 1),
        ([1], "x"),
        ([True], 1),
        ([[1]], 1),
        ([MOMENT], MOMENT.replace(tzinfo=None)),
        ([MOMENT.replace(tzinfo=None)], MOMENT),
        ([MOMENT], date(2024, 1, 1)),
        ([date(2024, 1, 1)], MOMENT),
        ([time(1)], timedelta(1)),
    ],
)
def test_bounds_of_another_kind_than_the_column_fail_clearly(values, bound):
    result = run(in_range("v", bound), column(values))
    assert result.message.startswith("the column's type is ")


def test_bounds_may_be_numpys_numbers():
    assert run(in_range("v", np.int64(1), np.float32(1.5)), column([1])).passed
    assert run(accepted_values("v", np.array([1, 2])), column([1])).passed


def test_whole_numbers_beyond_floating_point_compare_exactly():
    big = 2**53
    assert run(in_range("v", max=float(big)), column([big + 1])).failed_rows == 1
    assert run(in_range("v", max=big + 1), column([float(big)])).passed
    assert run(in_range("v", min=big + 1), column([float(big)])).failed_rows == 1
    assert run(in_range("v", max=10**400), column([1.0])).passed


def test_times_finer_than_python_knows_compare_exactly():
    at = 1_704_067_200_000_000_001
    rows = pa.table({"v": pa.array([at], pa.int64()).cast(pa.timestamp("ns"))})
    assert run(in_range("v", max=datetime(2024, 1, 1)), rows).failed_rows == 1


numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3), st.sampled_from([2**53, 2**53 + 1])
)
bounds = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 3),
    st.floats(allow_nan=False),
    st.decimals(-5, 5, places=2),
)
sides = st.sampled_from(["both", "left", "right", "neither"])


def inside(value: Any, low: Any, high: Any, inclusive: str) -> bool:
    if value != value:
        return False
    left, right = inclusive in ("both", "left"), inclusive in ("both", "right")
    return (low is None or value > low or (left and value == low)) and (
        high is None or value < high or (right and value == high)
    )


def agrees_with_python(
    values: list[Any], kind: pa.DataType, low: Any, high: Any, side: str
) -> None:
    if low is None and high is None:
        return
    if low is not None and high is not None and low > high:
        low, high = high, low
    result = run(in_range("v", low, high, inclusive=side), column(values, kind), size=3)
    bad = [i for i, v in enumerate(values) if v is not None and not inside(v, low, high, side)]
    assert (result.failed_rows or 0) == len(bad)
    if bad:
        assert f"at row {bad[0] + 1}" in result.message


@given(st.lists(st.none() | numbers, max_size=8), bounds, bounds, sides)
def test_in_range_agrees_with_python_on_whole_numbers(values, low, high, side):
    agrees_with_python(values, pa.int64(), low, high, side)


@given(st.lists(st.none() | st.floats(), max_size=8), bounds, bounds, sides)
def test_in_range_agrees_with_python_on_floats(values, low, high, side):
    agrees_with_python(values, pa.float64(), low, high, side)


@given(st.lists(st.none() | st.floats(width=32), max_size=8), bounds, bounds, sides)
def test_in_range_agrees_with_python_on_small_floats(values, low, high, side):
    agrees_with_python(values, pa.float32(), low, high, side)


@given(st.lists(st.none() | st.decimals(-9, 9, places=2), max_size=8), bounds, bounds, sides)
def test_in_range_agrees_with_python_on_decimals(values, low, high, side):
    agrees_with_python(values, pa.decimal128(9, 2), low, high, side)


moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))


@given(st.lists(st.none() | moments, max_size=8), moments, st.none() | moments, sides)
def test_in_range_agrees_with_python_on_times(values, low, high, side):
    agrees_with_python(values, pa.timestamp("us"), low, high, side)


@given(st.lists(st.none() | st.text(max_size=3), max_size=8), st.text(max_size=3), sides)
@example(["\0"], "\0", "right")
def test_in_range_agrees_with_python_on_text(values, low, side):
    agrees_with_python(values, pa.string(), low, None, side)


# ------------------------------------------------------------------ accepted_values


def test_accepted_values_pass_and_nulls_are_ignored():
    assert run(accepted_values("v", ["a", "b"]), column(["a", None, "b"])).passed


def test_accepted_values_count_and_show_what_is_not():
    result = run(accepted_values("v", ["a"]), column(["a", "x", None, "y", "x"]), size=2)
    assert result.message == "in 3 of 5 rows v is not an accepted value, first x at row 2"
    assert (result.failed_rows, result.sample) == (3, ("x", "y"))


@pytest.mark.parametrize(
    ("values", "kind", "accepted"),
    [
        ([1, 2], pa.int8(), range(500)),
        ([1.5], pa.float32(), [1.5]),
        ([0.1], pa.float32(), [0.1]),
        (["a"], pa.string_view(), ["a"]),
        (["a"], pa.dictionary(pa.int8(), pa.string()), ["a"]),
        ([date(2024, 1, 1)], pa.date32(), [date(2024, 1, 1)]),
        ([Decimal("1.10")], pa.decimal128(9, 2), [Decimal("1.1")]),
        ([True], pa.bool_(), [True]),
        ([1], pa.int64(), [1, "x", None]),
    ],
)
def test_accepted_values_are_taken_as_the_columns_type(values, kind, accepted):
    assert run(accepted_values("v", accepted), column([*values, None], kind)).passed


def test_accepted_values_of_another_kind_than_the_column_fail_clearly():
    result = run(accepted_values("v", [1, 2]), column(["1"]))
    assert result.message == (
        "the column's type is string, and none of the accepted values is one: 1, 2"
    )


def test_accepted_values_of_a_type_that_has_none_fail_clearly():
    assert "can't be evaluated" in run(accepted_values("v", [[1]]), column([[1]])).message


@given(st.lists(st.none() | st.integers(0, 9)), st.sets(st.integers(0, 9), min_size=1))
def test_accepted_values_agree_with_python(values, accepted):
    result = run(accepted_values("v", accepted), column(values, pa.int64()), size=3)
    bad = [value for value in values if value is not None and value not in accepted]
    assert (result.failed_rows or 0) == len(bad)


# ------------------------------------------------------------------ freshness_of_column

END = DAY.end
FRESH = "1h"


def at(minutes: int, kind: pa.DataType | None = None) -> pa.Table:
    """A column whose newest value lies so many minutes before the partition's end."""
    newest = END.astimezone(UTC) - timedelta(minutes=minutes)
    return column([newest - timedelta(days=3), None, newest], kind)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize(("minutes", "passes"), [(0, True), (60, True), (61, False), (-5, True)])
def test_the_newest_value_lies_within_the_time_before_the_end(minutes, passes, unit):
    rows = at(minutes, pa.timestamp(unit, "UTC"))
    assert run(freshness_of_column("v", FRESH), rows, size=2).passed == passes


def test_freshness_says_how_old_the_newest_value_is():
    result = run(freshness_of_column("v", FRESH), at(150))
    assert "2:30:00 before the partition's end; allowed is 1:00:00" in result.message
    assert result.observed == {"newest": "2024-01-01T20:30:00+00:00", "age_seconds": 9000.0}


def test_a_time_without_a_zone_is_in_the_partitions_zone():
    rows = column([datetime(2024, 1, 1, 23, 30)])
    assert run(freshness_of_column("v", FRESH), rows).passed


def test_hours_that_a_clock_change_skips_do_not_count():
    spring = Day(end=datetime(2024, 3, 31, 4, tzinfo=BERLIN))
    rows = column([datetime(2024, 3, 31, 1, 30)])  # 1.5 hours before 04:00, by the clock 2.5
    assert run(freshness_of_column("v", "90m"), rows, partition=spring).passed
    assert not run(freshness_of_column("v", "89m"), rows, partition=spring).passed


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
@pytest.mark.parametrize(("day", "passes"), [(date(2024, 1, 1), True), (date(2023, 12, 31), False)])
def test_a_date_counts_until_its_last_moment(day, passes, kind):
    assert run(freshness_of_column("v", "1h"), column([day], kind)).passed == passes


@pytest.mark.parametrize(
    "rows", [column([], pa.timestamp("us")), column([None], pa.date32()), column([None])]
)
def test_no_value_at_all_is_not_fresh(rows):
    assert "no row has a v" in run(freshness_of_column("v", FRESH), rows).message


def test_freshness_needs_a_partition_that_ends():
    assert (
        "no end in time" in run(freshness_of_column("v", FRESH), at(0), partition=NO_TIME).message
    )


def test_freshness_needs_a_time_column():
    assert (
        "takes a timestamp or a date" in run(freshness_of_column("v", FRESH), column([1])).message
    )


# ------------------------------------------------------------------ unique


def test_unique_passes_without_repeats():
    assert run(unique("v"), column([1, 2, 3])).passed


@pytest.mark.parametrize("how", ["held", "read again"])
def test_unique_counts_the_rows_that_repeat_and_shows_what(how, monkeypatch):
    if how == "read again":
        monkeypatch.setattr(held_rows, "_HELD_BYTES", -1)
    result = run(unique("v"), column([7, 8, 7, 9, 7, 8]), size=2)
    assert result.message == "3 of 6 rows repeat an earlier v, such as 7 (3 times)"
    assert (result.failed_rows, result.sample) == (3, (7, 8))


@pytest.mark.parametrize("how", ["held", "read again"])
def test_unique_over_several_columns_compares_them_together(how, monkeypatch):
    if how == "read again":
        monkeypatch.setattr(held_rows, "_HELD_BYTES", -1)
    rows = pa.table({"a": [1, 1, 2, 1], "b": ["x", "y", "x", "x"], "c": [1, 2, 3, 4]})
    result = run(unique("a", "b"), rows)
    assert (result.failed_rows, result.sample) == (1, ([1, "x"],))
    assert run(unique("a", "c"), rows).passed


def test_columns_may_be_called_anything(tiny):
    rows = pa.table({'times"; --': [1, 1], "k0": [1, 2]})
    assert run(unique('times"; --'), rows).failed_rows == 1
    assert run(unique('times"; --', "k0"), rows).passed


KEYS = [
    pa.array(["a", "b", "a", None, None]),
    pa.array(["a", "b", "a", None, None], pa.string_view()),
    pa.array(["a", "b", "a", None, None]).dictionary_encode(),
    pa.array([0.0, 1.0, -0.0, None, None]),
    pa.array([0.0, 1.0, -0.0, None, None], pa.float32()),
    pa.array([math.nan, 1.0, math.nan, None, None]),
    pa.array([True, False, True, None, None]),
    pa.array([b"a", b"b", b"a", None, None]),
    pa.array([Decimal(1), Decimal(2), Decimal(1), None, None]),
    pa.array([date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 1), None, None]),
    pa.array([MOMENT, END, MOMENT, None, None], pa.timestamp("ns", "UTC")),
    pa.array([[1], [2], [1], None, None]),
    pa.array([{"x": 1}, {"x": 2}, {"x": 1}, None, None]),
]


@pytest.mark.parametrize("values", KEYS, ids=lambda values: str(values.type))
def test_unique_takes_every_type_and_leaves_nulls_out(values):
    assert run(unique("v"), pa.table({"v": values})).failed_rows == 1


@pytest.mark.parametrize("values", KEYS, ids=lambda values: str(values.type))
def test_unique_takes_every_type_when_it_reads_again(values, tiny):
    assert run(unique("v"), pa.table({"v": values})).failed_rows == 1


def test_small_floats_are_compared():
    rows = pa.table({"v": pa.array(np.array([1, 2, 1], np.float16))})
    assert run(unique("v"), rows).failed_rows == 1


def test_a_row_with_a_null_in_one_of_the_columns_is_left_out():
    rows = pa.table({"a": [1, 1, None, None], "b": [None, None, None, None]})
    assert run(unique("a", "b"), rows).passed


@pytest.mark.parametrize("rows", [column([], pa.string()), column([None, None], pa.int64())])
def test_nothing_is_unique(rows):
    assert run(unique("v"), rows).passed


def test_unique_of_nothing_is_unique_when_it_reads_again(tiny):
    assert run(unique("v"), column([None, None], pa.int64())).passed


keys = st.tuples(st.none() | st.integers(0, 3), st.none() | st.sampled_from(["", "a", "b"]))


def repeated(rows: list[tuple[Any, ...]]) -> int:
    known = Counter(row for row in rows if None not in row)
    return sum(count - 1 for count in known.values())


@given(st.lists(keys, max_size=12))
def test_unique_agrees_with_python(rows):
    table = pa.table(
        {
            "a": pa.array([a for a, _ in rows], pa.int64()),
            "b": pa.array([b for _, b in rows], pa.string()),
        }
    )
    assert (run(unique("a", "b"), table, size=3).failed_rows or 0) == repeated(rows)
    assert (run(unique("a"), table, size=3).failed_rows or 0) == repeated([r[:1] for r in rows])


@settings(max_examples=15)
@given(st.lists(keys, min_size=1, max_size=12))
def test_unique_agrees_with_python_when_it_reads_again(rows):
    table = pa.table(
        {
            "a": pa.array([a for a, _ in rows], pa.int64()),
            "b": pa.array([b for _, b in rows], pa.string()),
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_rows, "_HELD_BYTES", -1)
        assert (run(unique("a", "b"), table, size=3).failed_rows or 0) == repeated(rows)


@given(st.lists(st.lists(st.none() | st.integers(0, 3), min_size=2, max_size=2), max_size=12))
def test_not_null_agrees_with_python(rows):
    table = pa.table({n: pa.array([r[i] for r in rows], pa.int64()) for i, n in enumerate("ab")})
    result = run(not_null("a", "b"), table, size=3)
    assert (result.failed_rows or 0) == sum(None in row for row in rows)


# ------------------------------------------------------------------ sql


@pytest.mark.parametrize("how", ["held", "read again"])
def test_a_query_that_returns_no_rows_passes_and_each_row_fails(how, monkeypatch):
    if how == "read again":
        monkeypatch.setattr(held_rows, "_HELD_BYTES", -1)
    rows = pa.table({"a": range(10), "b": ["x"] * 10})
    assert run(checks.sql("SELECT * FROM this WHERE a < 0"), rows).passed
    result = run(checks.sql("SELECT a, b FROM this WHERE a > 2 ORDER BY a"), rows, size=3)
    assert result.message == "the query returned 7 rows, first a=3, b=x"
    assert result.failed_rows == 7
    assert result.sample[:2] == ({"a": 3, "b": "x"}, {"a": 4, "b": "x"})
    assert len(result.sample) == 5


@pytest.mark.parametrize("how", ["held", "read again"])
def test_a_query_may_read_this_several_times(how, monkeypatch):
    if how == "read again":
        monkeypatch.setattr(held_rows, "_HELD_BYTES", -1)
    query = "SELECT x.v FROM this x JOIN this y ON x.v = y.v + 1"
    assert run(checks.sql(query), column([1, 2, 3])).failed_rows == 2


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT count(*) > 2 FROM this", ""),
        ("SELECT count(*) > 3 FROM this", "the query returned false"),
        ("SELECT bool_and(v > 0) FROM this WHERE v > 9", "the query returned NULL"),
    ],
)
def test_a_single_boolean_is_a_verdict(query, says):
    message = run(checks.sql(query), column([1, 2, 3])).message
    assert message.startswith(says)
    assert bool(message) == bool(says)


def test_several_booleans_are_offending_rows():
    result = run(checks.sql("SELECT v > 0 FROM this"), column([1, 2, 3]))
    assert result.failed_rows == 3


def test_a_query_gets_the_partition():
    query = (
        "SELECT $partition_key = '2024-01-01' "
        "AND $partition_start = TIMESTAMPTZ '2023-12-31 23:00:00Z' "
        "AND $partition_end - $partition_start = INTERVAL 1 DAY"
    )
    assert run(checks.sql(query), column([1])).passed
    assert run(checks.sql("SELECT $partition_start IS NULL"), column([1]), partition=NO_TIME).passed


def test_a_query_runs_in_the_partitions_zone():
    rows = column([datetime(2023, 12, 31, 23, tzinfo=UTC)])
    assert run(checks.sql("SELECT v::DATE = DATE '2024-01-01' FROM this"), rows).passed


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELEC 1", "the query failed: Parser Error"),
        ("SELECT w FROM this", "the query failed: Binder Error"),
        ("SELECT 1; SELECT 2", "a single SELECT"),
        ("DROP TABLE this", "a single SELECT"),
        ("COPY this TO 'x.csv'", "a single SELECT"),
        ("SELECT $partition_kye", "binds an unknown $partition_kye"),
        ("SELECT error('boom')", "boom"),
    ],
)
def test_a_query_that_does_not_work_is_a_failed_check(query, says):
    assert says in run(checks.sql(query), column([1])).message


def test_the_offending_rows_of_a_query_are_plain_values():
    result = run(checks.sql("SELECT v, 1.5::DECIMAL(9,2) AS d FROM this"), column([MOMENT]))
    assert result.sample == ({"v": "2024-01-01T13:00:00+01:00", "d": "1.50"},)


def test_no_rows_are_queried_like_any():
    rows = column([], pa.int64())
    assert run(checks.sql("SELECT count(*) = 0 FROM this"), rows).passed
    assert run(checks.sql("FROM this"), rows).passed


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_both_zeros_are_accepted_where_one_is(kind):
    rows = column([0.0, -0.0], kind)
    assert run(accepted_values("v", [0]), rows).passed
    assert not run(accepted_values("v", [1]), rows).passed


# ------------------------------------------------------------------ functions


def test_an_exit_is_a_failed_check():
    def leaves(rows):
        sys.exit("enough")

    assert run(check(leaves), column([1])).message.startswith("SystemExit: enough")


@pytest.mark.parametrize("how", ["held", "read again"])
@pytest.mark.parametrize("kind", [pa.Table, pa.RecordBatchReader, pl.DataFrame, pd.DataFrame])
def test_a_function_gets_the_rows_as_what_it_asks_for(kind, how, monkeypatch):
    if how == "read again":
        monkeypatch.setattr(held_rows, "_HELD_BYTES", -1)
    seen = []

    def mine(rows: kind) -> None:  # type: ignore[valid-type]
        seen.append(type(rows))
        total = rows.read_all().num_rows if kind is pa.RecordBatchReader else len(rows)
        assert total == 3

    mine.__annotations__["rows"] = kind
    assert run(check(mine), column([1, 2, 3]), size=2).passed
    assert issubclass(seen[0], kind)


def test_a_function_gets_the_partition_when_it_asks():
    def mine(rows, partition):
        return partition.key == "2024-01-01" and rows.num_rows == 1

    assert run(check(mine), column([1])).passed


def test_check_is_a_decorator_and_the_function_stays_callable():
    @check
    def plain(rows):
        return True

    @check(severity="warn", name="named")
    def named(rows):
        """Says what it wants.

        And why.
        """
        return False

    assert (plain.name, plain.severity, plain(None)) == ("plain", "error", True)
    assert (named.name, named.severity) == ("named", "warn")
    assert named.describe() == "Says what it wants"
    assert run(named, column([1])).severity == "warn"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (True, ""),
        (None, ""),
        (np.True_, ""),
        (False, "it returned False"),
        (np.False_, "it returned False"),
        (CheckResult(), ""),
        (CheckResult(passed=False, message="two rows lack it"), "two rows lack it"),
        (CheckResult(passed=False), "it returned a failure"),
        (3, "it returned 3; a check returns True, False, a CheckResult or None"),
        ("", "it returned ''; a check returns True, False, a CheckResult or None"),
    ],
)
def test_what_a_function_returns_is_its_verdict(returned, message):
    assert run(check(lambda rows: returned, name="mine"), column([1])).message == message


def test_a_result_keeps_its_details_and_the_declared_name():
    mine = CheckResult("x", False, "error", "bad", 2, {"at": MOMENT}, (Decimal(1), *range(9)))
    result = run(check(lambda rows: mine, name="mine", severity="warn"), column([1]))
    assert (result.name, result.severity, result.failed_rows) == ("mine", "warn", 2)
    assert result.observed == {"at": MOMENT.isoformat()}
    assert result.sample == ("1", 0, 1, 2, 3)


def test_an_assertion_is_a_failure_with_its_text():
    def mine(rows):
        assert rows.num_rows > 1, "too few"

    assert run(check(mine), column([1])).message.startswith("too few")


def test_an_exception_is_a_failure_that_shows_the_users_frames():
    def deep():
        raise ValueError("no such sensor")

    def mine(rows):
        deep()

    message = run(check(mine), column([1])).message
    assert message.startswith("ValueError: no such sensor\n")
    assert "in deep" in message
    assert "in mine" in message
    assert "functions.py" not in message


def test_annotations_that_never_resolve_are_a_failed_check():
    def mine(rows: Nothing) -> bool:
        return True

    assert "annotations can't be resolved" in run(check(mine), column([1])).message


def test_damage_found_while_reading_again_is_not_the_checks_failure(tiny):
    rows = column([1, 2])

    def broken() -> Iterator[pa.RecordBatch]:
        yield from rows.to_batches()
        raise CorruptDataError("a flipped bit")

    def reopen() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(rows.schema, broken())

    def mine(rows: pa.RecordBatchReader) -> None:
        rows.read_all()

    for one in (unique("v"), checks.sql("FROM this"), check(lambda rows: True), check(mine)):
        runner = CheckRunner([one], rows.schema, DAY, reopen=reopen)
        runner.update(rows.to_batches()[0])
        with pytest.raises(CorruptDataError, match="flipped"):
            runner.finish()


# ------------------------------------------------------------------ the runner


def test_only_checks_that_need_it_need_the_table():
    light = [not_null("v"), row_count(1), in_range("v", 0), accepted_values("v", [1])]
    schema = column([1]).schema
    assert not CheckRunner(light, schema, DAY).needs_table
    for heavy in (unique("v"), checks.sql("FROM this"), check(lambda rows: True)):
        assert CheckRunner([*light, heavy], schema, DAY).needs_table


def test_the_results_come_in_the_order_of_the_checks():
    some = [unique("v"), row_count(1), checks.sql("FROM this"), not_null("v")]
    runner = CheckRunner(some, column([1]).schema, DAY)
    runner.update(column([1]).to_batches()[0])
    assert [result.name for result in runner.finish()] == [one.name for one in some]


def test_few_rows_are_not_read_again():
    rows = column([1, 2, 2])

    def reopen() -> pa.RecordBatchReader:
        raise AssertionError("read again")

    some = [unique("v"), checks.sql("FROM this WHERE v > 2"), check(lambda rows: True)]
    runner = CheckRunner(some, rows.schema, DAY, reopen=reopen)
    runner.update(rows.to_batches()[0])
    assert [result.passed for result in runner.finish()] == [False, True, True]


def test_without_a_way_to_read_again_all_rows_are_held(tiny):
    assert run(unique("v"), column([1, 1]), size=1, reread=False).failed_rows == 1


def test_streaming_checks_hold_no_rows():
    rows = 200
    some = [not_null("v"), row_count(1), in_range("v", -1), accepted_values("v", range(rows))]
    runner = CheckRunner(some, column([1]).schema, DAY)
    before, most = pa.total_allocated_bytes(), 0
    for number in range(rows):
        runner.update(pa.record_batch({"v": pa.repeat(number, 100_000)}))
        most = max(most, pa.total_allocated_bytes() - before)
    assert all(result.passed for result in runner.finish())
    assert most < 8 << 20


def test_nothing_stays_behind_on_disk(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(unique("v"), column([1, 1])).failed_rows == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_unique_of_many_rows_is_exact_in_bounded_memory():
    code = """
import numpy as np, pyarrow as pa
from assets_core.checks import CheckRunner, unique
size, count = 500_000, 40
def batches():
    for n in range(count):
        values = np.arange(n * size, (n + 1) * size, dtype=np.int64) * 7919 % (size * count)
        values[0] = 12345 if n == count - 1 else values[0]
        yield pa.record_batch({'v': values})
schema = pa.schema([('v', pa.int64())])
reopen = lambda: pa.RecordBatchReader.from_batches(schema, batches())
runner = CheckRunner([unique('v')], schema, reopen=reopen)
for batch in batches(): runner.update(batch)
(result,) = runner.finish()
assert result.failed_rows == 1 and result.sample == (12345,), result
# Not ru_maxrss: that counts what the parent had in memory when it started this process.
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 700  # MB, and nothing else is printed


def test_durations_are_refused_with_their_own_words():
    with pytest.raises(DefinitionError) as caught:
        freshness_of_column("t", "soon")
    assert isinstance(caught.value.__cause__, UsageError)
