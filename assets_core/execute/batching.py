"""Takes neighbouring ready partitions of a batch op into one call, publishes each by itself.

The engine knows order, leases, records and readers; here is which of its ready steps go together,
what a failing call does, and how the results of one call are published. A call never waits for a
partition that isn't ready, but steps that are ready go before a call that isn't full.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from assets_core.asset import Batch
from assets_core.contracts import IOManager, Note, Staged
from assets_core.errors import (
    AssetsError,
    DiskFullError,
    LeaseLostError,
    UserCodeError,
    VersionReplacedError,
)
from assets_core.execute import bulk, capture
from assets_core.execute.facts import fact_to_json
from assets_core.execute.inputs import InputData
from assets_core.execute.ranges import RangeOutcome, RangeTask, staged_of
from assets_core.execute.step import Made, Outcome, Task
from assets_core.execute.tally import first_line
from assets_core.partitions import Edge, KeySpace
from assets_core.records import Attempt, InputRead, Materialization, Receipt, Version
from assets_core.staleness import WITHDRAWN

if TYPE_CHECKING:
    from assets_core.execute.engine import Engine, OpState


@dataclass(frozen=True, slots=True)
class Line:
    """What counts as neighbours: ``size`` ordinals that lie ``stride`` apart.

    A product runs along its time (or its first dimension where it has none), the others held
    fixed: so a range is bounded by one start and one end.
    """

    batch: Batch
    stride: int
    size: int

    @classmethod
    def of(cls, batch: Batch, space: KeySpace) -> Line:
        """The line through a key space."""
        spaces = [part for _, part in space.parts()]
        if len(spaces) < 2:
            return cls(batch, 1, space.n)
        timed = (part for part in spaces if part.ends() is not None)
        size = next(timed, spaces[0]).n
        # The dimension that is first in order runs slowest.
        return cls(batch, space.n // max(size, 1), size)

    def ready(self, ordinal: int, state: np.ndarray) -> list[int]:
        """The ordinal with its ready neighbours, at most as many as a call takes."""
        at, most = ordinal // self.stride, self.batch.max_partitions
        ahead = min(self.size - at, most)
        right = _ready_run(state[ordinal : ordinal + ahead * self.stride : self.stride])
        room = min(most - right, at)
        first = ordinal - room * self.stride
        left = _ready_run(state[first : ordinal : self.stride][::-1])
        low = ordinal - left * self.stride
        return list(range(low, ordinal + right * self.stride, self.stride))


def _ready_run(states: np.ndarray) -> int:
    """How many are ready before the first that isn't."""
    ready = states == _READY
    return len(ready) if ready.all() else int(ready.argmin())


@dataclass(slots=True)
class _Step:
    """One partition of a call, with what its own record needs."""

    ordinal: int
    task: Task
    digest: Version
    reads: tuple[InputRead, ...]


@dataclass(slots=True)
class _Sealing:
    """The records of a call's partitions while they come together, by position in the call."""

    facts: list[list[Materialization]]
    errors: dict[int, AssetsError] = field(default_factory=dict)


