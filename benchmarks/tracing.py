"""What tracing costs a tiny step: at most 2 % of it.

    python benchmarks/tracing.py [--steps 300] [--rounds 20]

Both sides run in this process in turn: the same asset partitions in Parquet, traced and not.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import pyarrow as pa

from assets_core import Definitions, Partition, Project, asset, daily
from assets_core.fingerprint.tracing import tracing


def build(steps: int, *, traced: bool) -> float:
    """Seconds a step."""
    days = daily("2000-01-01")

    @asset(partitions=days)
    def raw(partition: Partition) -> pa.Table:
        return pa.table({"n": list(range(1000)), "v": [0.5] * 1000})

    with (
        tempfile.TemporaryDirectory() as root,
        Project(Definitions([raw]), root=root) as project,
    ):
        if not traced:
            project.runtime.__dict__["contents"] = None
        keys = project.partitions("raw")[:steps]
        plan = project.plan(partitions=f"{keys[0]}..{keys[-1]}")
        began = time.perf_counter()
        project.materialize(plan=plan, jobs=1)
        return (time.perf_counter() - began) / steps


def alone(rounds: int = 20_000) -> float:
    """Seconds of what is done for a step that reads nothing, by itself."""
    with tempfile.TemporaryDirectory() as root, Project(Definitions([]), root=root) as project:
        contents = project.contents()
        began = time.perf_counter()
        for _ in range(rounds):
            with tracing(contents.watch, ()) as trace:
                pass
            list(contents.of(trace))
        return (time.perf_counter() - began) / rounds


def main() -> None:
    """Print both and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    build(50, traced=True)
    took: dict[bool, list[float]] = {False: [], True: []}
    for number in range(options.rounds):
        # A machine slows down as it warms up: whoever always comes second would pay for it.
        for traced in (False, True) if number % 2 else (True, False):
            took[traced].append(build(options.steps, traced=traced))
    without, with_it = (statistics.median(took[one]) for one in (False, True))
    ratio = statistics.median(two / one for one, two in zip(took[False], took[True], strict=True))
    print(f"a tiny step: {without * 1e3:.3f} ms, traced {with_it * 1e3:.3f} ms, ratio {ratio:.3f}")
    own = alone()
    print(f"what is added to each: {own * 1e6:.1f} us, {own / without:.1%} of it")
    print("goal: 2 %")


if __name__ == "__main__":
    main()
