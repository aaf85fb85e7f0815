"""What a kill can't show: in which order a publish forces things to disk, as the kernel saw it.

A power cut loses what was written and not synced. So the system calls of one run are traced, and
their order is what these tests are about.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from crashing import HERE, World

pytestmark = [pytest.mark.crash, pytest.mark.slow]

CALLS = "write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,link,linkat"
_LINE = re.compile(r"(?P<thread>\d+) +(?P<text>.*)")
_RESUMED = re.compile(r"<\.\.\. (?P<call>\w+) resumed>")


@dataclass(frozen=True)
class Call:
    """A finished system call: its name and the text of its arguments, paths included."""

    name: str
    arguments: str

    def syncs(self, end: str) -> bool:
        """Whether it forces the file or folder whose path ends so to disk."""
        return self.name in ("fsync", "fdatasync") and f"{end}>" in self.arguments

    def writes(self, end: str) -> bool:
        """Whether it writes to the file whose path ends so."""
        return "write" in self.name and f"{end}>" in self.arguments

    def renames(self, to: str) -> bool:
        """Whether it gives a file the name that ends so."""
        return "rename" in self.name and f'{to}"' in self.arguments


def calls_of(trace: Path) -> list[Call]:
    """The calls in the order in which they ended."""
    begun: dict[str, str] = {}
    calls = []
    for line in trace.read_text().splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        thread, text = found["thread"], found["text"]
        if text.endswith("<unfinished ...>"):
            begun[thread] = text
            continue
        if _RESUMED.match(text):
            text = begun.pop(thread, "") + text
        name, _, arguments = text.partition("(")
        calls.append(Call(name, arguments))
    return calls


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, request.param, days=1)


@pytest.fixture
def calls(world: World, tmp_path: Path) -> list[Call]:
    """The system calls of a run that overwrites one day, one step after the other."""
    if subprocess.run(["strace", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace can't be used here")
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    world.write(2)
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-y", "-s", "0", "-e", f"trace={CALLS}", "-o", str(trace)]
    drive = [sys.executable, str(HERE / "drive.py"), str(tmp_path), world.store, "1", '{"jobs": 1}']
    path = {"PYTHONPATH": ":".join([str(HERE), *sys.path])}
    subprocess.run([*strace, *drive], check=True, env=path, capture_output=True)
    return calls_of(trace)


def index(calls: list[Call], wanted: str, name: str, start: int = 0) -> int:
    """Where the next call of a kind is; fails when there is none."""
    for at in range(start, len(calls)):
        if getattr(calls[at], wanted)(name):
            return at
    raise AssertionError(f"after call {start} nothing {wanted} {name}")


def last(calls: list[Call], wanted: str, name: str, before: int) -> int:
    """Where the last call of a kind before a place is; fails when there is none."""
    for at in range(before - 1, -1, -1):
        if getattr(calls[at], wanted)(name):
            return at
    raise AssertionError(f"before call {before} nothing {wanted} {name}")


def new_version(world: World, asset: str) -> str:
    with world.project() as project:
        fact = project.state.materializations("prod", asset, limit=1)[0]
        return fact.receipt.location


parquet = pytest.mark.parametrize("world", ["parquet"], indirect=True)
duckdb = pytest.mark.parametrize("world", ["duckdb"], indirect=True)
assets = pytest.mark.parametrize("asset", ["orders", "totals"])
STATE = ".assets/state.db-wal"


@parquet
@assets
def test_a_version_is_on_disk_before_its_name_and_its_name_before_its_record(
    world: World, calls: list[Call], asset: str
) -> None:
    file = f".versions/{new_version(world, asset)}"
    shown = index(calls, "renames", f"{asset}/date=2024-01-01/data.parquet")
    file_synced = index(calls, "syncs", file)
    assert last(calls, "writes", file, len(calls)) < file_synced
    folder_synced = index(calls, "syncs", f".versions/{asset}", file_synced)
    recorded = index(calls, "syncs", STATE, folder_synced)
    assert recorded < shown


@parquet
@assets
def test_the_view_is_on_disk_before_the_run_is_called_done(
    world: World, calls: list[Call], asset: str
) -> None:
    folder = f"{asset}/date=2024-01-01"
    shown = index(calls, "renames", f"{folder}/data.parquet")
    synced = index(calls, "syncs", folder, shown)
    assert synced < last(calls, "syncs", STATE, len(calls))


@duckdb
def test_what_duckdb_committed_is_on_disk_before_it_is_recorded(
    world: World, calls: list[Call]
) -> None:
    log = "data/warehouse.duckdb.wal"
    records = [at for at, call in enumerate(calls) if call.syncs(STATE)]
    checked = 0
    for recorded in records:
        try:
            written = last(calls, "writes", log, recorded)
        except AssertionError:
            continue  # nothing was written yet
        assert index(calls, "syncs", log, written) < recorded
        checked += 1
    assert checked >= 2


@pytest.mark.parametrize("world", ["parquet", "duckdb"], indirect=True)
def test_every_record_is_on_disk_before_anything_follows(world: World, calls: list[Call]) -> None:
    writes = [at for at, call in enumerate(calls) if call.writes(STATE)]
    assert writes
    for written in writes:
        assert index(calls, "syncs", STATE, written)
