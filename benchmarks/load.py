"""Declaring and validating assets made in a loop: 10,000 of them in at most 2 seconds.

    python benchmarks/load.py [--assets 10000] [--rounds 5]

The yardstick of the same run is the plain Python that any declaration needs: as many functions
made and their signatures read with ``inspect``.
"""

from __future__ import annotations

import argparse
import inspect
import statistics
import time

import pyarrow as pa

from assets_core import Partition, asset, daily
from assets_core.graph import Graph


def declare(count: int) -> list[object]:
    """Assets that each read one declared before, as users make them in a loop."""
    days = daily("2024-01-01")
    made: list[object] = []
    for i in range(count):

        def table(upstream: pa.Table, partition: Partition) -> pa.Table:
            return upstream

        def first(partition: Partition) -> pa.Table:
            return pa.table({"v": [1]})

        options = {"inputs": {"upstream": f"t{(i - 1) // 2}"}} if i else {}
        made.append(asset(name=f"t{i}", partitions=days, **options)(table if i else first))
    return made


def yardstick(count: int) -> float:
    """Seconds for making as many functions and reading their signatures."""
    began = time.perf_counter()
    for _ in range(count):

        def table(upstream: pa.Table, partition: Partition) -> pa.Table:
            return upstream

        inspect.signature(table)
    return time.perf_counter() - began


def main() -> None:
    """Print seconds and the ratio to the yardstick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    took, base = [], []
    for _ in range(options.rounds):
        began = time.perf_counter()
        graph = Graph.build(declare(options.assets))
        took.append(time.perf_counter() - began)
        assert len(graph.order) == options.assets
        base.append(yardstick(options.assets))
    ours, floor = statistics.median(took), statistics.median(base)
    print(f"{options.assets:,} assets: {ours:.2f} s, {ours / floor:.1f} × signatures alone")
    print("goal: 10,000 in at most 2 s")


if __name__ == "__main__":
    main()
