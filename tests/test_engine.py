"""Executing: early cutoff, failures, retries, rejects, checks, policies, outputs, processes."""

from __future__ import annotations

import logging
import os
import shutil
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, ConfigDict

from assets_core import checks
from assets_core.declare.asset import Out
from assets_core.declare.decorators import asset, multi_asset, source, sql_asset
from assets_core.declare.definitions import Definitions
from assets_core.declare.policies import Freshness, Retry
from assets_core.errors import (
    CheckFailedError,
    ConfigError,
    DefinitionError,
    LeaseLostError,
    MissingDataError,
    PartitionError,
    PlanMovedError,
    StepError,
    UsageError,
    WorkerDiedError,
)
from assets_core.execution.context import Context
from assets_core.partitions import Partition, all_partitions, daily, dynamic, lag, last, latest
from assets_core.project import Project
from io_managers.duckdb import DuckDBTables
from io_managers.memory import Memory
from io_managers.parquet import ParquetFiles

DAYS = daily("2024-01-01")
NOW = datetime(2024, 1, 4, 12, tzinfo=UTC)
ONE = pa.table({"v": [1, 2, 3]})

MakeProject = Callable[..., Project]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeProject]:
    """Projects over one folder, closed at the end; each call sees what the last one recorded."""
    opened: list[Project] = []
    managers = {"default": ParquetFiles("data"), "memory": Memory()}

    def build(*assets: Any, **options: Any) -> Project:
        if opened:
            opened[-1].close()
        resources = options.pop("resources", {})
        io = managers | options.pop("io", {})
        definitions = Definitions(assets, io_managers=io, resources=resources)
        opened.append(Project(definitions, root=tmp_path, **options))
        return opened[-1]

    yield build
    for project in opened:
        project.close()


def numbers(value: int = 1, **options: Any) -> Any:
    """A daily asset of one number."""

    @asset(name="numbers", partitions=DAYS, version=str(value), **options)
    def made() -> pa.Table:
        return pa.table({"v": [value]})

    return made


# Staleness while running ------------------------------------------------------------------


def test_a_second_run_has_nothing_to_do(make: MakeProject) -> None:
    project = make(numbers())
    assert project.materialize(now=NOW).counts["done"] == 3
    again = project.materialize(now=NOW)
    assert (again.run_id, again.status, sum(again.counts.values())) == ("", "done", 0)


def test_equal_output_of_new_code_stops_the_propagation(make: MakeProject) -> None:
    @asset(partitions=DAYS)
    def doubled(numbers: pa.Table) -> pa.Table:
        return pa.table({"v": [2 * v for v in numbers["v"].to_pylist()]})

    def parity(version: str) -> Any:
        @asset(name="numbers", partitions=DAYS, version=version)
        def made() -> pa.Table:
            return pa.table({"v": [7]})

        return made

    make(parity("1"), doubled).materialize(now=NOW)
    project = make(parity("2"), doubled)
    plan = project.plan(now=NOW)
    assert (plan.must, plan.may) == (3, 3)
    result = project.materialize(plan=plan)
    assert (result.counts["unchanged"], result.counts["released"]) == (3, 3)
    assert not project.plan(now=NOW)


def test_a_latest_partition_that_moved_on_is_told_as_such(make: MakeProject) -> None:
    @asset
    def newest(numbers: Annotated[pa.Table, latest()]) -> pa.Table:
        return numbers

    project = make(numbers(), newest)
    project.materialize(now=NOW)
    project.materialize("numbers", now=NOW + timedelta(days=1))
    (step,) = project.plan("newest", now=NOW + timedelta(days=1)).steps()
    assert [reason.detail for reason in step.reasons] == [
        "no longer reads numbers[2024-01-03]",
        "now reads numbers[2024-01-04]",
    ]


def test_force_runs_what_is_fresh_and_nothing_after_it(make: MakeProject) -> None:
    project = make(numbers())
    project.materialize(now=NOW)
    plan = project.plan(partitions="2024-01-02", force=True, now=NOW)
    assert [(s.partition, s.reasons[0].kind) for s in plan.steps()] == [("2024-01-02", "forced")]
    assert project.materialize(plan=plan).counts["done"] == 1


def test_a_part_of_a_plan_waits_for_what_was_left_out_of_it(make: MakeProject) -> None:
    @asset
    def total(numbers: Annotated[pa.Table, all_partitions()]) -> pa.Table:
        return numbers

    project = make(numbers(), total)
    project.materialize("numbers", "2024-01-01..2024-01-02", now=NOW)
    plan = project.plan(now=NOW)
    assert [str(step) for step in plan.steps()] == ["numbers@2024-01-03", "total@all"]
    part = replace(plan, batches=plan.batches[1:])
    result = project.materialize(plan=part)
    assert result.blocked == (("total", "all", "waits for 1 of 3 of numbers: 2024-01-03"),)


def test_a_missing_upstream_outside_the_selection_blocks(make: MakeProject) -> None:
    @asset(partitions=DAYS)
    def report(numbers: pa.Table) -> pa.Table:
        return numbers

    project = make(numbers(), report)
    result = project.materialize("report", "2024-01-02", now=NOW)
    assert (result.status, result.exit_code) == ("blocked", 4)
    assert result.blocked == (("report", "2024-01-02", "waits for numbers@2024-01-02"),)


