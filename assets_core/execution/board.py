"""Which step of a plan is where: its order, what each step waits for, and what is ready.

Pure: no thread, no lock, no clock, and nothing of how a step is run. Whoever uses a board from
several threads holds one lock around it. It keeps columns of the planned steps alone, however
many partitions the assets have.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assets_core.execution.rows import Rows
from assets_core.graph import Input, Op
from assets_core.partitions import Edge, KeySpace
from assets_core.planning.plan import Plan

_WAITING, _READY, _RUNNING, _DECIDED = 1, 2, 3, 4


@dataclass(eq=False, slots=True)
class OpProgress:
    """Where the planned steps of an op are, as columns by row.

    ``pending`` counts undecided upstream steps of the plan, ``reasons`` are the plan's bits,
    ``position`` is that in the global order. ``lost`` (bool) are those that failed or were blocked
    in this run. ``lenient`` says that some input need not be there as a whole, ``early`` (bool,
    None: none) which lack something that is not in the plan: a part of a plan may leave out what
    another part would have built.
    """

    index: int
    op: Op
    space: KeySpace
    rows: Rows
    reasons: np.ndarray
    edges: list[tuple[Input, Edge]]
    lenient: bool
    state: np.ndarray
    pending: np.ndarray
    position: np.ndarray
    lost: np.ndarray
    early: np.ndarray | None = None
    readers: list[tuple[OpProgress, Edge, Input]] = field(default_factory=list)

    @classmethod
    def of(cls, index: int, op: Op, plan: Plan, ordinals: np.ndarray, reasons: Any) -> OpProgress:
        """The steps of one of a plan's batches, before anything is known of their order."""
        n = len(ordinals)
        return cls(
            index=index,
            op=op,
            space=plan.facts.spaces[op.name],
            rows=Rows(ordinals),
            reasons=reasons,
            edges=[(read, plan.resolved.edge(op, read)) for read in op.inputs],
            lenient=any(not read.require.is_all for read in op.inputs),
            state=np.full(n, _WAITING, np.uint8),
            pending=np.zeros(n, np.int64),
            position=np.full(n, -1, np.int64),
            lost=np.zeros(n, bool),
        )

    def mask(self) -> np.ndarray:
        """Which partitions of the key space are planned, bool."""
        found = np.zeros(self.space.n, bool)
        found[self.rows.ordinals] = True
        return found

    def lost_at(self, ordinals: np.ndarray) -> np.ndarray:
        """Which of these partitions failed or were blocked in this run, bool."""
        planned, rows = self.rows.match(ordinals)
        planned[planned] = self.lost[rows]
        return planned

    def ready_before(self, ordinals: np.ndarray) -> int:
        """How many of these partitions are ready, up to the first that isn't."""
        ready, rows = self.rows.match(ordinals)
        ready[ready] = self.state[rows] == _READY
        return len(ordinals) if ready.all() else int(ready.argmin())


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of the plan: a partition of an op, at its ``position`` in the order."""

    steps: OpProgress
    row: int
    ordinal: int
    position: int

    @property
    def op(self) -> Op:
        """What makes it."""
        return self.steps.op

    @property
    def key(self) -> str:
        """The key of its partition."""
        return self.steps.space.key(self.ordinal)

    @property
    def reasons(self) -> int:
        """Why it is in the plan, as bits."""
        return int(self.steps.reasons[self.row])

    @property
    def is_ready(self) -> bool:
        """Whether everything that it reads is decided, and nobody took it yet."""
        return bool(self.steps.state[self.row] == _READY)

    @property
    def is_undecided(self) -> bool:
        """Whether it was neither taken nor decided yet."""
        return bool(self.steps.state[self.row] in (_WAITING, _READY))


class Board:
    """The steps of one plan, laid out in the order in which they are to run."""

    def __init__(self, plan: Plan, *, newest_first: bool = False) -> None:
        self.ops = [
            OpProgress.of(index, batch.op, plan, batch.ordinals, batch.reasons)
            for index, batch in enumerate(plan.batches)
        ]
        self.by_op = {steps.op.name: steps for steps in self.ops}
        self._ready: list[int] = []
        self._timers: list[tuple[float, int]] = []
        self._order_ops, self._order_rows = _in_order(self.ops, newest_first=newest_first)
        self.left = len(self._order_ops)
        for position, index in enumerate(self._order_ops):
            self.ops[index].position[self._order_rows[position]] = position
        for steps in self.ops:
            self._connect(steps, plan)
        heapq.heapify(self._ready)

    def _connect(self, steps: OpProgress, plan: Plan) -> None:
        for read, edge in steps.edges:
            upstream = self.by_op.get(plan.graph.op_of[read.asset].name)
            if upstream is not None:
                upstream.readers.append((steps, edge, read))
                steps.pending += edge.count(upstream.mask())[steps.rows.ordinals]
            if read.require.is_all:
                _note_early(steps, edge, _never_there(plan, read, upstream))
        free = np.flatnonzero(steps.pending == 0)
        steps.state[free] = _READY
        self._ready += steps.position[free].tolist()

    def __len__(self) -> int:
        return len(self._order_ops)

    # ---------------------------------------------------------------------------------------
    # Looking

    def step(self, position: int) -> PlannedStep:
        """The step at a position of the order."""
        steps, row = self.ops[self._order_ops[position]], self._order_rows[position]
        return PlannedStep(steps, row, int(steps.rows.ordinals[row]), position)

    def of_op(self, position: int) -> int:
        """The index of the op whose step is at a position."""
        return self._order_ops[position]

    def steps_of(self, steps: OpProgress, ordinals: Sequence[int]) -> list[PlannedStep]:
        """The planned steps of some partitions of an op."""
        found = []
        for ordinal in ordinals:
            row = steps.rows.row(ordinal)
            found.append(PlannedStep(steps, row, ordinal, int(steps.position[row])))
        return found

    def upcoming(self, position: int, most: int) -> Iterator[PlannedStep]:
        """Those among ``most`` steps from a position on that are still to be taken."""
        for at in range(position, min(position + most, len(self._order_ops))):
            steps, row = self.ops[self._order_ops[at]], self._order_rows[at]
            if steps.state[row] in (_WAITING, _READY):
                yield PlannedStep(steps, row, int(steps.rows.ordinals[row]), at)

    # ---------------------------------------------------------------------------------------
    # Taking what is ready

    def pop(self) -> int:
        """The ready position that is first in order; -1 when there is none."""
        return heapq.heappop(self._ready) if self._ready else -1

    def later(self, position: int, due: float) -> None:
        """A position comes up (again) at a moment of the caller's clock."""
        heapq.heappush(self._timers, (due, position))

    def ring(self, now: float) -> float | None:
        """Bring up what is due; the moment of the next one, None when nothing is timed."""
        while self._timers and self._timers[0][0] <= now:
            heapq.heappush(self._ready, heapq.heappop(self._timers)[1])
        return self._timers[0][0] if self._timers else None

    def take(self, step: PlannedStep) -> None:
        """A step is being worked at."""
        step.steps.state[step.row] = _RUNNING

    def give_up(self, step: PlannedStep) -> None:
        """A step that was taken is to be taken again."""
        step.steps.state[step.row] = _READY

    # ---------------------------------------------------------------------------------------
    # Deciding

    def decide(self, step: PlannedStep) -> int:
        """A step is done with: how many others became ready by that."""
        step.steps.state[step.row] = _DECIDED
        self.left -= 1
        ordinal = step.ordinal
        return sum(
            self._count_down(reader, edge, ordinal) for reader, edge, _ in step.steps.readers
        )

    def block_readers(self, step: PlannedStep) -> tuple[list[PlannedStep], int]:
        """What needs a step that won't come can't run, all the way down: the steps that are decided
        by that, and how many others became ready.

        Those that may do without are not asked before everything else they read is decided.
        """
        step.steps.lost[step.row] = True
        blocked: list[PlannedStep] = []
        woken, stack = 0, [step]
        while stack:
            upstream = stack.pop()
            for reader, edge, read in upstream.steps.readers:
                if read.require.is_all:
                    found = self._lose(reader, edge, upstream.ordinal)
                    blocked += found
                    stack += found
                elif upstream is not step:
                    # One that is blocked is decided for those that may do without it, too.
                    woken += self._count_down(reader, edge, upstream.ordinal)
        return blocked, woken

    def _lose(self, reader: OpProgress, edge: Edge, ordinal: int) -> list[PlannedStep]:
        _, rows = reader.rows.match(np.atleast_1d(edge.downstream(ordinal)))
        rows = rows[reader.state[rows] <= _READY]
        reader.state[rows] = _DECIDED
        reader.lost[rows] = True
        self.left -= len(rows)
        return self.steps_of(reader, reader.rows.ordinals[rows].tolist())

    def _count_down(self, reader: OpProgress, edge: Edge, ordinal: int) -> int:
        bounds = edge.reverse_bounds(ordinal)
        if bounds is None:
            return self._free(reader, reader.rows.match(edge.downstream(ordinal))[1])
        low, high = bounds
        if high - low == 1:
            return self._count_down_one(reader, reader.rows.row(low))
        between = reader.rows.between(low, high)
        return self._free(reader, between, between.start)

    def _free(self, reader: OpProgress, rows: Any, first: int | None = None) -> int:
        """One that these rows read is decided; a slice of them begins at row ``first``."""
        reader.pending[rows] -= 1
        free = np.flatnonzero((reader.pending[rows] == 0) & (reader.state[rows] == _WAITING))
        freed = rows[free] if first is None else free + first
        reader.state[freed] = _READY
        for position in reader.position[freed].tolist():
            heapq.heappush(self._ready, position)
        return len(freed)

    def _count_down_one(self, reader: OpProgress, row: int) -> int:
        if row < 0:
            return 0
        left = reader.pending[row] - 1
        reader.pending[row] = left
        if left or reader.state[row] != _WAITING:
            return 0
        reader.state[row] = _READY
        heapq.heappush(self._ready, int(reader.position[row]))
        return 1


