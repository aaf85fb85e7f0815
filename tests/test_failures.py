"""Failures told by kind, and the words that retry just them."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from assets_core import daily, hourly, product, static
from assets_core.lineage.failures import FailedStep, group_failures
from assets_core.partitions import UNPARTITIONED, KeySpace, PartitionsDefinition

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def space(definition: PartitionsDefinition) -> KeySpace:
    return definition.resolve(NOW)


DAYS = space(daily("2024-01-01", end="2025-01-01"))


def missing_column(*ordinals: int, asset: str = "clean") -> list[FailedStep]:
    return [FailedStep(asset, DAYS.key(at), "KeyError: 'country'") for at in ordinals]


def test_equal_errors_of_one_asset_are_one_group_with_ranges() -> None:
    (group,) = group_failures(missing_column(*range(312)), {"clean": DAYS})
    assert group.title == "312 partitions: KeyError: 'country' in clean"
    assert group.ranges == (("2024-01-01", "2024-11-07"),)


def test_partitions_come_in_the_order_of_the_key_space() -> None:
    (group,) = group_failures(missing_column(5, 1, 0), {"clean": DAYS})
    assert group.partitions == ("2024-01-01", "2024-01-02", "2024-01-06")
    assert group.where() == "2024-01-01..2024-01-02, 2024-01-06"


def test_the_first_in_order_stands_for_all_whichever_failed_first() -> None:
    told = [FailedStep("clean", key, f"OSError: {key}") for key in ("2024-01-03", "2024-01-02")]
    (group,) = group_failures(told, {"clean": DAYS})
    assert group.title == "2 partitions: OSError: 2024-01-02 in clean"


def test_numbers_and_the_own_key_do_not_tell_errors_apart() -> None:
    told = [
        FailedStep("clean", key, f"ValueError: {n} rows in {key}")
        for n, key in ((1, "2024-01-01"), (17, "2024-01-02"))
    ]
    (group,) = group_failures(told, {"clean": DAYS})
    assert group.first.error == "ValueError: 1 rows in 2024-01-01"


def test_other_errors_and_other_assets_are_other_groups_the_largest_first() -> None:
    told = [
        FailedStep("clean", "2024-03-01", "KeyError: 'city'"),
        *missing_column(0, asset="raw"),
        *missing_column(0, 1),
    ]
    groups = group_failures(told, {"clean": DAYS, "raw": DAYS})
    assert [(g.asset, len(g.partitions)) for g in groups] == [
        ("clean", 2),
        ("clean", 1),
        ("raw", 1),
    ]


def test_a_partition_that_failed_alike_twice_counts_once() -> None:
    (group,) = group_failures(missing_column(3, 3), {"clean": DAYS})
    assert group.title == "clean@2024-01-04  KeyError: 'country'"


def test_one_traceback_stands_for_all() -> None:
    told = [
        FailedStep("clean", "2024-01-01", "KeyError: 'a'"),
        FailedStep("clean", "2024-01-02", "KeyError: 'a'", traceback="Traceback: here"),
    ]
    (group,) = group_failures(told, {"clean": DAYS})
    assert group.traceback == "Traceback: here"


def test_an_asset_that_is_gone_is_told_without_ranges_and_can_not_be_retried() -> None:
    (group,) = group_failures(missing_column(0, 1), {})
    assert (group.partitions, group.ranges) == (("2024-01-01", "2024-01-02"), ())
    assert group.retry(None) == []


def test_just_these_are_retried_by_their_ranges() -> None:
    (group,) = group_failures(missing_column(0, 1, 2, 9), {"clean": DAYS})
    assert group.retry(DAYS) == [
        "materialize",
        "clean",
        "--partitions",
        "2024-01-01..2024-01-03",
        "--partition",
        "2024-01-10",
    ]


def test_what_was_forced_is_retried_by_force() -> None:
    (group,) = group_failures(missing_column(0), {"clean": DAYS})
    assert group.retry(DAYS, forced=True)[-1] == "--force"


def test_too_many_ranges_are_asked_of_the_store() -> None:
    (group,) = group_failures(missing_column(*range(0, 40, 2)), {"clean": DAYS})
    assert group.retry(DAYS) == ["backfill", "clean", "--reprocess", "failed", "--yes"]
    assert group.retry(DAYS, forced=True) == []


def test_an_asset_without_partitions_is_retried_whole() -> None:
    one = space(UNPARTITIONED)
    (group,) = group_failures([FailedStep("total", one.key(0), "OSError: no")], {"total": one})
    assert group.retry(one) == ["materialize", "total", "--yes"]


def test_partitions_of_two_dimensions_are_retried_key_by_key() -> None:
    grid = space(
        product(date=daily("2024-01-01", end="2024-01-03"), country=static(["de", "fr", "it"]))
    )
    told = [FailedStep("sales", grid.key(at), "OSError: no") for at in (2, 3)]
    (group,) = group_failures(told, {"sales": grid})
    assert group.retry(grid) == [
        "materialize",
        "sales",
        "--partition",
        grid.key(2),
        "--partition",
        grid.key(3),
    ]


HOURS = space(hourly("2024-03-30", end="2024-04-02", timezone="Europe/Berlin"))


@given(st.sets(st.integers(0, HOURS.n - 1), min_size=1))
def test_ranges_hold_exactly_what_failed(at: set[int]) -> None:
    told = [FailedStep("load", HOURS.key(i), "OSError: gone") for i in sorted(at, reverse=True)]
    (group,) = group_failures(told, {"load": HOURS})
    found = {
        i
        for first, last in group.ranges
        for i in range(HOURS.ordinal(first), HOURS.ordinal(last) + 1)
    }
    assert found == at