def test_an_open_window_is_built_only_when_asked(make: MakeProject) -> None:
    project = make(numbers())
    assert project.plan(now=NOW).must == 3
    assert project.plan(now=NOW, include_open=True).must == 4
    with pytest.raises(PartitionError, match="include-open"):
        project.plan(partitions="2024-01-04", now=NOW)


def test_an_own_past_is_built_in_order(make: MakeProject) -> None:
    @asset(partitions=DAYS)
    def balance(numbers: pa.Table, balance: Annotated[pa.Table | None, lag(1)]) -> pa.Table:
        before = balance["total"][0].as_py() if balance is not None else 0
        return pa.table({"total": [before + numbers["v"][0].as_py()]})

    project = make(numbers(), balance)
    assert project.materialize(now=NOW, jobs=3).ok
    assert project.load("balance", "2024-01-03")["total"].to_pylist() == [3]


def test_accept_restamps_without_running(make: MakeProject) -> None:
    make(numbers(1)).materialize(now=NOW)
    project = make(numbers(2))
    assert project.plan(now=NOW).must == 3
    assert len(project.accept(now=NOW)) == 3
    assert not project.plan(now=NOW)
    assert project.load("numbers", "2024-01-01")["v"].to_pylist() == [1]


# Failures and retries ---------------------------------------------------------------------


def test_a_failure_fails_only_what_depends_on_it(make: MakeProject) -> None:
    @asset(partitions=DAYS)
    def fragile(numbers: pa.Table, partition: Partition) -> pa.Table:
        if partition.key == "2024-01-02":
            raise ValueError("no such thing\nsecond line")
        return numbers

    @asset(partitions=DAYS)
    def after(fragile: pa.Table) -> pa.Table:
        return fragile

    project = make(numbers(), fragile, after)
    result = project.materialize(now=NOW, jobs=2)
    assert result.counts == {"done": 7, "unchanged": 0, "released": 0, "failed": 1, "blocked": 1}
    assert result.failures[0].error == "ValueError: no such thing"
    assert result.exit_code == 1
    assert result.resume == "assets materialize"
    (attempt,) = project.attempts(result.run_id)
    assert "fragile" in attempt.traceback
    assert "assets_core/execution" not in attempt.traceback
    assert project.plan(now=NOW).must == 2


def flaky(failures: int, error: Exception, **options: Any) -> tuple[Any, list[int]]:
    """An unpartitioned asset that fails so many times first."""
    calls: list[int] = []

    @asset(**options)
    def shaky(context: Context) -> pa.Table:
        calls.append(context.attempt)
        if len(calls) <= failures:
            raise error
        return ONE

    return shaky, calls


def test_a_transient_error_is_retried_and_each_attempt_recorded(make: MakeProject) -> None:
    shaky, calls = flaky(2, ConnectionError("gone"), retry=Retry(3, delay=0.01))
    project = make(shaky)
    result = project.materialize()
    assert (result.ok, calls) == (True, [1, 2, 3])
    assert [a.status for a in project.attempts(result.run_id)] == ["retried", "retried"]
    assert project.history("shaky").facts[0].attempt == 3


def test_a_bug_is_not_retried(make: MakeProject) -> None:
    shaky, calls = flaky(9, KeyError("country"), retry=Retry(3, delay=0.01))
    assert make(shaky).materialize().counts["failed"] == 1
    assert calls == [1]


def test_a_failed_check_is_not_retried(make: MakeProject) -> None:
    checked, calls = flaky(0, OSError(), checks=[checks.not_null("w")], retry=Retry(3, delay=0.01))
    project = make(checked)
    result = project.materialize()
    assert (calls, result.failures[0].attempts) == ([1], 1)
    assert [a.status for a in project.attempts(result.run_id)] == ["failed"]


def test_too_many_rejects_are_not_retried(make: MakeProject) -> None:
    calls = []

    @asset(retry=Retry(3, delay=0.01), max_rejected=0)
    def picky(context: Context) -> pa.Table:
        calls.append(context.attempt)
        context.reject(ONE, reason="all of it")
        return ONE

    assert make(picky).materialize().counts["failed"] == 1
    assert calls == [1]


@pytest.mark.parametrize("on", [CheckFailedError, (OSError, PlanMovedError)])
def test_what_does_not_pass_is_no_reason_to_retry(on: Any) -> None:
    with pytest.raises(DefinitionError, match="does not pass by trying again"):
        Retry(on=on)


def test_retries_end(make: MakeProject) -> None:
    shaky, calls = flaky(9, OSError("down"), retry=Retry(2, delay=0.01))
    result = make(shaky).materialize()
    assert (calls, result.failures[0].attempts) == ([1, 2, 3], 3)


