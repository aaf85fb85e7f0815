"""What steps say is kept to a bound, with its beginning and its end and how much was left out."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pytest

from assets_core import Definitions, Partition, Project, asset, check, daily, source
from assets_core.checks import CheckResult
from assets_core.errors import LONGEST_TEXT, bounded
from assets_core.execution.capture import Lines

LONG = "begun " + "x" * 5_000_000 + " ended"
DAYS = daily("2024-01-01", end="2024-01-03")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSETS_OUTPUT_BYTES", "20000")
    return tmp_path


def size_of(root: Path) -> int:
    return sum(file.stat().st_size for file in root.rglob("*") if file.is_file())


def test_a_text_within_the_bound_stays_as_it_is() -> None:
    assert bounded("x" * LONGEST_TEXT) == "x" * LONGEST_TEXT


def test_of_a_long_text_both_ends_are_kept_and_the_rest_is_counted() -> None:
    text = bounded(LONG)
    assert text.startswith("begun xxx")
    assert text.endswith("xxx ended")
    assert f"\n… {len(LONG) - LONGEST_TEXT:,} characters left out …\n" in text
    assert len(text) < LONGEST_TEXT + 100


def test_a_long_message_of_a_step_is_bounded_in_record_and_result(root: Path) -> None:
    @asset(partitions=DAYS)
    def loud(partition: Partition) -> pa.Table:
        raise ValueError(LONG)

    with Project(Definitions([loud]), root=root) as project:
        result = project.materialize()
        attempts = project.attempts(result.run_id)
    told = [failure.details for failure in result.failures] + [one.error for one in attempts]
    assert [len(text) < 1.1 * LONGEST_TEXT for text in told] == [True] * 4
    assert all("characters left out" in text for text in told)
    assert attempts[0].traceback.startswith("Traceback (most recent call last):\n")
    assert "in loud" in attempts[0].traceback
    assert attempts[0].traceback.rstrip().endswith("xxx ended")
    assert size_of(root) < 2_000_000


def test_a_long_message_of_a_check_is_bounded(root: Path) -> None:
    @check
    def complaining(rows: pa.Table) -> CheckResult:
        return CheckResult(passed=False, message=LONG)

    @asset(checks=[complaining])
    def checked() -> pa.Table:
        return pa.table({"a": [1]})

    with Project(Definitions([checked]), root=root) as project:
        result = project.materialize()
    assert "characters left out" in result.failures[0].details
    assert size_of(root) < 1_000_000


def test_a_long_message_of_a_source_is_bounded(root: Path) -> None:
    @source
    def landed() -> pa.Table:
        raise ValueError(LONG)

    with Project(Definitions([landed]), root=root) as project:
        found = project.observe()
    assert [len(str(error)) < 1.1 * LONGEST_TEXT for *_, error in found.errors()] == [True]


def test_much_output_of_a_step_is_bounded_by_the_setting(root: Path) -> None:
    @asset
    def chatty() -> pa.Table:
        for number in range(10_000):
            print(f"line {number}")
        return pa.table({"a": [1]})

    with Project(Definitions([chatty]), root=root) as project:
        result = project.materialize()
        lines = [line["text"] for line in project.logs(result.run_id, "chatty")]
    (told,) = [text for text in lines if "left out" in text]
    at = lines.index(told)
    assert lines[0] == "line 0"
    assert lines[-1] == "line 9999"
    assert told.startswith(f"… {10_000 - len(lines) + 1:,} lines (")
    assert "output_bytes is 20,000" in told
    assert lines[:at] == [f"line {i}" for i in range(at)]
    assert 150 < len(lines) < 200


def test_little_output_is_kept_whole() -> None:
    lines = Lines(10_000)
    for number in range(50):
        lines.write("stdout", f"line {number}\n")
    assert [text for _, _, text in lines.finish()] == [f"line {n}" for n in range(50)]


def test_a_line_without_an_end_takes_no_more_than_the_bound() -> None:
    lines = Lines(3_000_000)
    for _ in range(100):
        lines.write("stdout", "x" * 100_000)
    found = [text for _, _, text in lines.finish()]
    assert sum(map(len, found)) < 3_100_000
    assert any("left out" in text for text in found)


def test_a_line_that_alone_is_beyond_the_bound_is_left_out_and_counted() -> None:
    lines = Lines(1_000)
    lines.write("stdout", "before\n" + "x" * 5_000 + "\nafter\n")
    texts = [text for _, _, text in lines.finish()]
    assert texts[0] == "before"
    assert texts[1].startswith("… 1 line (5,000 characters) left out")
    assert texts[2] == "after"


def test_times_stay_in_order_around_what_was_left_out() -> None:
    lines = Lines(1_000)
    for number in range(100):
        lines.write("stdout", f"{number}\n", at=number)
    times = [at for at, *_ in lines.finish()]
    assert times == sorted(times)
    assert times[-1] < time.time_ns()
