"""Backfills beside the daily run: who goes first, what pausing and resuming cost, at what size.

    python benchmarks/backfill.py [--partitions 10000] [--sizes 10000 100000 1000000 10000000]
        [--store parquet] [--rounds 5] [--json]

First real processes on one project of three assets in a row: a backfill of ``--partitions`` asset
partitions is at work when `assets materialize` is asked for one day. The yardstick is the same
command with nothing beside it. Then the backfill is paused, resumed, killed with -9 and resumed to
its end, and the calls of every asset partition are counted. Then what it costs to plan, store,
look at and take up backfills of many sizes, of which nothing is built.

Goals: a daily run beside a backfill of 10,000 partitions begins within a second and finishes
first; nothing is built twice.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from assets_core import Definitions, Partition, Project, asset, daily
from assets_core.operations.backfill.request import BackfillRequest
from io_managers import Memory

START = date(1990, 1, 1)
MODULE = """
import os, time
import pyarrow as pa
from assets_core import Definitions, Partition, daily
from assets_core import asset
from io_managers import DuckDBTables, ParquetFiles

days = daily("{first}", end="{end}")

def note(name, partition):
    with open("calls", "a") as file:
        file.write(f"{{name}} {{partition.key}} {{time.time()}} {{os.getpid()}}\\n")

@asset(partitions=days)
def raw(partition: Partition) -> pa.Table:
    note("raw", partition)
    return pa.table({{"v": list(range(100))}})

@asset(partitions=days)
def clean(raw: pa.Table, partition: Partition) -> pa.Table:
    note("clean", partition)
    return raw

@asset(partitions=days)
def report(clean: pa.Table, partition: Partition) -> pa.Table:
    note("report", partition)
    return clean