@pytest.mark.parametrize(
    ("retry", "error", "expected"),
    [
        (Retry(), OSError(), True),
        (Retry(), TypeError(), False),
        (Retry(on=ConnectionError), TimeoutError(), False),
        (Retry(on=OSError, never_on=ConnectionError), ConnectionResetError(), False),
        (Retry(on=ConnectionResetError, never_on=OSError), ConnectionResetError(), True),
        (Retry(on=KeyError), KeyError(), True),
        (Retry(), CheckFailedError("check failed"), False),
        (Retry(never_on=KeyError), CheckFailedError("check failed"), False),
        (Retry(on=StepError), CheckFailedError("check failed"), False),
        (Retry(on=StepError), WorkerDiedError("killed"), True),
        (Retry(), LeaseLostError("taken"), False),
    ],
)
def test_the_more_specific_class_decides(retry: Retry, error: Exception, expected: bool) -> None:
    assert retry.applies(error) is expected


def test_delays_grow_to_their_bound() -> None:
    retry = Retry(9, delay="1s", max_delay="5s", jitter=0)
    assert [retry.wait(n) for n in (1, 2, 3, 4, 9)] == [1, 2, 4, 5, 5]


def test_fail_fast_starts_nothing_more(make: MakeProject) -> None:
    @asset(partitions=DAYS)
    def broken(partition: Partition) -> pa.Table:
        raise ValueError(partition.key)

    result = make(broken).materialize(now=NOW, jobs=1, fail_fast=True)
    assert (result.counts["failed"], result.status) == (1, "failed")


def test_a_second_run_waits_for_what_another_run_is_building(
    make: MakeProject, tmp_path: Path
) -> None:
    started, go, calls = threading.Event(), threading.Event(), []

    @asset
    def slow() -> pa.Table:
        calls.append(1)
        started.set()
        assert go.wait(10)
        return ONE

    first = make(slow)
    managers = {"default": ParquetFiles("data")}
    second = Project(Definitions([slow], io_managers=managers), root=tmp_path)
    plan = second.plan()
    run = threading.Thread(target=first.materialize)
    run.start()
    assert started.wait(10)
    results: list[Any] = []
    other = threading.Thread(target=lambda: results.append(second.materialize(plan=plan)))
    other.start()
    time.sleep(0.3)
    go.set()
    run.join()
    other.join()
    second.close()
    assert len(calls) == 1
    assert results[0].counts["released"] == 1


# Rejects and checks -----------------------------------------------------------------------


def sorted_out(limit: float | None = None) -> Any:
    @asset(partitions=DAYS, max_rejected=limit)
    def clean(context: Context) -> pa.Table:
        context.reject(pa.table({"v": [-1]}), reason="negative")
        context.reject(pa.table({"v": [None]}, schema=pa.schema([("v", pa.int64())])), "empty")
        return ONE

    return clean


def test_rejected_rows_land_beside_the_partition_with_their_reason(make: MakeProject) -> None:
    project = make(sorted_out())
    result = project.materialize(partitions="2024-01-02", now=NOW)
    assert (result.rows, result.rejected) == (3, 2)
    rows = project.rejects("clean").to_pylist()
    assert rows == [
        {"v": -1, "_reason": "negative", "_partition": "2024-01-02"},
        {"v": None, "_reason": "empty", "_partition": "2024-01-02"},
    ]


def test_rows_rejected_by_what_returns_no_data_fail_the_step(make: MakeProject) -> None:
    @asset
    def written(context: Context) -> None:
        context.reject(ONE, "bad")

    assert "nothing to keep them beside" in make(written).materialize().failures[0].error


@pytest.mark.parametrize("together", [{}, {"batch": True, "partition_column": "day"}])
def test_rows_rejected_of_a_stranger_fail_the_step(make: MakeProject, together: Any) -> None:
    @asset(partitions=daily("2024-01-01", end="2024-01-03"), **together)
    def made(context: Context) -> pa.Table:
        context.reject(ONE, "bad", asset="somebody")
        return pa.table({"day": [partition.key for partition in context.partitions or ()]})

    assert "'somebody'" in make(made).materialize(now=NOW).failures[0].error


def test_rows_rejected_of_an_output_that_is_written_already_fail_the_step(
    make: MakeProject,
) -> None:
    @multi_asset(["first", "second"])
    def split(context: Context) -> dict[str, Any]:
        def rows() -> Iterator[pa.Table]:
            yield ONE
            context.reject(ONE, "bad")

        return {"first": ONE, "second": rows()}

    assert "'first'" in make(split).materialize().failures[0].error


