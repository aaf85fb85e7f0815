"""What the parts of one execution share: what is run and how, the board under one lock, and what
came of it so far. It does nothing by itself; the parts are named in ``engine``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from assets_core.contracts import IOManager, StateStore
from assets_core.execution.board import Board, PlannedStep
from assets_core.execution.current import Current
from assets_core.execution.events import RunTotals, StepEvent
from assets_core.execution.run_log import RunLog
from assets_core.execution.task import Runtime
from assets_core.planning.plan import Plan
from assets_core.records import Code


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


class Execution:
    """One plan while it is executed.

    ``lock`` guards the board, the totals and the counters; it also wakes workers, and ``over``
    whoever waits for the end. ``busy`` workers are at a step, ``committing`` steps wait for their
    commit. Once it is ``abandoned`` nothing more is published. ``left_behind``: an attempt failed,
    and may have left something staged.
    """

    def __init__(
        self,
        plan: Plan,
        runtime: Runtime,
        store: StateStore,
        run: str,
        codes: Mapping[str, Code],
        options: Options,
        log: RunLog | None = None,
        on_event: Callable[[StepEvent], None] | None = None,
    ) -> None:
        self.plan = plan
        self.runtime = runtime
        self.store = store
        self.run = run
        self.codes = codes
        self.options = options
        self.log = log
        self._on_event = on_event
        mutex = threading.RLock()
        self.lock = threading.Condition(mutex)
        self.over = threading.Condition(mutex)
        self.board = Board(plan, newest_first=options.newest_first)
        self.current = Current(plan, codes, store, mutex)
        self.totals = RunTotals()
        self.busy = 0
        self.committing = 0
        self.stopped = ""
        self.error: BaseException | None = None
        self.abandoned = False
        self.left_behind = False
        self._step_seconds = 0.0

    @property
    def environment(self) -> str:
        """Where it is published."""
        return self.plan.environment

    def manager_of(self, asset: str) -> IOManager:
        """The store of an asset."""
        return self.runtime.manager_of(asset)

    def is_source(self, asset: str) -> bool:
        """Whether an asset is observed and not built."""
        return self.runtime.graph.assets[asset].kind == "source"

    # ---------------------------------------------------------------------------------------
    # Its end

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, or nothing more will be done."""
        if self.board.left == 0:
            return True
        return bool(self.stopped) and self.busy == 0 and self.committing == 0

    def stop(self, why: str) -> None:
        """Start no further step."""
        with self.lock:
            self.stopped = self.stopped or why
            self.wake_all()

    def broken(self, error: BaseException) -> None:
        """The machinery itself failed, and not a step."""
        with self.lock:
            self.error = self.error or error
            self.wake_all()

    def wake_all(self) -> None:
        """Have everybody look again."""
        self.lock.notify_all()
        self.over.notify_all()

    # ---------------------------------------------------------------------------------------
    # Its steps

    def decided(self, step: PlannedStep) -> None:
        """A step is done with; those that waited for nothing else become ready."""
        with self.lock:
            woken = self.board.decide(step)
            if self.board.left == 0:
                self.wake_all()
            elif woken:
                self.lock.notify(woken)

    def again(self, step: PlannedStep, seconds: float) -> None:
        """A step that was taken comes up again."""
        with self.lock:
            self.board.give_up(step)
            self.later(step, seconds)

    def later(self, step: PlannedStep, seconds: float) -> None:
        """A step comes up again as what it is: ready, or taken."""
        with self.lock:
            self.board.later(step.position, time.monotonic() + seconds)
            self.lock.notify()

    def took(self, seconds: float) -> None:
        """An attempt at one partition took as long."""
        before = self._step_seconds
        self._step_seconds = 0.9 * before + 0.1 * seconds if before else seconds

    @property
    def step_seconds(self) -> float:
        """What an attempt takes of late; 0 as long as none came to its end."""
        return self._step_seconds

    def tell(self, step: PlannedStep, kind: str, message: str = "") -> None:
        """Let whoever watches know what happened to the partitions of a step."""
        if self._on_event is None:
            return
        key = step.key
        for asset in step.op.outputs:
            self._on_event(StepEvent(kind, asset, key, message=message))

    def tell_event(self, event: StepEvent) -> None:
        """Let whoever watches know."""
        if self._on_event is not None:
            self._on_event(event)
