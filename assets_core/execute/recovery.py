"""What the next command does about a run that died: roll forward, repair views, sweep, report.

Safe to run by several processes at once and to be killed in: every action is idempotent, and
rolling forward goes through the same token check as any publish.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from assets_core.contracts import Finish, Publish, Published, StateStore
from assets_core.execute.facts import fact_from_json
from assets_core.execute.step import Runtime
from assets_core.faults import reach
from assets_core.records import Materialization, Run


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found of a dead run and done about it."""

    run: Run
    rolled_forward: int
    exposed: int
    swept: int
    released: int

    def __str__(self) -> str:
        done = [
            f"{self.rolled_forward} rolled forward" if self.rolled_forward else "",
            f"{self.exposed} views repaired" if self.exposed else "",
            f"{self.swept} staged leftovers removed" if self.swept else "",
            f"{self.released} leases released" if self.released else "",
        ]
        what = ", ".join(part for part in done if part) or "nothing was left to mend"
        return f"run {self.run.id} died (process {self.run.pid} on {self.run.host}): {what}"


def recover(runtime: Runtime, store: StateStore) -> list[Recovered]:
    """Mend what dead runs left; what was done, per run."""
    return [_recover(runtime, store, run) for run in store.dead_runs()]


def _recover(runtime: Runtime, store: StateStore, run: Run) -> Recovered:
    reach("recover.begin")
    held = store.held(run.id)
    forward = 0
    by_asset: dict[str, list[str]] = defaultdict(list)
    for lease in held:
        by_asset[lease.asset].append(lease.partition)
    for name, partitions in by_asset.items():
        forward += _roll_forward(runtime, store, run, name, partitions)
    reach("recover.forwarded")
    facts = store.materializations(run.environment, None, run=run.id)
    exposed = expose(runtime, store, facts)
    reach("recover.exposed")
    swept = _sweep(runtime, run, facts)
    reach("recover.swept")
    finished = time.time_ns() // 1000
    counts = {"done": len(facts)}
    store.transact([Finish(run.id, "died", finished, counts, "recovered by a later command")])
    return Recovered(run, forward, exposed, swept, len(held) - forward)


def _roll_forward(
    runtime: Runtime, store: StateStore, run: Run, name: str, partitions: list[str]
) -> int:
    """Record what the dead run committed to a transactional store and did not get to record."""
    asset = runtime.graph.assets.get(name)
    manager = runtime.io.get(asset.io) if asset is not None else None
    if manager is None or not manager.transactional:
        return 0
    fences = manager.fences(run.environment, name, partitions)
    facts = [fact_from_json(fence.fact) for fence in fences if fence.run == run.id]
    if not facts:
        return 0
    results = store.transact([Publish(replace(fact, kind="recovered")) for fact in facts])
    return sum(isinstance(result, Published) for result in results)


def expose(runtime: Runtime, store: StateStore, facts: Iterable[Materialization]) -> int:
    """Swap the outside view of every partition that still points to one of these facts."""
    by_asset: dict[tuple[str, str], list[Materialization]] = defaultdict(list)
    for fact in facts:
        if fact.receipt.kind != "none":
            by_asset[fact.environment, fact.asset].append(fact)
    count = 0
    touched = set()
    for (environment, name), found in by_asset.items():
        asset = runtime.graph.assets.get(name)
        columns = store.snapshot(environment, [name]).assets[name]
        current = set(columns.id.tolist())
        for fact in found:
            manager = runtime.io.get(fact.receipt.store)
            if asset is None or manager is None or manager.transactional or fact.id not in current:
                continue
            parts = asset.partitions.path_parts(fact.partition)
            manager.expose(environment, name, parts, fact.receipt)
            touched.add(fact.receipt.store)
            count += 1
    for store_name in touched:
        runtime.io[store_name].flush()
    return count


def _sweep(runtime: Runtime, run: Run, facts: Iterable[Materialization]) -> int:
    keep: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        keep[fact.receipt.store] |= {fact.receipt.location, fact.receipt.rejects} - {""}
    return sum(manager.sweep(run.id, keep[name]) for name, manager in runtime.io.items())