@pytest.mark.parametrize("store", [ParquetFiles, DuckDBTables, Memory])
def test_rejected_rows_of_different_types_come_as_text(make: MakeProject, store: Any) -> None:
    @asset(partitions=DAYS)
    def clean(partition: Partition, context: Context) -> pa.Table:
        if partition.key == "2024-01-02":
            context.reject(pa.table({"v": [1], "_partition": ["mine"]}), reason="low")
            context.reject(pa.table({"v": ["x", None]}), reason="no number")
        else:
            context.reject(pa.table({"v": [2.5]}), reason="a part")
        return ONE

    project = make(clean, io={"default": store()})
    keys = ["2024-01-02", "2024-01-03"]
    project.materialize(partitions=keys, now=NOW).raise_for_status()
    rows = project.rejects("clean").select(["_partition", "v"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        *(("2024-01-02", value) for value in ("1", "x", None)),
        ("2024-01-03", "2.5"),
    ]


@pytest.mark.parametrize("store", [ParquetFiles, DuckDBTables, Memory])
def test_equal_content_is_unchanged_also_where_rows_were_rejected(
    make: MakeProject, store: Any
) -> None:
    def clean(version: int) -> Any:
        @asset(name="clean", partitions=DAYS, version=str(version))
        def made(context: Context) -> pa.Table:
            context.reject(pa.table({"v": [-version]}), reason="negative")
            return pa.table({"v": [1]})

        return made

    @asset(partitions=DAYS)
    def after(clean: pa.Table) -> pa.Table:
        return clean

    io = {"default": store()}
    make(clean(1), after, io=io).materialize(now=NOW)
    project = make(clean(2), after, io=io)
    result = project.materialize(now=NOW)
    assert (result.counts["done"], result.counts["unchanged"], result.counts["released"]) == (
        0,
        3,
        3,
    )
    assert {fact.kind for fact in project.materialized_by(result.run_id)} == {"unchanged"}
    assert project.rejects("clean", "2024-01-02")["v"].to_pylist() == [-2]
    assert project.read("clean", "2024-01-02")["v"].to_pylist() == [1]
    assert not project.plan(now=NOW)


def test_the_view_follows_a_version_of_equal_content(make: MakeProject, tmp_path: Path) -> None:
    def stamped(version: int) -> Any:
        @asset(name="stamped", version=str(version), exclude=["at"])
        def made() -> pa.Table:
            return pa.table({"v": [1], "at": [version]})

        return made

    make(stamped(1)).materialize()
    assert make(stamped(2)).materialize().counts["unchanged"] == 1
    (file,) = (tmp_path / "data" / "stamped").rglob("*.parquet")
    assert pq.read_table(file)["at"].to_pylist() == [2]


def test_too_many_rejects_fail_the_step(make: MakeProject) -> None:
    result = make(sorted_out(limit=0.1)).materialize(partitions="2024-01-02", now=NOW)
    assert "2 of 5 rows were rejected (40.0%)" in result.failures[0].error


def test_a_failed_check_publishes_nothing_and_the_old_version_serves(make: MakeProject) -> None:
    make(numbers(1)).materialize(now=NOW)
    project = make(numbers(-5, checks=[checks.in_range("v", min=0)]))
    result = project.materialize(partitions="2024-01-01", now=NOW)
    assert result.counts["failed"] == 1
    assert "in_range" in result.failures[0].error
    assert project.load("numbers", "2024-01-01")["v"].to_pylist() == [1]
    (attempt,) = project.attempts(result.run_id)
    assert [c.passed for c in attempt.checks] == [False]


@pytest.mark.parametrize(
    "demand",
    [{"checks": [checks.row_count(min=1)]}, {"partition_column": "v"}, {"max_rejected": 0.5}],
)
def test_what_has_no_rows_to_judge_is_not_published_unjudged(
    make: MakeProject, tmp_path: Path, demand: Any
) -> None:
    def to_file():
        (tmp_path / "made.csv").write_text("v")
        return tmp_path / "made.csv"

    def by_itself():
        return None

    for function in (to_file, by_itself):
        failure = make(asset(**demand)(function)).materialize().failures[0]
        assert "which has no rows" in failure.error


@pytest.mark.parametrize("returns", [Path, None])
def test_checks_of_what_promises_no_rows_are_refused_at_once(
    make: MakeProject, returns: Any
) -> None:
    def made() -> Any:
        return None

    made.__annotations__["return"] = returns
    with pytest.raises(DefinitionError, match="has checks=, and its function returns no rows"):
        make(asset(checks=[checks.row_count(min=1)])(made)).materialize()


def test_a_warning_is_recorded_and_published(make: MakeProject) -> None:
    project = make(numbers(1, checks=[checks.row_count(min=9, severity="warn")]))
    result = project.materialize(partitions="2024-01-01", now=NOW)
    assert (result.ok, result.warnings) == (True, 1)
    (check,) = project.history("numbers").facts[0].checks
    assert (check.passed, check.severity) == (False, "warn")


def test_an_sql_check_and_a_function_see_the_staged_rows(make: MakeProject) -> None:
    def positive(table: pa.Table) -> bool:
        return all(v > 0 for v in table["v"].to_pylist())

    good = [checks.sql("SELECT * FROM this WHERE v > 5"), checks.check(positive)]
    assert make(numbers(1, checks=good)).materialize(now=NOW).ok
    bad = [checks.sql("SELECT * FROM this WHERE v > 0")]
    assert make(numbers(2, checks=bad)).materialize(now=NOW).counts["failed"] == 3


def test_rows_outside_their_partition_are_refused(make: MakeProject) -> None:
    @asset(partitions=DAYS, partition_column="day")
    def events(partition: Partition) -> pa.Table:
        day = partition.start + timedelta(days=partition.key == "2024-01-02")
        return pa.table({"day": [day.date()]})

    result = make(events).materialize(now=NOW)
    assert (result.counts["done"], result.counts["failed"]) == (2, 1)
    assert "1 rows lie outside partition 2024-01-02" in result.failures[0].error


def columns(version: int, table: pa.Table, policy: str) -> Any:
    @asset(name="typed", version=str(version), schema=policy)
    def made() -> pa.Table:
        return table

    return made


def test_a_strict_schema_refuses_a_new_column(make: MakeProject) -> None:
    make(columns(1, pa.table({"a": [1]}), "strict")).materialize()
    wider = columns(2, pa.table({"a": [1], "b": [2]}), "strict")
    project = make(wider)
    assert "strict" in project.materialize().failures[0].error
    assert project.materialize(allow_schema_change=True).ok


@pytest.mark.parametrize("store", [ParquetFiles, DuckDBTables, Memory])
def test_the_flag_that_the_refusal_names_lets_another_type_through(
    make: MakeProject, store: Any
) -> None:
    io = {"default": store()}
    make(columns(1, pa.table({"a": [1]}), "evolve"), io=io).materialize()
    project = make(columns(2, pa.table({"a": ["x"]}), "evolve"), io=io)
    refused = project.materialize().failures[0]
    assert "--allow-schema-change" in refused.details
    assert project.read("typed")["a"].to_pylist() == [1]
    assert project.materialize(allow_schema_change=True).ok
    assert project.read("typed")["a"].to_pylist() == ["x"]


def test_an_evolving_schema_takes_new_and_wider_columns_and_no_other_types(
    make: MakeProject,
) -> None:
    make(columns(1, pa.table({"a": pa.array([1], pa.int32())}), "evolve")).materialize()
    assert make(columns(2, pa.table({"a": [1], "b": [2]}), "evolve")).materialize().ok
    refused = make(columns(3, pa.table({"a": ["x"], "b": [2]}), "evolve")).materialize()
    assert "can't be read together" in refused.failures[0].error


@pytest.mark.parametrize(
    ("old", "new", "together"),
    [
        (pa.decimal128(5, 2), pa.float64(), False),
        (pa.string(), pa.binary(), False),
        (pa.int64(), pa.uint64(), False),
        (pa.string(), pa.dictionary(pa.int32(), pa.string()), True),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Berlin"), True),
    ],
)
def test_an_evolving_schema_takes_what_stores_can_read_together(
    make: MakeProject, old: pa.DataType, new: pa.DataType, together: bool
) -> None:
    def of(kind: pa.DataType) -> pa.Table:
        return pa.table({"a": pa.array([], kind)})

    make(columns(1, of(old), "evolve")).materialize()
    assert make(columns(2, of(new), "evolve")).materialize().ok == together


# Outputs and inputs -----------------------------------------------------------------------


def test_an_empty_result_overwrites_to_empty(make: MakeProject) -> None:
    def made(version: int, rows: list[int]) -> Any:
        @asset(name="t", version=str(version))
        def build() -> pa.Table:
            return pa.table({"v": pa.array(rows, pa.int64())})

        return build

    make(made(1, [1, 2])).materialize()
    project = make(made(2, []))
    assert project.materialize().ok
    assert project.load("t").num_rows == 0


def test_a_generator_is_streamed(make: MakeProject) -> None:
    @asset
    def stream() -> Iterator[pa.RecordBatch]:
        for i in range(5):
            yield pa.record_batch({"v": [i]})

    @asset
    def total(stream: pa.RecordBatchReader) -> pa.Table:
        return pa.table({"v": [sum(b.num_rows for b in stream)]})

    project = make(stream, total)
    assert project.materialize().ok
    assert project.load("total")["v"].to_pylist() == [5]


def test_an_error_inside_a_generator_is_the_users_own(make: MakeProject) -> None:
    @asset
    def stream() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"v": [1]})
        raise ZeroDivisionError("half way")

    project = make(stream)
    result = project.materialize()
    assert result.failures[0].error == "ZeroDivisionError: half way"
    assert not list(project.root.glob("data/.versions/**/*.pq"))


