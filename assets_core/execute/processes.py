"""Running steps in worker processes that survive a ``kill -9`` of one of them.

A worker loads the project by itself, from the same module; what travels is the task and what
comes back is what lies staged. Publishing stays with the run's own process. What a step prints
comes back with it; should the worker die, it is read from a spool file of the attempt.
"""

from __future__ import annotations

import itertools
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assets_core.errors import WorkerDiedError
from assets_core.execute import capture
from assets_core.execute.ranges import AnyOutcome, AnyTask, RangeOutcome, run_any
from assets_core.execute.step import Outcome, Runtime

_runtime: Runtime | None = None


def _start(make_runtime: Callable[..., Runtime], arguments: tuple[Any, ...]) -> None:
    """In a new worker: load the project once."""
    import signal

    global _runtime
    # Ctrl-C reaches the whole group; only the run's own process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _runtime = make_runtime(*arguments)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold SIGINT back from this thread, and from threads and processes that it starts."""
    import signal
    from multiprocessing import resource_tracker

    if not hasattr(signal, "pthread_sigmask"):
        yield  # Windows has no masks
        return
    # Starting the tracker lets signals through again; so it is there before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(
    task: AnyTask, spool: Path
) -> tuple[AnyOutcome | BaseException, list[tuple[int, str, str]]]:
    assert _runtime is not None
    with capture.capturing(), capture.attempt(spool) as lines:
        try:
            result: AnyOutcome | BaseException = run_any(_runtime, task)
        except Exception as error:  # noqa: BLE001 - carried to the run's process, raised there
            result = _portable(error)
    return result, lines.finish()


def _portable(error: Exception) -> BaseException:
    """An exception that survives the way back: its cause's traceback becomes text."""
    import pickle

    from assets_core.execute.engine import user_traceback

    cause = error.__cause__
    try:
        pickle.loads(pickle.dumps(cause))
    except Exception:  # noqa: BLE001 - users' exceptions may fail to pickle in any way
        cause = RuntimeError(f"{type(cause).__name__}: {cause}")
    if error.__cause__ is not None:
        cause.remote_traceback = user_traceback(error)  # type: ignore[union-attr]  # read by whoever records it
    return _Carried(error, cause)


class _Carried(Exception):  # noqa: N818 - an envelope, never raised
    """An error and its cause; pickling an exception alone drops ``__cause__``."""

    def __init__(self, error: BaseException, cause: BaseException | None) -> None:
        super().__init__(error, cause)
        self.error = error
        self.cause = cause


class ProcessRunner:
    """A pool of worker processes, started on first use."""

    def __init__(
        self, jobs: int, make_runtime: Callable[..., Runtime], arguments: tuple[Any, ...]
    ) -> None:
        from pebble import ProcessPool

        self._spools = tempfile.TemporaryDirectory(prefix="assets-output-")
        self._numbers = itertools.count()
        # A fresh interpreter: forking a process whose libraries run threads is not safe.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(
            max_workers=jobs,
            initializer=_start,
            initargs=(make_runtime, arguments),
            context=context,
        )
        with _interrupts_held():
            # Asking starts the pool. Its threads, and the workers that they start, are born with
            # Ctrl-C held back; else one that comes while a worker still loads would kill it.
            _ = self._pool.active

    def run(self, task: AnyTask) -> AnyOutcome:
        """Run one attempt in a worker; WorkerDiedError when the worker is killed or crashes."""
        from concurrent.futures.process import BrokenProcessPool

        from pebble import ProcessExpired

        spool = Path(self._spools.name) / str(next(self._numbers))
        try:
            result, entries = self._pool.schedule(_run, args=(task, spool)).result()
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                "The worker processes died before they could start.",
                facts={"partition": f"{task.op}@{task.partition.key}"},
                hint="What they wrote is on stderr. Run it in threads: --executor thread",
            ) from error
        except ProcessExpired as error:
            capture.replay(capture.take_spooled(spool))
            raise WorkerDiedError(
                f"The worker process died (exit code {error.exitcode}).",
                facts={"partition": f"{task.op}@{task.partition.key}", "pid": error.pid},
                hint="Out of memory, perhaps? Other steps went on; give the asset a Retry.",
            ) from error
        capture.replay(entries)
        if isinstance(result, _Carried):
            raise result.error from result.cause
        assert isinstance(result, Outcome | RangeOutcome)
        return result

    def stop(self) -> None:
        """End the workers, whatever they do."""
        self._pool.stop()  # type: ignore[no-untyped-call]  # the library has no annotation here
        self._pool.join()
        self._spools.cleanup()
