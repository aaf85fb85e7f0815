"""One write transaction: read what a batch names, decide, write what changed.

The number of statements depends on the kinds of operations, not on how many there are: that is
what makes a group of publishes cheap. The decisions are in ``batch``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, literal, select, update

from assets_core.contracts import (
    Acquire,
    Beat,
    Finish,
    Invalidate,
    Note,
    Operation,
    Publish,
    Release,
    Withdraw,
)
from assets_core.errors import StateError
from assets_core.records import Materialization, Run
from assets_core.state import statements, tables
from assets_core.state.batch import Batch, Place, RunState, Slot
from assets_core.state.interning import Interning
from assets_core.state.rows import (
    Numbers,
    attempt_row,
    check_fact,
    encode_checks,
    encode_inputs,
    encode_ranges,
    fact_row,
    invalidation_values,
    metadata_json,
    pack_facts,
    plain,
    run_values,
    to_json,
    unremarkable,
)
from assets_core.state.sqlite import now_micros

Name = tuple[str, str]


@dataclass(slots=True)
class Prepared:
    """A batch looked through before the write lock is taken: bad facts never hold others up."""

    operations: Sequence[Operation]
    names: set[Name]
    places: set[tuple[Name, str]]
    runs: set[str]
    checks: dict[int, str | None]
    extra: dict[int, str | None]
    invalidated: set[Name] = field(default_factory=set)


def prepare(operations: Sequence[Operation]) -> Prepared:
    """Check and encode what can be without the database. Raises StateError."""
    ready = Prepared(operations, set(), set(), set(), {}, {})
    for operation in operations:
        _prepare_one(operation, ready)
    ready.names |= {name for name, _ in ready.places} | ready.invalidated
    return ready


def _prepare_one(operation: Operation, ready: Prepared) -> None:
    match operation:
        case Publish(fact=fact):
            _prepare_fact(fact, ready)
        case Acquire():
            ready.runs.add(operation.run)
            _prepare_places(operation.environment, operation.slots, ready)
        case Release():
            ready.runs.add(operation.run)
            leases = ((asset, partition) for asset, partition, _ in operation.leases)
            _prepare_places(operation.environment, leases, ready)
        case Withdraw():
            slot = (operation.asset, operation.partition)
            _prepare_places(operation.environment, [slot], ready)
        case Note():
            ready.runs |= {attempt.run for attempt in operation.attempts if attempt.run}
            for attempt in operation.attempts:
                ready.names.add((attempt.environment, plain(attempt.asset, "asset")))
        case Invalidate(what=what):
            plain(what.environment, "environment")
            ready.invalidated.add((what.environment, plain(what.asset, "asset")))
        case Beat() | Finish():
            ready.runs.add(operation.run)


def _prepare_fact(fact: Materialization, ready: Prepared) -> None:
    check_fact(fact)
    ready.places.add(((fact.environment, fact.asset), fact.partition))
    ready.names |= {(fact.environment, read.asset) for read in fact.inputs}
    if fact.run:
        ready.runs.add(fact.run)
    ready.checks[id(fact)] = encode_checks(fact.checks)
    ready.extra[id(fact)] = metadata_json(fact.metadata)


def _prepare_places(environment: str, slots: Iterable[tuple[str, str]], ready: Prepared) -> None:
    plain(environment, "environment")
    for asset, partition in slots:
        place = ((environment, plain(asset, "asset")), plain(partition, "partition"))
        ready.places.add(place)


class Writer:
    """Carries out prepared batches in a transaction that is already begun."""

    def __init__(self, interning: Interning, known_dead: Callable[[str], bool]) -> None:
        self._interning = interning
        self._known_dead = known_dead

    def carry_out(self, connection: Connection, ready: Prepared) -> list[Any]:
        """The results of the operations, in order."""
        batch = self._read(connection, ready)
        before = batch.revision
        results = [batch.apply(operation) for operation in ready.operations]
        self._write(connection, batch, ready)
        if batch.revision != before:
            statements.COUNT.run(connection, batch.revision, "revision")
        return results

    # ---- reading

    def _read(self, connection: Connection, ready: Prepared) -> Batch:
        revision, now = statements.HEAD.run(connection, "revision").fetchone()
        interning = self._interning
        assets = {name: interning.asset(connection, *name) for name in ready.names}
        numbers = {run: interning.runs.find(connection, run) for run in ready.runs}
        known = {run: number for run, number in numbers.items() if number is not None}
        slots = _slots(connection, ready, assets)
        if marked := {assets[name] for name in ready.invalidated}:
            slots = {**_leased_slots(connection, marked), **slots}
        holders = {slot.holder for slot in slots.values() if slot.holder is not None}
        return Batch(
            revision=revision,
            now=now,
            slots=slots,
            runs=_runs(connection, holders | set(known.values())),
            assets=assets,
            run_numbers=known,
            known_dead=self._known_dead,
            packed=lambda fact, at: pack_facts(fact, at, interning.code(connection, fact.code)),
        )

    # ---- writing

    def _write(self, connection: Connection, batch: Batch, ready: Prepared) -> None:
        _write_slots(connection, batch)
        rows = [
            self._fact_row(connection, batch, ready, fact, number) for fact, number in batch.facts
        ]
        statements.ADD_FACT.each(connection, rows)
        if batch.facts:
            self._write_schemas(connection, batch)
            self._write_edges(connection, batch)
        statements.ADD_WITHDRAWAL.each(
            connection, [(at, *place) for at, place in batch.withdrawals]
        )
        _write_invalidations(connection, batch)
        self._write_attempts(connection, batch)
        for run in batch.runs.values():
            _write_run(connection, run)

    def _fact_row(
        self,
        connection: Connection,
        batch: Batch,
        ready: Prepared,
        fact: Materialization,
        number: int,
    ) -> tuple[object, ...]:
        interning = self._interning
        checks = ready.checks[id(fact)]
        shared = checks is not None and unremarkable(fact.checks)
        numbers = Numbers(
            asset=batch.assets[fact.environment, fact.asset],
            code=interning.code(connection, fact.code),
            store=interning.store(connection, fact.receipt.store),
            run=self._run_number(connection, fact) if fact.run else None,
            schema=interning.text(connection, fact.schema),
            passed=interning.text(connection, checks) if shared else None,
        )
        upstreams = {read.asset: batch.assets[fact.environment, read.asset] for read in fact.inputs}
        texts = (
            encode_inputs(fact.inputs, upstreams),
            None if shared else checks,
            ready.extra[id(fact)],
        )
        return fact_row(fact, number, numbers, texts)

    def _run_number(self, connection: Connection, fact: Materialization) -> int:
        """The fact's run; one that this store never saw (it is being rebuilt) is written down."""
        values = run_values(
            Run(
                id=fact.run,
                environment=fact.environment,
                status="done",
                started=fact.started,
                finished=fact.finished,
                note="known from its materializations only",
            )
        )
        values.pop("run")
        return self._interning.runs.number(
            connection, fact.run, more=lambda: {**values, "expires": 0}
        )

    def _write_schemas(self, connection: Connection, batch: Batch) -> None:
        newest = {
            batch.assets[fact.environment, fact.asset]: fact.schema
            for fact, _ in batch.facts
            if fact.schema
        }
        rows: list[tuple[object, ...]] = []
        for asset, text in newest.items():
            schema = self._interning.text(connection, text)
            rows.append((schema, asset, schema))
        statements.NEWEST_SCHEMA.each(connection, rows)

    def _write_edges(self, connection: Connection, batch: Batch) -> None:
        edges: set[tuple[object, ...]] = {
            (
                batch.assets[fact.environment, read.asset],
                batch.assets[fact.environment, fact.asset],
            )
            for fact, _ in batch.facts
            for read in fact.inputs
        }
        statements.ADD_EDGE.each(connection, sorted(edges, key=repr))

    def _write_attempts(self, connection: Connection, batch: Batch) -> None:
        rows = []
        for attempt, revision in batch.attempts:
            asset = batch.assets[attempt.environment, attempt.asset]
            rows.append(attempt_row(attempt, revision, batch.run_numbers.get(attempt.run), asset))
        statements.ADD_ATTEMPT.each(connection, rows)