def test_a_file_is_copied_in_and_handed_on_as_a_path(make: MakeProject, tmp_path: Path) -> None:
    @asset
    def photo() -> Path:
        path = tmp_path / "made.bin"
        path.write_bytes(b"\x00\x01")
        return path

    @asset
    def size(photo: Path) -> pa.Table:
        return pa.table({"bytes": [len(photo.read_bytes())]})

    project = make(photo, size)
    assert project.materialize().ok
    (tmp_path / "made.bin").unlink()
    assert project.load("size")["bytes"].to_pylist() == [2]
    assert project.load("photo").read_bytes() == b"\x00\x01"


def test_an_asset_that_writes_by_itself_is_followed(make: MakeProject) -> None:
    calls: list[str] = []

    @asset
    def mail(numbers: Annotated[pa.Table, last(1)], partition: Partition) -> None:
        calls.append(partition.key)

    @asset(depends_on=["mail"])
    def after() -> pa.Table:
        return ONE

    writer = asset(partitions=DAYS)(mail.function)
    project = make(numbers(), writer, after)
    result = project.materialize(now=NOW)
    assert result.ok, result.failures
    assert len(calls) == 3
    assert not project.plan(now=NOW)


def test_none_from_a_function_that_promised_data_is_an_error(make: MakeProject) -> None:
    @asset
    def forgot() -> pa.Table:
        pass

    assert "returned None" in make(forgot).materialize().failures[0].error


