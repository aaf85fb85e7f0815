"""What a demanding first user met while running: outputs that are refused, stops, repairs."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from assets_core import Context, Definitions, Partition, asset, daily, monthly, static, yearly
from assets_core.partitions import PartitionsDefinition
from assets_core.project import Project

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]
DAYS = daily("2024-01-01", end="2024-01-03")
DAY = "2024-01-01"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """A project of these assets in a temporary folder, closed at the end."""
    opened: list[Project] = []

    def build(*assets: Any) -> Project:
        opened.append(Project(Definitions(assets), root=tmp_path))
        return opened[-1]

    yield build
    for made in opened:
        made.close()


# --------------------------------------------------------------------------------------------
# Rows outside their partition


def _problem(
    project: Callable[..., Project], partitions: PartitionsDefinition, key: str, data: Any
) -> str:
    """What is wrong with data whose column ``c`` tells the partition; empty when nothing is."""

    @asset(partitions=partitions, partition_column="c")
    def told(partition: Partition) -> pa.Table:
        return data

    failures = project(told).materialize(partitions=key).failures
    return failures[0].details if failures else ""


@pytest.mark.parametrize(
    "data",
    [
        pl.DataFrame({"c": [DAY]}),
        pl.DataFrame({"c": [DAY]}, schema={"c": pl.Categorical}),
        pa.table({"c": pa.array([DAY], pa.large_string())}),
        pa.table({"c": pa.array([DAY], pa.string_view())}),
        pa.table({"c": pa.array([DAY]).dictionary_encode()}),
    ],
    ids=["polars", "categorical", "large", "view", "dictionary"],
)
def test_text_of_any_type_can_tell_the_day(project: Callable[..., Project], data: Any) -> None:
    assert _problem(project, DAYS, DAY, data) == ""


def test_large_text_of_another_day_is_refused(project: Callable[..., Project]) -> None:
    strangers = pl.DataFrame({"c": [DAY, "2024-01-02"]})
    assert "lie outside partition" in _problem(project, DAYS, DAY, strangers)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("2024-02-01", True),
        ("2024-02-29", True),
        ("2024-02-10T05:00:00", True),
        ("2024-02-29 23:59:59.5", True),
        ("2024-02", True),
        ("2024-03-01", False),
        ("2024-01-31", False),
        ("2024-03-01T00:00:00", False),
        ("2024-02-30", False),
        ("2024-2-3", False),
        ("February", False),
    ],
)
def test_a_month_takes_days_and_times_written_as_iso_text(
    project: Callable[..., Project], text: str, inside: bool
) -> None:
    months = monthly("2024-01", "2024-04", timezone="Europe/Berlin")
    problem = _problem(project, months, "2024-02", pa.table({"c": ["2024-02-03", text]}))
    assert ("lie outside partition" in problem) == (not inside)


def test_a_number_that_is_not_the_key_is_refused(project: Callable[..., Project]) -> None:
    assert "lie outside" in _problem(project, DAYS, DAY, pa.table({"c": [20240101]}))


def test_a_number_can_tell_the_year(project: Callable[..., Project]) -> None:
    years = yearly("2023", end="2025")
    assert _problem(project, years, "2024", pa.table({"c": [2024]})) == ""


def test_no_rows_without_a_type_lie_in_any_partition(project: Callable[..., Project]) -> None:
    nothing = pa.table({"c": pa.array([], pa.null())})
    assert _problem(project, DAYS, DAY, nothing) == ""


def test_a_dimension_told_by_polars_is_taken(project: Callable[..., Project]) -> None:
    from assets_core import product

    by_station = product(date=DAYS, station=static(["EWR", "JFK"]))
    assert _problem(project, by_station, f"{DAY}|EWR", pl.DataFrame({"c": ["EWR"]})) == ""


# --------------------------------------------------------------------------------------------
# Too many rejects


def test_too_many_rejects_tell_their_reasons(project: Callable[..., Project]) -> None:
    """Nothing is published then, so `assets rejects` could not show them."""

    @asset(max_rejected=0.1)
    def picky(context: Context) -> pa.Table:
        context.reject(pa.table({"line": ["a;b", "c;d"]}), reason="no such column")
        return pa.table({"v": [1]})

    details = project(picky).materialize().failures[0].details
    assert "no such column (2)" in details
    assert "a;b" in details


# --------------------------------------------------------------------------------------------
# Names with their partition


def test_python_takes_asset_and_partition_as_one_name(project: Callable[..., Project]) -> None:
    @asset(partitions=DAYS)
    def days(partition: Partition) -> pa.Table:
        return pa.table({"day": [partition.key]})

    made = project(days)
    made.materialize()
    assert made.load(f"days@{DAY}").to_pylist() == [{"day": DAY}]
    assert [fact.partition for fact in made.history(f"days@{DAY}").facts] == [DAY]


# --------------------------------------------------------------------------------------------
# A lost state store


@pytest.fixture
def lost(tmp_path: Path) -> Path:
    """A project with everything built, and its state store gone."""
    _write(tmp_path, CHAIN)
    assert _assets(tmp_path, "materialize", "--yes").returncode == 0
    shutil.rmtree(tmp_path / ".assets")
    return tmp_path


def test_repair_rebuild_records_the_data_again(lost: Path) -> None:
    assert "4 versions recorded again" in _assets(lost, "repair", "--rebuild").stdout


def test_nothing_is_stale_after_a_rebuild(lost: Path) -> None:
    _assets(lost, "repair", "--rebuild")
    assert "Nothing to do" in _assets(lost, "plan").stdout


def test_lineage_after_a_rebuild_does_not_cry_wolf(lost: Path) -> None:
    _assets(lost, "repair", "--rebuild")
    told = _assets(lost, "lineage", f"after@{DAY}").stdout
    assert "what it read is not recorded" in told
    assert "DOES NOT ADD UP" not in told


def test_repair_names_the_command_that_builds_what_is_damaged(tmp_path: Path) -> None:
    _write(tmp_path, CHAIN)
    _assets(tmp_path, "materialize", "--yes")
    (file,) = (tmp_path / "data/.versions/before").glob(f"{DAY}*.pq")
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b"PAR1", b"RAP1"))
    told = _assets(tmp_path, "repair", "--verify").stdout
    assert f"assets materialize before --partition {DAY} --force" in told


# --------------------------------------------------------------------------------------------
# Stops


@pytest.mark.slow
def test_ctrl_c_while_workers_load_fails_nothing(tmp_path: Path) -> None:
    """It reaches the whole group, workers that are not ready for it included."""
    _write(tmp_path, SLOW)
    (tmp_path / "definitions/__init__.py").write_text(SLOW + "\ntime.sleep(0.5)\n")
    code, told = _on_a_terminal(
        tmp_path, "materialize", "--yes", "--executor", "process", after=b"loading"
    )
    assert code == 130
    assert "interrupted" in told
    assert "failed" not in told


def test_quitting_at_once_shows_the_cursor_again(tmp_path: Path) -> None:
    _write(tmp_path, SLOW)
    code, told = _on_a_terminal(tmp_path, "materialize", "--yes", after=b"0 of 2", twice=True)
    assert code == 130
    assert told.rindex("\x1b[?25h") > told.rindex("\x1b[?25l")


def test_ctrl_c_while_the_bar_begins_shows_the_cursor_again(tmp_path: Path) -> None:
    _write(tmp_path, SLOW)
    code, told = _on_a_terminal(tmp_path, "materialize", "--yes", after=b"\x1b[?25l")
    assert code == 130
    assert told.rindex("\x1b[?25h") > told.rindex("\x1b[?25l")


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_an_exit_in_an_asset_fails_its_step_alone(tmp_path: Path, executor: str) -> None:
    exits = "if partition.key == DAYS.partition('2024-01-01').key: raise SystemExit(0)"
    _write(tmp_path, CHAIN.replace("    return pa.table", f"    {exits}\n    return pa.table"))
    done = _assets(tmp_path, "materialize", "--yes", "--executor", executor)
    assert done.returncode == 1
    assert f"before@{DAY}  SystemExit: 0" in done.stdout
    assert "done       after@2024-01-02" in done.stderr


# --------------------------------------------------------------------------------------------
# What is told


def test_no_output_is_promised_where_there_is_none(tmp_path: Path) -> None:
    _write(tmp_path, CHAIN.replace("return before", "raise ValueError(1)"))
    told = _assets(tmp_path, "materialize", "--yes").stdout
    assert "ValueError" in told
    assert "what it printed" not in told


def test_init_leaves_a_readme_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert _assets(tmp_path, "init").returncode == 0
    assert (tmp_path / "README.md").read_text() == "mine"
    assert _assets(tmp_path, "list").returncode == 0


# --------------------------------------------------------------------------------------------

CHAIN = """
import pyarrow as pa
from assets_core import Partition, daily
from assets_core import asset