def _in_order(ops: Sequence[OpProgress], *, newest_first: bool) -> tuple[array[int], array[int]]:
    """The op and the row of each position: earlier windows first, then upstream first, so that
    whole chains of a day finish early."""
    ends, tops, rows = [], [], []
    for steps in ops:
        n, all_ends = len(steps.rows.ordinals), steps.space.ends()
        ends.append(all_ends[steps.rows.ordinals] if all_ends is not None else np.zeros(n))
        tops.append(np.full(n, steps.index, np.int64))
        rows.append(np.arange(n, dtype=np.int64))
    end, top, row = _concat(ends), _concat(tops), _concat(rows)
    order = np.lexsort((top, -end if newest_first else end))
    return array("q", top[order].tobytes()), array("q", row[order].tobytes())


def _never_there(plan: Plan, read: Input, upstream: OpProgress | None) -> np.ndarray:
    """Which partitions of what an input reads are expected, not there, and not planned, bool."""
    gone: np.ndarray = ~plan.facts.assets[read.asset].there
    withdrawn = plan.withdrawn.get(plan.graph.op_of[read.asset].name)
    if withdrawn is not None:
        gone &= ~withdrawn
    if upstream is not None:
        gone[upstream.rows.ordinals] = False
    return gone


def _note_early(steps: OpProgress, edge: Edge, gone: np.ndarray) -> None:
    if not gone.any():
        return
    early = edge.any(gone)[steps.rows.ordinals]
    if early.any():
        steps.early = early if steps.early is None else steps.early | early


def _concat(parts: list[Any]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