def test_several_assets_of_one_function(make: MakeProject) -> None:
    calls: list[int] = []

    @multi_asset({"good": Out(checks=[checks.row_count(min=1)]), "bad": Out()}, partitions=DAYS)
    def split(numbers: pa.Table) -> dict[str, pa.Table]:
        calls.append(1)
        return {"good": numbers, "bad": numbers.slice(0, 0)}

    project = make(numbers(), split)
    result = project.materialize(now=NOW)
    assert result.counts["done"] == 9
    assert len(calls) == 3
    assert project.load("bad").num_rows == 0
    assert not project.plan(now=NOW)


def test_a_multi_asset_that_forgets_an_output_fails(make: MakeProject) -> None:
    @multi_asset(["good", "bad"])
    def split() -> dict[str, pa.Table]:
        return {"good": ONE}

    assert "did not return all" in make(split).materialize().failures[0].error


def test_sql_reads_the_partitions_that_map_and_binds_the_partition(make: MakeProject) -> None:
    totals = sql_asset(
        "totals",
        "SELECT $partition_key AS k, sum(v) AS v, "
        "datediff('hour', $partition_start, $partition_end) AS hours FROM numbers",
        partitions=DAYS,
        inputs={"numbers": numbers().last(2)},
    )
    project = make(numbers(3), totals)
    result = project.materialize(now=NOW)
    assert result.ok, result.failures
    row = project.load("totals", "2024-01-02").to_pylist()[0]
    assert (row["k"], row["v"], row["hours"]) == ("2024-01-02", 6, 24)


def test_each_form_of_data_is_handed_over(make: MakeProject) -> None:
    import duckdb
    import pandas as pd
    import polars as pl

    @asset
    def base() -> pl.DataFrame:
        return pl.DataFrame({"v": [1, 2]})

    @asset
    def a(base: pd.DataFrame) -> pd.DataFrame:
        return base * 2

    @asset
    def b(a: pl.LazyFrame) -> pl.LazyFrame:
        return a.with_columns(pl.col("v") + 1)

    @asset
    def c(b: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        return b.aggregate("sum(v)::BIGINT AS v")

    project = make(base, a, b, c)
    result = project.materialize()
    assert result.ok, result.failures
    assert project.load("c", as_="pandas")["v"].tolist() == [8]


def test_partitions_come_by_key_when_asked(make: MakeProject) -> None:
    @asset(partitions=DAYS)
    def trend(numbers: Annotated[dict[str, pa.Table], last(2)]) -> pa.Table:
        return pa.table({"keys": [list(numbers)]})

    project = make(numbers(), trend)
    assert project.materialize(now=NOW).ok
    assert project.load("trend", "2024-01-02")["keys"].to_pylist() == [["2024-01-01", "2024-01-02"]]


def test_resources_and_config_reach_the_function(make: MakeProject) -> None:
    class Limits(BaseModel):
        factor: int = 2

    @asset
    def scaled(limits: Limits, context: Context) -> pa.Table:
        return pa.table({"v": [limits.factor * context.resources["base"]]})

    project = make(scaled, resources={"base": 10})
    project.materialize()
    assert project.load("scaled")["v"].to_pylist() == [20]
    project = make(scaled, resources={"base": 10}, config={"scaled": {"factor": 5}})
    (step,) = project.plan().steps()
    assert step.reasons[0].kind == "config changed"
    project.materialize()
    assert project.load("scaled")["v"].to_pylist() == [50]


def test_config_beyond_a_models_fields_counts_as_well(make: MakeProject) -> None:
    class Loose(BaseModel):
        model_config = ConfigDict(extra="allow")

    @asset
    def scaled(loose: Loose) -> pa.Table:
        return pa.table({"v": [(loose.model_extra or {})["factor"]]})

    make(scaled, config={"scaled": {"factor": 2}}).materialize()
    project = make(scaled, config={"scaled": {"factor": 5}})
    (step,) = project.plan().steps()
    assert step.reasons[0].detail == "config factor changed"
    project.materialize()
    assert project.load("scaled")["v"].to_pylist() == [5]


def test_config_that_does_not_fit_is_refused_before_anything_runs(make: MakeProject) -> None:
    class Limits(BaseModel):
        factor: int = 2

    @asset
    def scaled(limits: Limits) -> pa.Table:
        return ONE

    with pytest.raises(ConfigError, match="Did you mean 'factor'"):
        make(scaled, config={"scaled": {"facto": 5}}).plan()
    with pytest.raises(ConfigError, match="factor"):
        make(scaled, config={"scaled": {"factor": "many"}}).plan()


def test_registered_partitions_are_built(make: MakeProject) -> None:
    @asset(partitions=dynamic("customers"))
    def profile(partition: Partition) -> pa.Table:
        return pa.table({"who": [partition.key]})

    project = make(profile)
    assert not project.plan()
    assert project.add_partitions("customers", ["ann", "bob"]) == 2
    assert project.materialize().counts["done"] == 2
    assert project.remove_partitions("customers", ["ann"]) == 1
    assert project.partitions("profile") == ["bob"]
    with pytest.raises(UsageError, match="customers"):
        project.add_partitions("costumers", ["x"])


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (daily("2024-01-01", timezone="Asia/Tokyo"), ["windows date added"]),
        (daily("2024-01-01", offset="6h"), ["windows date added"]),
        (daily("2023-12-31"), []),
    ],
)
def test_other_windows_of_the_same_keys_are_stale(
    make: MakeProject, other: Any, told: list[str]
) -> None:
    def fetched(partitions: Any) -> Any:
        @asset(partitions=partitions)
        def fetched(partition: Partition) -> pa.Table:
            return pa.table({"since": [str(partition.start)]})

        return fetched

    make(fetched(DAYS)).materialize(now=NOW).raise_for_status()
    plan = make(fetched(other)).plan(partitions="2024-01-02", now=NOW)
    assert [step.reasons[0].detail for step in plan.steps()] == told