stores = {{"parquet": lambda: ParquetFiles("data"), "duckdb": lambda: DuckDBTables("all.duckdb")}}
definitions = Definitions([raw, clean, report], io_managers={{"default": stores["{store}"]()}})
"""


class World:
    """A project in a folder, and the processes at work on it."""

    def __init__(self, root: Path, days: int, store: str) -> None:
        self.root, self.days = root, days
        root.mkdir()
        end = (START + timedelta(days)).isoformat()
        text = MODULE.format(first=START, end=end, store=store)
        (root / "tables.py").write_text(text)
        (root / "assets.toml").write_text('module = "tables"\n')
        self.keys = [(START + timedelta(i)).isoformat() for i in range(days)]
        self.everything = f"{self.keys[0]}..{self.keys[-1]}"

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "assets_core", *words],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def calls(self) -> list[tuple[str, str, float, int]]:
        """Asset, key, when (seconds of the clock) and the process, of every call so far."""
        try:
            lines = (self.root / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []
        words = [line.split() for line in lines]
        return [(w[0], w[1], float(w[2]), int(w[3])) for w in words if len(w) == 4]

    def wait_for_calls(self, process: subprocess.Popen[str], number: int) -> None:
        """Until this process has begun so many."""
        while sum(call[3] == process.pid for call in self.calls()) < number:
            if process.poll() is not None:
                raise RuntimeError(f"it ended too early: {process.communicate()[0]}")
            time.sleep(0.02)

    def daily_run(self, key: str) -> tuple[float, float]:
        """Seconds until the first step of `assets materialize` begins, and until it has ended."""
        began = time.time()
        process = self.start("materialize", "--partition", key)
        told = process.communicate()[0]
        ended = time.time()
        assert process.returncode == 0, told
        first = min(call[2] for call in self.calls() if call[3] == process.pid)
        return first - began, ended - began


def ended(process: subprocess.Popen[str]) -> float:
    """Seconds until it has ended."""
    began = time.time()
    told = process.communicate()[0]
    assert process.returncode in (0, 1), told
    return time.time() - began


def beside(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What a daily run takes, alone and beside a backfill; pause, resume, kill."""
    days = -(-options.partitions // 3)
    rounds = options.rounds
    world = World(place / "beside", days + rounds, options.store)
    alone = [world.daily_run(key) for key in world.keys[-rounds:]]
    backfill = world.start("backfill", "--partitions", f"{world.keys[0]}..{world.keys[days - 1]}")
    world.wait_for_calls(backfill, 30)
    together = []
    for number in range(rounds):
        # A day in the midst of what is being filled, far ahead of where it is: wanted by both.
        together.append(world.daily_run(world.keys[days - 1 - number]))
        time.sleep(0.5)
    first = backfill.poll() is None

    def command(*words: str) -> float:
        began = time.time()
        ended(world.start("backfill", *words, "latest"))
        return time.time() - began

    began = time.time()
    paused = world.start("backfill", "pause", "latest")
    backfill.communicate()
    to_pause = time.time() - began
    ended(paused)
    began = time.time()
    backfill = world.start("backfill", "resume", "latest")
    world.wait_for_calls(backfill, 1)
    to_resume = time.time() - began
    world.wait_for_calls(backfill, 200)
    backfill.kill()
    backfill.communicate()
    showing = command("show")
    began = time.time()
    backfill = world.start("backfill", "resume", "latest")
    world.wait_for_calls(backfill, 1)
    after_kill = time.time() - began
    rest = ended(backfill)
    assert backfill.returncode == 0
    times = Counter(call[:2] for call in world.calls())
    with Project.load("tables", root=world.root) as project:
        recorded = sum(len(project.history(name)) for name in ("raw", "clean", "report"))
        now = project.backfills.progress("latest")
    assert now.state == "done", now
    assert set(times) == {(n, k) for n in ("raw", "clean", "report") for k in world.keys}
    return {
        "partitions": days * 3,
        "alone_first": statistics.median(a for a, _ in alone),
        "alone_end": statistics.median(b for _, b in alone),
        "beside_first": statistics.median(a for a, _ in together),
        "beside_first_worst": max(a for a, _ in together),
        "beside_end": statistics.median(b for _, b in together),
        "finished_first": first,
        "pause": to_pause,
        "resume": to_resume,
        "resume_after_kill": after_kill,
        "show": showing,
        "rest": rest,
        "recorded_twice": recorded - len(times),
        "called_twice": sum(number - 1 for number in times.values()),
    }


def price(place: Path, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds a partition, in a backfill and in one ordinary run of the same."""
    found = {}
    for kind in ("materialize", "backfill"):
        world = World(place / kind, 700, options.store)
        began = time.time()
        ended(world.start(kind, "--partitions", world.everything))
        found[kind] = (time.time() - began) / (700 * 3) * 1e3
    return found


def growth(place: Path, size: int) -> dict[str, float]:
    """Seconds to plan, store, look at and take up a backfill of this many asset partitions."""
    assets = max(size // 10_000, 1)
    days = daily(START.isoformat(), end=(START + timedelta(size // assets)).isoformat())

    def one(number: int) -> Any:
        def build(partition: Partition) -> pa.Table:
            raise AssertionError("nothing is built here")

        build.__name__ = f"a{number}"
        return asset(partitions=days, version="1")(build)

    root = place / f"growth-{size}"
    root.mkdir()
    project = Project(
        Definitions([one(n) for n in range(assets)], io_managers={"default": Memory()}),
        root=root,
    )
    took: dict[str, float] = {}

    def timed(name: str, run: Any) -> Any:
        gc.collect()
        began = time.perf_counter()
        found = run()
        took[name] = time.perf_counter() - began
        return found

    request = BackfillRequest(reprocess="all")
    with project:
        project.plan("a0")  # the codes of functions, read once
        plan = timed("plan", lambda: project.backfills.plan(request))
        assert len(plan) == size // assets * assets
        one_ = timed("store", lambda: project.backfills.begin(request, plan))
        timed("show", lambda: project.backfills.progress(one_.id))
        left = timed("take up", lambda: project.backfills.left(one_.id))
        assert len(left) == len(plan)
    return took


def print_processes(got: dict[str, Any], prices: dict[str, float]) -> None:
    """A line for each figure."""
    first, after = got["alone_first"], got["alone_end"]
    print(
        f"a daily run begins after {first:.2f} s alone, {got['beside_first']:.2f} s beside a "
        f"backfill of {got['partitions']:,} (worst {got['beside_first_worst']:.2f}; goal: 1 s)\n"
        f"  ends after {after:.2f} s alone, {got['beside_end']:.2f} s beside it; before the "
        f"backfill: {'yes' if got['finished_first'] else 'NO'}\n"
        f"pause: {got['pause']:.2f} s until the process has ended; show: {got['show']:.2f} s\n"
        f"resume: first call after {got['resume']:.2f} s, after kill -9 "
        f"{got['resume_after_kill']:.2f} s\n"
        f"recorded twice: {got['recorded_twice']} of {got['partitions']:,} (goal: 0); "
        f"called twice, since killed: {got['called_twice']}\n"
        f"a partition: {prices['backfill']:.2f} ms in a backfill, {prices['materialize']:.2f} ms "
        f"in an ordinary run ({prices['backfill'] / prices['materialize']:.2f} times)"
    )


def main() -> None:
    """Print the figures beside the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10**n for n in range(4, 8)])
    parser.add_argument("--store", choices=("parquet", "duckdb"), default="parquet")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="backfill-", dir=Path.cwd()))
    try:
        processes = beside(place, options) if options.partitions else {}
        prices = price(place, options) if options.partitions else {}
        sizes = {size: growth(place, size) for size in options.sizes}
    finally:
        shutil.rmtree(place)
    if options.json:
        json.dump({"processes": processes, "price": prices, "sizes": sizes}, sys.stdout)
        return
    if processes:
        print_processes(processes, prices)
    for size, took in sizes.items():
        told = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in took.items())
        print(f"{size:>10,} partitions: {told}")


if __name__ == "__main__":
    main()
