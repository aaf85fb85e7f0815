"""Random runs that lease, publish, expire, end and die, against a short reference model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from assets_core import static
from assets_core.contracts import (
    Acquire,
    Beat,
    Finish,
    Held,
    Invalidate,
    Lease,
    Operation,
    Publish,
    Published,
    Refused,
    Release,
    StateStore,
    Withdraw,
)
from assets_core.records import Code, Invalidation, Materialization, Receipt, Run
from assets_core.state import open_store

SLOTS = [("a", "k1"), ("a", "k2"), ("b", "k1")]
KEYS = ["k1", "k2"]
SPACE = static(KEYS).resolve(datetime(2024, 1, 1, tzinfo=UTC))
slots = st.sampled_from(SLOTS)


@dataclass
class ModelSlot:
    token: int = 0
    holder: str = ""
    current: int = 0
    marked: int = 0  # the invalidation that came while the lease was held


@dataclass
class Model:
    """What the laws say, one operation at a time."""

    slots: dict[tuple[str, str], ModelSlot] = field(
        default_factory=lambda: {slot: ModelSlot() for slot in SLOTS}
    )
    live: dict[str, bool] = field(default_factory=dict)  # runs that have not ended: lease in time
    dead: set[str] = field(default_factory=set)
    revision: int = 0
    marks: list[tuple[int, str, tuple[str, ...]]] = field(default_factory=list)

    def apply(self, operation: Operation) -> Any:
        return getattr(self, type(operation).__name__.lower())(operation)

    def acquire(self, operation: Acquire) -> Any:
        return tuple(self.lease(operation.run, slot) for slot in operation.slots)

    def lease(self, run: str, at: tuple[str, str]) -> Lease | Held:
        slot = self.slots[at]
        if (
            slot.holder not in ("", run)
            and self.live.get(slot.holder)
            and slot.holder not in self.dead
        ):
            return Held(*at, slot.holder, slot.current)
        slot.token, slot.holder, slot.marked = slot.token + 1, run, 0
        return Lease(*at, slot.token, slot.current)

    def publish(self, operation: Publish) -> Any:
        fact = operation.fact
        slot = self.slots[fact.asset, fact.partition]
        if operation.lease:
            if (slot.token, slot.holder) != (fact.token, fact.run):
                return Refused(slot.token, slot.holder)
            slot.holder = ""
        self.revision += 1
        slot.current = self.revision
        if operation.lease and slot.marked:
            self.mark(fact.asset, (fact.partition,))
            slot.marked = 0
        return Published(slot.current)

    def mark(self, asset: str, keys: tuple[str, ...]) -> int:
        self.revision += 1
        self.marks.append((self.revision, asset, keys))
        return self.revision

    def invalidate(self, operation: Invalidate) -> int:
        what = operation.what
        number = self.mark(what.asset, tuple(first for first, _ in what.ranges))
        for (asset, key), slot in self.slots.items():
            if asset == what.asset and (not what.ranges or (key, key) in what.ranges):
                slot.marked = number if slot.holder else slot.marked
        return number

    def withdraw(self, operation: Withdraw) -> None:
        slot = self.slots[operation.asset, operation.partition]
        self.revision += slot.current != 0
        slot.current = 0

    def release(self, operation: Release) -> None:
        for asset, partition, token in operation.leases:
            slot = self.slots[asset, partition]
            if (slot.holder, slot.token) == (operation.run, token):
                slot.holder = ""

    def beat(self, operation: Beat) -> bool:
        if operation.run not in self.live:
            return False
        self.live[operation.run] = operation.seconds > 0
        return True

    def finish(self, operation: Finish) -> None:
        if self.live.pop(operation.run, None) is not None:
            for slot in self.slots.values():
                slot.holder = "" if slot.holder == operation.run else slot.holder


def fact_of(asset: str, partition: str, token: int, run: str) -> Materialization:
    receipt = Receipt("lake", "table", "x", token)
    return Materialization(
        "prod", asset, partition, Code("c"), (0, 1), (0, 2), receipt, 1, 2, run, token
    )


class StoreMachine(RuleBasedStateMachine):
    """Every run has a store of its own on one file, as every process has."""

    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.url = f"sqlite:///{self.folder.name}/state.db"
        self.own: dict[str, StateStore] = {}
        self.watcher = open_store(self.url)
        self.model = Model()
        self.leases: list[tuple[str, Lease]] = []
        self.tail = self.watcher.snapshot("prod", ["a", "b"])
        self.seen = dict.fromkeys(SLOTS, 0)

    def teardown(self) -> None:
        for store in (*self.own.values(), self.watcher):
            store.close()
        self.folder.cleanup()

    def transact(self, run: str, operations: list[Operation]) -> None:
        expected = [self.model.apply(operation) for operation in operations]
        results = self.own[run].transact(operations)
        assert results == expected
        for result in results:
            if isinstance(result, tuple):
                self.leases += [(run, lease) for lease in result if isinstance(lease, Lease)]

    @rule(target=runs, in_time=st.booleans())
    def begin(self, in_time: bool) -> str:
        run = f"r{len(self.own)}"
        self.own[run] = open_store(self.url)
        self.own[run].begin(Run(run, "prod", "running", 1), 600 if in_time else -1)
        self.model.live[run] = in_time
        return run

    @rule(run=runs, wanted=st.lists(slots, min_size=1, max_size=4))
    def acquire(self, run: str, wanted: list[tuple[str, str]]) -> None:
        if run in self.model.live and run not in self.model.dead:
            self.transact(run, [Acquire(run, "prod", tuple(wanted))])

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), extra=st.lists(st.integers(0, 3), max_size=3))
    def publish(self, data: st.DataObject, extra: list[int]) -> None:
        """Leases old and new, in batches, some with a token that is not theirs, some twice."""
        run, lease = data.draw(st.sampled_from(self.leases))
        if run in self.model.dead:
            return
        facts = [fact_of(lease.asset, lease.partition, lease.token, run)]
        facts += [fact_of(lease.asset, lease.partition, token, run) for token in extra]
        self.transact(run, [Publish(fact) for fact in facts])

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def publish_and_lease_again(self, data: st.DataObject) -> None:
        run, lease = data.draw(st.sampled_from(self.leases))
        if run in self.model.live and run not in self.model.dead:
            slot = (lease.asset, lease.partition)
            fact = fact_of(*slot, lease.token, run)
            self.transact(run, [Publish(fact), Acquire(run, "prod", (slot,))])

    @rule(run=runs, at=slots, gone=st.booleans())
    def observe(self, run: str, at: tuple[str, str], gone: bool) -> None:
        if run not in self.model.dead:
            observed = Publish(fact_of(*at, 0, run), lease=False)
            self.transact(run, [Withdraw("prod", *at) if gone else observed])

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        run, lease = data.draw(st.sampled_from(self.leases))
        if run not in self.model.dead:
            given = ((lease.asset, lease.partition, lease.token),)
            self.transact(run, [Release(run, "prod", given)])

    @rule(run=runs, asset=st.sampled_from(["a", "b"]), wanted=st.sets(st.sampled_from(KEYS)))
    def invalidate(self, run: str, asset: str, wanted: set[str]) -> None:
        """Some partitions, or all."""
        if run not in self.model.dead:
            ranges = tuple((key, key) for key in sorted(wanted))
            what = Invalidation("prod", asset, ranges, "no", "ann", 1)
            self.transact(run, [Invalidate(what, SPACE)])

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), again=st.booleans())
    def invalidate_what_is_being_built(self, data: st.DataObject, again: bool) -> None:
        """And let it be built: under the lease of before, or under one that came after."""
        run, lease = data.draw(st.sampled_from(self.leases))
        if run not in self.model.live or run in self.model.dead:
            return
        self.invalidate(run=run, asset=lease.asset, wanted={lease.partition})
        if again:
            self.acquire(run=run, wanted=[(lease.asset, lease.partition)])
        run, lease = self.leases[-1] if again else (run, lease)
        fact = fact_of(lease.asset, lease.partition, lease.token, run)
        self.transact(run, [Publish(fact)] if run not in self.model.dead else [])

    @rule(run=runs, in_time=st.booleans())
    def beat(self, run: str, in_time: bool) -> None:
        if run not in self.model.dead:
            self.transact(run, [Beat(run, 600 if in_time else -1)])

    @rule(run=runs, by=runs)
    def finish(self, run: str, by: str) -> None:
        """By itself, or by another that takes it for dead."""
        if by not in self.model.dead:
            self.transact(by, [Finish(run, "done", 9)])

    @rule(run=runs)
    def die(self, run: str) -> None:
        """What the kernel does for a killed process: its locks go, its records stay."""
        self.own[run].close()
        self.model.dead.add(run)

    @invariant()
    def pointers_are_the_models(self) -> None:
        found = self.watcher.snapshot("prod", ["a", "b"])
        currents = {
            (asset, key): identity
            for asset, columns in found.assets.items()
            for key, identity in zip(columns.keys, columns.id.tolist(), strict=True)
        }
        assert found.revision == self.model.revision
        assert currents == {at: s.current for at, s in self.model.slots.items() if s.current}

    @invariant()
    def tails_add_up_to_the_whole(self) -> None:
        tail = self.watcher.snapshot("prod", ["a", "b"], self.tail.revision)
        for asset, columns in tail.assets.items():
            for key, identity in zip(columns.keys, columns.id.tolist(), strict=True):
                self.seen[asset, key] = identity
        self.tail = tail
        assert self.seen == {at: slot.current for at, slot in self.model.slots.items()}

    @invariant()
    def invalidations_are_the_models(self) -> None:
        found = [
            (one.id, one.asset, tuple(first for first, _ in one.ranges))
            for one in self.watcher.invalidations("prod")
        ]
        assert found == self.model.marks[::-1]

    @invariant()
    def holders_are_the_models(self) -> None:
        for run in self.own:
            held = {(lease.asset, lease.partition): lease.token for lease in self.watcher.held(run)}
            slots = self.model.slots.items()
            assert held == {at: slot.token for at, slot in slots if slot.holder == run}

    @invariant()
    def dead_runs_are_the_models(self) -> None:
        live = self.model.live
        dead = [run for run, in_time in live.items() if not in_time or run in self.model.dead]
        assert [run.id for run in self.watcher.dead_runs()] == dead


@pytest.mark.slow
def test_leases_and_publishes_follow_the_laws() -> None:
    run_state_machine_as_test(
        StoreMachine, settings=settings(max_examples=25, stateful_step_count=30)
    )