@pytest.fixture
def shops(make: MakeProject) -> Project:
    """Three shops and what reads all of them, built."""

    @asset(partitions=dynamic("shops"))
    def stock(partition: Partition) -> pa.Table:
        return pa.table({"shop": [partition.key]})

    @asset
    def total(stock: Annotated[pa.Table, all_partitions()]) -> pa.Table:
        return stock

    project = make(stock, total)
    project.add_partitions("shops", ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "b", "c"])
    project.materialize().raise_for_status()
    return project


def test_a_key_is_removed_however_its_accents_are_written(shops: Project) -> None:
    assert shops.remove_partitions("shops", ["cafe\N{COMBINING ACUTE ACCENT}"]) == 1
    assert shops.partitions("stock") == ["b", "c"]


def test_what_was_removed_keeps_its_history_and_lineage(shops: Project) -> None:
    shops.invalidate("stock", "c", reason="wrong")
    shops.remove_partitions("shops", ["c"])
    assert [entry.what for entry in shops.history("stock", "c")] == ["invalidated", "built"]
    assert shops.lineage("stock@c").node.current
    with pytest.raises(PartitionError, match="'d'"):
        shops.history("stock", "d")


def test_what_was_read_before_is_not_said_to_be_read_now(shops: Project) -> None:
    shops.remove_partitions("shops", ["c"])
    (step,) = shops.plan().steps()
    assert [reason.detail for reason in step.reasons] == ["no longer reads stock[c]"]


