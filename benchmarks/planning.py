"""What is stale, at any size: seconds of arithmetic, seconds from a cold process, bytes held.

    python benchmarks/planning.py [--compute] [--cold] [--partitions 10000 100000 1000000 10000000]

*Compute*: everything recorded is laid out in memory and verified by content: 1,000 assets of
N / 1,000 days each, about three inputs, some windows of 7 and 30 days, one edge from hours to days
of a zone that changes its clocks; then a single asset, a chain 1,000 deep, and an asset that reads
its own yesterday. *Cold*: whole processes that open a project of 100 assets whose state is on disk,
with the packed snapshot and without, and after one partition's change. The yardsticks of the same
run: numpy's sum over the same number of bytes, and SQLite reading the same rows.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa

from assets_core import Project, asset, daily, hourly, lag, last
from assets_core.contracts import Publish
from assets_core.graph import Graph
from assets_core.planning.digests import Digests
from assets_core.planning.facts import AssetFacts, Facts
from assets_core.planning.plan import make_plan
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.records import InputRead, Materialization, Receipt

START = datetime(1990, 1, 1, tzinfo=UTC)
ZONE = "Europe/Berlin"
CODE = "c0de"


def layered(assets: int) -> list[object]:
    """Each reads three declared before; every tenth a week of one, every twentieth a month."""
    days, hours = daily("1990-01-01", timezone=ZONE), hourly("1990-01-01", timezone=ZONE)
    made: list[object] = []

    def first() -> pa.Table: ...
    def three(a: pa.Table, b: pa.Table, c: pa.Table) -> pa.Table: ...
    def week(a: Annotated[pa.Table, last(7)], b: pa.Table, c: pa.Table) -> pa.Table: ...
    def month(a: Annotated[pa.Table, last(30)], b: pa.Table, c: pa.Table) -> pa.Table: ...

    made.append(asset(name="hours", partitions=hours)(first))
    for i in range(assets):
        if i < 3:
            one = asset(name=f"t{i}", partitions=days)
            made.append(one(first) if i else _reads_hours(one))
            continue
        function = month if i % 20 == 0 else week if i % 10 == 0 else three
        reads = {"a": f"t{i - 1}", "b": f"t{i // 2}", "c": f"t{i - 3}"}
        made.append(asset(name=f"t{i}", partitions=days, inputs=reads)(function))
    return made


def _reads_hours(declare: Callable[[object], object]) -> object:
    def of_hours(hours: pa.Table) -> pa.Table: ...

    return declare(of_hours)


def single() -> list[object]:
    """One asset and the one it reads."""

    def first() -> pa.Table: ...
    def second(one: pa.Table) -> pa.Table: ...

    hours = hourly("1900-01-01")
    return [
        asset(name="one", partitions=hours)(first),
        asset(name="two", partitions=hours)(second),
    ]


def chain(length: int) -> list[object]:
    """Each reads the one before."""

    def first() -> pa.Table: ...
    def link(before: pa.Table) -> pa.Table: ...

    days = daily("1990-01-01")
    made: list[object] = [asset(name="c0", partitions=days)(first)]
    made += [
        asset(name=f"c{i}", partitions=days, inputs={"before": f"c{i - 1}"})(link)
        for i in range(1, length)
    ]
    return made


def own_past() -> list[object]:
    """An asset that carries yesterday's result on."""

    def first() -> pa.Table: ...
    def balance(changes: pa.Table, balance: Annotated[pa.Table, lag(1)]) -> pa.Table: ...

    days = daily("1990-01-01")
    return [
        asset(name="changes", partitions=days)(first),
        asset(name="balance", partitions=days)(balance),
    ]


def recorded(graph: Graph, now: datetime) -> Facts:
    """Facts in which everything is fresh: random data versions, digests that fit them."""
    spaces = {}
    made: dict[object, object] = {}
    for name, one in graph.assets.items():
        if one.partitions not in made:
            made[one.partitions] = one.partitions.resolve(now)
        spaces[name] = made[one.partitions]
    rng = np.random.default_rng(7)
    assets, next_id = {}, 1
    for name, space in spaces.items():
        facts = AssetFacts.empty(space.n)
        facts.id[:] = np.arange(next_id, next_id + space.n)
        facts.data[:] = rng.integers(1, 2**63, (space.n, 2), dtype=np.uint64)
        facts.code[:] = 1
        assets[name] = facts
        next_id += space.n
    found = Facts(spaces, assets, {1: CODE})
    digests = Digests(ResolvedGraph(graph, spaces), found)
    for op in graph.ops:
        found.assets[op.name].digest[:] = digests.column(op)
    return found


