"""One write transaction: read what its operations name, decide, write what changed.

The number of statements depends on the kinds of operations, not on how many there are: that is
what makes a group of publishes cheap. The decisions are in ``transaction``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
from assets_core.state.interning import Interning
from assets_core.state.rows import (
    ATTEMPT_COLUMNS,
    FACT_COLUMNS,
    INVALIDATION_COLUMNS,
    RUN_COLUMNS,
    Numbers,
    attempt_row,
    check_fact,
    encode_checks,
    encode_inputs,
    encode_ranges,
    fact_row,
    invalidation_row,
    metadata_json,
    pack_facts,
    plain,
    run_row,
    to_json,
    unremarkable,
)
from assets_core.state.sql import LISTED, NOW, Connection, Row, inserting, listed, scalar
from assets_core.state.transaction import RunState, Slot, SlotKey, Transaction

Name = tuple[str, str]

_HEAD = f"SELECT value, {NOW} FROM counters WHERE name = 'revision'"
_SLOT = "s.asset, s.partition, s.token, s.holder, s.materialization, s.invalidated"
_SLOTS = f"""
    SELECT {_SLOT} FROM {LISTED} AS pair JOIN asset_partitions AS s
    ON s.asset = json_extract(pair.value, '$[0]')
    AND s.partition = json_extract(pair.value, '$[1]')"""
_HELD_SLOTS = f"""
    SELECT {_SLOT} FROM asset_partitions AS s
    WHERE s.holder IS NOT NULL AND s.asset IN (SELECT value FROM {LISTED})"""
_RUNS = f"""
    SELECT runs.id, run, status, expires
    FROM {LISTED} AS wanted JOIN runs ON runs.id = wanted.value"""
_AT_SLOT = "WHERE asset = ? AND partition = ?"
_MOVE_SLOT = f"""
    UPDATE asset_partitions
    SET token = ?, holder = ?, materialization = ?, facts = ?, invalidated = ? {_AT_SLOT}"""
_LEASE_SLOT = f"UPDATE asset_partitions SET token = ?, holder = ?, invalidated = ? {_AT_SLOT}"
_ADD_SLOT = inserting(
    "asset_partitions", "asset, partition, token, holder, materialization, facts, invalidated"
)
_ADD_FACT = inserting("materializations", FACT_COLUMNS)
_ADD_WITHDRAWAL = inserting("withdrawals", "id, asset, partition")
_ADD_ATTEMPT = inserting("attempts", ATTEMPT_COLUMNS)
_ADD_EDGE = inserting("edges", "upstream, asset") + " ON CONFLICT DO NOTHING"
_ADD_INVALIDATION = inserting("invalidations", INVALIDATION_COLUMNS)
_INVALIDATE_AGAIN = f"""
    INSERT INTO invalidations ({INVALIDATION_COLUMNS})
    SELECT ?, asset, ?, made, made_by, reason, origin FROM invalidations WHERE id = ?"""
_NEWEST_SCHEMA = "UPDATE assets SET schema = ? WHERE id = ? AND coalesce(schema, 0) != ?"
# A run that says nothing at its end keeps what it was begun with.
_FINISH = """
    UPDATE runs SET status = ?, finished = ?, counts = ?, note = coalesce(?, note) WHERE id = ?"""
_RELEASE = "UPDATE asset_partitions SET holder = NULL WHERE holder = ?"


@dataclass(slots=True)
class ReadyOperations:
    """Operations looked through before the write lock is taken: bad facts never hold others up."""

    operations: Sequence[Operation]
    names: set[Name]
    places: set[tuple[Name, str]]
    runs: set[str]
    checks: dict[int, str | None]
    extra: dict[int, str | None]
    invalidated: set[Name] = field(default_factory=set)


def prepare(operations: Sequence[Operation]) -> ReadyOperations:
    """Check and encode what can be without the database. Raises StateError."""
    ready = ReadyOperations(operations, set(), set(), set(), {}, {})
    for operation in operations:
        _prepare_one(operation, ready)
    ready.names |= {name for name, _ in ready.places} | ready.invalidated
    return ready


def _prepare_one(operation: Operation, ready: ReadyOperations) -> None:
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


def _prepare_fact(fact: Materialization, ready: ReadyOperations) -> None:
    check_fact(fact)
    ready.places.add(((fact.environment, fact.asset), fact.partition))
    ready.names |= {(fact.environment, read.asset) for read in fact.inputs}
    if fact.run:
        ready.runs.add(fact.run)
    ready.checks[id(fact)] = encode_checks(fact.checks)
    ready.extra[id(fact)] = metadata_json(fact.metadata)


def _prepare_places(
    environment: str, slots: Iterable[tuple[str, str]], ready: ReadyOperations
) -> None:
    plain(environment, "environment")
    for asset, partition in slots:
        place = ((environment, plain(asset, "asset")), plain(partition, "partition"))
        ready.places.add(place)


class Writer:
    """Carries out checked operations in a database transaction that is already begun."""

    def __init__(self, interning: Interning, known_dead: Callable[[str], bool]) -> None:
        self._interning = interning
        self._known_dead = known_dead

    def carry_out(self, connection: Connection, ready: ReadyOperations) -> list[Any]:
        """The results of the operations, in order."""
        transaction = self._read(connection, ready)
        before = transaction.revision
        results = [transaction.apply(operation) for operation in ready.operations]
        self._write(connection, transaction, ready)
        if transaction.revision != before:
            count = "UPDATE counters SET value = ? WHERE name = 'revision'"
            connection.execute(count, (transaction.revision,))
        return results

    # ---- reading

    def _read(self, connection: Connection, ready: ReadyOperations) -> Transaction:
        revision, now = connection.execute(_HEAD).fetchone()
        interning = self._interning
        assets = {name: interning.asset(connection, *name) for name in ready.names}
        numbers = {run: interning.runs.find(connection, run) for run in ready.runs}
        known = {run: number for run, number in numbers.items() if number is not None}
        slots = _slots(connection, ready, assets)
        if marked := {assets[name] for name in ready.invalidated}:
            slots = {**_leased_slots(connection, marked), **slots}
        holders = {slot.holder for slot in slots.values() if slot.holder is not None}
        return Transaction(
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

    def _write(
        self, connection: Connection, transaction: Transaction, ready: ReadyOperations
    ) -> None:
        _write_slots(connection, transaction)
        rows = [
            self._fact_row(connection, transaction, ready, fact, number)
            for fact, number in transaction.facts
        ]
        connection.executemany(_ADD_FACT, rows)
        if transaction.facts:
            self._write_schemas(connection, transaction)
            self._write_edges(connection, transaction)
        connection.executemany(
            _ADD_WITHDRAWAL, [(at, *place) for at, place in transaction.withdrawals]
        )
        _write_invalidations(connection, transaction)
        self._write_attempts(connection, transaction)
        for run in transaction.runs.values():
            _write_run(connection, run)

    def _fact_row(
        self,
        connection: Connection,
        transaction: Transaction,
        ready: ReadyOperations,
        fact: Materialization,
        number: int,
    ) -> Row:
        interning = self._interning
        checks = ready.checks[id(fact)]
        shared = checks is not None and unremarkable(fact.checks)
        numbers = Numbers(
            asset=transaction.assets[fact.environment, fact.asset],
            code=interning.code(connection, fact.code),
            store=interning.store(connection, fact.receipt.store),
            run=self._run_number(connection, fact) if fact.run else None,
            schema=interning.text(connection, fact.schema),
            passed=interning.text(connection, checks) if shared else None,
        )
        upstreams = {
            read.asset: transaction.assets[fact.environment, read.asset] for read in fact.inputs
        }
        texts = (
            encode_inputs(fact.inputs, upstreams),
            None if shared else checks,
            ready.extra[id(fact)],
        )
        return fact_row(fact, number, numbers, texts)

    def _run_number(self, connection: Connection, fact: Materialization) -> int:
        """The fact's run; one that this store never saw (it is being rebuilt) is written down."""
        run = Run(
            id=fact.run,
            environment=fact.environment,
            status="done",
            started=fact.started,
            finished=fact.finished,
            note="known from its materializations only",
        )
        return self._interning.run(connection, run)

    def _write_schemas(self, connection: Connection, transaction: Transaction) -> None:
        newest = {
            transaction.assets[fact.environment, fact.asset]: fact.schema
            for fact, _ in transaction.facts
            if fact.schema
        }
        rows: list[Row] = []
        for asset, text in newest.items():
            schema = self._interning.text(connection, text)
            rows.append((schema, asset, schema))
        connection.executemany(_NEWEST_SCHEMA, rows)

    def _write_edges(self, connection: Connection, transaction: Transaction) -> None:
        edges: set[Row] = {
            (
                transaction.assets[fact.environment, read.asset],
                transaction.assets[fact.environment, fact.asset],
            )
            for fact, _ in transaction.facts
            for read in fact.inputs
        }
        connection.executemany(_ADD_EDGE, sorted(edges, key=repr))

    def _write_attempts(self, connection: Connection, transaction: Transaction) -> None:
        rows = []
        for attempt, revision in transaction.attempts:
            asset = transaction.assets[attempt.environment, attempt.asset]
            rows.append(
                attempt_row(attempt, revision, transaction.run_numbers.get(attempt.run), asset)
            )
        connection.executemany(_ADD_ATTEMPT, rows)