def test_what_a_step_prints_and_logs_is_kept_per_attempt(
    make: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    @asset(partitions=DAYS)
    def chatty(context: Context, partition: Partition) -> pa.Table:
        print("printed", partition.key)
        context.log.info("logged")
        logging.getLogger("lib").warning("from a library")
        return ONE

    project = make(chatty)
    result = project.materialize(now=NOW, jobs=2)
    lines = project.logs(result.run_id, "chatty", "2024-01-02")
    assert [line["text"] for line in lines] == [
        "printed 2024-01-02",
        "INFO assets.chatty: logged",
        "WARNING lib: from a library",
    ]
    assert "printed" not in capsys.readouterr().out


def test_metadata_is_recorded(make: MakeProject) -> None:
    @asset
    def noted(context: Context) -> pa.Table:
        context.metadata["url"] = "https://example.com"
        return ONE

    project = make(noted)
    project.materialize()
    assert project.history("noted").facts[0].metadata == {"url": "https://example.com"}


def test_landing_is_recorded_against_its_deadline(make: MakeProject) -> None:
    project = make(numbers(freshness=Freshness("8h")))
    project.materialize(partitions="2024-01-01", now=NOW)
    (fact,) = project.history("numbers").facts
    assert fact.deadline == int(datetime(2024, 1, 2, 8, tzinfo=UTC).timestamp() * 1e6)


# Sources ----------------------------------------------------------------------------------


def test_a_changed_file_is_late_data_and_a_touched_one_is_not(
    make: MakeProject, tmp_path: Path
) -> None:
    def write(text: str, at: int) -> None:
        path = tmp_path / "2024-01-02.txt"
        path.write_text(text)
        os.utime(path, (at, at))

    @source(partitions=DAYS)
    def landing(partition: Partition) -> Path:
        return tmp_path / f"{partition.key}.txt"

    @asset(partitions=DAYS)
    def parsed(landing: Path) -> pa.Table:
        return pa.table({"text": [landing.read_text()]})

    write("one", 1_000)
    project = make(landing, parsed)
    result = project.materialize(now=NOW)
    assert (result.counts["done"], result.counts["blocked"]) == (1, 2)
    write("one", 2_000)
    assert not project.plan("parsed", "2024-01-02", now=NOW)
    write("two", 3_000)
    (step,) = project.plan("parsed", "2024-01-02", now=NOW).steps()
    assert step.reasons[0].kind == "late data"
    assert step.reasons[0].detail == "late data in landing[2024-01-02]"


def test_a_file_changed_within_one_clock_tick_is_still_seen(
    make: MakeProject, tmp_path: Path
) -> None:
    path = tmp_path / "x.txt"

    @source
    def landing() -> Path:
        return path

    @asset
    def parsed(landing: Path) -> pa.Table:
        return pa.table({"text": [landing.read_text()]})

    path.write_text("aaa")
    project = make(landing, parsed)
    project.materialize()
    before = path.stat()
    path.write_text("bbb")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert project.plan().must == 1


def test_a_token_that_has_not_moved_spares_the_content(make: MakeProject) -> None:
    calls: list[int] = []
    token = ["v1"]

    @source(token=lambda: token[0])
    def table() -> pa.Table:
        calls.append(1)
        return ONE

    @asset
    def copy(table: pa.Table) -> pa.Table:
        return table

    project = make(table, copy)
    project.plan()
    project.plan()
    assert len(calls) == 1
    token[0] = "v2"
    project.plan()
    assert len(calls) == 2


def test_an_exit_in_a_source_concerns_that_partition_alone(make: MakeProject) -> None:
    @source(partitions=DAYS)
    def table(partition: Partition) -> pa.Table:
        if partition.key == "2024-01-02":
            raise SystemExit("enough")
        return ONE

    @asset(partitions=DAYS)
    def copy(table: pa.Table) -> pa.Table:
        return table

    result = make(table, copy).materialize(now=NOW)
    assert (result.counts["done"], result.counts["blocked"]) == (2, 1)


def test_a_token_says_nothing_of_what_other_config_sees(make: MakeProject) -> None:
    class Place(BaseModel):
        number: int = 1

    @source(token=lambda: "same")
    def table(place: Place) -> pa.Table:
        return pa.table({"v": [place.number]})

    @asset
    def copy(table: pa.Table) -> pa.Table:
        return table

    make(table, copy).materialize()
    project = make(table, copy, config={"table": {"number": 2}})
    assert project.materialize().counts["done"] == 1
    assert project.load("copy")["v"].to_pylist() == [2]


def test_loading_what_is_not_there_says_how_to_build_it(make: MakeProject) -> None:
    with pytest.raises(MissingDataError, match="assets materialize --select numbers"):
        make(numbers()).load("numbers", "2024-01-01")


# A lost state store -----------------------------------------------------------------------


@pytest.mark.parametrize("io", ["default", "warehouse"])
def test_a_lost_state_store_is_made_out_of_the_data(tmp_path: Path, io: str) -> None:
    def project() -> Project:
        @asset(partitions=DAYS, io=io)
        def base() -> pa.Table:
            return ONE

        @asset(partitions=DAYS, io=io)
        def doubled(base: pa.Table) -> pa.Table:
            return pa.concat_tables([base, base])

        managers = {"default": ParquetFiles("data"), "warehouse": DuckDBTables("data/w.duckdb")}
        return Project(Definitions([base, doubled], io_managers=managers), root=tmp_path)

    with project() as before:
        assert before.materialize(now=NOW).ok
        before.materialize("base", "2024-01-02", force=True, now=NOW)
    shutil.rmtree(tmp_path / ".assets")
    with project() as after:
        assert after.plan(now=NOW).must == 6
        assert after.rebuild() == {"recorded": 6, "damaged": 0}
        assert not after.plan(now=NOW)
        assert after.load("doubled").num_rows == 18
        # Tokens go on from where they were: what is published next is not taken for a zombie's.
        assert after.materialize(force=True, now=NOW).counts["done"] == 6


# Processes --------------------------------------------------------------------------------


@pytest.mark.slow
def test_worker_processes_build_and_one_killed_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "defs_for_processes.py").write_text(
        textwrap.dedent(
            """
            import os, signal
            import pyarrow as pa
            from assets_core import Partition, Retry, daily
            from assets_core import asset

            DAYS = daily("2024-01-01", "2024-01-05")

            @asset(partitions=DAYS, executor="process")
            def base(partition: Partition) -> pa.Table:
                print("in", partition.key)
                return pa.table({"pid": [os.getpid()], "day": [partition.key]})

            @asset(partitions=DAYS, executor="process", retry=Retry(0))
            def fragile(base: pa.Table, partition: Partition) -> pa.Table:
                if partition.key == "2024-01-02":
                    os.kill(os.getpid(), signal.SIGKILL)
                if partition.key == "2024-01-03":
                    raise ValueError("in a worker")
                return base
            """
        )
    )
    with Project.load("defs_for_processes", root=tmp_path) as project:
        result = project.materialize(jobs=2)
        assert result.counts == {
            "done": 6,
            "unchanged": 0,
            "released": 0,
            "failed": 2,
            "blocked": 0,
        }, result.failures
        errors = {f.partition: f.error for f in result.failures}
        assert "worker process died" in errors["2024-01-02"]
        assert errors["2024-01-03"] == "ValueError: in a worker"
        assert project.load("base", "2024-01-01")["pid"][0].as_py() != os.getpid()
        assert project.logs(result.run_id, "base", "2024-01-01")[0]["text"] == "in 2024-01-01"
        trace = {a.partition: a.traceback for a in project.attempts(result.run_id)}
        assert "defs_for_processes.py" in trace["2024-01-03"]


def test_processes_without_a_module_are_refused(make: MakeProject) -> None:
    with pytest.raises(ConfigError, match="imported again"):
        make(numbers(executor="process")).materialize(now=NOW)
