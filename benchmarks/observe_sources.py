"""What it costs to look at a source that nothing cheaper is declared for, hour by hour.

    python benchmarks/observe_sources.py [--hours 26280] [--rows 3] [--repeats 5]

A Python function gives a small table for each hour; every plan calls it for each of them and hashes
what it gives. *First* records all of them, *again* finds nothing moved, as in every `plan` that
follows. The yardstick of the same run: a loop that calls the function and does nothing else. The
goal for what is added to it, once they are recorded: at most half of what it was, 0.055 ms an hour.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from assets_core import Definitions, Partition, Project, hourly, source

START = datetime(2021, 1, 1, tzinfo=UTC)
GOAL_MS = 0.055


def weather(rows: int) -> Callable[[Partition], pa.Table]:
    """A few stations' values of an hour, made up from its start."""

    def measured(partition: Partition) -> pa.Table:
        assert partition.start is not None
        hour = int(partition.start.timestamp()) // 3600
        return pa.table(
            {
                "station": [f"station {i}" for i in range(rows)],
                "at": [hour] * rows,
                "temperature": [hour % 30 + i / 10 for i in range(rows)],
            }
        )

    return measured


def seconds(action: Callable[[], object]) -> float:
    """Processor time, as nothing here waits: other work on the machine hardly changes it."""
    before = time.process_time()
    action()
    return time.process_time() - before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=26_280)
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    hours, now = options.hours, START + timedelta(hours=options.hours)
    measured = weather(options.rows)
    hourly_source = source(name="measured", partitions=hourly("2021-01-01"))(measured)
    with (
        tempfile.TemporaryDirectory() as folder,
        Project(Definitions([hourly_source]), root=Path(folder)) as project,
    ):
        space = project.spaces(now)["measured"]
        partitions = [space.partition(i) for i in range(hours)]
        bare = [seconds(lambda: [measured(p) for p in partitions]) for _ in range(options.repeats)]
        first = seconds(lambda: project.observe(now=now))
        again = [seconds(lambda: project.observe(now=now)) for _ in range(options.repeats)]
    print(f"{hours:,} hours of {options.rows} rows, ms an hour")
    function = statistics.median(bare) / hours * 1000
    print(f"  the function alone   {function:.3f}")
    for name, taken in (("first", first), ("again", statistics.median(again))):
        each = taken / hours * 1000
        print(f"  {name:19}  {each:.3f}   added {each - function:.3f}   {taken:.1f} s")
    told = "reached" if each - function <= GOAL_MS else "MISSED"
    print(f"  goal: {GOAL_MS} added again   {told}")


if __name__ == "__main__":
    main()