def _slots(
    connection: Connection, ready: ReadyOperations, assets: dict[Name, int]
) -> dict[SlotKey, Slot]:
    if not ready.places:
        return {}
    places = listed((assets[name], partition) for name, partition in ready.places)
    return _read_slots(connection.execute(_SLOTS, (places,)))


def _leased_slots(connection: Connection, assets: set[int]) -> dict[SlotKey, Slot]:
    """The slots of these assets that somebody holds."""
    return _read_slots(connection.execute(_HELD_SLOTS, (listed(assets),)))


def _read_slots(rows: Iterable[Row]) -> dict[SlotKey, Slot]:
    return {
        (asset, partition): Slot(token, holder, current or 0, invalidated=invalidated or 0)
        for asset, partition, token, holder, current, invalidated in rows
    }


def _runs(connection: Connection, numbers: set[int]) -> dict[int, RunState]:
    if not numbers:
        return {}
    rows = connection.execute(_RUNS, (listed(numbers),))
    return {row[0]: RunState(*row) for row in rows}


def _write_slots(connection: Connection, transaction: Transaction) -> None:
    connection.executemany(
        _ADD_SLOT,
        [
            (*at, s.token, s.holder, s.current or None, s.facts, s.invalidated or None)
            for at, s in sorted(transaction.new_slots())
        ],
    )
    connection.executemany(
        _MOVE_SLOT,
        [
            (s.token, s.holder, s.current or None, s.facts, s.invalidated or None, *at)
            for at, s in transaction.moved_slots()
        ],
    )
    connection.executemany(
        _LEASE_SLOT,
        [(s.token, s.holder, s.invalidated or None, *at) for at, s in transaction.leased_slots()],
    )


