"""Doing many small things: one after the other while they are quick, in threads where they wait.

What takes microseconds gets slower in threads of Python, what asks a network many times faster;
which of the two it is turns out while it is done.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_LEAST_SECONDS = 0.02
_SLOW_SECONDS = 0.0005
"""Where most of the last few took this long, and together that long, threads are worth it."""

_LAST = 20


def each(
    work: Callable[[_Item], _Result], items: Sequence[_Item], jobs: int
) -> Iterator[tuple[_Item, _Result]]:
    """Every item with what ``work`` makes of it, in the order in which they are done.

    At most ``jobs`` at a time. What ``work`` raises is raised here, and ends it all. Leaving the
    loop starts nothing further and waits for nothing: the threads end with what they are at.
    """
    last: deque[float] = deque(maxlen=_LAST)
    for at, item in enumerate(items, 1):
        before = time.perf_counter()
        result = work(item)
        last.append(time.perf_counter() - before)
        yield item, result
        if jobs > 1 and last[-1] > _SLOW_SECONDS and at < len(items) and _are_slow(last):
            yield from _threaded(work, items[at:], jobs)
            return


def _are_slow(seconds: Collection[float]) -> bool:
    """Not where a few stand out: the first imports what it needs, another was interrupted."""
    usual = sorted(seconds)[(len(seconds) - 1) * 3 // 4]
    typical = usual * len(seconds)
    return len(seconds) > 1 and usual > _SLOW_SECONDS and typical > _LEAST_SECONDS


def _threaded(
    work: Callable[[_Item], _Result], items: Sequence[_Item], jobs: int
) -> Iterator[tuple[_Item, _Result]]:
    done: queue.SimpleQueue[tuple[_Item, _Result | None, BaseException | None]]
    done = queue.SimpleQueue()
    waiting, lock, over = iter(items), threading.Lock(), threading.Event()
    nothing = object()

    def run() -> None:
        while not over.is_set():
            with lock:
                item = next(waiting, nothing)
            if item is nothing:
                return
            try:
                done.put((item, work(item), None))  # type: ignore[arg-type]  # no longer `nothing`
            except BaseException as error:  # noqa: BLE001 - raised where the loop is
                done.put((item, None, error))  # type: ignore[arg-type]  # no longer `nothing`

    for number in range(min(jobs, len(items))):
        # Daemons: a look at something that hangs must not keep the process from ending.
        threading.Thread(target=run, name=f"look-{number}", daemon=True).start()
    try:
        for _ in items:
            item, result, error = done.get()
            if error is not None:
                raise error
            yield item, result  # type: ignore[misc]  # a result where there is no error
    finally:
        over.set()
