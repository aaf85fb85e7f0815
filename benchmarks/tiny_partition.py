"""What one tiny asset partition costs: load, run, hash, check, stage, publish and record.

The yardstick is a bare single-threaded loop that does the least that is as durable: read the
input with ``pq.read_table``, write with ``pq.write_table``, fsync of file and folder, rename, one
SQLite commit each. Both run interleaved in one process, so that a noisy machine hits both.

    python benchmarks/tiny_partition.py [--partitions 100 1000 10000] [--rounds 5] [--json]
        [--peers PYTHON]

With ``--peers``, an interpreter in which Luigi and Dagster are installed, these do the same work.

Goals: at most 1.2 × the floor with one job, 1.0 × with two, flat as the number of steps grows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assets_core import Definitions, Project, asset, daily, not_null, row_count

ROWS = 1_000
START = datetime(1990, 1, 1, tzinfo=UTC)


def make_table(seed: int) -> pa.Table:
    """1,000 rows × 2 fixed-width columns."""
    rng = np.random.default_rng(seed)
    return pa.table({"sensor": np.arange(ROWS), "value": rng.random(ROWS)})


def scaled(table: pa.Table) -> pa.Table:
    """The work of a step: a few vector operations."""
    return pa.table({"sensor": table["sensor"], "value": table["value"].to_numpy() * 2.0 + 1.0})


def floor(folder: Path, steps: int) -> float:
    """Seconds per step of the bare loop."""
    folder.mkdir()
    source = folder / "source.parquet"
    pq.write_table(make_table(0), source)
    database = sqlite3.connect(folder / "state.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE done (partition TEXT PRIMARY KEY, at REAL, rows INTEGER)")
    out = folder / "out"
    out.mkdir()
    began = time.perf_counter()
    for i in range(steps):
        result = scaled(pq.read_table(source))
        staged, final = out / f"{i}.tmp", out / f"{i}.parquet"
        pq.write_table(result, staged)
        _fsync(staged)
        staged.rename(final)
        _fsync(out)
        database.execute("INSERT INTO done VALUES (?, ?, ?)", (str(i), time.time(), ROWS))
    took = time.perf_counter() - began
    database.close()
    return took / steps


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def ours(folder: Path, steps: int, jobs: int) -> float:
    """Seconds per step of the engine: a daily asset that reads another, with two checks."""
    days = daily(START.date())

    @asset(partitions=days)
    def raw() -> pa.Table:
        return make_table(0)

    @asset(partitions=days, checks=[not_null("sensor"), row_count(min=1)])
    def result(raw: pa.Table) -> pa.Table:
        return scaled(raw)

    now = START + timedelta(days=steps, hours=1)
    with Project(Definitions([raw, result]), root=folder) as project:
        first = project.materialize("raw", jobs=2, now=now)
        assert first.ok, first
        plan = project.plan("result", now=now)
        began = time.perf_counter()
        run = project.materialize(plan=plan, jobs=jobs)
        took = time.perf_counter() - began
        assert run.counts["done"] == steps, run
    return took / steps


def measure(steps: int, rounds: int) -> dict[str, float]:
    """Medians in ms, and the ratios of each round's pair."""
    figures: dict[str, list[float]] = {"floor": [], "one": [], "two": []}
    for _ in range(rounds):
        base = Path(tempfile.mkdtemp(prefix="tiny-", dir=os.environ.get("BENCHMARK_DIR", ".")))
        try:
            figures["floor"].append(floor(base / "floor", steps))
            figures["one"].append(ours(base / "one", steps, 1))
            figures["two"].append(ours(base / "two", steps, 2))
        finally:
            shutil.rmtree(base)
    out = {f"{name}_ms": statistics.median(values) * 1e3 for name, values in figures.items()}
    for name in ("one", "two"):
        pairs = zip(figures[name], figures["floor"], strict=True)
        out[f"{name}_ratio"] = statistics.median(a / b for a, b in pairs)
    return {"steps": steps, **out}


def peers(python: str, floor_ms: float, steps: int) -> None:
    """Print what other orchestrators take for the same work, where they are installed."""
    for name in ("luigi", "dagster"):
        few = steps if name == "luigi" else max(steps // 10, 10)
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARK_DIR")) as folder:
            words = [python, str(Path(__file__).with_name("peers.py")), name, str(few), folder]
            said = subprocess.run(words, capture_output=True, text=True, check=False)
        if said.returncode:
            print(f"{name}: {said.stderr.strip().splitlines()[-1]}")
            continue
        took = float(said.stdout.split()[-1]) * 1e3
        print(f"{name:<8} {few:>6,} steps: {took:>8.2f} ms each, {took / floor_ms:.1f} × the floor")


def main() -> None:
    """Print the figures beside the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter with Luigi and Dagster")
    options = parser.parse_args()
    results = [measure(steps, options.rounds) for steps in options.partitions]
    if options.json:
        json.dump(results, sys.stdout)
        return
    print("   steps  floor ms  1 job ms  ratio 2 jobs ms  ratio")
    for r in results:
        print(
            f"{r['steps']:>8,} {r['floor_ms']:>9.2f} {r['one_ms']:>9.2f} {r['one_ratio']:>6.2f} "
            f"{r['two_ms']:>9.2f} {r['two_ratio']:>6.2f}"
        )
    print("goals: one job at most 1.20, two jobs at most 1.00, flat")
    if options.peers:
        peers(options.peers, results[-1]["floor_ms"], 1_000)


if __name__ == "__main__":
    main()
