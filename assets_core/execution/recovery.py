"""What the next command does about a run that died: roll forward, repair views, sweep, report.

Safe to run by several processes at once and to be killed in: every action is idempotent, and
rolling forward goes through the same token check as any publish.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from assets_core.contracts import (
    ConcealingIOManager,
    Finish,
    Lease,
    Publish,
    Published,
    StateStore,
)
from assets_core.declare.asset import Asset
from assets_core.errors import PartitionError
from assets_core.execution.fact_json import rolled_forward
from assets_core.execution.task import Runtime
from assets_core.faults import reach
from assets_core.records import Materialization, Run, is_withdrawn


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
        ended = "died" if self.run.status == "running" else f"had ended {self.run.status}"
        return f"run {self.run.id} {ended} (process {self.run.pid} on {self.run.host}): {what}"


def recover(runtime: Runtime, store: StateStore, dead: Iterable[Run]) -> list[Recovered]:
    """Mend what these runs left; what was done, per run."""
    found = [_recover(runtime, store, run) for run in dead]
    # Nobody needs to hear that a run that had ended left nothing behind.
    return [one for one in found if one.run.status == "running" or one.swept]


def _recover(runtime: Runtime, store: StateStore, run: Run) -> Recovered:
    reach("recover.begin")
    held = store.held(run.id)
    forward = settle(runtime, store, run.id, run.environment, held)
    reach("recover.forwarded")
    facts = store.materializations(run.environment, None, run=run.id)
    exposed = expose(runtime, store, run.environment, places_of(facts))
    reach("recover.exposed")
    swept = _sweep(runtime, run, facts)
    reach("recover.swept")
    # The last sign of life: the time until somebody noticed is not time that it took.
    finished = run.finished or max((fact.finished for fact in facts), default=run.started)
    counts = {"done": len(facts)}
    note = "; ".join(filter(None, (run.note, "recovered by a later command")))
    store.transact([Finish(run.id, "died", finished, counts, note)])
    return Recovered(run, forward, exposed, swept, len(held) - forward)


def settle(
    runtime: Runtime, store: StateStore, run: str, environment: str, held: Iterable[Lease]
) -> int:
    """Before a run's leases are let go: whatever of it still works can publish nothing more, and
    what it committed to a transactional store is recorded. How many records that made."""
    by_asset: dict[str, dict[str, int]] = defaultdict(dict)
    for lease in held:
        by_asset[lease.asset][lease.partition] = lease.token
    return sum(
        _roll_forward(runtime, store, run, environment, name, tokens)
        for name, tokens in by_asset.items()
    )


def _roll_forward(
    runtime: Runtime,
    store: StateStore,
    run: str,
    environment: str,
    name: str,
    tokens: dict[str, int],
) -> int:
    asset = runtime.graph.assets.get(name)
    manager = runtime.io.get(asset.io) if asset is not None else None
    if manager is None or not manager.transactional:
        return 0
    # In this order: what is not in the fence rows now never will be.
    manager.fence_off(environment, name, tokens)
    fences = manager.fences(environment, name, list(tokens))
    facts = [
        rolled_forward(fence.fact)
        for fence in fences
        if (fence.run, fence.token) == (run, tokens[fence.partition])
    ]
    if not facts:
        return 0
    results = store.transact([Publish(fact) for fact in facts])
    return sum(isinstance(result, Published) for result in results)


def places_of(facts: Iterable[Materialization]) -> dict[str, set[str]]:
    """The partitions of these facts, by asset."""
    places: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        if fact.receipt.kind != "none" or is_withdrawn(fact):
            places[fact.asset].add(fact.partition)
    return places


def expose(
    runtime: Runtime, store: StateStore, environment: str, places: Mapping[str, Collection[str]]
) -> int:
    """Bring the outside view of these partitions in line with their pointers; how many there are.

    A pointer may move, and its view be swapped by others, between our look and our swap: so it
    is looked at again after the swap, until both agree.
    """
    count = 0
    for name, partitions in places.items():
        shown: dict[str, int] = {}
        while swapped := _expose_asset(runtime, store, environment, name, partitions, shown):
            shown.update(swapped)
        count += len(shown)
    return count


def _expose_asset(
    runtime: Runtime,
    store: StateStore,
    environment: str,
    name: str,
    partitions: Collection[str],
    shown: Mapping[str, int],
) -> dict[str, int]:
    """Swap the views whose pointers are not ``shown`` yet; partition → recorded id."""
    asset = runtime.graph.assets.get(name)
    if asset is None:
        return {}
    columns = store.snapshot(environment, [name]).assets[name]
    wanted = {
        key: recorded
        for key, recorded in zip(columns.keys, columns.id.tolist(), strict=True)
        if key in partitions and recorded > 0 and shown.get(key) != recorded
    }
    receipts = store.receipts(wanted.values())
    empty = dict(zip(columns.keys, (columns.data == 0).all(axis=1).tolist(), strict=True))
    touched = set()
    swapped = {}
    for key, recorded in wanted.items():
        receipt = receipts[recorded]
        place = _place(asset, key)
        if place is None:
            continue
        manager = runtime.io.get(receipt.store)
        if manager is None or manager.transactional:
            continue
        if empty[key]:
            if not isinstance(manager, ConcealingIOManager):
                continue
            manager.conceal(environment, name, place)
        elif receipt.kind == "none":
            continue
        else:
            manager.expose(environment, name, place, receipt)
        touched.add(receipt.store)
        swapped[key] = recorded
    for store_name in touched:
        runtime.io[store_name].flush()
    return swapped


def _place(asset: Asset, key: str) -> tuple[str, ...] | None:
    """The folders of a recorded partition; None for a key that only an earlier definition had."""
    try:
        return asset.partitions.path_parts(key)
    except PartitionError:
        return None


def _sweep(runtime: Runtime, run: Run, facts: Iterable[Materialization]) -> int:
    keep: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        keep[fact.receipt.store] |= {fact.receipt.location, fact.receipt.rejects} - {""}
    return sum(manager.sweep(run.id, keep[name]) for name, manager in runtime.io.items())
