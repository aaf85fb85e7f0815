"""Executes a plan: hands out steps whose inputs are decided, to worker threads, until all are.

The thin middle. Where each step stands tells ``board``; what is recorded, ``current``. A worker's
step goes through ``leasing``, ``deciding``, ``attempting`` (or ``batching``) and ``publishing``;
the recorder's thread commits, and ``recording`` applies what was committed. A step is *decided*
when its record is committed (or it was released, failed or blocked); only then do its readers look
at it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from assets_core.contracts import Executor
from assets_core.execution import capture
from assets_core.execution.attempting import Attempting
from assets_core.execution.batching import Batching
from assets_core.execution.deciding import Deciding
from assets_core.execution.events import RunTotals
from assets_core.execution.execution import Execution
from assets_core.execution.failing import Failing
from assets_core.execution.leasing import Leasing
from assets_core.execution.preparing import Preparing
from assets_core.execution.publishing import Publishing
from assets_core.execution.recorder import Recorder
from assets_core.execution.recording import MOST_UNCOMMITTED, Recording
from assets_core.execution.sealing import Sealing
from assets_core.execution.task import AnyOutcome, AnyTask
from assets_core.execution.views import OutsideViews
from assets_core.execution.withdrawing import Withdrawing

_LISTEN_SECONDS = 0.2
_LOOK_SECONDS = 0.5


class Engine:
    """One execution of one plan. Use once.

    What came of it is told by ``execution``, and by ``views`` where the outside may lag behind.
    ``interrupted``: it was stopped from outside.
    """

    def __init__(self, execution: Execution, executor: Executor[AnyTask, AnyOutcome]) -> None:
        self.execution = execution
        self.views = OutsideViews(execution)
        self.interrupted = False
        self._board = execution.board
        self._starving = 0
        self._held = False
        sealing = Sealing(execution.runtime.io)
        self._recorder = recorder = Recorder(
            execution.store,
            execution.run,
            lease_seconds=execution.options.lease_seconds,
            idle=lambda: self._starving > 0,
            on_lost=self._lost,
            on_broken=execution.broken,
            before=sealing.seal,
        )
        self._leasing = leasing = Leasing(execution, recorder)
        self._failing = failing = Failing(execution, leasing, recorder)
        recording = Recording(execution, leasing, recorder, failing, self.views)
        preparing = Preparing(execution, leasing)
        withdrawing = Withdrawing(execution, preparing, recording, failing)
        deciding = Deciding(execution, preparing, recording, failing, withdrawing)
        publishing = Publishing(execution, recording, sealing)
        self._attempting = Attempting(execution, deciding, publishing, failing, executor)
        self._batching = Batching(
            execution,
            leasing,
            preparing,
            deciding,
            publishing,
            failing,
            self._attempting,
            executor,
        )

    # ---------------------------------------------------------------------------------------
    # From beginning to end

    def execute(self) -> RunTotals:
        """Run until every step is decided or the run is stopped.

        Raises KeyboardInterrupt after stopping cleanly on Ctrl-C, and what broke the machinery
        itself (never what a step raised).
        """
        execution = self.execution
        self._failing.count_waiting()
        self._recorder.start()
        self._failing.count_unseen()
        workers = [
            threading.Thread(target=self._work, name=f"worker-{i}", daemon=True)
            for i in range(max(1, min(execution.options.jobs, len(self._board) or 1)))
        ]
        try:
            with capture.capturing():
                for worker in workers:
                    worker.start()
                self._wait()
            if execution.error is not None:
                execution.stop("the state store or the machinery failed")
                self._wait_for_running()
            self._join(workers)
        except KeyboardInterrupt:
            execution.stop("interrupted")
            self._wait_for_running()
            raise
        finally:
            execution.abandoned = True
            self._recorder.close()
            if execution.log is not None:
                execution.log.close()
        if execution.error is not None:
            raise execution.error
        return execution.totals

    def _join(self, workers: Sequence[threading.Thread]) -> None:
        """Let the workers end: one that closes a connection of a library in C++ while the
        interpreter shuts down would abort the process."""
        with self.execution.lock:
            self.execution.wake_all()
        deadline = time.monotonic() + self.execution.options.grace
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def _wait_for_running(self) -> None:
        execution = self.execution
        deadline = time.monotonic() + execution.options.grace
        with execution.lock:
            while (execution.busy or execution.committing) and time.monotonic() < deadline:
                execution.over.wait(0.05)

    def _wait(self) -> None:
        execution = self.execution
        while True:
            with execution.lock:
                if execution.error is not None or execution.is_finished:
                    return
                # A bounded wait, so that Ctrl-C is heard on every platform.
                execution.over.wait(_LISTEN_SECONDS)
            self._listen()

    def _listen(self) -> None:
        """Do as `Options.control` says."""
        execution = self.execution
        if execution.options.control is None:
            return
        told = execution.options.control()
        if told.stop:
            self.interrupted = True
            execution.stop(told.stop)
        with execution.lock:
            if self._held and not told.hold:
                execution.lock.notify_all()
            self._held = told.hold
            if self._held and execution.busy == 0:
                self._leasing.let_go_of_all()

    def _lost(self) -> None:
        self.execution.stop("another process declared this run dead; its leases are gone")

    # ---------------------------------------------------------------------------------------
    # A worker

    def _work(self) -> None:
        try:
            while (position := self._next()) >= 0:
                self._one(position)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self.execution.broken(error)

    def _next(self) -> int:
        """The next ready position; -1 when the run is over."""
        execution = self.execution
        with execution.lock:
            while True:
                if execution.is_finished or execution.stopped or execution.error is not None:
                    execution.wake_all()
                    return -1
                now = time.monotonic()
                due = self._board.ring(now)
                free = not self._held and execution.committing < MOST_UNCOMMITTED
                position = self._pop() if free else -1
                if position >= 0:
                    execution.busy += 1
                    return position
                self._starving += 1
                self._recorder.hurry()
                wait = _LOOK_SECONDS if due is None else min(_LOOK_SECONDS, max(0.0, due - now))
                execution.lock.wait(wait)
                self._starving -= 1

    def _pop(self) -> int:
        """The ready position that is first in order; -1 when there is none to take now."""
        while (position := self._board.pop()) >= 0:
            if not self._batching.passes(position):
                return position
        return self._batching.overdue()

    def _one(self, position: int) -> None:
        execution, step = self.execution, self._board.step(position)
        try:
            if self._batching.takes(position):
                self._batching.run(step)
            elif self._leasing.take(step):
                self._attempting.run(step)
        finally:
            with execution.lock:
                execution.busy -= 1
                if execution.busy == 0 and (execution.stopped or self._board.left == 0):
                    execution.wake_all()