def compute(title: str, assets: list[object], now: datetime, rounds: int) -> None:
    """Print one row: a plan of everything when all is fresh, and when one partition moved."""
    graph = Graph.build(assets)
    facts = recorded(graph, now)
    count = sum(space.n for space in facts.spaces.values())
    codes = dict.fromkeys(graph.assets, CODE)
    numbers = np.ones(count * 8, np.uint64)
    yard, fresh, moved = [], [], []
    for _ in range(rounds):
        began = time.perf_counter()
        int(numbers.sum())
        yard.append(time.perf_counter() - began)
        began = time.perf_counter()
        plan = make_plan(graph, facts, codes, now=now)
        fresh.append(time.perf_counter() - began)
        assert not plan, plan
        first = facts.assets[graph.ops[0].name]
        first.data[first.data.shape[0] // 2, 0] ^= np.uint64(1)
        began = time.perf_counter()
        plan = make_plan(graph, facts, codes, now=now)
        moved.append(time.perf_counter() - began)
        assert plan.must >= 1, plan
        first.data[first.data.shape[0] // 2, 0] ^= np.uint64(1)
    held = sum(
        getattr(own, name).nbytes
        for own in facts.assets.values()
        for name in ("id", "data", "digest", "code", "finished", "rows")
    )
    times = "".join(f"{statistics.median(took):>9.3f} s" for took in (fresh, moved, yard))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{title:<34}{count:>12,}{times}{held / count:>8.0f} B{peak:>8,} MB")


# --------------------------------------------------------------------------------------------
# From a cold process

DEFINITIONS = """
import sys
sys.path.insert(0, {here!r})
from planning import layered
from assets_core import Definitions
assets = Definitions(layered({assets}))
"""


def cold(count: int, rounds: int) -> None:
    """Print one row: whole commands over ``count`` partitions whose state is on disk."""
    assets = 100
    now = START + timedelta(days=count // assets, hours=12)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARK_DIR")) as folder:
        root = Path(folder)
        text = DEFINITIONS.format(here=str(Path(__file__).parent), assets=assets)
        (root / "definitions.py").write_text(text)
        recorded_count = record(root, now)
        whole = statistics.median(plan_seconds(root, now) for _ in range(rounds))
        deleted = []
        for _ in range(rounds):
            shutil.rmtree(root / ".assets" / "state.db.cache", ignore_errors=True)
            deleted.append(plan_seconds(root, now))
        change(root, now)
        after = statistics.median(plan_seconds(root, now) for _ in range(rounds))
        warm = warm_seconds(root, now, rounds)
        database = root / ".assets" / "state.db"
        each = database.stat().st_size / recorded_count
        rows = sqlite_seconds(database)
    times = (whole, statistics.median(deleted), after, warm, rows)
    told = "".join(f"{took:>10.3f} s" for took in times)
    print(f"{f'{assets} assets':<18}{recorded_count:>12,}{told}{each:>8.0f} B")


def record(root: Path, now: datetime) -> int:
    """Record a fresh materialization of every partition, as many steps would have."""
    with Project.load(root=root) as project:
        facts = recorded(project.graph, now)
        tables = {name: project.codes[name] for name in project.graph.assets}
        count = 0
        for name in project.graph.order:
            own, space = facts.assets[name], facts.spaces[name]
            digests, data = own.digest.tolist(), own.data.tolist()
            reads = project.graph.op_of[name].inputs
            made = [
                Publish(
                    Materialization(
                        environment="prod",
                        asset=name,
                        partition=key,
                        code=tables[name],
                        input_digest=(digests[i][0], digests[i][1]),
                        data_version=(data[i][0], data[i][1]),
                        receipt=Receipt(
                            "default", "table", f"{name}/{key}.1.parquet", 1, 1000, 9000
                        ),
                        started=1,
                        finished=2,
                        inputs=tuple(
                            InputRead(r.name, r.asset, ((key, key),), 1, 1, (1, 1)) for r in reads
                        ),
                    ),
                    lease=False,
                )
                for i, key in enumerate(space.keys())
            ]
            for start in range(0, len(made), 2_000):
                project.state.transact(made[start : start + 2_000])
            count += len(made)
        return count


def change(root: Path, now: datetime) -> None:
    """One partition of the first asset comes out different."""
    with Project.load(root=root) as project:
        known = project.state.materializations("prod", "t0", limit=1)[0]
        project.state.transact([Publish(replace(known, data_version=(5, 6)), lease=False)])


def plan_seconds(root: Path, now: datetime) -> float:
    """The wall time of a process that loads, plans and says what it found."""
    script = (
        "from datetime import datetime; from assets_core import Project\n"
        f"now = datetime.fromisoformat({now.isoformat()!r})\n"
        "with Project.load() as project: print(repr(project.plan(now=now)))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - began


def warm_seconds(root: Path, now: datetime, rounds: int) -> float:
    """A plan in a process that has planned before, after one more partition's change."""
    took = []
    with Project.load(root=root) as project:
        project.plan(now=now)
        for _ in range(rounds):
            known = project.state.materializations("prod", "t0", limit=1)[0]
            version = (known.data_version[0] + 1, 6)
            project.state.transact([Publish(replace(known, data_version=version), lease=False)])
            began = time.perf_counter()
            assert project.plan(now=now).must
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def sqlite_seconds(database: Path) -> float:
    """SQLite alone, reading what a snapshot is made of."""
    began = time.perf_counter()
    with sqlite3.connect(database) as connection:
        connection.execute("SELECT asset, partition, facts FROM asset_partitions").fetchall()
    return time.perf_counter() - began


def main() -> None:
    """Print the tables, goals below them."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = [10_000, 100_000, 1_000_000, 10_000_000]
    parser.add_argument("--partitions", type=int, nargs="+", default=sizes)
    parser.add_argument("--cold-partitions", type=int, nargs="+", default=sizes[:-1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compute", action="store_true", help="only the arithmetic")
    parser.add_argument("--cold", action="store_true", help="only whole processes")
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter with Dagster")
    options = parser.parse_args()
    if options.peers:
        peer(options.peers)
    if not options.cold:
        compute_table(options.partitions, options.rounds)
    if not options.compute:
        cold_table(options.cold_partitions, options.rounds)


def peer(python: str) -> None:
    """Dagster's own staleness of ten layered assets, nothing recorded: direct parents only."""
    script = str(Path(__file__).with_name("peers.py"))
    for days in (100, 1_000):
        with tempfile.TemporaryDirectory() as folder:
            words = [python, script, "dagster-plan", str(days), folder]
            said = subprocess.run(words, capture_output=True, text=True, check=False)
        if said.returncode:
            print(f"Dagster: {said.stderr.strip().splitlines()[-1]}")
            return
        each = float(said.stdout.split()[-1])
        print(f"Dagster: {days * 10:,} partitions, {each * 1e6:.0f} µs each")


def compute_table(sizes: list[int], rounds: int) -> None:
    """The arithmetic alone, all verified by content."""
    print(
        f"{'compute':<34}{'partitions':>12}{'fresh':>11}{'one moved':>11}{'yardstick':>11}"
        f"{'held':>10}{'peak':>11}"
    )
    for count in sizes:
        days = max(count // 1000, 10)
        now = START + timedelta(days=days, hours=12)
        compute(f"1,000 assets x {days:,} days", layered(1_000), now, rounds)
    long_ago = datetime(1900, 1, 1, tzinfo=UTC)
    compute("2 assets", single(), long_ago + timedelta(hours=1_000_000), rounds)
    compute("a chain of 1,000", chain(1_000), START + timedelta(days=1_000), rounds)
    compute("its own yesterday", own_past(), START + timedelta(days=10_000), rounds)
    print("goals: 10,000,000 in at most 1 s, 100 B held each; its own yesterday at most 0.050 s\n")


def cold_table(sizes: list[int], rounds: int) -> None:
    """Whole processes, state on disk."""
    print(
        f"{'cold process':<18}{'partitions':>12}{'packed':>12}{'deleted':>12}{'one moved':>12}"
        f"{'in process':>12}{'SQLite':>12}{'on disk':>10}"
    )
    for count in sizes:
        cold(count, rounds)
    print(
        "goals: 1,000,000 in at most 1.5 s, 4 s with the packed facts deleted, 0.5 s after a change"
    )


if __name__ == "__main__":
    main()