DAYS = daily("2024-01-01", end="2024-01-03")

@asset(partitions=DAYS)
def before(partition: Partition) -> pa.Table:
    return pa.table({"day": [partition.key]})

@asset(partitions=DAYS)
def after(before: pa.Table) -> pa.Table:
    return before
"""

SLOW = """
import multiprocessing
import sys
import time
import pyarrow as pa
from assets_core import Partition, daily
from assets_core import asset

if multiprocessing.parent_process():
    sys.stderr.write("loading")
    sys.stderr.flush()

@asset(partitions=daily("2024-01-01", end="2024-01-03"))
def slow(partition: Partition) -> pa.Table:
    time.sleep(30)
    return pa.table({"day": [partition.key]})
"""


def _write(folder: Path, text: str) -> None:
    (folder / "definitions").mkdir()
    (folder / "definitions/__init__.py").write_text(text)


def _environment() -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith("ASSETS_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm"}


def _assets(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "assets_core", *words],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _on_a_terminal(folder: Path, *words: str, after: bytes, twice: bool = False) -> tuple[int, str]:
    """Press Ctrl-C once the command has written ``after``; its exit code, and all it wrote."""
    pid, terminal = pty.fork()
    if pid == 0:
        # As on a terminal of one's own, though these tests may run where Ctrl-C is ignored.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.chdir(folder)
        os.execve(sys.executable, [sys.executable, "-m", "assets_core", *words], _environment())
    told = b""
    presses = [after, b"stopping"][: 2 if twice else 1]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            told += os.read(terminal, 65536)
        except OSError:
            break  # it has ended
        if presses and presses[0] in told:
            presses.pop(0)
            os.write(terminal, b"\x03")
    else:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, re.sub(r"\r", "", told.decode(errors="replace"))
