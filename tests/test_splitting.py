"""Rows of one call told apart by their partition column, as `membership` tells them one by one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core.declare.asset import Asset
from assets_core.errors import OutputError, OutsidePartitionError
from assets_core.execution.membership import membership
from assets_core.execution.range_splitting import split
from assets_core.partitions import (
    Partitions,
    PartitionsDefinition,
    daily,
    hourly,
    monthly,
    static,
    weekly,
)
from assets_core.partitions import product as product_of

NOW = datetime(2025, 1, 1, tzinfo=UTC)
ASSET = Asset("a", partition_column="at")


def some(definition: PartitionsDefinition, first: int, count: int, step: int = 1) -> Partitions:
    space = definition.resolve(NOW)
    return Partitions(tuple(space.partition(first + i * step) for i in range(count)))


def parts(partitions: Partitions, values: Any) -> list[list[Any]]:
    """The values of each partition."""
    column = values if isinstance(values, pa.Array) else pa.array(values)
    found = split(ASSET, partitions, pa.table({"at": column}), "the result")
    return [table["at"].to_pylist() for table in found]


DAYS = some(daily("2024-01-01"), 0, 3)


def test_a_partition_without_rows_is_empty() -> None:
    assert parts(DAYS, [date(2024, 1, 3), date(2024, 1, 1)]) == [
        [date(2024, 1, 1)],
        [],
        [date(2024, 1, 3)],
    ]


def test_rows_of_a_partition_keep_their_order() -> None:
    days = [date(2024, 1, d) for d in (2, 1, 2, 1)]
    table = pa.table({"at": days, "n": [0, 1, 2, 3]})
    found = split(ASSET, DAYS, table, "the result")
    assert [t["n"].to_pylist() for t in found] == [[1, 3], [0, 2], []]


def test_a_row_before_or_after_the_range_is_refused() -> None:
    for day in (date(2023, 12, 31), date(2024, 1, 4)):
        with pytest.raises(OutsidePartitionError, match="1 rows of the result lie outside"):
            parts(DAYS, [date(2024, 1, 1), day])


def test_a_row_without_a_value_is_refused() -> None:
    with pytest.raises(OutsidePartitionError, match="outside"):
        parts(DAYS, pa.array([None, date(2024, 1, 1)]))


def test_a_result_without_the_column_is_refused() -> None:
    with pytest.raises(OutsidePartitionError, match="no column 'at'"):
        split(ASSET, DAYS, pa.table({"day": [1]}), "the result")


def test_a_window_ends_before_its_end() -> None:
    midnight = datetime(2024, 1, 2, tzinfo=UTC)
    late = midnight - timedelta(microseconds=1)
    assert parts(DAYS, pa.array([late, midnight])) == [[late], [midnight], []]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
)
def test_keys_may_be_text_of_any_sort(kind: pa.DataType) -> None:
    column = pa.array(["2024-01-02", "2024-01-01"]).cast(kind)
    assert [len(p) for p in parts(DAYS, column)] == [1, 1, 0]


def test_months_take_dates_and_times_as_text() -> None:
    months = some(monthly("2024-01"), 0, 3)
    texts = ["2024-02-29", "2024-03", "2024-01-31T23:59:59.5", "2024-02-01 00:00:00"]
    assert parts(months, texts) == [[texts[2]], [texts[0], texts[3]], [texts[1]]]


def test_a_text_that_is_no_day_is_refused() -> None:
    with pytest.raises(OutsidePartitionError):
        parts(some(monthly("2024-01"), 0, 3), ["2024-02-30"])


def test_numbers_are_compared_with_keys() -> None:
    years = some(static(["2022", "2023"]), 0, 2)
    assert parts(years, [2023, 2022, 2023]) == [[2022], [2023, 2023]]


def test_dates_cannot_tell_hours_apart() -> None:
    with pytest.raises(OutputError, match="can't tell"):
        parts(some(hourly("2024-01-01T00"), 0, 3), [date(2024, 1, 1)])


def test_local_times_of_the_hour_that_comes_twice_are_the_seconds() -> None:
    hours = some(hourly("2024-10-27T00", timezone="Europe/Berlin"), 1, 4)
    assert [h.key[:13] for h in hours][1:3] == ["2024-10-27T02"] * 2
    twice = datetime(2024, 10, 27, 2, 30)
    assert parts(hours, [twice]) == [[], [], [twice], []]


def test_instants_tell_the_hour_that_comes_twice() -> None:
    hours = some(hourly("2024-10-27T00", timezone="Europe/Berlin"), 1, 4)
    found = parts(hours, pa.array([h.start for h in hours], pa.timestamp("us", "UTC")))
    assert [len(part) for part in found] == [1, 1, 1, 1]


def test_products_are_told_apart_along_time() -> None:
    both = product_of(date=daily("2024-01-01"), place=static(["x", "y"]))
    days = some(both, 0, 3, step=2)
    assert {p.place for p in days} == {"x"}
    assert [len(p) for p in parts(days, [date(2024, 1, 3), date(2024, 1, 1)])] == [1, 0, 1]
    assert [len(p) for p in parts(days, ["2024-01-02", "2024-01-02|x"])] == [0, 2, 0]


def test_what_all_partitions_of_a_product_share_tells_nothing() -> None:
    both = product_of(date=daily("2024-01-01"), place=static(["x", "y"]))
    with pytest.raises(OutputError, match="can't tell"):
        parts(some(both, 0, 3, step=2), ["x"])


def test_no_rows_are_no_rows_of_any() -> None:
    assert parts(DAYS, pa.array([], pa.date32())) == [[], [], []]


SPACES = {
    "days": daily("2024-03-25", timezone="Europe/Berlin"),
    "weeks": weekly("2024-03-04", timezone="America/New_York"),
    "months": monthly("2024-01"),
    "hours": hourly("2024-03-31T00", timezone="Europe/Berlin"),
}


@settings(max_examples=150)
@given(
    space=st.sampled_from(list(SPACES)),
    first=st.integers(0, 3),
    count=st.integers(2, 6),
    seconds=st.lists(st.integers(-3 * 86_400, 45 * 86_400), min_size=1, max_size=12),
    kind=st.sampled_from(["instant", "local", "date", "date64", "text"]),
)
def test_a_range_tells_rows_as_each_partition_alone_would(
    space: str, first: int, count: int, seconds: list[int], kind: str
) -> None:
    partitions = some(SPACES[space], first, count)
    assert partitions.start is not None
    instants = [partitions.start.astimezone(UTC) + timedelta(seconds=s) for s in seconds]
    column = {
        "instant": lambda: pa.array(instants, pa.timestamp("ms", "UTC")),
        "local": lambda: pa.array([i.replace(tzinfo=None) for i in instants], pa.timestamp("s")),
        "date": lambda: pa.array([i.date() for i in instants], pa.date32()),
        "date64": lambda: pa.array([i.date() for i in instants], pa.date64()),
        "text": lambda: pa.array([f"{i:%Y-%m-%d %H:%M:%S}" for i in instants]),
    }[kind]()
    alone = np.array(
        [np.asarray(pc.fill_null(membership(p, column.type)(column), False)) for p in partitions]
    )
    owners = alone.sum(axis=0)
    if (owners == 1).all():
        expected = [column.filter(pa.array(mine)).to_pylist() for mine in alone]
        assert parts(partitions, column) == expected
        return
    with pytest.raises(OutputError if (owners > 1).any() else OutsidePartitionError):
        parts(partitions, column)