def _write_invalidations(connection: Connection, transaction: Transaction) -> None:
    for number, (asset, what) in transaction.invalidations.items():
        connection.execute(_ADD_INVALIDATION, invalidation_row(what, number, asset))
    for number, (place, first) in transaction.invalidated_again.items():
        # The same invalidation for what was being built when it was made.
        ranges = encode_ranges([(place[1], place[1])])
        connection.execute(_INVALIDATE_AGAIN, (number, ranges, first))


def _write_run(connection: Connection, run: RunState) -> None:
    if run.finish is None:
        if run.beaten:
            connection.execute(
                "UPDATE runs SET expires = ? WHERE id = ?", (run.expires, run.number)
            )
        return
    end = run.finish
    counts = to_json(dict(end.counts), "counts of the run")
    connection.execute(_FINISH, (end.status, end.finished, counts, end.note or None, run.number))
    connection.execute(_RELEASE, (run.number,))


def begin_run(connection: Connection, run: Run, seconds: float) -> None:
    """Record a run as running. Raises StateError when its id is taken."""
    if scalar(connection, "SELECT id FROM runs WHERE run = ?", (run.id,)) is not None:
        raise StateError(
            "A run of this id was begun before.",
            facts={"run": run.id},
            hint="Every run needs an id of its own.",
        )
    expires = scalar(connection, f"SELECT {NOW}") + round(seconds * 1_000_000)
    row = (*run_row(replace(run, status="running")), expires)
    connection.execute(inserting("runs", f"{RUN_COLUMNS}, expires"), row)