class Batching:
    """The engine's other hand: steps that are taken together."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lines: dict[int, Line] = {}
        self._held: list[int] = []
        self._calls: dict[int, list[int]] = {}
        self._halvings: Counter[int] = Counter()
        for index, state in enumerate(engine._ops):
            batch = engine.runtime.graph.assets[state.op.name].batch
            space = engine._facts.spaces[state.op.name]
            if batch is not None and batch.max_partitions > 1 and space.n > 1:
                self._lines[index] = Line.of(batch, space)

    # ---------------------------------------------------------------------------------------
    # Which steps go together (under the engine's lock)

    @property
    def holds(self) -> bool:
        """Whether steps were set aside for a call to grow."""
        return bool(self._held)

    def halvings(self, position: int) -> int:
        """How many attempts at a step were calls that were halved."""
        return self._halvings[position]

    def takes(self, position: int) -> bool:
        """Whether the step belongs to a batch op."""
        return self._engine._order_op[position] in self._lines

    def passes(self, position: int) -> bool:
        """Whether a position that came up is not for now: taken with others, or set aside."""
        engine = self._engine
        line = self._lines.get(engine._order_op[position])
        if line is None or position in self._calls:
            return False
        if not self._is_ready(position):
            return True
        if len(self._neighbours(position)) == line.batch.max_partitions:
            return False
        heapq.heappush(self._held, position)
        return True

    def overdue(self) -> int:
        """A step that was set aside, now that nothing else is ready; -1 when there is none.

        What is being committed may make its neighbours ready the next moment.
        """
        while self._held and not self._engine._committing:
            position = heapq.heappop(self._held)
            if self._is_ready(position):
                return position
        return -1

    def _is_ready(self, position: int) -> bool:
        engine = self._engine
        state = engine._ops[engine._order_op[position]]
        return bool(state.state[engine._order_ordinal[position]] == _READY)

    def _neighbours(self, position: int) -> list[int]:
        engine = self._engine
        index, ordinal = engine._order_op[position], engine._order_ordinal[position]
        return self._lines[index].ready(ordinal, engine._ops[index].state)

    # ---------------------------------------------------------------------------------------
    # Running

    def run(self, state: OpState, position: int) -> None:
        """Lease and build a ready step with its ready neighbours."""
        engine = self._engine
        with engine._lock:
            taken = self._calls.pop(position, None)
            if taken is None:
                if not self._is_ready(position):
                    return  # another worker took it with its neighbours
                taken = self._neighbours(position)
            state.state[taken] = _RUNNING
        for call in self._stale(state, self._leased(state, position, taken)):
            self._build(state, call)

    def _leased(self, state: OpState, position: int, ordinals: list[int]) -> list[int]:
        """Those that are ours to build; the others come up again."""
        engine = self._engine
        index = engine._order_op[position]
        with engine._leasing:
            wanted = [(index, o) for o in ordinals if o not in state.leases]
            if wanted:
                engine._lease_all(wanted)
        for ordinal in ordinals:
            if ordinal not in state.leases:
                engine._again(state, ordinal, 0.25)
        return [o for o in ordinals if o in state.leases]

    def _stale(self, state: OpState, ordinals: list[int]) -> Iterator[list[int]]:
        """Runs of neighbours that need to be built; the fresh are released.

        One that some input has nothing for is built alone: it is told so, as it always is.
        """
        engine = self._engine
        line = self._lines[engine._order_op[int(state.position[ordinals[0]])]] if ordinals else None
        calls: list[list[int]] = []
        for ordinal in ordinals:
            if engine.stopped:
                return
            if state.reasons[ordinal] & WITHDRAWN:
                engine._decide(state, ordinal)
                continue
            if not engine._has_enough(state, ordinal):
                continue
            with engine._lock:
                digest, _ = engine._digests.one(state.op, ordinal)
                stale = engine._needs_run(state, ordinal, digest)
            if not stale:
                engine._release(state, ordinal, "released")
                continue
            assert line is not None
            follows = bool(calls) and calls[-1][-1] == ordinal - line.stride
            if follows and self._joins(state, ordinal) and self._joins(state, calls[-1][-1]):
                calls[-1].append(ordinal)
            else:
                calls.append([ordinal])
        yield from calls

    def _joins(self, state: OpState, ordinal: int) -> bool:
        there = self._engine._there
        return all(
            _reads_something(edge, ordinal) and len(there(read, edge.upstream(ordinal))) > 0
            for read, edge in state.edges
            if read.data
        )

    def _build(self, state: OpState, ordinals: list[int]) -> None:
        """One call; when it fails as a whole, one for each half of them."""
        engine = self._engine
        if engine.stopped or engine._abandoned:
            return
        if len(ordinals) == 1:
            engine._decide(state, ordinals[0])
            return
        with engine._lock:  # what is recorded as read is what is handed over
            steps = [self._step(state, ordinal) for ordinal in ordinals]
            task = RangeTask(
                state.op.name, tuple(step.task for step in steps), self._inputs(state, ordinals)
            )
        began = time.time_ns() // 1000
        for ordinal in ordinals:
            engine._tell(state, ordinal, "started")
        error = self._attempt(state, steps, task)
        if error is not None and not engine._abandoned:
            engine.left_behind = True
            self._failed(state, steps, error, began)

    def _step(self, state: OpState, ordinal: int) -> _Step:
        engine = self._engine
        with engine._lock:
            digest, sums = engine._digests.one(state.op, ordinal)
            task = engine._task(state, ordinal, digest, inputs=False)
            return _Step(ordinal, task, digest, engine._reads(state, ordinal, sums))

    def _inputs(self, state: OpState, ordinals: Sequence[int]) -> tuple[InputData, ...]:
        """What all of them read, each upstream partition once, in its order."""
        found = []
        with self._engine._lock:
            for read, edge in state.edges:
                if read.data:
                    each = [edge.upstream(ordinal) for ordinal in ordinals]
                    at = self._engine._there(read, np.unique(np.concatenate(each)))
                    found.append(self._engine._input_data(read, at))
        return tuple(found)

    def _attempt(self, state: OpState, steps: Sequence[_Step], task: RangeTask) -> Exception | None:
        """Call, and publish what came of it; what failed the call as a whole."""
        engine = self._engine
        outcome: RangeOutcome | None = None
        with capture.attempt() as lines:
            try:
                found = engine._run_task(task)
                assert isinstance(found, RangeOutcome)
                outcome = found
            except Exception as error:  # noqa: BLE001 - any failure belongs to its call alone
                failure: Exception = error
        self._keep_output(task, lines)
        if outcome is None:
            return failure
        if engine._abandoned:
            return None
        try:
            spoilt = self._spoilt(state, outcome)
            if spoilt is None:
                self._publish(state, steps, outcome)
                return None
            failure = spoilt
        except Exception as error:  # noqa: BLE001 - a failed publish fails its call alone
            failure = error
        self._discard(outcome)
        return failure

    def _spoilt(self, state: OpState, outcome: RangeOutcome) -> AssetsError | None:
        """The error of one partition that fails them all, where the asset wants that."""
        batch = self._batch(state)
        if batch.on_failure != "fail":
            return None
        return next((one for one in outcome.each if isinstance(one, AssetsError)), None)

    def _batch(self, state: OpState) -> Batch:
        batch = self._engine.runtime.graph.assets[state.op.name].batch
        assert batch is not None
        return batch

    def _keep_output(self, task: RangeTask, lines: capture.Lines) -> None:
        log = self._engine._log
        if log is not None:
            attempts = {one.partition.key: one.attempt for one in task.tasks}
            log.append_shared(task.op, attempts, lines.finish())

    def _manager(self, asset: str) -> IOManager:
        return self._engine.runtime.io[self._engine.runtime.graph.assets[asset].io]

    def _discard(self, outcome: RangeOutcome) -> None:
        by_asset: dict[str, list[Staged]] = {}
        for asset, made in staged_of(outcome.each):
            by_asset.setdefault(asset, []).append(made.staged)
        for asset, staged in by_asset.items():
            bulk.discard_many(self._manager(asset), staged)

    # ---------------------------------------------------------------------------------------
    # Publishing

    def _publish(self, state: OpState, steps: Sequence[_Step], outcome: RangeOutcome) -> None:
        """Publish and record each partition that came out well; fail the others alone."""
        engine = self._engine
        good = [
            (step, one)
            for step, one in zip(steps, outcome.each, strict=True)
            if isinstance(one, Outcome)
        ]
        if good:
            # What one of them took is its share, so that sums and estimates hold.
            now = time.time_ns() // 1000
            share = (now - good[0][1].started) // len(steps)
            for _, one in good:
                one.started = now - share
            took, before = share / 1e6, engine._step_seconds
            engine._step_seconds = 0.9 * before + 0.1 * took if before else took
        sealing = _Sealing([[] for _ in good])
        try:
            for asset in state.op.outputs if good else ():
                self._seal(asset, good, sealing)
        except Exception:
            for facts in sealing.facts:
                engine._keep_published(facts)
            raise
        records = []
        for at, (step, one) in enumerate(good):
            if at not in sealing.errors:
                records += engine._records(state, step.ordinal, sealing.facts[at], one)
        engine._recorder.submit_many(records)
        for at, error in sealing.errors.items():
            step, one = good[at]
            engine._keep_published(sealing.facts[at])
            self._failed_alone(state, step, error, one.started)
        for step, own in zip(steps, outcome.each, strict=True):
            if isinstance(own, AssetsError):
                self._failed_alone(state, step, own, time.time_ns() // 1000)

    def _failed_alone(self, state: OpState, step: _Step, error: AssetsError, began: int) -> None:
        engine = self._engine
        engine.left_behind = True
        engine._failed(state, step.ordinal, step.task, engine._explained(step.task, error), began)

    def _seal(self, asset: str, good: Sequence[tuple[_Step, Outcome]], sealing: _Sealing) -> None:
        """Publish one output of all partitions to its store; what is unchanged stays as it is."""
        engine, manager = self._engine, self._manager(asset)
        publishing: list[tuple[int, Staged, Materialization]] = []
        leaving: list[Staged] = []
        for at, (step, outcome) in enumerate(good):
            if at in sealing.errors:
                continue
            made: Made = outcome.made[asset]
            fact = engine._fact(asset, step.task, outcome, made, step.digest, step.reads)
            if engine._is_unchanged(asset, step.ordinal, fact):
                known = engine._receipt(int(engine._facts.assets[asset].id[step.ordinal]))
                sealing.facts[at].append(replace(fact, kind="unchanged", receipt=known))
                leaving.append(made.staged)
                continue
            if engine._has_same_content(asset, step.ordinal, fact):
                fact = replace(fact, kind="unchanged")
            publishing.append((at, made.staged, fact))
        texts = [fact_to_json(f) if manager.transactional else "" for _, _, f in publishing]
        staged = [one for _, one, _ in publishing]
        results = bulk.publish_many(manager, staged, texts) if publishing else []
        for (at, _, fact), result in zip(publishing, results, strict=True):
            if isinstance(result, Receipt):
                sealing.facts[at].append(replace(fact, receipt=result))
            else:
                sealing.errors[at] = result
        bulk.discard_many(manager, leaving)

    # ---------------------------------------------------------------------------------------
    # Failing

    def _failed(self, state: OpState, steps: Sequence[_Step], error: Exception, began: int) -> None:
        """The call failed as a whole: try it again, try its halves, or fail all of it."""
        engine = self._engine
        if engine.stopped:
            return  # whose fault it was is not known, and will not be found out
        if isinstance(error, VersionReplacedError) and self._tries(state, steps[0]) < 4:
            engine._refresh()
            self._call_again(state, steps, 0.05)
            return
        if self._batch(state).on_failure == "halve" and not isinstance(
            error, DiskFullError | LeaseLostError
        ):
            self._note(state, steps, error, began, "halved")
            for step in steps:
                self._halvings[int(state.position[step.ordinal])] += 1
            ordinals = [step.ordinal for step in steps]
            middle = (len(ordinals) + 1) // 2
            for half in (ordinals[:middle], ordinals[middle:]):
                # Another run may have moved something meanwhile: look again at what is stale.
                for call in self._stale(state, half):
                    self._build(state, call)
            return
        wait = self._retried(state, steps[0], error)
        if wait is not None:
            self._note(state, steps, error, began, f"again in {wait:.1f} s")
            self._call_again(state, steps, wait)
            return
        for step in steps:
            cause = engine._explained(step.task, error)
            lost = isinstance(cause, LeaseLostError)
            engine._fail(
                state,
                step.ordinal,
                step.task.attempt,
                cause,
                began,
                "refused" if lost else "failed",
            )

    def _tries(self, state: OpState, step: _Step) -> int:
        return step.task.attempt - self.halvings(int(state.position[step.ordinal]))

    def _retried(self, state: OpState, step: _Step, error: Exception) -> float | None:
        """Seconds until the whole call is tried again; None when it isn't."""
        retry = self._engine.runtime.graph.assets[state.op.name].retry
        cause = error.__cause__ if isinstance(error, UserCodeError) and error.__cause__ else error
        tries = self._tries(state, step)
        if retry is None or tries > retry.max or not retry.applies(cause):
            return None
        return None if isinstance(error, LeaseLostError) else retry.wait(tries)

    def _call_again(self, state: OpState, steps: Sequence[_Step], seconds: float) -> None:
        """The same partitions in one call, later; until then they stay taken."""
        position = int(state.position[steps[0].ordinal])
        with self._engine._lock:
            self._calls[position] = [step.ordinal for step in steps]
        self._engine._later(position, seconds)

    def _note(
        self, state: OpState, steps: Sequence[_Step], error: Exception, began: int, what: str
    ) -> None:
        """An attempt of each partition, by one line: the failure's own text is told at its end."""
        engine, finished = self._engine, time.time_ns() // 1000
        message = f"{first_line(error)} (one call for {len(steps):,} partitions, {what})"
        notes = tuple(
            Attempt(
                run=engine.run,
                environment=engine.plan.environment,
                asset=asset,
                partition=step.task.partition.key,
                attempt=step.task.attempt,
                status="retried",
                started=began,
                finished=finished,
                error=message,
            )
            for step, asset in itertools.product(steps, state.op.outputs)
        )
        engine._submit_quietly(Note(notes))
        engine._tell(state, steps[0].ordinal, "retrying", message)


def _reads_something(edge: Edge, ordinal: int) -> bool:
    bounds = edge.bounds(ordinal)
    return bounds[1] > bounds[0] if bounds is not None else len(edge.upstream(ordinal)) > 0


_READY, _RUNNING = 2, 3
"""Two of the engine's marks for a step."""
