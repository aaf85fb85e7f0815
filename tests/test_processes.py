"""Worker processes: what a step printed is kept, also when its worker is killed."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from assets_core.execution import capture
from assets_core.project import Project

pytestmark = pytest.mark.slow

KILLED = """
import logging, os, signal, sys, tempfile
from pathlib import Path
import pyarrow as pa
from assets_core import Context, Retry
from assets_core import asset

@asset(executor="process", retry=Retry(1, delay=0))
def doomed(context: Context) -> pa.Table:
    print("first line")
    print("to stderr", file=sys.stderr)
    context.log.info("to the log")
    print("not finished", end="")
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return pa.table({"a": [1]})

@asset(executor="process")
def chatty() -> pa.Table:
    for number in range(200_000):
        print(f"line {number}")
    os.kill(os.getpid(), signal.SIGKILL)


@asset(executor="process")
def talkative() -> pa.Table:
    for number in range(10_000):
        print(f"line {number}")
    raise ValueError("x" * 5_000_000)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("ASSETS_OUTPUT_BYTES", "20000")
    (tmp_path / "defs_of_killed.py").write_text(KILLED)
    with Project.load("defs_of_killed", root=tmp_path) as loaded:
        yield loaded


def test_the_output_of_a_killed_worker_is_kept(project: Project, tmp_path: Path) -> None:
    result = project.materialize("doomed")
    assert result.ok
    lines = project.logs(result.run_id, "doomed", "all")
    said = [(line["attempt"], line["stream"], line["text"]) for line in lines]
    assert said[:4] == [
        (1, "stdout", "first line"),
        (1, "stderr", "to stderr"),
        (1, "log", "INFO assets.doomed: to the log"),
        (1, "stdout", "not finished"),
    ]
    assert [entry[1:] for entry in said[:4]] == [entry[1:] for entry in said[4:]]
    assert not list(tmp_path.glob("assets-output-*"))


def test_of_very_much_output_of_a_killed_worker_the_end_is_kept(project: Project) -> None:
    result = project.materialize("chatty")
    lines = [line["text"] for line in project.logs(result.run_id, "chatty")]
    assert lines[-1] == "line 199999"
    assert 10_000 < len(lines) < 100_000


def test_what_a_worker_says_is_bounded(project: Project) -> None:
    result = project.materialize("talkative")
    lines = [line["text"] for line in project.logs(result.run_id, "talkative")]
    assert 150 < len(lines) < 200
    assert (lines[0], lines[-1]) == ("line 0", "line 9999")
    assert sum("left out" in line for line in lines) == 1
    (attempt,) = project.attempts(result.run_id)
    assert "characters left out" in attempt.error
    assert "characters left out" in attempt.traceback


def test_a_spool_has_a_bound(tmp_path: Path) -> None:
    spool = capture.Spool(tmp_path / "spool")
    for number in range(50):
        spool.add(number, "stdout", "x" * 100_000 + "\n")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2.5 * capture.MOST_SPOOLED
    entries = capture.take_spooled(tmp_path / "spool")
    assert entries[-1][0] == 49
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_finds_no_room_does_not_stop_the_printing(tmp_path: Path) -> None:
    folder = tmp_path / "spools"
    folder.mkdir()
    spool = capture.Spool(folder / "spool")
    spool.add(1, "stdout", "x" * capture.MOST_SPOOLED)
    shutil.rmtree(folder)
    for number in range(3):
        spool.add(number, "stdout", "y" * capture.MOST_SPOOLED)
    spool.discard()


def test_an_attempt_that_ends_leaves_no_spool(tmp_path: Path) -> None:
    with capture.capturing(), capture.attempt(10_000, tmp_path / "spool") as lines:
        print("kept")
        assert (tmp_path / "spool").stat().st_size
    assert [text for _, _, text in lines.finish()] == ["kept"]
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_a_kill_cut_is_left_out(tmp_path: Path) -> None:
    spool = capture.Spool(tmp_path / "spool")
    spool.add(1, "stdout", "whole\n")
    with (tmp_path / "spool").open("a") as file:
        file.write('[2, "stdo')
    assert capture.take_spooled(tmp_path / "spool") == [(1, "stdout", "whole")]


EDITED = """
import pyarrow as pa
from assets_core import asset, daily
from assets_core import Retry
from helpers_of_edited import FACTOR, scale

DAYS = daily("2024-01-01", end="2024-01-04")

@asset(partitions=DAYS, executor="process", retry=Retry(3, delay=0))
def scaled() -> pa.Table:
    return pa.table({"n": [scale(FACTOR)]})

@asset(partitions=DAYS)
def after(scaled: pa.Table) -> pa.Table:
    return scaled
"""
HELPERS = "FACTOR = 1\n\n\ndef scale(x):\n    return x\n"


_numbers = itertools.count()


@dataclass
class Edited:
    """A project whose helpers are in a module of their own, imported under a name of its own."""

    root: Path
    number: int = field(default_factory=lambda: next(_numbers))

    def write(self, helpers: str) -> None:
        (self.root / f"helpers_of_edited_{self.number}.py").write_text(helpers)

    def load(self) -> Project:
        own = EDITED.replace("helpers_of_edited", f"helpers_of_edited_{self.number}")
        (self.root / f"edited_{self.number}.py").write_text(own)
        return Project.load(f"edited_{self.number}", root=self.root)


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edited:
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Edited(tmp_path)
    made.write(HELPERS)
    return made


@pytest.mark.parametrize(
    ("now", "part"),
    [(HELPERS.replace("return x", "return 2 * x"), "scale"), (HELPERS.replace("1", "2"), "FACTOR")],
)
def test_code_that_was_edited_after_the_plan_is_refused_and_stops_the_run(
    edited: Edited, now: str, part: str
) -> None:
    with edited.load() as project:
        plan = project.plan()
        edited.write(now)
        result = project.materialize(plan=plan, jobs=1)
        attempts = project.attempts(result.run_id)
        assert not project.history("scaled").facts
    (failure,) = result.failures
    assert failure.error == "The code of 'scaled' is not the one that this run was planned with."
    assert part in failure.details.splitlines()[2]
    assert "run again" in failure.details
    assert (failure.attempts, failure.exit_code, result.exit_code) == (1, 3, 3)
    assert next(one.status for one in attempts if one.asset == "scaled") == "refused"
    assert result.status == "failed"


def test_equal_code_is_built_though_its_file_was_written_again(edited: Edited) -> None:
    with edited.load() as project:
        plan = project.plan()
        edited.write(f"# a comment\n{HELPERS}")
        assert project.materialize(plan=plan).ok
        assert not project.plan()
