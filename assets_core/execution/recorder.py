"""The one thread that writes to the state store: many steps' records, one durable commit.

Operations are queued and committed in groups; each caller hears its own result afterwards. The
thread also keeps the run's leases alive. It decides nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assets_core.contracts import Beat, Operation, StateStore
from assets_core.faults import reach

Done = Callable[[Any], None]
"""Called with an operation's result, or with the exception that failed its whole group."""


class Recorder:
    """Queues operations and commits them in groups.

    A group is closed when it holds ``most`` operations, when the oldest has waited for ``linger``
    seconds, or at once while ``idle()`` says that nobody has anything better to do than wait.
    ``before`` does what has to be done before a group is committed, and says which operations must
    not be, by their place, with what their callers hear instead.
    """

    def __init__(
        self,
        store: StateStore,
        run: str,
        *,
        lease_seconds: float,
        idle: Callable[[], bool],
        on_lost: Callable[[], None],
        on_broken: Callable[[BaseException], None],
        before: Callable[[Sequence[Operation]], Mapping[int, object]] = lambda _: {},
        linger: float = 0.03,
        most: int = 48,
    ) -> None:
        self._store = store
        self._run = run
        self._lease_seconds = lease_seconds
        self._idle = idle
        self._on_lost = on_lost
        self._on_broken = on_broken
        self._before = before
        self._linger = linger
        self._most = most
        self._queue: list[tuple[Operation, Done]] = []
        self._oldest = 0.0
        self._urgent = False
        self._closing = False
        self._wake = threading.Condition()
        self._beat_due = time.monotonic() + lease_seconds / 3
        self._thread = threading.Thread(target=self._loop, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, operation: Operation, done: Done) -> None:
        """Queue an operation; ``done`` is called on the recorder's thread after its commit."""
        self.submit_many([(operation, done)])

    def submit_many(self, operations: Sequence[tuple[Operation, Done]]) -> None:
        """Queue operations that are committed together."""
        with self._wake:
            if self._closing:
                raise RuntimeError("the recorder is closed")
            first = not self._queue
            if first:
                self._oldest = time.monotonic()
            self._queue += operations
            if first or len(self._queue) >= self._most:
                self._wake.notify()

    def submit_quietly(self, operation: Operation) -> None:
        """Queue an operation whose result nobody waits for; that it failed ends the run."""

        def done(result: Any) -> None:
            if isinstance(result, BaseException):
                self._on_broken(result)

        self.submit(operation, done)

    def hurry(self) -> None:
        """Commit what is queued now: somebody has nothing else to do."""
        with self._wake:
            self._urgent = True
            self._wake.notify()

    def call(self, operation: Operation) -> Any:
        """Queue an operation and wait for its result; raises what its commit raised."""
        answer: list[Any] = []
        ready = threading.Event()

        def done(result: Any) -> None:
            answer.append(result)
            ready.set()

        self.submit(operation, done)
        self.hurry()
        while not ready.wait(0.5):
            if not self._thread.is_alive():
                raise RuntimeError("the recorder has stopped")
        if isinstance(answer[0], BaseException):
            raise answer[0]
        return answer[0]

    def close(self) -> None:
        """Commit what is queued and stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _loop(self) -> None:
        while True:
            group = self._next_group()
            if group:
                self._commit(group)
            elif self._closing:
                return
            self._beat()

    def _next_group(self) -> list[tuple[Operation, Done]]:
        with self._wake:
            while not self._closing:
                wait = self._patience()
                if wait <= 0:
                    break
                self._wake.wait(wait)
            group, self._queue = self._queue, []
            self._urgent = False
            return group

    def _patience(self) -> float:
        """Seconds for which it is worth waiting for more; 0 when something is to be done now."""
        now = time.monotonic()
        beat = self._beat_due - now
        if not self._queue:
            return max(beat, 0.0)
        if self._urgent or len(self._queue) >= self._most or self._idle():
            return 0.0
        return max(min(self._oldest + self._linger - now, beat), 0.0)

    def _commit(self, group: list[tuple[Operation, Done]]) -> None:
        reach("record.begin")
        results: list[Any]
        try:
            results = self._results([operation for operation, _ in group])
        except Exception as error:  # noqa: BLE001 - handed to everyone who waits for the group
            results = [error] * len(group)
        reach("record.committed")
        for (_, done), result in zip(group, results, strict=True):
            try:
                done(result)
            except Exception as error:  # noqa: BLE001 - this thread must live, or all wait for ever
                self._on_broken(error)

    def _results(self, operations: list[Operation]) -> list[Any]:
        left_out = self._before(operations)
        if not left_out:
            return self._store.transact(operations)
        results: list[Any] = [left_out.get(at) for at in range(len(operations))]
        kept = [at for at in range(len(operations)) if at not in left_out]
        committed = self._store.transact([operations[at] for at in kept])
        for at, result in zip(kept, committed, strict=True):
            results[at] = result
        return results

    def _beat(self) -> None:
        if time.monotonic() < self._beat_due:
            return
        self._beat_due = time.monotonic() + self._lease_seconds / 3
        try:
            alive = self._store.transact([Beat(self._run, self._lease_seconds)])[0]
        except Exception as error:  # noqa: BLE001 - told by the run; this thread must live
            self._on_broken(error)
            return
        if alive is False:
            self._on_lost()
