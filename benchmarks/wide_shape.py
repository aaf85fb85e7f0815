"""One day over many assets: what a step costs where no two steps share a folder, and what is held.

2,000 assets of 1,000 days, each of which reads three others; one day of all of them is built. The
yardstick is a bare loop over the same folders that does the least that is as durable: write a
small file, fsync it and its folder, link it into the folder of its day and fsync that, one SQLite
commit. Each part runs in a process of its own, so that memory is its own.

    python benchmarks/wide_shape.py [--assets 2000] [--days 1000] [--jobs 2] [--json]

Goals: at most 0.6 × the floor; at most 300 MB after the plan and after each day's run, flat.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assets_core import Definitions, Project, asset, daily

START = datetime(2022, 1, 1, tzinfo=UTC)
LAYER = 100
TABLE = pa.table({"id": np.arange(100), "value": np.arange(100) * 0.5})


def definitions(assets: int) -> Definitions:
    """Layers of assets, each of which reads three of the layer before."""
    days = daily(START.date())
    made = []

    def first() -> pa.Table:
        return TABLE

    def later(a: pa.Table, b: pa.Table, c: pa.Table) -> pa.Table:
        return a

    for number in range(assets):
        name, at = f"wide_{number:04}", number % LAYER
        above = number - at - LAYER
        if above < 0:
            made.append(asset(name=name, partitions=days, version="1")(first))
            continue
        reads = {
            part: f"wide_{above + (at + step) % LAYER:04}"
            for part, step in (("a", 0), ("b", 1), ("c", 7))
        }
        made.append(asset(name=name, partitions=days, inputs=reads, version="1")(later))
    return Definitions(made)


def resident() -> float:
    """MB that this process holds."""
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def ours(folder: Path, assets: int, days: int, jobs: int) -> dict[str, float]:
    """Seconds a step of two days' runs, and the MB held after each."""
    found = {}
    now = START + timedelta(days=days, hours=1)
    with Project(definitions(assets), root=folder) as project:
        for number, back in enumerate((2, 1), 1):
            day = (START + timedelta(days=days - back)).date().isoformat()
            plan = project.plan(partitions=day, now=now)
            found[f"plan_{number}_mb"] = resident()
            began = time.perf_counter()
            run = project.materialize(plan=plan, jobs=jobs)
            found[f"run_{number}_s"] = (time.perf_counter() - began) / assets
            found[f"run_{number}_mb"] = resident()
            assert run.counts["done"] == assets, run
            del plan, run
    return found


def floor(folder: Path, assets: int) -> dict[str, float]:
    """Seconds a step of the bare loop."""
    database = sqlite3.connect(folder / "state.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE done (asset TEXT PRIMARY KEY, at REAL, rows INTEGER)")
    above: list[Path] = []
    began = time.perf_counter()
    for number in range(assets):
        inputs = [pq.read_table(path) for path in above[-LAYER : -LAYER + 3]]
        versions, view = folder / "versions" / f"{number}", folder / f"{number}" / "day"
        versions.mkdir(parents=True)
        view.mkdir(parents=True)
        path = versions / "1.parquet"
        pq.write_table(inputs[0] if inputs else TABLE, path)
        _fsync(path)
        _fsync(versions)
        os.link(path, view / "data.parquet")
        _fsync(view)
        above.append(path)
        database.execute("INSERT INTO done VALUES (?, ?, ?)", (str(number), time.time(), 100))
    took = time.perf_counter() - began
    database.close()
    return {"floor_s": took / assets}


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Each part in a process of its own, one after the other."""
    found: dict[str, float] = {}
    for part in ("floor", "ours"):
        base = Path(tempfile.mkdtemp(prefix="wide-", dir=os.environ.get("BENCHMARK_DIR", ".")))
        try:
            words = [sys.executable, __file__, "--part", part, "--folder", str(base)]
            for name in ("assets", "days", "jobs"):
                words += [f"--{name}", str(getattr(options, name))]
            said = subprocess.run(words, capture_output=True, text=True, check=False)
            assert said.returncode == 0, said.stderr
            found.update(json.loads(said.stdout))
        finally:
            shutil.rmtree(base)
    for number in (1, 2):
        found[f"ratio_{number}"] = found[f"run_{number}_s"] / found["floor_s"]
    return found


def main() -> None:
    """Print the figures beside the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, default=2_000)
    parser.add_argument("--days", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=["floor", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "floor":
        json.dump(floor(options.folder, options.assets), sys.stdout)
        return
    if options.part == "ours":
        json.dump(ours(options.folder, options.assets, options.days, options.jobs), sys.stdout)
        return
    found = measure(options)
    if options.json:
        json.dump(found, sys.stdout)
        return
    print(f"floor: {found['floor_s'] * 1e3:.2f} ms a step")
    for number in (1, 2):
        print(
            f"day {number}: {found[f'run_{number}_s'] * 1e3:.2f} ms a step, "
            f"{found[f'ratio_{number}']:.2f} × the floor (goal 0.60); "
            f"{found[f'plan_{number}_mb']:.0f} MB after the plan, "
            f"{found[f'run_{number}_mb']:.0f} MB after the run (goal 300)"
        )


if __name__ == "__main__":
    main()
