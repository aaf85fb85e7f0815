"""Many small things are done one by one while they are quick, side by side where they wait."""

from __future__ import annotations

import threading
import time

import pytest

from assets_core.execution.small_tasks import each


def threads_of(seconds: list[float], jobs: int = 4) -> set[str]:
    """In which threads things are done that take so long."""
    names = set()

    def work(taken: float) -> None:
        if taken:
            time.sleep(taken)
        names.add(threading.current_thread().name)

    assert [item for item, _ in each(work, seconds, jobs)] == seconds or len(names) > 1
    return names


def test_things_that_wait_are_done_side_by_side() -> None:
    assert len(threads_of([0.05] * 12)) > 2


def test_quick_things_are_done_one_by_one() -> None:
    assert threads_of([0.0] * 200) == {"MainThread"}


def test_a_slow_first_one_makes_no_threads() -> None:
    assert threads_of([0.1] + [0.0] * 100) == {"MainThread"}


def test_a_few_that_were_interrupted_make_no_threads() -> None:
    assert threads_of(([0.0] * 6 + [0.02]) * 5) == {"MainThread"}


def test_things_of_which_every_third_waits_are_done_side_by_side() -> None:
    assert len(threads_of([0.0, 0.0, 0.02] * 10)) > 1


def test_one_job_makes_no_threads() -> None:
    assert threads_of([0.01] * 5, jobs=1) == {"MainThread"}


def test_an_error_in_a_thread_ends_the_loop() -> None:
    def work(number: int) -> int:
        time.sleep(0.01)
        if number == 7:
            raise ValueError(number)
        return number

    with pytest.raises(ValueError, match="7"):
        list(each(work, range(100), 3))
