"""The statements of the hot path, and how they are run without SQLAlchemy's cost per row.

A statement is built with Core, compiled once to text with positional parameters, and then given
tuples. Reads that are not hot build their statements where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Table,
    and_,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.sql.expression import ClauseElement

from assets_core.state import tables
from assets_core.state.sqlite import (
    dialect,
    insert_missing,
    listed_numbers,
    listed_pairs,
    now_micros,
)


class Prepared:
    """A statement compiled when first used; its parameters are tuples in ``order``."""

    def __init__(self, build: Callable[[], ClauseElement], order: Sequence[str]) -> None:
        self._build = build
        self._order = list(order)
        self._text = ""

    @property
    def text(self) -> str:
        if not self._text:
            built = self._build()
            keys = self._order if built.is_dml and built.is_insert else None  # type: ignore[attr-defined]
            compiled = built.compile(dialect=dialect, column_keys=keys)
            assert compiled.positiontup == self._order, compiled.positiontup  # type: ignore[attr-defined]
            self._text = str(compiled)
        return self._text

    def run(self, connection: Connection, *values: object) -> Any:
        """Run it once; the driver's cursor, to read plain tuples from."""
        cursor = _driver(connection).cursor()
        cursor.execute(self.text, values)
        return cursor

    def each(self, connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
        """Run it for every row; nothing for none."""
        if rows:
            _driver(connection).cursor().executemany(self.text, rows)


def _driver(connection: Connection) -> Any:
    """The driver's own connection, inside the transaction: SQLAlchemy's results cost 40 µs each."""
    return connection.connection.dbapi_connection


def _inserting(table: Table, columns: Sequence[str]) -> Prepared:
    return Prepared(lambda: insert(table), columns)


def _changing_slots(*columns: str) -> Prepared:
    slots = tables.asset_partitions
    return Prepared(
        lambda: (
            update(slots)
            .where(
                slots.c.asset == bindparam("at_asset"),
                slots.c.partition == bindparam("at_partition"),
            )
            .values({column: bindparam(f"new_{column}") for column in columns})
        ),
        [*(f"new_{column}" for column in columns), "at_asset", "at_partition"],
    )


def _columns(table: Table, *without: str) -> list[str]:
    return [column.name for column in table.columns if column.name not in without]


def _head() -> ClauseElement:
    counters = tables.counters
    return select(counters.c.value, now_micros()).where(counters.c.name == bindparam("name"))


def _slots() -> ClauseElement:
    slots = tables.asset_partitions
    pairs, asset, partition = listed_pairs("places")
    return select(
        slots.c.asset,
        slots.c.partition,
        slots.c.token,
        slots.c.holder,
        slots.c.materialization,
        slots.c.invalidated,
    ).join_from(pairs, slots, and_(slots.c.asset == asset, slots.c.partition == partition))


def _runs() -> ClauseElement:
    runs = tables.runs
    numbers = listed_numbers("numbers")
    return select(runs.c.id, runs.c.run, runs.c.status, runs.c.expires).join_from(
        numbers, runs, runs.c.id == numbers.c.value
    )


def _count() -> ClauseElement:
    counters = tables.counters
    return (
        update(counters)
        .where(counters.c.name == bindparam("which"))
        .values(value=bindparam("new_value"))
    )


def _schema() -> ClauseElement:
    assets = tables.assets
    return (
        update(assets)
        .where(
            assets.c.id == bindparam("at_id"),
            assets.c.schema.is_distinct_from(bindparam("than")),
        )
        .values(schema=bindparam("new_schema"))
    )


HEAD = Prepared(_head, ["name"])
SLOTS = Prepared(_slots, ["places"])
RUNS = Prepared(_runs, ["numbers"])
COUNT = Prepared(_count, ["new_value", "which"])
NEWEST_SCHEMA = Prepared(_schema, ["new_schema", "at_id", "than"])
ADD_SLOT = _inserting(tables.asset_partitions, _columns(tables.asset_partitions))
MOVE_SLOT = _changing_slots("token", "holder", "materialization", "facts", "invalidated")
LEASE_SLOT = _changing_slots("token", "holder", "invalidated")
ADD_FACT = _inserting(tables.materializations, _columns(tables.materializations))
ADD_WITHDRAWAL = _inserting(tables.withdrawals, _columns(tables.withdrawals))
ADD_ATTEMPT = _inserting(tables.attempts, _columns(tables.attempts, "id"))
ADD_EDGE = Prepared(lambda: insert_missing(tables.edges), _columns(tables.edges))
