"""Which step is where: a board alone, without threads, stores or a clock."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
import pyarrow as pa
import pytest

from assets_core import Asset, asset, require
from assets_core.execution.board import Board
from assets_core.execution.rows import Rows
from assets_core.graph import Graph
from assets_core.partitions import daily, last, monthly
from assets_core.planning.facts import Facts
from assets_core.planning.plan import Plan, make_plan

DAYS = daily("2024-01-01")
NOW = datetime(2024, 1, 5, tzinfo=UTC)


@asset(partitions=DAYS)
def raw() -> pa.Table: ...


@asset(partitions=DAYS)
def clean(raw: pa.Table) -> pa.Table: ...


@asset(partitions=DAYS)
def trend(clean: Annotated[pa.Table, last(2)]) -> pa.Table: ...


@asset(partitions=monthly("2024-01"))
def month(clean: Annotated[pa.Table, require("any")]) -> pa.Table: ...


def plan_of(*assets: Asset, now: datetime = NOW) -> Plan:
    graph = Graph.build(assets)
    made = {a.partitions: a.partitions.resolve(now) for a in graph.assets.values()}
    spaces = {name: made[a.partitions] for name, a in graph.assets.items()}
    return make_plan(graph, Facts.empty(spaces), dict.fromkeys(graph.assets, "c"), now=now)


def taken(board: Board, most: int = 1000) -> list[str]:
    """Everything that is ready, in order, by name."""
    found = []
    for _ in range(most):
        position = board.pop()
        if position < 0:
            break
        step = board.step(position)
        found.append(f"{step.op.name}@{step.key[-2:]}")
    return found


def named(board: Board, name: str) -> int:
    for position in range(len(board)):
        step = board.step(position)
        if f"{step.op.name}@{step.key[-2:]}" == name:
            return position
    raise KeyError(name)


def test_what_reads_nothing_is_ready_in_the_order_of_time() -> None:
    board = Board(plan_of(raw, clean))
    assert taken(board) == ["raw@01", "raw@02", "raw@03", "raw@04"]
    assert taken(Board(plan_of(raw, clean), newest_first=True))[0] == "raw@04"


def test_a_reader_is_ready_once_all_that_it_reads_is_decided() -> None:
    board = Board(plan_of(raw, clean, trend))
    taken(board)
    for name, freed in (
        ("raw@01", ["clean@01"]),
        ("raw@02", ["clean@02"]),
        ("clean@02", []),
        ("clean@01", ["trend@01", "trend@02"]),
    ):
        board.decide(board.step(named(board, name)))
        assert taken(board) == freed
    assert board.left == len(board) - 4


def test_what_needs_a_step_that_fails_is_blocked_all_the_way_down() -> None:
    board = Board(plan_of(raw, clean, trend))
    failed = board.step(named(board, "raw@02"))
    blocked, woken = board.block_readers(failed)
    board.decide(failed)
    assert {f"{s.op.name}@{s.key[-2:]}" for s in blocked} == {"clean@02", "trend@02", "trend@03"}
    assert woken == 0
    assert all(not step.is_undecided for step in blocked)
    steps = board.by_op["trend"]
    assert steps.lost_at(np.arange(4)).tolist() == [False, True, True, False]
    assert board.left == len(board) - 4


def test_what_may_do_without_a_blocked_step_is_asked_when_all_is_decided() -> None:
    board = Board(plan_of(raw, clean, month, now=datetime(2024, 2, 1, 1, tzinfo=UTC)))
    taken(board)
    failed = board.step(named(board, "raw@02"))
    _, woken = board.block_readers(failed)
    board.decide(failed)
    assert woken == 0
    for day in range(1, 32):
        if day != 2:
            board.decide(board.step(named(board, f"raw@{day:02}")))
            board.decide(board.step(named(board, f"clean@{day:02}")))
    assert [name for name in taken(board) if name.startswith("month")] == ["month@01"]


def test_what_is_timed_comes_up_when_it_is_due() -> None:
    board = Board(plan_of(raw))
    first = board.pop()
    board.later(first, 10.0)
    assert board.ring(9.0) == 10.0
    assert first not in [board.pop() for _ in range(3)]
    assert board.ring(10.0) is None
    assert board.pop() == first


def test_upcoming_steps_are_those_that_nobody_took_or_decided() -> None:
    board = Board(plan_of(raw, clean))
    board.take(board.step(0))
    board.decide(board.step(1))
    assert [step.position for step in board.upcoming(0, 4)] == [2, 3]


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_those_of_a_plain_look_up(seed: int) -> None:
    random.seed(seed)
    start = random.randrange(50)
    together = list(range(start, start + random.randrange(1, 20)))
    apart = sorted(random.sample(range(100), random.randrange(1, 20)))
    for ordinals in (together, apart):
        rows, at = Rows(np.array(ordinals)), {o: i for i, o in enumerate(ordinals)}
        asked = random.sample(range(100), 30)
        assert [rows.row(o) for o in asked] == [at.get(o, -1) for o in asked]
        known, found = rows.match(np.array(asked))
        assert known.tolist() == [o in at for o in asked]
        assert found.tolist() == [at[o] for o in asked if o in at]
        low, high = sorted(random.sample(range(100), 2))
        assert ordinals[rows.between(low, high)] == [o for o in ordinals if low <= o < high]
