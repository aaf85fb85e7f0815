"""What is recorded at this moment: rows of what moves, over columns that stay what they were."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pytest

from assets_core import asset
from assets_core.contracts import Columns, Snapshot
from assets_core.execution.current import Current
from assets_core.graph import Graph
from assets_core.partitions import daily, last, monthly, parse_selection
from assets_core.planning.digests import Digests
from assets_core.planning.facts import Facts
from assets_core.planning.plan import Plan, make_plan
from assets_core.records import NO_VERSION, Code, Materialization, Receipt

DAYS = daily("2024-01-01")
NOW = datetime(2024, 3, 1, 1, tzinfo=UTC)


@asset(partitions=DAYS)
def raw() -> pa.Table: ...


@asset(partitions=DAYS)
def trend(raw: Annotated[pa.Table, last(7)]) -> pa.Table: ...


@asset(partitions=DAYS)
def clean(raw: pa.Table) -> pa.Table: ...


@asset(partitions=monthly("2024-01"))
def month(clean: pa.Table, raw: pa.Table) -> pa.Table: ...


class Log:
    """A state store of which only the tail is ever asked."""

    def __init__(self) -> None:
        self.tail = Snapshot(0, {}, {})

    def snapshot(self, environment: str, assets: Any, since: int = 0) -> Snapshot:
        return self.tail


def some_plan(facts: Facts, graph: Graph, wanted: str) -> Plan:
    return make_plan(
        graph,
        facts,
        dict.fromkeys(graph.assets, "c"),
        now=NOW,
        partitions=parse_selection(wanted),
        force=True,
    )


def columns(keys: list[str], first: int, rng: random.Random) -> Columns:
    n = len(keys)
    words = np.array([[rng.getrandbits(64), rng.getrandbits(64)] for _ in keys], np.uint64).reshape(
        -1, 2
    )
    return Columns(
        keys=keys,
        id=np.arange(first, first + n),
        token=np.ones(n, np.int64),
        data=words,
        digest=words[:, ::-1].copy(),
        code=np.ones(n, np.int64),
        finished=np.zeros(n, np.int64),
        rows=np.zeros(n, np.int64),
    )


@pytest.mark.parametrize("seed", range(12))
def test_it_says_what_a_copy_of_everything_would_say(seed: int) -> None:
    """Against columns that are all kept and all brought up to date."""
    rng = random.Random(seed)
    graph = Graph.build([raw, trend, clean, month])
    spaces = {name: one.partitions.resolve(NOW) for name, one in graph.assets.items()}
    keys = {name: space.keys() for name, space in spaces.items()}
    begun = Snapshot(
        500,
        {
            name: columns([k for k in keys[name] if rng.random() < 0.8], 1 + 100 * i, rng)
            for i, name in enumerate(keys)
        },
        {1: "c"},
    )
    facts, all_kept = Facts.of(begun, spaces), Facts.of(begun, spaces)
    plan = some_plan(facts, graph, rng.choice(["2024-01-05..2024-01-09", "2024-02", "2024-01-31"]))
    before = {name: (own.id.copy(), own.data.copy()) for name, own in facts.assets.items()}
    log = Log()
    current = Current(plan, dict.fromkeys(graph.assets, Code("c")), log, threading.RLock())  # type: ignore[arg-type]  # a log alone
    number, ops = 1000, [batch.op for batch in plan.batches]
    for _ in range(30):
        number += 100
        if rng.random() < 0.3:  # another run recorded something, be it planned here or not
            some = {op.name: rng.sample(keys[op.name], 2) for op in rng.sample(ops, 1)}
            tail = {name: columns(few, number, rng) for name, few in some.items()}
            log.tail = Snapshot(number, tail, {})
            current.refresh()
            all_kept.apply(log.tail)
        else:
            batch = rng.choice(plan.batches)
            ordinal = int(rng.choice(batch.ordinals.tolist()))
            name = batch.op.name
            fact = built(name, spaces[name].key(ordinal), rng)
            current.apply(ordinal, fact, number)
            own = all_kept.assets[name]
            own.id[ordinal], own.data[ordinal] = number, fact.data_version
            own.digest[ordinal] = fact.input_digest
        digests = Digests(plan.resolved, all_kept)
        for op in ops:
            at = np.array(sorted(rng.sample(range(spaces[op.name].n), 2)))
            own = all_kept.assets[op.name]
            assert current.there_at(op.name, at).tolist() == own.there_at(at).tolist()
            for ordinal in at.tolist():
                assert current.id(op.name, ordinal) == own.id[ordinal]
                assert current.version(op.name, ordinal) == own.version(ordinal)
                assert current.digest(op, ordinal) == digests.one(op, ordinal)
    for name, (ids, data) in before.items():
        assert (facts.assets[name].id == ids).all(), "the plan is what it was"
        assert (facts.assets[name].data == data).all()


def built(name: str, key: str, rng: random.Random) -> Materialization:
    words = (rng.getrandbits(64), rng.getrandbits(64))
    return Materialization(
        environment="prod",
        asset=name,
        partition=key,
        code=Code("c"),
        input_digest=(words[1], words[0]),
        data_version=words if rng.random() < 0.9 else NO_VERSION,
        receipt=Receipt("default", "table", key, 1),
        started=0,
        finished=0,
        run="r",
        token=1,
        attempt=1,
    )
