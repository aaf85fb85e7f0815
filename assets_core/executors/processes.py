"""Running steps in worker processes that survive a ``kill -9`` of one of them.

A worker loads the project by itself, from the same module, and refuses what it finds to be of
other code than was planned; what travels is the task and what comes back is what lies staged.
Publishing stays with the run's own process. What a step prints comes back with it; should the
worker die, it is read from a spool file of the attempt.
"""

from __future__ import annotations

import itertools
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from assets_core.errors import PlanMovedError, WorkerDiedError
from assets_core.execution import capture
from assets_core.execution.events import user_traceback
from assets_core.execution.ranges import run_any
from assets_core.execution.task import AnyOutcome, AnyTask, Outcome, RangeOutcome, Runtime
from assets_core.records import Code

Codes = Callable[[], Mapping[str, Code]]
"""Gives the code versions of what was loaded; worked out when first asked for."""

MakeRuntime = Callable[..., tuple[Runtime, Codes]]

_MOST_NAMES = 5

_runtime: Runtime | None = None
_codes: Codes = dict
_planned: Mapping[str, Code] = {}


def _start(make: MakeRuntime, arguments: tuple[Any, ...], planned: Mapping[str, Code]) -> None:
    """In a new worker: load the project once."""
    import signal

    global _runtime, _codes, _planned
    # Ctrl-C reaches the whole group; only the run's own process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    runtime, _codes = make(*arguments)
    _runtime = replace(runtime, publishes=False)
    _planned = planned


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
    with capture.capturing(), capture.attempt(_runtime.output_bytes, spool) as lines:
        try:
            _refuse_other_code(task)
            result: AnyOutcome | BaseException = run_any(_runtime, task)
        except Exception as error:  # noqa: BLE001 - carried to the run's process, raised there
            result = _portable(error)
    return result, lines.finish()


def _refuse_other_code(task: AnyTask) -> None:
    """What this worker loaded may be newer than the plan, and would be recorded as the old code."""
    for asset in task.outputs:
        found, planned = _codes()[asset], _planned[asset]
        if found.hex != planned.hex:
            names = sorted(found.parts.keys() | planned.parts.keys())
            moved = [n for n in names if found.parts.get(n) != planned.parts.get(n)]
            raise PlanMovedError(
                f"The code of {asset!r} is not the one that this run was planned with.",
                facts={
                    "partition": f"{task.op}@{task.partition.key}",
                    "differs": ", ".join(moved[:_MOST_NAMES]),
                },
                hint="It was edited meanwhile, so this run starts nothing more: run again. If it "
                "was not, a value that is made at import is another one each time: make it in the "
                "function.",
            )


def _portable(error: Exception) -> BaseException:
    """An exception that survives the way back: its cause's traceback becomes text."""
    import pickle

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


class ProcessExecutor:
    """A pool of worker processes, started on first use."""

    def __init__(
        self,
        jobs: int,
        make: MakeRuntime,
        arguments: tuple[Any, ...],
        planned: Mapping[str, Code],
    ) -> None:
        from pebble import ProcessPool

        self._spools = tempfile.TemporaryDirectory(prefix="assets-output-")
        self._numbers = itertools.count()
        # A fresh interpreter: forking a process whose libraries run threads is not safe.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(
            max_workers=jobs,
            initializer=_start,
            initargs=(make, arguments, planned),
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
