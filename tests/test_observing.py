"""Looking at sources at scale: listings of whole ranges, threads, what is over, what is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets_core import Context, Definitions, Partition, Partitions, Project, daily, source, static
from assets_core.errors import DefinitionError, UsageError

DAYS = daily("2024-01-01", "2024-01-31")
NOW = datetime(2024, 2, 15, tzinfo=UTC)


class Table:
    """Rows of days in a place that can list what it holds; counts how it is asked."""

    def __init__(self) -> None:
        self.versions: dict[str, Any] = {f"2024-01-{day:02}": 1 for day in range(1, 31)}
        self.listed: list[Partitions] = []
        self.read: list[str] = []
        self.error: Exception | None = None

    def listing(self, partitions: Partitions) -> Mapping[str, Any]:
        self.listed.append(partitions)
        if self.error is not None:
            raise self.error
        return self.versions

    def rows(self, partition: Partition) -> pa.Table | None:
        self.read.append(partition.key)
        if partition.key not in self.versions:
            return None
        return pa.table({"day": [partition.key], "version": [str(self.versions[partition.key])]})


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    made: list[Project] = []

    def open_project(*sources: Any) -> Project:
        made.append(Project(Definitions(sources), root=tmp_path))
        return made[-1]

    yield open_project
    for project in made:
        project.close()


@pytest.fixture
def project(opened: Callable[..., Project], table: Table) -> Project:
    return opened(source(name="landed", partitions=DAYS, observe_range=table.listing)(table.rows))


def looked(project: Project, *, now: datetime = NOW, **options: Any) -> Any:
    return project.observe(now=now, **options)["landed"]


def test_what_was_never_seen_is_new(project: Project) -> None:
    found = project.observe(now=NOW)
    assert len(found["landed"].new) == 30
    assert found.moved == 30


def test_one_listing_serves_a_whole_range(project: Project, table: Table) -> None:
    project.observe(now=NOW)
    (asked,) = table.listed
    assert (asked.key, len(asked)) == ("2024-01-01..2024-01-30", 30)
    assert asked.first.start == datetime(2024, 1, 1, tzinfo=UTC)
    assert asked.keys[2] == "2024-01-03"
    assert [partition.key for partition in asked][-1] == "2024-01-30"


def test_content_is_read_only_where_the_token_moved(project: Project, table: Table) -> None:
    project.observe(now=NOW)
    table.read.clear()
    table.versions["2024-01-05"] = 2
    assert looked(project).keys("changed") == ["2024-01-05"]
    assert table.read == ["2024-01-05"]


@pytest.mark.parametrize("way", ["token", "observe_range"])
def test_a_token_that_other_code_recorded_is_not_trusted(
    opened: Callable[..., Project], tmp_path: Path, way: str
) -> None:
    # Counted in a file: what a function holds in memory is part of its code version.
    calls = str(tmp_path / "calls")

    def project(unit: str) -> Project:
        def landed(partition: Partition) -> pa.Table:
            with Path(calls).open("a") as file:
                file.write(f"{unit}\n")
            return pa.table({"unit": [unit], "day": [partition.key]})

        ways: dict[str, Any] = {
            "token": lambda _: "etag",
            "observe_range": lambda partitions: dict.fromkeys(partitions.keys, "etag"),
        }
        return opened(source(partitions=DAYS, **{way: ways[way]})(landed))

    assert len(looked(project("kWh")).new) == 30
    assert len(looked(project("kWh")).unchanged) == 30
    assert len(looked(project("Wh")).changed) == 30
    assert len(looked(project("Wh")).unchanged) == 30
    assert Path(calls).read_text() == "kWh\n" * 30 + "Wh\n" * 30


def test_another_way_to_ask_for_a_token_looks_once_more(
    opened: Callable[..., Project], tmp_path: Path
) -> None:
    calls = str(tmp_path / "calls")

    def project(tag: str) -> Project:
        @source(partitions=DAYS, token=lambda partition: partition.key[:0] + str(tag in "ab"))
        def landed(partition: Partition) -> pa.Table:
            with Path(calls).open("a") as file:
                file.write(".")
            return pa.table({"day": [partition.key]})

        return opened(landed)

    for tag in ("a", "a", "b", "b"):
        project(tag).observe(now=NOW)
    assert len(Path(calls).read_text()) == 60


def test_a_token_that_moved_over_equal_content_changes_nothing(
    opened: Callable[..., Project], table: Table
) -> None:
    def rows(partition: Partition) -> pa.Table:
        table.read.append(partition.key)
        return pa.table({"day": [partition.key]})

    project = opened(source(name="landed", partitions=DAYS, observe_range=table.listing)(rows))
    project.observe(now=NOW)
    table.read.clear()
    table.versions["2024-01-05"] = 2
    assert (looked(project).changed, table.read) == ([], ["2024-01-05"])
    table.read.clear()
    assert (len(looked(project).unchanged), table.read) == (30, [])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (Decimal("1.10"), Decimal("1.2")),
        ("a", "b"),
        (b"a", b"b"),
        (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC)),
        (("a", "bc"), ("ab", "c")),
        ((1, 23), (12, 3)),
        ("x" * 300, "x" * 301),
    ],
)
def test_tokens_of_every_kind_tell_versions_apart(
    project: Project, table: Table, one: Any, other: Any
) -> None:
    table.versions = {"2024-01-05": one}
    project.observe(now=NOW)
    table.read.clear()
    assert looked(project).keys("unchanged") == ["2024-01-05"]
    assert not table.read
    table.versions = {"2024-01-05": other}
    project.observe(now=NOW)
    assert table.read == ["2024-01-05"]


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_token_that_says_nothing_leaves_the_content_to_tell(
    opened: Callable[..., Project], table: Table, nothing: str | None
) -> None:
    project = opened(source(name="landed", partitions=DAYS, token=lambda _: nothing)(table.rows))
    assert len(looked(project).new) == 30
    assert len(looked(project).unchanged) == 30
    table.versions["2024-01-05"] = 2
    assert looked(project).keys("changed") == ["2024-01-05"]


def test_an_empty_token_of_a_listing_leaves_the_content_to_tell(
    closing: Project, table: Table
) -> None:
    table.versions = dict.fromkeys(table.versions, "")
    assert len(looked(closing).new) == 30
    assert len(looked(closing, everything=True).unchanged) == 30


@pytest.mark.parametrize("token", [object(), pa.table({})])
def test_what_can_be_no_token_of_a_partition_is_told(
    opened: Callable[..., Project], table: Table, token: Any
) -> None:
    project = opened(source(name="landed", partitions=DAYS, token=lambda _: token)(table.rows))
    (error,) = {str(error) for _, _, error in project.observe("landed", "2024-01-05").errors()}
    assert "token of source 'landed' gives" in error


def test_a_time_is_one_token_in_any_zone(project: Project, table: Table) -> None:
    at = datetime(2024, 1, 5, 12, tzinfo=UTC)
    table.versions = {"2024-01-05": at}
    project.observe(now=NOW)
    table.versions = {"2024-01-05": at.astimezone(datetime.now().astimezone().tzinfo)}
    assert looked(project).keys("unchanged") == ["2024-01-05"]


def test_what_a_listing_leaves_out_is_not_there(project: Project, table: Table) -> None:
    table.versions = {"2024-01-05": 1, "2024-01-06": None}
    found = looked(project)
    assert found.keys("new") == ["2024-01-05"]
    assert len(found.absent) == 29


def test_what_was_there_and_is_listed_no_more_is_gone(project: Project, table: Table) -> None:
    project.observe(now=NOW)
    del table.versions["2024-01-05"]
    assert looked(project).keys("gone") == ["2024-01-05"]
    assert project.plan(now=NOW).observations.gone


def test_a_listing_that_fails_concerns_all_that_it_was_asked_for(
    project: Project, table: Table
) -> None:
    table.error = RuntimeError("no connection")
    found = project.observe(partitions="2024-01-03..2024-01-05", now=NOW)
    assert found["landed"].keys("failed") == ["2024-01-03", "2024-01-04", "2024-01-05"]
    assert "no connection" in str(found)
    assert "3 partitions" in str(found)


@pytest.mark.parametrize("listing", [["2024-01-05"], {5: "x"}, {"2024-01-05": object()}])
def test_a_listing_that_is_none_is_told(project: Project, table: Table, listing: Any) -> None:
    table.versions = listing
    (error,) = {str(error) for _, _, error in project.observe(now=NOW).errors()}
    assert "observe_range of source 'landed'" in error


def test_a_listing_of_other_partitions_too_is_fine(project: Project, table: Table) -> None:
    table.versions["1999-01-01"] = 1
    found = project.observe(partitions="2024-01-03", now=NOW)["landed"]
    assert found.keys("new") == ["2024-01-03"]


def test_a_long_gap_is_not_listed_along(opened: Callable[..., Project], table: Table) -> None:
    decades = daily("1990-01-01", "2024-01-31")
    project = opened(
        source(name="landed", partitions=decades, observe_range=table.listing)(table.rows)
    )
    project.observe(partitions=["1990-01-01..1990-01-05", "2024-01-01..2024-01-05"], now=NOW)
    assert [len(asked) for asked in table.listed] == [5, 5]


def test_a_listing_may_ask_for_the_context(opened: Callable[..., Project], table: Table) -> None:
    def listing(partitions: Partitions, context: Context) -> Mapping[str, int]:
        assert context.asset == "landed"
        return {partition.key: 1 for partition in partitions}

    project = opened(source(name="landed", partitions=DAYS, observe_range=listing)(table.rows))
    assert len(looked(project).new) == 30


def test_sources_that_wait_are_looked_at_side_by_side(opened: Callable[..., Project]) -> None:
    threads = set()

    def landed(partition: Partition) -> pa.Table:
        threads.add(threading.get_ident())
        time.sleep(0.02)
        return pa.table({"day": [partition.key]})

    project = opened(source(partitions=DAYS)(landed))
    assert len(project.observe(jobs=10, now=NOW)["landed"].new) == 30
    assert len(threads) > 5


def test_one_job_looks_at_one_after_the_other(opened: Callable[..., Project]) -> None:
    threads = set()

    def landed(partition: Partition) -> pa.Table:
        threads.add(threading.get_ident())
        time.sleep(0.002)
        return pa.table({"day": [partition.key]})

    opened(source(partitions=DAYS)(landed)).observe(jobs=1, now=NOW)
    assert threads == {threading.get_ident()}


def test_what_was_seen_before_an_interrupt_is_kept(opened: Callable[..., Project]) -> None:
    asked: list[str] = []

    def landed(partition: Partition) -> pa.Table:
        asked.append(partition.key)
        if len(asked) == 10:
            raise KeyboardInterrupt
        return pa.table({"day": [partition.key]})

    project = opened(source(partitions=DAYS)(landed))
    with pytest.raises(KeyboardInterrupt):
        project.observe(now=NOW, jobs=1)
    found = looked(project)
    assert (len(found.unchanged), len(found.new)) == (9, 21)


def test_no_job_is_refused(project: Project) -> None:
    with pytest.raises(UsageError, match="jobs=0"):
        project.observe(jobs=0)


# --------------------------------------------------------------------------------------------
# closed_after


@pytest.fixture
def closing(opened: Callable[..., Project], table: Table) -> Project:
    options = {"partitions": DAYS, "observe_range": table.listing, "closed_after": "30d"}
    return opened(source(name="landed", **options)(table.rows))


def test_what_was_seen_after_it_closed_is_looked_at_no_more(closing: Project) -> None:
    assert len(looked(closing).new) == 30
    found = looked(closing)
    assert found.keys("closed") == [f"2024-01-{day:02}" for day in range(1, 16)]
    assert len(found.unchanged) == 15


def test_everything_is_looked_at_when_asked(closing: Project) -> None:
    closing.observe(now=NOW)
    found = looked(closing, everything=True)
    assert (len(found.closed), len(found.unchanged)) == (0, 30)


def test_what_was_never_there_is_looked_for_also_after_it_closed(
    closing: Project, table: Table
) -> None:
    del table.versions["2024-01-05"]
    closing.observe(now=NOW)
    table.versions["2024-01-05"] = 1
    assert looked(closing).keys("new") == ["2024-01-05"]


@pytest.mark.slow
def test_what_was_seen_only_before_it_closed_is_looked_at_once_more(
    opened: Callable[..., Project], table: Table
) -> None:
    # Recorded times are the clock's: a window that closes in a moment, and then has closed.
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = f"{today - timedelta(days=1):%Y-%m-%d}"
    table.versions = {yesterday: 1}
    closing = datetime.now(UTC) + timedelta(seconds=4)
    soon = closing - today
    days = daily(yesterday, f"{today:%Y-%m-%d}")
    options = {"partitions": days, "observe_range": table.listing, "closed_after": soon}
    project = opened(source(name="landed", **options)(table.rows))
    assert len(looked(project, now=datetime.now(UTC)).new) == 1
    time.sleep(max((closing - datetime.now(UTC)).total_seconds(), 0) + 0.1)
    assert len(looked(project, now=datetime.now(UTC)).unchanged) == 1
    assert table.read == [yesterday]
    assert len(looked(project, now=datetime.now(UTC)).closed) == 1


def test_what_is_closed_stays_what_it_was_in_a_plan(closing: Project, table: Table) -> None:
    closing.plan(now=NOW)
    table.listed.clear()
    closing.plan("landed", "2024-01-01..2024-01-10", now=NOW)
    assert not table.listed


# --------------------------------------------------------------------------------------------
# Declaring


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"closed_after": "a while"}, "is no length of time"),
        ({"closed_after": "3d", "partitions": static(["a"])}, "no windows that could end"),
        ({"token": str, "observe_range": dict}, "both token= and observe_range="),
    ],
)
def test_options_that_make_no_sense_are_refused(
    opened: Callable[..., Project], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(DefinitionError, match=told):
        opened(source(**{"partitions": DAYS, **options})(Table().rows))


def test_only_a_source_is_observed(opened: Callable[..., Project]) -> None:
    from assets_core import asset

    with pytest.raises(DefinitionError, match="only a source is observed"):
        opened(asset(closed_after="3d", partitions=DAYS)(Table().rows))  # type: ignore[call-overload]


# --------------------------------------------------------------------------------------------
# Telling


def test_an_observation_is_plain_json(project: Project, table: Table) -> None:
    project.observe(now=NOW)
    table.versions["2024-01-05"] = 2
    told = project.observe(now=NOW).to_dict()
    assert told["counts"]["changed"] == 1
    assert told["sources"][0]["changed"] == [["2024-01-05", "2024-01-05"]]


def test_nothing_moved_is_said(project: Project) -> None:
    project.observe(now=NOW)
    assert "nothing moved" in str(project.observe(now=NOW))


def test_sources_that_take_long_to_read_are_told_with_the_seconds(
    opened: Callable[..., Project], table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assets_core.planning.observations._SLOW_SECONDS", 0.5)

    def slowly(partition: Partition) -> pa.Table | None:
        time.sleep(0.02)
        return table.rows(partition)

    def listed(partition: Partition) -> pa.Table | None:
        return slowly(partition)

    project = opened(
        source(name="slow", partitions=DAYS)(slowly),
        source(name="listed", partitions=DAYS, observe_range=table.listing)(listed),
        source(name="quick", partitions=DAYS)(table.rows),
    )
    found = project.observe(now=NOW, jobs=1)
    assert [found[name].read for name in ("slow", "listed", "quick")] == [30, 0, 30]
    slow = found.observations().slow
    assert list(slow) == ["slow"]
    assert 0.6 < slow["slow"][1] == found["slow"].seconds


def test_how_it_goes_on_is_heard(project: Project) -> None:
    heard: list[Any] = []
    project.observe(on_look=lambda name, n: heard.append((name, n)), on_total=heard.append, now=NOW)
    assert heard[0] == 30
    assert sum(n for _, n in heard[1:]) == 30
