"""What a run says while it goes on, without a terminal."""

from __future__ import annotations

import io

from assets_core.cli.progress import FEW, RunLines, Watched
from assets_core.cli.screen import Screen
from assets_core.execution.events import StepEvent


def said(total: int, events: list[StepEvent]) -> list[str]:
    stream = io.StringIO()
    watched = Watched(total)
    lines = RunLines(watched, Screen(stream, colours=False, width=0))
    for event in events:
        watched.add(event)
        lines.show(event)
    return stream.getvalue().splitlines()


def test_each_of_a_few_steps_gets_a_line_when_it_ends() -> None:
    events = [StepEvent("started", "a", "p"), StepEvent("done", "a", "p", 0.5, 12, 1)]
    assert said(1, events) == ["done       a@p  12 rows, 1 rejected, 500 ms"]


def test_many_steps_get_none() -> None:
    assert said(FEW + 1, [StepEvent("done", "a", str(n)) for n in range(FEW + 1)]) == []


def test_a_failure_among_many_is_told_at_once() -> None:
    found = said(1000, [StepEvent("failed", "a", "p", message="ValueError: no\nmore")])
    assert found == ["failed     a@p  ValueError: no more"]


def test_endless_failures_are_not_told_endlessly() -> None:
    assert len(said(1000, [StepEvent("failed", "a", str(n)) for n in range(1000)])) == 20


def test_a_retry_is_told_but_decides_nothing() -> None:
    watched = Watched(2)
    watched.add(StepEvent("retrying", "a", "p"))
    assert watched.finished == 0


def test_numbers_tell_counts_and_troubles() -> None:
    watched = Watched(4)
    watched.add(StepEvent("done", "a", "1"))
    watched.add(StepEvent("failed", "a", "2"))
    numbers = watched.numbers()
    assert numbers.startswith("2 of 4 (50%), ")
    assert numbers.endswith(" left, 1 failed")


def test_what_runs_longest_comes_first() -> None:
    watched = Watched(3)
    for key in ("1", "2", "3"):
        watched.add(StepEvent("started", "a", key))
    watched.add(StepEvent("done", "a", "1"))
    assert [where for where, _ in watched.longest(5)] == ["a@2", "a@3"]


def test_a_plan_that_is_blocked_whole_shows_no_progress() -> None:
    from assets_core.cli.progress import watching

    with watching(0) as (watched, on_event):
        on_event(StepEvent("blocked", "a", "p"))
    assert watched.counts == {"blocked": 1}
