"""Executes a plan: hands out steps whose inputs are decided, publishes, records, spreads the news.

A step is *decided* when its record is committed (or it was released, failed or blocked); only
then do its readers look at it. State is columns by ordinal and one lock; worker threads run
steps, the recorder's thread commits and applies what was committed.
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from assets_core.asset import Asset, Freshness
from assets_core.contracts import (
    Acquire,
    Held,
    Lease,
    Note,
    Operation,
    Publish,
    Published,
    Refused,
    Release,
    Snapshot,
    StateStore,
    Target,
)
from assets_core.durations import parse_duration
from assets_core.errors import (
    AssetsError,
    LeaseLostError,
    StorageError,
    UserCodeError,
    VersionReplacedError,
)
from assets_core.execute import capture
from assets_core.execute.batching import Batching
from assets_core.execute.facts import fact_to_json, rolled_forward
from assets_core.execute.inputs import InputData, read_of, there
from assets_core.execute.ranges import AnyOutcome, AnyTask
from assets_core.execute.recorder import Done, Recorder
from assets_core.execute.step import ChecksError, Made, Outcome, Runtime, Task
from assets_core.execute.tally import (
    RESULTS,
    Failure,
    Result,
    StepEvent,
    Tally,
    first_line,
    user_traceback,
)
from assets_core.execute.withdrawing import Withdrawing
from assets_core.graph import Input, Op
from assets_core.partitions import Edge
from assets_core.plan import Lack, Plan
from assets_core.records import (
    Attempt,
    AttemptStatus,
    CheckOutcome,
    Code,
    InputRead,
    Materialization,
    Receipt,
    Version,
    is_withdrawn,
    version_hex,
    with_reads,
)
from assets_core.staleness import (
    CODE,
    FORCED,
    WITHDRAWN,
    AssetFacts,
    Digests,
    Facts,
    is_enough,
)

_WAITING, _READY, _RUNNING, _DECIDED = 1, 2, 3, 4
_UNKNOWN_CODE = -2  # what Facts.code_id says of one that was never recorded
_AHEAD_SECONDS = 0.5
_MOST_AHEAD = 128
_MOST_UNCOMMITTED = 64
_LISTEN_SECONDS = 0.2


@dataclass(slots=True)
class OpState:
    """Where each partition of an op stands, by ordinal (arrays of the key space's length).

    ``pending`` counts undecided upstream steps of the plan, ``reasons`` are the plan's bits,
    ``position`` is that of the op's steps in the global order, by ordinal (-1: not planned),
    ``lost`` (bool) are those that failed or were blocked in this run. ``lenient`` says that some
    input need not be there as a whole, ``early`` (bool, None: none) which lack something that is
    not in the plan: a part of a plan may leave out what another part would have built.
    """

    op: Op
    state: np.ndarray
    pending: np.ndarray
    reasons: np.ndarray
    position: np.ndarray
    edges: list[tuple[Input, Edge]]
    lost: np.ndarray
    lenient: bool
    early: np.ndarray | None = None
    readers: list[tuple[OpState, Edge, Input]] = field(default_factory=list)
    leases: dict[int, dict[str, Lease]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Options:
    """How to execute.

    ``jobs`` steps run at a time; ``lease_seconds`` without a sign of life end the run's leases;
    ``grace`` seconds are given to running steps when the run is stopped. ``max_failures`` failed
    steps (0: any number) stop the run. ``newest_first`` begins at the end of time. ``control`` is
    asked about every fifth of a second what to do.
    """

    jobs: int = 1
    max_failures: int = 0
    executor: str | None = None
    lease_seconds: float = 60.0
    grace: float = 1.0
    newest_first: bool = False
    control: Callable[[], Control] | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """What a run is told from outside: go on, ``hold`` for the moment, or stop (and ``why``)."""

    hold: bool = False
    stop: str = ""


class Engine:
    """One execution of one plan. Use once."""

    def __init__(
        self,
        plan: Plan,
        runtime: Runtime,
        store: StateStore,
        run: str,
        codes: dict[str, Code],
        options: Options,
        run_task: Callable[[AnyTask], AnyOutcome],
        log: capture.RunLog | None = None,
        on_event: Callable[[StepEvent], None] | None = None,
    ) -> None:
        self.plan = plan
        self.runtime = runtime
        self.store = store
        self.run = run
        self.codes = codes
        self.options = options
        self.tally = Tally()
        self.stopped = ""
        self.interrupted = False
        self.left_behind = False  # an attempt failed: it may have left something staged
        self._own_ids: set[int] = set()
        self._unexposed: dict[str, set[str]] = {}
        self._run_task = run_task
        self._log = log
        self._on_event = on_event
        self._facts = _copy_facts(plan)
        self._digests = Digests(plan.wiring, self._facts)
        self._receipts: dict[int, Receipt] = {}
        self._schemas: dict[str, str] = {}
        mutex = threading.RLock()
        self._lock = threading.Condition(mutex)
        self._over = threading.Condition(mutex)
        self._leasing = threading.Lock()
        self._ready: list[int] = []
        self._timers: list[tuple[float, int, int]] = []
        self._attempts: dict[int, int] = {}
        self._busy = 0
        self._starving = 0
        self._committing = 0
        self._left = 0
        self._abandoned = False
        self._held = False
        self._error: BaseException | None = None
        self._step_seconds = 0.0
        self._lay_out()
        self._batching = Batching(self)
        self._withdrawing = Withdrawing(self)
        self._recorder = Recorder(
            store,
            run,
            lease_seconds=options.lease_seconds,
            idle=lambda: self._starving > 0,
            on_lost=self._lost,
            on_broken=self._broken,
        )

    # ---------------------------------------------------------------------------------------
    # Laying out the plan

    def _lay_out(self) -> None:
        batches = self.plan.batches
        self._ops = [self._op_state(batch.op) for batch in batches]
        self._by_op = by_name = {state.op.name: state for state in self._ops}
        self._waiting: dict[str, np.ndarray] = {}
        for batch in self.plan.waiting_batches:
            waiting = np.zeros(self._facts.spaces[batch.op.name].n, bool)
            waiting[batch.ordinals] = True
            self._waiting[batch.op.name] = waiting
        ends, tops, ordinals = [], [], []
        for index, (batch, state) in enumerate(zip(batches, self._ops, strict=True)):
            state.state[batch.ordinals] = _WAITING
            state.reasons[batch.ordinals] = batch.reasons
            space = self._facts.spaces[batch.op.name]
            all_ends = space.ends()
            own = (
                all_ends[batch.ordinals] if all_ends is not None else np.zeros(len(batch.ordinals))
            )
            ends.append(own)
            tops.append(np.full(len(batch.ordinals), index))
            ordinals.append(batch.ordinals)
        # Earlier windows first, then upstream first: whole chains of a day finish early.
        end, top = _concat(ends), _concat(tops)
        if self.options.newest_first:
            end = -end
        order = np.lexsort((top, end))
        self._order_op = top[order].astype(np.int64).tolist()
        self._order_ordinal = _concat(ordinals)[order].astype(np.int64).tolist()
        self._left = len(self._order_op)
        for position, (index, ordinal) in enumerate(
            zip(self._order_op, self._order_ordinal, strict=True)
        ):
            self._ops[index].position[ordinal] = position
        self._connect(by_name)

    def _op_state(self, op: Op) -> OpState:
        n = self._facts.spaces[op.name].n
        edges = [(read, self.plan.wiring.edge(op, read)) for read in op.inputs]
        return OpState(
            op=op,
            state=np.zeros(n, np.uint8),
            pending=np.zeros(n, np.int64),
            reasons=np.zeros(n, np.uint8),
            position=np.full(n, -1, np.int64),
            edges=edges,
            lost=np.zeros(n, bool),
            lenient=any(not read.require.is_all for read in op.inputs),
        )

    def _connect(self, by_name: dict[str, OpState]) -> None:
        for state in self._ops:
            for read, edge in state.edges:
                upstream = by_name.get(self.plan.graph.op_of[read.asset].name)
                if upstream is not None:
                    upstream.readers.append((state, edge, read))
                    state.pending += edge.count(upstream.position >= 0)
                self._note_early(state, read, edge, upstream)
            free = np.flatnonzero((state.state == _WAITING) & (state.pending == 0))
            state.state[free] = _READY
            self._ready += state.position[free].tolist()
        heapq.heapify(self._ready)

    def _note_early(
        self, state: OpState, read: Input, edge: Edge, upstream: OpState | None
    ) -> None:
        gone = ~self._facts.assets[read.asset].there
        withdrawn = self.plan.withdrawn.get(self.plan.graph.op_of[read.asset].name)
        if withdrawn is not None:
            gone &= ~withdrawn
        if upstream is not None:
            gone &= upstream.position < 0
        if not gone.any() or not read.require.is_all:
            return
        early = edge.any(gone) & (state.position >= 0)
        if early.any():
            state.early = early if state.early is None else state.early | early

    # ---------------------------------------------------------------------------------------
    # Running

    def execute(self) -> Tally:
        """Run until every step is decided or the run is stopped.

        Raises KeyboardInterrupt after stopping cleanly on Ctrl-C, and what broke the machinery
        itself (never what a step raised).
        """
        self._count_waiting()
        self._recorder.start()
        self._count_unseen()
        workers = [
            threading.Thread(target=self._work, name=f"worker-{i}", daemon=True)
            for i in range(max(1, min(self.options.jobs, self._left or 1)))
        ]
        try:
            with capture.capturing():
                for worker in workers:
                    worker.start()
                self._wait()
            if self._error is not None:
                self.stop("the state store or the machinery failed")
                self._wait_for_running(self.options.grace)
            self._join(workers)
        except KeyboardInterrupt:
            self.stop("interrupted")
            self._wait_for_running(self.options.grace)
            raise
        finally:
            self._abandoned = True
            self._recorder.close()
            if self._log is not None:
                self._log.close()
        if self._error is not None:
            raise self._error
        return self.tally

    def _join(self, workers: Sequence[threading.Thread]) -> None:
        """Let the workers end: one that closes a connection of a library in C++ while the
        interpreter shuts down would abort the process."""
        with self._lock:
            self._wake_all()
        deadline = time.monotonic() + self.options.grace
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def stop(self, why: str) -> None:
        """Start no further step."""
        with self._lock:
            self.stopped = self.stopped or why
            self._wake_all()

    def _wake_all(self) -> None:
        self._lock.notify_all()
        self._over.notify_all()

    def _lost(self) -> None:
        self.stop("another process declared this run dead; its leases are gone")

    def _wait(self) -> None:
        while True:
            with self._lock:
                if self._error is not None or self._finished():
                    return
                # A bounded wait, so that Ctrl-C is heard on every platform.
                self._over.wait(_LISTEN_SECONDS)
            self._listen()

    def _listen(self) -> None:
        """Do as `Options.control` says."""
        if self.options.control is None:
            return
        told = self.options.control()
        if told.stop:
            self.interrupted = True
            self.stop(told.stop)
        with self._lock:
            if self._held and not told.hold:
                self._lock.notify_all()
            self._held = told.hold
            if self._held and self._busy == 0:
                self._give_back()

    def _give_back(self) -> None:
        """Let go of the leases taken ahead: whoever we hold for may want these very partitions."""
        leases = [
            (asset, lease.partition, lease.token)
            for state in self._ops
            for each in state.leases.values()
            for asset, lease in each.items()
        ]
        for state in self._ops:
            state.leases.clear()
        if leases:
            self._submit_quietly(Release(self.run, self.plan.environment, tuple(leases)))

    def _finished(self) -> bool:
        if self._left == 0:
            return True
        return bool(self.stopped) and self._busy == 0 and self._committing == 0

    def _wait_for_running(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._lock:
            while (self._busy or self._committing) and time.monotonic() < deadline:
                self._over.wait(0.05)

    def _work(self) -> None:
        try:
            while True:
                position = self._next()
                if position < 0:
                    return
                self._one(position)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            with self._lock:
                self._error = self._error or error
                self._wake_all()

    def _next(self) -> int:
        """The next ready position; -1 when the run is over."""
        with self._lock:
            while True:
                if self._finished() or self.stopped or self._error is not None:
                    self._wake_all()
                    return -1
                self._ring_timers()
                free = not self._held and self._committing < _MOST_UNCOMMITTED
                position = self._pop() if free else -1
                if position >= 0:
                    self._busy += 1
                    return position
                self._starving += 1
                self._recorder.hurry()
                self._lock.wait(self._until_timer())
                self._starving -= 1

    def _pop(self) -> int:
        """The ready position that is first in order; -1 when there is none to take now."""
        while self._ready:
            position = heapq.heappop(self._ready)
            if not self._batching.passes(position):
                return position
        return self._batching.overdue()

    def _ring_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappush(self._ready, heapq.heappop(self._timers)[1])

    def _until_timer(self) -> float:
        if not self._timers:
            return 0.5
        return max(0.0, min(0.5, self._timers[0][0] - time.monotonic()))

    def _one(self, position: int) -> None:
        state = self._ops[self._order_op[position]]
        ordinal = self._order_ordinal[position]
        try:
            if self._batching.takes(position):
                self._batching.run(state, position)
            elif self._leased(state, ordinal, position):
                self._decide(state, ordinal)
        finally:
            with self._lock:
                self._busy -= 1
                if self._busy == 0 and (self.stopped or self._left == 0):
                    self._wake_all()

    # ---------------------------------------------------------------------------------------
    # Leases, taken a little ahead so that one commit serves many steps

    def _leased(self, state: OpState, ordinal: int, position: int) -> bool:
        if ordinal in state.leases:
            return True
        # One at a time, or two workers would lease the same steps ahead and fence each other.
        with self._leasing:
            return ordinal in state.leases or self._lease(position)

    def _lease(self, position: int) -> bool:
        """Lease the step and some that follow; False when another run holds it (tried again)."""
        self._lease_all(self._ahead(position))
        mine = self._ops[self._order_op[position]].leases.get(self._order_ordinal[position])
        if mine is None:
            self._later(position, 0.25)
        return mine is not None

    def _lease_all(self, wanted: Sequence[tuple[int, int]]) -> None:
        """Lease these steps as far as no other run holds them, and bring facts up to date."""
        slots = tuple(
            (asset, self._key(index, ordinal))
            for index, ordinal in wanted
            for asset in self._ops[index].op.outputs
        )
        granted = iter(self._recorder.call(Acquire(self.run, self.plan.environment, slots)))
        moved = False
        giving_back: list[tuple[str, str, int]] = []
        for index, ordinal in wanted:
            state = self._ops[index]
            each = [next(granted) for _ in state.op.outputs]
            held = [one for one in each if isinstance(one, Held)]
            leases = {one.asset: one for one in each if isinstance(one, Lease)}
            if held:
                giving_back += [(a, lease.partition, lease.token) for a, lease in leases.items()]
            else:
                state.leases[ordinal] = leases
            moved = moved or any(
                one.current != int(self._facts.assets[one.asset].id[ordinal]) for one in each
            )
        if giving_back:
            self._submit_quietly(Release(self.run, self.plan.environment, tuple(giving_back)))
        if moved:
            self._refresh()
        self._roll_forward(wanted)
        self._prefetch(wanted)

    def _key(self, index: int, ordinal: int) -> str:
        return self._facts.spaces[self._ops[index].op.name].key(ordinal)

    def _ahead(self, position: int) -> list[tuple[int, int]]:
        """The step and those after it in order, about half a second of work."""
        per_step = max(self._step_seconds, 0.0005) / max(self.options.jobs, 1)
        most = int(min(_MOST_AHEAD, max(self.options.jobs, _AHEAD_SECONDS / per_step)))
        if not self._step_seconds:
            most = max(self.options.jobs, 8)
        wanted: list[tuple[int, int]] = []
        with self._lock:
            for at in range(position, min(position + 4 * most, len(self._order_op))):
                index, ordinal = self._order_op[at], self._order_ordinal[at]
                state = self._ops[index]
                undecided = state.state[ordinal] in (_WAITING, _READY)
                if undecided and ordinal not in state.leases:
                    wanted.append((index, ordinal))
                if len(wanted) >= most:
                    break
        return wanted

    def _refresh(self) -> None:
        """Another run has recorded something: take in the log's tail."""
        with self._lock:
            tail = self.store.snapshot(
                self.plan.environment, self._facts.assets, since=self._facts.revision
            )
            self._take_in(tail)

    def _take_in(self, tail: Snapshot) -> None:
        for name, ordinals in self._facts.apply(tail).items():
            own = self._facts.assets[name]
            for ordinal in ordinals.tolist():
                self._digests.moved(name, ordinal, own.version(ordinal))

    def _later(self, position: int, seconds: float) -> None:
        with self._lock:
            heapq.heappush(self._timers, (time.monotonic() + seconds, position, 0))
            self._lock.notify()

    def _roll_forward(self, wanted: Sequence[tuple[int, int]]) -> None:
        """Record what a transactional store published and a dead run did not get to record.

        The run that held a lease before us may not be dead at all: from here on its publishes
        are refused, or it would change data under a record that says otherwise.
        """
        for index in dict.fromkeys(index for index, _ in wanted):
            state = self._ops[index]
            for asset in state.op.outputs:
                manager = self.runtime.io[self.runtime.graph.assets[asset].io]
                if manager.transactional:
                    mine = [o for i, o in wanted if i == index and o in state.leases]
                    self._roll_asset(state, asset, mine)

    def _roll_asset(self, state: OpState, asset: str, ordinals: Sequence[int]) -> None:
        manager = self.runtime.io[self.runtime.graph.assets[asset].io]
        keys = {self._facts.spaces[asset].key(o): o for o in ordinals}
        taken = [lease for o in ordinals if (lease := state.leases[o][asset]).taken_over]
        if taken:
            tokens = {lease.partition: lease.token - 1 for lease in taken}
            manager.fence_off(self.plan.environment, asset, tokens)
        for fence in manager.fences(self.plan.environment, asset, list(keys)):
            ordinal = keys[fence.partition]
            own = self._facts.assets[asset]
            known = self._receipt(int(own.id[ordinal])) if own.id[ordinal] else None
            if known is not None and known.token >= fence.token:
                continue
            lease = state.leases[ordinal][asset]
            fact = rolled_forward(fence.fact, run=self.run, token=lease.token)
            self._recorder.call(Publish(fact))
            again = self._recorder.call(
                Acquire(self.run, self.plan.environment, ((asset, fence.partition),))
            )[0]
            if isinstance(again, Lease):
                state.leases[ordinal][asset] = again
            else:
                del state.leases[ordinal]
            self._refresh()

    def _prefetch(self, wanted: Sequence[tuple[int, int]]) -> None:
        """Fetch the receipts that these steps will read, in one query."""
        ids: set[int] = set()
        for index, ordinal in wanted:
            state = self._ops[index]
            for read, edge in state.edges:
                if read.data and self.runtime.graph.assets[read.asset].kind != "source":
                    ids.update(self._facts.assets[read.asset].id[edge.upstream(ordinal)].tolist())
            for asset in state.op.outputs:
                ids.add(int(self._facts.assets[asset].id[ordinal]))
        missing = [i for i in ids if i > 0 and i not in self._receipts]
        if missing:
            self._receipts.update(self.store.receipts(missing))

    def _receipt(self, recorded: int) -> Receipt:
        found = self._receipts.get(recorded)
        if found is None:
            self._receipts.update(self.store.receipts([recorded]))
            found = self._receipts[recorded]
        return found

    # ---------------------------------------------------------------------------------------
    # Deciding and running one step

    def _decide(self, state: OpState, ordinal: int) -> None:
        if state.reasons[ordinal] & WITHDRAWN:
            self._withdrawing.run(state, ordinal)
            return
        if not self._has_enough(state, ordinal):
            return
        with self._lock:
            digest, sums = self._digests.one(state.op, ordinal)
            fresh = not self._needs_run(state, ordinal, digest)
            task = None if fresh else self._task(state, ordinal, digest)
            reads = () if fresh else self._reads(state, ordinal, sums)
            if not fresh:
                state.state[ordinal] = _RUNNING
        if task is None:
            self._release(state, ordinal, "released")
            return
        self._attempt(state, ordinal, task, digest, reads)

    def _has_enough(self, state: OpState, ordinal: int) -> bool:
        """Whether enough of each input is there; blocks the step when it isn't.

        Asked once all that it reads is decided, where an input may be incomplete: a failure up
        there has blocked the readers of everything at once.
        """
        if not state.lenient and (state.early is None or not state.early[ordinal]):
            return True
        try:
            found = (self._lack(read, edge, ordinal) for read, edge in state.edges)
            lacks = [str(lack) for lack in found if lack is not None]
        except AssetsError as error:  # a function of the user's own was asked
            self._fail(state, ordinal, 1, error, time.time_ns() // 1000, "failed")
            return False
        if not lacks:
            return True
        self._hold_back(state, ordinal, f"waits for {'; '.join(lacks)}")
        return False

    def _hold_back(self, state: OpState, ordinal: int, why: str) -> None:
        """A step can't run after all: it and what needs it are blocked."""
        key = self._facts.spaces[state.op.name].key(ordinal)
        with self._lock:
            state.lost[ordinal] = True
        self._blocked(state, ordinal, why)
        self._block_readers(state, ordinal, f"{state.op.name}@{key} is blocked")
        self._decided(state, ordinal)

    def _lack(self, read: Input, edge: Edge, ordinal: int) -> Lack | None:
        """What is missing of an input, if it is too much.

        What failed in this run counts as missing, though an older version may be there.
        """
        upstream = self._by_op.get(self.plan.graph.op_of[read.asset].name)
        at = self.plan.expected(read, edge.upstream(ordinal))
        with self._lock:
            gone = ~self._facts.assets[read.asset].there_at(at)
            if upstream is not None:
                gone |= upstream.lost[at]
        waiting = self._waiting.get(self.plan.graph.op_of[read.asset].name)
        if waiting is not None:
            gone |= waiting[at]
        blind = self.plan.blind.get(self.plan.graph.op_of[read.asset].name)
        if blind is not None:
            gone |= blind[at]
        if not gone.any() or is_enough(read, at, gone, self._facts.spaces[read.asset]):
            return None
        return self.plan.lack(read, at[gone], len(at))

    def _needs_run(self, state: OpState, ordinal: int, digest: Version) -> bool:
        if state.reasons[ordinal] & FORCED:
            return True
        for asset in state.op.outputs:
            if self._facts.invalidation(asset, ordinal) is not None:
                return True
            own = self._facts.assets[asset]
            recorded = (int(own.digest[ordinal][0]), int(own.digest[ordinal][1]))
            if recorded != digest or not own.has(ordinal):
                return True
            if not self._facts.is_current(int(own.code[ordinal]), self.codes[asset].hex):
                return True
        return False

    def _task(self, state: OpState, ordinal: int, digest: Version, *, inputs: bool = True) -> Task:
        """The next attempt at a step; without its ``inputs`` when it is part of a larger call."""
        op, space = state.op, self._facts.spaces[state.op.name]
        position = int(state.position[ordinal])
        attempt = self._attempts[position] = self._attempts.get(position, 0) + 1
        key = space.key(ordinal)
        parts = op.partitions.path_parts(key)
        digest_hex, started = version_hex(digest), str(time.time_ns() // 1000)
        targets = {
            asset: Target(
                asset=asset,
                partition=key,
                path_parts=parts,
                token=state.leases[ordinal][asset].token,
                run=self.run,
                attempt=f"{self.run}-{attempt}",
                environment=self.plan.environment,
                stamp={
                    "code": self.codes[asset].hex,
                    "digest": digest_hex,
                    "started": started,
                },
            )
            for asset in op.outputs
        }
        return Task(
            op=op.name,
            partition=space.partition(ordinal),
            path_parts=parts,
            attempt=attempt,
            run=self.run,
            targets=targets,
            inputs=tuple(
                self._input_data(read, self._there(read, edge.upstream(ordinal)))
                for read, edge in state.edges
                if read.data and inputs
            ),
            schemas={asset: self._schema(asset) for asset in op.outputs},
        )

    def _there(self, read: Input, at: np.ndarray) -> list[int]:
        return there(self._facts, read, at)

    def _schema(self, asset: str) -> str:
        found = self._schemas.get(asset)
        if found is None:
            found = self._schemas[asset] = self.store.schema(self.plan.environment, asset)
        return found

    def _input_data(self, read: Input, at: Sequence[int]) -> InputData:
        space = self._facts.spaces[read.asset]
        keys = tuple(space.key(i) for i in at)
        if self.runtime.graph.assets[read.asset].kind == "source":
            return InputData(keys, partitions=tuple(space.partition(i) for i in at))
        ids = self._facts.assets[read.asset].id
        return InputData(keys, receipts=tuple(self._receipt(int(ids[i])) for i in at))

    def _reads(
        self, state: OpState, ordinal: int, sums: Sequence[Version]
    ) -> tuple[InputRead, ...]:
        return tuple(
            read_of(self._facts, read, edge, ordinal, total)
            for (read, edge), total in zip(state.edges, sums, strict=True)
        )

    def _attempt(
        self,
        state: OpState,
        ordinal: int,
        task: Task,
        digest: Version,
        reads: tuple[InputRead, ...],
    ) -> None:
        self._tell(state, ordinal, "started")
        began = time.time_ns() // 1000
        with capture.attempt() as lines:
            outcome: Outcome | None = None
            failure: BaseException | None = None
            try:
                found = self._run_task(task)
                assert isinstance(found, Outcome)
                outcome = found
            except Exception as error:  # noqa: BLE001 - any failure belongs to its step alone
                failure = error
        self._keep_output(task, lines)
        if outcome is not None and not self._abandoned:
            try:
                self._publish(state, ordinal, task, outcome, digest, reads)
                return
            except Exception as error:  # noqa: BLE001 - a failed publish fails its step alone
                failure = error
        if outcome is not None:
            self._discard(outcome)
        if failure is None or self._abandoned:
            return
        self.left_behind = True
        self._failed(state, ordinal, task, self._explained(task, failure), began)

    def _discard(self, outcome: Outcome) -> None:
        """Remove what an attempt staged that will not be published."""
        for asset, made in outcome.made.items():
            manager = self.runtime.io[self.runtime.graph.assets[asset].io]
            # A store that is in trouble is swept at the end, or by the next command.
            with contextlib.suppress(OSError, AssetsError):
                if made.staged.kind != "none":
                    manager.discard(made.staged)

    def _explained(self, task: Task, failure: BaseException) -> BaseException:
        """A failure to store, or its reason: another process took the lease and swept up."""
        if not isinstance(failure, StorageError):
            return failure
        wanted = {(t.asset, t.partition, t.token) for t in task.targets.values()}
        try:
            held = {(one.asset, one.partition, one.token) for one in self.store.held(self.run)}
        except AssetsError:
            return failure
        if wanted <= held:
            return failure
        lost = LeaseLostError(
            "Another run took this partition over; nothing of ours was published.",
            facts={"partition": f"{task.op}@{task.partition.key}", "met": first_line(failure)},
            hint="Run again: what the other run built is kept when it is still right.",
        )
        lost.__cause__ = failure
        return lost

    def _keep_output(self, task: Task, lines: capture.Lines) -> None:
        if self._log is not None:
            entries = lines.finish()
            if entries:
                self._log.append(task.op, task.partition.key, task.attempt, entries)

    def _publish(
        self,
        state: OpState,
        ordinal: int,
        task: Task,
        outcome: Outcome,
        digest: Version,
        reads: tuple[InputRead, ...],
    ) -> None:
        took = (time.time_ns() // 1000 - outcome.started) / 1e6
        self._step_seconds = (
            took if not self._step_seconds else 0.9 * self._step_seconds + 0.1 * took
        )
        facts: list[Materialization] = []
        try:
            for asset, made in outcome.made.items():
                fact = self._fact(asset, task, outcome, made, digest, reads)
                facts.append(self._sealed(asset, ordinal, fact, made))
        except Exception:
            self._keep_published(facts)
            raise
        self._commit(state, ordinal, facts, outcome)

    def _keep_published(self, facts: Sequence[Materialization]) -> None:
        """One output failed to publish after others did: their store shows them, so record them."""
        for fact in facts:
            manager = self.runtime.io[self.runtime.graph.assets[fact.asset].io]
            if manager.transactional and _is_new(fact):
                self._recorder.call(Publish(fact))
        if facts:
            self._refresh()

    def _fact(
        self,
        asset: str,
        task: Task,
        outcome: Outcome,
        made: Made,
        digest: Version,
        reads: tuple[InputRead, ...],
    ) -> Materialization:
        staged = made.staged
        declared = self.runtime.graph.assets[asset]
        return Materialization(
            environment=self.plan.environment,
            asset=asset,
            partition=task.partition.key,
            code=with_reads(self.codes[asset], outcome.traced),
            input_digest=digest,
            data_version=made.version,
            receipt=Receipt(
                store=declared.io,
                kind=staged.kind,
                location=staged.location,
                token=staged.target.token,
                rows=staged.rows,
                bytes=staged.bytes,
                rejects=staged.rejects,
                rejected=staged.rejected,
            ),
            started=outcome.started,
            finished=time.time_ns() // 1000,
            run=self.run,
            token=staged.target.token,
            attempt=task.attempt,
            inputs=reads,
            checks=made.checks,
            metadata=outcome.metadata,
            schema=made.schema,
            deadline=deadline_of(declared, task),
        )

    def _sealed(
        self, asset: str, ordinal: int, fact: Materialization, made: Made
    ) -> Materialization:
        """Publish to the store, or keep the version that is there when nothing changed."""
        if fact.receipt.kind == "none":
            return fact
        manager = self.runtime.io[self.runtime.graph.assets[asset].io]
        if self._is_unchanged(asset, ordinal, fact):
            manager.discard(made.staged)
            known = self._receipt(int(self._facts.assets[asset].id[ordinal]))
            return replace(fact, kind="unchanged", receipt=known)
        if self._has_same_content(asset, ordinal, fact):
            fact = replace(fact, kind="unchanged")
        receipt = manager.publish(made.staged, fact_to_json(fact) if manager.transactional else "")
        return replace(fact, receipt=receipt)

    def _has_same_content(self, asset: str, ordinal: int, fact: Materialization) -> bool:
        """Whether the data version is the one before: nothing downstream need run.

        A step that is forced, or invalidated, is told as done: it was asked to be written again,
        and is.
        """
        own, state = self._facts.assets[asset], self._ops_by_asset[asset]
        if not own.id[ordinal] or state.reasons[ordinal] & FORCED:
            return False
        if self._facts.invalidation(asset, ordinal) is not None:
            return False
        return own.version(ordinal) == fact.data_version

    def _is_unchanged(self, asset: str, ordinal: int, fact: Materialization) -> bool:
        """Whether the version that is there can stay: also what the data version leaves out
        (excluded columns, rejects) is as it was."""
        own, declared = self._facts.assets[asset], self.runtime.graph.assets[asset]
        state = self._ops_by_asset[asset]
        if declared.exclude or not self._has_same_content(asset, ordinal, fact):
            return False
        known = self._receipt(int(own.id[ordinal]))
        same_store = (known.store, known.kind) == (fact.receipt.store, fact.receipt.kind)
        if not same_store or known.rejected or fact.receipt.rejected:
            return False
        # A store that was moved to another place has the same name and none of the old versions.
        return not state.reasons[ordinal] & CODE or self._is_there(known)

    def _is_there(self, receipt: Receipt) -> bool:
        manager = self.runtime.io[receipt.store]
        try:
            if receipt.kind == "file":
                return manager.path(receipt).is_file()
            manager.open([receipt]).close()
        except StorageError:
            return False
        return True

    @property
    def _ops_by_asset(self) -> dict[str, OpState]:
        found: dict[str, OpState] | None = self.__dict__.get("_by_asset")
        if found is None:
            found = self.__dict__["_by_asset"] = {
                asset: state for state in self._ops for asset in state.op.outputs
            }
        return found

    def _commit(
        self, state: OpState, ordinal: int, facts: list[Materialization], outcome: Outcome
    ) -> None:
        """Queue the records; the step is decided when all of them are committed."""
        self._recorder.submit_many(self._records(state, ordinal, facts, outcome))

    def _records(
        self, state: OpState, ordinal: int, facts: list[Materialization], outcome: Outcome
    ) -> list[tuple[Operation, Done]]:
        """What has to be committed of a step, and who hears of it."""
        results: list[tuple[Materialization, Any]] = []

        def done(fact: Materialization, result: Any) -> None:
            results.append((fact, result))
            if len(results) == len(facts):
                self._recorded(state, ordinal, results, outcome)

        with self._lock:
            self._committing += 1
        return [(Publish(fact), partial(done, fact)) for fact in facts]

    def _recorded(
        self,
        state: OpState,
        ordinal: int,
        results: list[tuple[Materialization, Any]],
        outcome: Outcome,
    ) -> None:
        """On the recorder's thread: the facts are committed (or refused)."""
        try:
            for fact, result in results:
                if isinstance(result, BaseException):
                    self._broken(result)
                    return
                if isinstance(result, Refused):
                    self._refused(state, ordinal, fact, result, outcome)
                    return
            for fact, result in results:
                self._expose(fact)
                self._apply(ordinal, fact, result)
            self._decided(state, ordinal)
        finally:
            with self._lock:
                self._committing -= 1
                if self.stopped or self._left == 0:
                    self._wake_all()
                elif self._committing == _MOST_UNCOMMITTED - 1:
                    self._lock.notify_all()
                elif not self._committing and self._batching.holds:
                    self._lock.notify()

    def _broken(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
            self._wake_all()

    def _refused(
        self,
        state: OpState,
        ordinal: int,
        fact: Materialization,
        refusal: Refused,
        outcome: Outcome,
    ) -> None:
        error = LeaseLostError(
            "Another run took this partition over; nothing of ours was published.",
            facts={
                "partition": f"{fact.asset}@{fact.partition}",
                "our token": fact.token,
                "token now": refusal.token,
                "held by": refusal.holder or "nobody",
            },
            hint="Run again: what the other run built is kept when it is still right.",
        )
        state.leases.pop(ordinal, None)
        self.left_behind = True
        self._fail(state, ordinal, fact.attempt, error, outcome.started, "refused")

    def _expose(self, fact: Materialization) -> None:
        if is_withdrawn(fact):
            self._withdrawing.conceal(fact)
            return
        if fact.receipt.kind == "none" or not _is_new(fact):
            return
        asset = self.runtime.graph.assets[fact.asset]
        manager = self.runtime.io[fact.receipt.store]
        if not manager.transactional:
            parts = asset.partitions.path_parts(fact.partition)
            try:
                manager.expose(fact.environment, fact.asset, parts, fact.receipt)
            except StorageError:
                # It is recorded, so it is done; the view is swapped at the end, or the run fails.
                self._unexposed.setdefault(fact.asset, set()).add(fact.partition)

    @property
    def busy(self) -> bool:
        """Whether steps are still at work, though the run was stopped and will not publish them."""
        return self._busy > 0

    def outdated_views(self) -> dict[str, set[str]]:
        """Partitions whose outside view may not show their pointer, by asset: those that could
        not be swapped, and those that others recorded while this run was at work.

        Between our record and our swap another run can have done both.
        """
        places = {name: set(keys) for name, keys in self._unexposed.items()}
        began = self.plan.facts.revision
        if not self._own_ids:
            return places
        names = [name for state in self._ops for name in state.op.outputs]
        tail = self.store.snapshot(self.plan.environment, names, since=began)
        for name, columns in tail.assets.items():
            others = [
                key
                for key, recorded in zip(columns.keys, columns.id.tolist(), strict=True)
                if recorded not in self._own_ids
            ]
            if others:
                places.setdefault(name, set()).update(others)
        return places

    def _apply(self, ordinal: int, fact: Materialization, result: Published) -> None:
        with self._lock:
            own = self._facts.assets[fact.asset]
            own.id[ordinal] = result.id
            own.data[ordinal] = fact.data_version
            own.digest[ordinal] = fact.input_digest
            own.code[ordinal] = self._code_column(fact.code.hex)
            own.finished[ordinal], own.rows[ordinal] = fact.finished, fact.receipt.rows
            self._digests.moved(fact.asset, ordinal, fact.data_version)
            self._receipts[result.id] = fact.receipt
            self._own_ids.add(result.id)
            if fact.schema:
                self._schemas[fact.asset] = fact.schema
            warned = tuple(f"{c.name}: {c.message}" for c in fact.checks if not c.passed)
            self.tally.rows += fact.receipt.rows
            self.tally.rejected += fact.receipt.rejected
            self.tally.warnings += len(warned)
            kind: Result = "unchanged" if fact.kind == "unchanged" else "done"
            told = "withdrawn" if is_withdrawn(fact) else ""
            self.tally.add(fact.asset, kind)
        if self._on_event is not None:
            self._on_event(
                StepEvent(
                    kind,
                    fact.asset,
                    fact.partition,
                    (fact.finished - fact.started) / 1e6,
                    fact.receipt.rows,
                    fact.receipt.rejected,
                    message=told,
                    warnings=warned,
                )
            )

    def _code_column(self, hex_version: str) -> int:
        found = self._facts.code_id(hex_version)
        if found == _UNKNOWN_CODE:
            # Any number the store has not given out; it only has to be equal to itself.
            found = -10 - len(self._facts.codes)
            self._facts.codes[found] = hex_version
        return found

    # ---------------------------------------------------------------------------------------
    # Not publishing

    def _release(self, state: OpState, ordinal: int, result: Result) -> None:
        leases = state.leases.pop(ordinal, {})
        if leases:
            given = tuple((a, lease.partition, lease.token) for a, lease in leases.items())
            self._submit_quietly(Release(self.run, self.plan.environment, given))
        for asset in state.op.outputs:
            with self._lock:
                self.tally.add(asset, result)
        self._tell(state, ordinal, result)
        self._decided(state, ordinal)

    def _submit_quietly(self, operation: Release | Note) -> None:
        def done(result: Any) -> None:
            if isinstance(result, BaseException):
                self._broken(result)

        self._recorder.submit(operation, done)

    def _failed(
        self, state: OpState, ordinal: int, task: Task, error: BaseException, began: int
    ) -> None:
        declared = self.runtime.graph.assets[state.op.name]
        cause = error.__cause__ if isinstance(error, UserCodeError) and error.__cause__ else error
        # Attempts in calls that were halved were at others, too.
        tries = task.attempt - self._batching.halvings(int(state.position[ordinal]))
        if isinstance(error, VersionReplacedError) and tries < 4:
            self._refresh()
            self._again(state, ordinal, 0.05)
            return
        retry = declared.retry
        lost = isinstance(error, LeaseLostError)
        if (
            retry is not None
            and tries <= retry.max
            and retry.applies(cause)
            and not (lost or self.stopped)
        ):
            wait = retry.wait(tries)
            self._note(state, ordinal, task.attempt, "retried", error, began)
            self._tell(state, ordinal, "retrying", f"{first_line(error)} (again in {wait:.1f} s)")
            self._again(state, ordinal, wait)
            return
        status: AttemptStatus = "refused" if lost else "failed"
        self._fail(state, ordinal, task.attempt, error, began, status)

    def _again(self, state: OpState, ordinal: int, seconds: float) -> None:
        with self._lock:
            state.state[ordinal] = _READY
        self._later(int(state.position[ordinal]), seconds)

    def _fail(
        self,
        state: OpState,
        ordinal: int,
        attempt: int,
        error: BaseException,
        began: int,
        status: AttemptStatus,
    ) -> None:
        self._note(state, ordinal, attempt, status, error, began)
        key = self._facts.spaces[state.op.name].key(ordinal)
        leases = state.leases.pop(ordinal, {})
        if leases:
            given = tuple((a, lease.partition, lease.token) for a, lease in leases.items())
            self._submit_quietly(Release(self.run, self.plan.environment, given))
        code = error.exit_code if isinstance(error, AssetsError) else 1
        with self._lock:
            for asset in state.op.outputs:
                self.tally.add(asset, "failed")
            self.tally.failures.append(
                Failure(state.op.name, key, first_line(error), str(error), attempt, code)
            )
        self._tell(state, ordinal, "failed", first_line(error))
        with self._lock:
            state.lost[ordinal] = True
        self._block_readers(state, ordinal, f"{state.op.name}@{key} failed")
        self._decided(state, ordinal)
        self._stop_after_failures()

    def _stop_after_failures(self) -> None:
        most = self.options.max_failures
        if most and len(self.tally.failures) >= most:
            self.stop(
                "a step failed, and the first was to stop it"
                if most == 1
                else f"{most} steps failed, as many as --max-failures allows"
            )

    def _note(
        self,
        state: OpState,
        ordinal: int,
        attempt: int,
        status: AttemptStatus,
        error: BaseException,
        began: int,
    ) -> None:
        checks: tuple[CheckOutcome, ...] = error.checks if isinstance(error, ChecksError) else ()
        told = user_traceback(error)
        key = self._facts.spaces[state.op.name].key(ordinal)
        finished = time.time_ns() // 1000
        notes = tuple(
            Attempt(
                run=self.run,
                environment=self.plan.environment,
                asset=asset,
                partition=key,
                attempt=attempt,
                status=status,
                started=began,
                finished=finished,
                error=str(error),
                traceback=told,
                checks=checks,
            )
            for asset in state.op.outputs
        )
        self._submit_quietly(Note(notes))

    def _block_readers(self, state: OpState, ordinal: int, cause: str) -> None:
        """What is planned and needs a step that won't come can't run, all the way down.

        Those that may do without are not asked before everything else they read is decided.
        """
        stack = [(state, ordinal)]
        while stack:
            upstream, at = stack.pop()
            for reader, edge, read in upstream.readers:
                if not read.require.is_all:
                    if upstream is not state or at != ordinal:
                        self._spared(reader, edge, at)
                    continue
                for down in np.atleast_1d(edge.downstream(at)).tolist():
                    with self._lock:
                        if reader.state[down] not in (_WAITING, _READY):
                            continue
                        reader.state[down] = _DECIDED
                        reader.lost[down] = True
                        self._left -= 1
                    self._blocked(reader, down, cause)
                    stack.append((reader, down))

    def _spared(self, reader: OpState, edge: Edge, ordinal: int) -> None:
        """A blocked step is decided for those, too, that may do without it."""
        with self._lock:
            woken = self._count_down(reader, edge, ordinal)
            if woken:
                self._lock.notify(woken)

    def _blocked(self, state: OpState, ordinal: int, reason: str) -> None:
        key = self._facts.spaces[state.op.name].key(ordinal)
        leases = state.leases.pop(ordinal, {})
        if leases:
            given = tuple((a, lease.partition, lease.token) for a, lease in leases.items())
            self._submit_quietly(Release(self.run, self.plan.environment, given))
        with self._lock:
            for asset in state.op.outputs:
                self.tally.add(asset, "blocked")
                self.tally.blocked.append((asset, key, reason))
        self._tell(state, ordinal, "blocked", reason)

    def _count_unseen(self) -> None:
        """A source partition that could not be looked at failed, as a step does."""
        at, notes = time.time_ns() // 1000, []
        for source, key, error in self.plan.unseen():
            self.tally.add(source, "failed")
            self.tally.failures.append(Failure(source, key, first_line(error), str(error), 1))
            notes.append(
                Attempt(
                    run=self.run,
                    environment=self.plan.environment,
                    asset=source,
                    partition=key,
                    attempt=1,
                    status="failed",
                    started=at,
                    finished=at,
                    error=str(error),
                    traceback=user_traceback(error),
                )
            )
        if notes:
            self._submit_quietly(Note(tuple(notes)))
            self._stop_after_failures()

    def _count_waiting(self) -> None:
        unseen = {(source, key) for source, key, _ in self.plan.unseen()}
        for waiting in self.plan.waiting():
            self.tally.add(waiting.asset, "blocked")
            failed = next((slot for slot in waiting.missing if slot in unseen), None)
            if failed is not None:
                cause = f"{failed[0]}@{failed[1]} could not be observed"
                self.tally.blocked.append((waiting.asset, waiting.partition, cause))
                continue
            self.tally.blocked.append((waiting.asset, waiting.partition, waiting.told))

    def _decided(self, state: OpState, ordinal: int) -> None:
        """Tell the readers of a step; those that wait for nothing more become ready."""
        with self._lock:
            state.state[ordinal] = _DECIDED
            self._left -= 1
            woken = 0
            for reader, edge, _ in state.readers:
                woken += self._count_down(reader, edge, ordinal)
            if self._left == 0:
                self._wake_all()
            elif woken:
                self._lock.notify(woken)

    def _count_down(self, reader: OpState, edge: Edge, ordinal: int) -> int:
        bounds = edge.reverse_bounds(ordinal)
        if bounds is not None and bounds[1] - bounds[0] == 1:
            return self._count_down_one(reader, bounds[0])
        down: Any = slice(*bounds) if bounds is not None else edge.downstream(ordinal)
        reader.pending[down] -= 1
        offset = bounds[0] if bounds is not None else 0
        free = np.flatnonzero((reader.pending[down] == 0) & (reader.state[down] == _WAITING))
        freed = free + offset if bounds is not None else np.asarray(down)[free]
        reader.state[freed] = _READY
        for position in reader.position[freed].tolist():
            heapq.heappush(self._ready, position)
        return len(freed)

    def _count_down_one(self, reader: OpState, down: int) -> int:
        left = reader.pending[down] - 1
        reader.pending[down] = left
        if left or reader.state[down] != _WAITING:
            return 0
        reader.state[down] = _READY
        heapq.heappush(self._ready, int(reader.position[down]))
        return 1

    def _tell(self, state: OpState, ordinal: int, kind: str, message: str = "") -> None:
        if self._on_event is None:
            return
        key = self._facts.spaces[state.op.name].key(ordinal)
        for asset in state.op.outputs:
            self._on_event(StepEvent(kind, asset, key, message=message))


def _is_new(fact: Materialization) -> bool:
    """Whether the receipt is this build's own, and not that of the version which stayed."""
    return fact.receipt.token == fact.token


def _concat(parts: list[Any]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _copy_facts(plan: Plan) -> Facts:
    """The engine's own columns, of what the plan builds and reads; the plan stays what it was."""
    facts = plan.facts
    ops = [batch.op for batch in plan.batches]
    concerned = {name for op in ops for name in (*op.outputs, *(i.asset for i in op.inputs))}
    columns = ("id", "data", "digest", "code", "finished", "rows")
    assets = {
        name: AssetFacts(**{column: getattr(own, column).copy() for column in columns})
        for name, own in facts.assets.items()
        if name in concerned
    }
    known = {name: dict(each) for name, each in facts.invalidations.items() if name in concerned}
    return replace(facts, assets=assets, codes=dict(facts.codes), invalidations=known)


def deadline_of(asset: Asset, task: Task) -> int:
    """The freshness deadline of a partition in µs since 1970 UTC; 0 without one."""
    freshness: Freshness | None = asset.freshness
    end = task.partition.end
    if freshness is None or end is None:
        return 0
    return int((end + parse_duration(freshness.lands_within)).timestamp() * 1_000_000)


__all__ = [
    "RESULTS",
    "Control",
    "Engine",
    "Failure",
    "Options",
    "Result",
    "StepEvent",
    "Tally",
    "first_line",
    "user_traceback",
    "version_hex",
]
