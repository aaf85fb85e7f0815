"""What operations do to leases, pointers and runs: the laws of the state store.

Pure: it works on the slots and runs that were read at the start of the transaction and leaves
what is to be written; it reads and writes no database, and the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from assets_core.contracts import (
    Acquire,
    Beat,
    Finish,
    Held,
    Invalidate,
    Lease,
    Note,
    Operation,
    Publish,
    Published,
    Refused,
    Release,
    Withdraw,
)
from assets_core.errors import LeaseLostError, StateError
from assets_core.partitions import from_ranges
from assets_core.records import Attempt, Invalidation, Materialization

SlotKey = tuple[int, str]
"""Where a slot is: the number of its asset (in its environment) and the partition."""


@dataclass(slots=True)
class Slot:
    """Lease and pointer of one asset partition, and what of it has to be written."""

    token: int = 0
    holder: int | None = None
    current: int = 0
    facts: bytes | None = None
    stored: bool = True
    invalidated: int = 0
    leased: bool = False
    moved: bool = False


@dataclass(slots=True)
class RunState:
    """What a decision needs of a run."""

    number: int
    id: str
    status: str
    expires: int
    beaten: bool = False
    finish: Finish | None = None


@dataclass(slots=True)
class Transaction:
    """One transaction: apply operations in order, then read off what is to be written.

    ``slots`` and ``runs`` hold everything stored that the operations name; ``packed`` gives the
    packed facts of a publish under its id.
    """

    revision: int
    now: int
    slots: dict[SlotKey, Slot]
    runs: dict[int, RunState]
    assets: Mapping[tuple[str, str], int]
    run_numbers: Mapping[str, int]
    known_dead: Callable[[str], bool]
    packed: Callable[[Materialization, int], bytes]
    facts: list[tuple[Materialization, int]] = field(default_factory=list)
    attempts: list[tuple[Attempt, int]] = field(default_factory=list)
    withdrawals: list[tuple[int, SlotKey]] = field(default_factory=list)
    invalidations: dict[int, tuple[int, Invalidation]] = field(default_factory=dict)
    invalidated_again: dict[int, tuple[SlotKey, int]] = field(default_factory=dict)
    _dead: dict[int, bool] = field(default_factory=dict)

    def apply(self, operation: Operation) -> object:
        """The operation's result, see each one's description in the contract."""
        match operation:
            case Publish():
                return self._publish(operation)
            case Acquire():
                return self._acquire(operation)
            case Release():
                self._release(operation)
            case Beat():
                return self._beat(operation)
            case Note():
                self._note(operation)
            case Withdraw():
                self._withdraw(operation)
            case Invalidate():
                return self._invalidate(operation)
            case Finish():
                self._finish(operation)
        return None

    # ---- leases

    def _acquire(self, operation: Acquire) -> tuple[Lease | Held, ...]:
        run = self._running(operation.run)
        return tuple(
            self._lease(run, operation.environment, asset, partition)
            for asset, partition in operation.slots
        )

    def _lease(self, run: RunState, environment: str, asset: str, partition: str) -> Lease | Held:
        slot = self._slot(environment, asset, partition)
        if not self._free(slot, run):
            assert slot.holder is not None
            return Held(asset, partition, self.runs[slot.holder].id, slot.current)
        taken_over = slot.holder not in (None, run.number)
        slot.token += 1
        slot.holder = run.number
        slot.leased = True
        slot.invalidated = 0
        return Lease(asset, partition, slot.token, slot.current, taken_over)

    def _free(self, slot: Slot, run: RunState) -> bool:
        """Law 4. A run's own lease is granted anew: the older token is fenced off."""
        if slot.holder is None or slot.holder == run.number:
            return True
        holder = self.runs[slot.holder]
        if holder.status != "running" or holder.expires < self.now:
            return True
        if holder.number not in self._dead:
            self._dead[holder.number] = self.known_dead(holder.id)
        return self._dead[holder.number]

    def _release(self, operation: Release) -> None:
        number = self.run_numbers.get(operation.run)
        for asset, partition, token in operation.leases:
            slot = self._slot(operation.environment, asset, partition)
            if number is not None and slot.holder == number and slot.token == token:
                slot.holder = None
                slot.leased = True

    # ---- pointers

    def _publish(self, operation: Publish) -> Published | Refused:
        fact = operation.fact
        slot = self._slot(fact.environment, fact.asset, fact.partition)
        if operation.lease:
            if not self._holds(slot, fact):
                holder = "" if slot.holder is None else self.runs[slot.holder].id
                return Refused(slot.token, holder)
            slot.holder = None
            slot.leased = True
        elif fact.token > slot.token:
            slot.token = fact.token  # found in a store: later publishes must exceed it
            slot.leased = True
        self.revision += 1
        self._move(slot, self.revision, self.packed(fact, self.revision))
        self.facts.append((fact, self.revision))
        published = Published(self.revision)
        if operation.lease and slot.invalidated:
            self.revision += 1
            place = (self.assets[fact.environment, fact.asset], fact.partition)
            self.invalidated_again[self.revision] = (place, slot.invalidated)
            slot.invalidated = 0
        return published

    def _holds(self, slot: Slot, fact: Materialization) -> bool:
        """Law 3."""
        number = self.run_numbers.get(fact.run)
        return number is not None and slot.holder == number and slot.token == fact.token

    def _withdraw(self, operation: Withdraw) -> None:
        slot = self._slot(operation.environment, operation.asset, operation.partition)
        if not slot.current:
            return
        self.revision += 1  # so that a reader of the tail sees it go
        self._move(slot, 0, None)
        number = self.assets[operation.environment, operation.asset]
        self.withdrawals.append((self.revision, (number, operation.partition)))

    def _invalidate(self, operation: Invalidate) -> int:
        what, space = operation.what, operation.space
        self.revision += 1
        asset = self.assets[what.environment, what.asset]
        self.invalidations[self.revision] = (asset, what)
        held = {
            key: slot
            for (number, key), slot in self.slots.items()
            if number == asset and slot.holder is not None
        }
        if held:
            covered = from_ranges(space, what.ranges)
            for slot, ordinal in zip(held.values(), space.ordinals(list(held)), strict=True):
                if ordinal >= 0 and covered[ordinal]:
                    slot.invalidated = self.revision
                    slot.leased = True
        return self.revision

    def _move(self, slot: Slot, current: int, facts: bytes | None) -> None:
        slot.current = current
        slot.facts = facts
        slot.moved = True

    # ---- runs

    def _note(self, operation: Note) -> None:
        self.attempts += [(attempt, self.revision) for attempt in operation.attempts]

    def _beat(self, operation: Beat) -> bool:
        run = self._known(operation.run)
        if run.status != "running":
            return False
        run.expires = self.now + round(operation.seconds * 1_000_000)
        run.beaten = True
        return True

    def _finish(self, operation: Finish) -> None:
        run = self._known(operation.run)
        if run.status != "running":
            return  # the first end counts: a run that was declared dead stays so
        run.status = operation.status
        run.finish = operation
        for slot in self.slots.values():
            if slot.holder == run.number:
                slot.holder = None
                slot.leased = True

    # ---- looking up

    def _slot(self, environment: str, asset: str, partition: str) -> Slot:
        place = (self.assets[environment, asset], partition)
        slot = self.slots.get(place)
        if slot is None:
            slot = self.slots[place] = Slot(stored=False)
        return slot

    def _known(self, run_id: str) -> RunState:
        number = self.run_numbers.get(run_id)
        if number is None:
            raise StateError("No such run was begun.", facts={"run": run_id})
        return self.runs[number]

    def _running(self, run_id: str) -> RunState:
        run = self._known(run_id)
        if run.status != "running":
            raise LeaseLostError(
                "The run has ended, so it can lease nothing more.",
                facts={"run": run_id, "status": run.status},
                hint="Another process took it for dead, or ended it. Start the command again.",
            )
        return run

    # ---- what is to be written

    def new_slots(self) -> Iterable[tuple[SlotKey, Slot]]:
        """Slots to insert. Looking at a slot that is not there does not make one."""
        return ((at, s) for at, s in self.slots.items() if not s.stored and (s.leased or s.moved))

    def moved_slots(self) -> Iterable[tuple[SlotKey, Slot]]:
        """Stored slots whose pointer moved."""
        return ((at, s) for at, s in self.slots.items() if s.stored and s.moved)

    def leased_slots(self) -> Iterable[tuple[SlotKey, Slot]]:
        """Stored slots of which only the lease changed."""
        return ((at, s) for at, s in self.slots.items() if s.stored and s.leased and not s.moved)