def _slots(connection: Connection, ready: Prepared, assets: dict[Name, int]) -> dict[Place, Slot]:
    if not ready.places:
        return {}
    places = sorted((assets[name], partition) for name, partition in ready.places)
    text = json.dumps(places, separators=(",", ":"))
    return _read_slots(statements.SLOTS.run(connection, text).fetchall())


def _leased_slots(connection: Connection, assets: set[int]) -> dict[Place, Slot]:
    """The slots of these assets that somebody holds."""
    slots = tables.asset_partitions
    found = select(
        slots.c.asset,
        slots.c.partition,
        slots.c.token,
        slots.c.holder,
        slots.c.materialization,
        slots.c.invalidated,
    ).where(slots.c.holder.is_not(None), slots.c.asset.in_(assets))
    return _read_slots(connection.execute(found).all())


def _read_slots(rows: Iterable[Any]) -> dict[Place, Slot]:
    return {
        (asset, partition): Slot(token, holder, current or 0, invalidated=invalidated or 0)
        for asset, partition, token, holder, current, invalidated in rows
    }


def _runs(connection: Connection, numbers: set[int]) -> dict[int, RunState]:
    if not numbers:
        return {}
    rows = statements.RUNS.run(connection, json.dumps(sorted(numbers))).fetchall()
    return {row[0]: RunState(*row) for row in rows}


def _write_slots(connection: Connection, batch: Batch) -> None:
    statements.ADD_SLOT.each(
        connection,
        [
            (*at, s.token, s.holder, s.current or None, s.facts, s.invalidated or None)
            for at, s in sorted(batch.new_slots())
        ],
    )
    statements.MOVE_SLOT.each(
        connection,
        [
            (s.token, s.holder, s.current or None, s.facts, s.invalidated or None, *at)
            for at, s in batch.moved_slots()
        ],
    )
    statements.LEASE_SLOT.each(
        connection,
        [(s.token, s.holder, s.invalidated or None, *at) for at, s in batch.leased_slots()],
    )


def _write_invalidations(connection: Connection, batch: Batch) -> None:
    table = tables.invalidations
    for number, (asset, what) in batch.invalidations.items():
        values = invalidation_values(what)
        connection.execute(insert(table).values(id=number, asset=asset, **values))
    for number, (place, first) in batch.invalidated_again.items():
        # The same invalidation for what was being built when it was made.
        ranges = encode_ranges([(place[1], place[1])])
        kept = (table.c.asset, literal(ranges), table.c.made, table.c.made_by)
        again = select(literal(number), *kept, table.c.reason, table.c.origin)
        names = ["id", "asset", "ranges", "made", "made_by", "reason", "origin"]
        connection.execute(insert(table).from_select(names, again.where(table.c.id == first)))


def _write_run(connection: Connection, run: RunState) -> None:
    if run.finish is None:
        if run.beaten:
            beaten = update(tables.runs).where(tables.runs.c.id == run.number)
            connection.execute(beaten.values(expires=run.expires))
        return
    connection.execute(
        update(tables.runs)
        .where(tables.runs.c.id == run.number)
        .values(
            status=run.finish.status,
            finished=run.finish.finished,
            counts=to_json(dict(run.finish.counts), "counts of the run"),
            # A run that says nothing at its end keeps what it was begun with.
            note=run.finish.note or tables.runs.c.note,
        )
    )
    release_all(connection, run.number)


def release_all(connection: Connection, number: int) -> None:
    """Release whatever a run holds."""
    slots = tables.asset_partitions
    connection.execute(update(slots).where(slots.c.holder == number).values(holder=None))


def begin_run(connection: Connection, run: Run, seconds: float) -> None:
    """Record a run as running. Raises StateError when its id is taken."""
    taken = connection.execute(tables.runs.select().where(tables.runs.c.run == run.id)).first()
    if taken is not None:
        raise StateError(
            "A run of this id was begun before.",
            facts={"run": run.id},
            hint="Every run needs an id of its own.",
        )
    expires = now_micros() + round(seconds * 1_000_000)
    values = {**run_values(run), "status": "running"}
    connection.execute(insert(tables.runs).values(**values, expires=expires))
