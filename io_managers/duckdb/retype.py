"""Columns that change to a type which has nothing in common with their old one.

Whether such a change is meant, the asset's policy has decided before anything is published. Here
it is made without loss or refused: every version keeps the type that it was written with, so
rows of other partitions must come back from the new column exactly as they were.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pt

from assets_core.errors import OutputError
from assets_core.partitions import quote_identifier
from io_managers.duckdb import types
from io_managers.duckdb.catalog import AssetTable
from io_managers.duckdb.file import Session
from io_managers.duckdb.types import PARTITION


@dataclass(frozen=True, slots=True)
class Clash:
    """A column whose new rows have nothing in common with the table's.

    ``source`` is the table of the new rows, ``partitions`` are those that they replace.
    """

    table: AssetTable
    source: str
    partitions: tuple[str, ...]
    name: str
    old: pa.DataType
    new: pa.DataType

    def settle(self, session: Session) -> pa.DataType:
        """The type that holds both: the new one, else text. OutputError where neither does."""
        if not self._others_hold(session, "TRUE"):
            return self.new
        for kind in (self.new, pa.string()):
            if self._holds(session, kind):
                return kind
        raise OutputError(
            f"The new rows don't fit table {self.table.sql}.",
            facts={"column": self.name, "types": f"{self.old} and {self.new}"},
            hint="Other partitions hold values that neither the new type nor text can keep as "
            "they are. Return the type the table has, or give the asset a new name.",
        )

    def _holds(self, session: Session, kind: pa.DataType) -> bool:
        if not (convertible(self.old, kind) and convertible(self.new, kind)):
            return False
        between = self._sql(session, kind)
        if self._others_hold(
            session, _altered(self._column, self._sql(session, self.old), between)
        ):
            return False
        altered = _altered(self._column, self._sql(session, self.new), between)
        return not session.run(f"SELECT 1 FROM {self.source} WHERE {altered} LIMIT 1")

    def _others_hold(self, session: Session, condition: str) -> bool:
        """Whether another partition has such a value."""
        found = session.run(
            f"SELECT 1 FROM {self.table.sql} WHERE {PARTITION} NOT IN"
            f" (SELECT unnest(?::VARCHAR[])) AND {self._column} IS NOT NULL"
            f" AND {condition} LIMIT 1",
            [list(self.partitions)],
        )
        return bool(found)

    @property
    def _column(self) -> str:
        return quote_identifier(self.name)

    def _sql(self, session: Session, kind: pa.DataType) -> str:
        schema = types.physical(pa.schema([(self.name, kind)]))
        return sql_types_of(session, schema)[self.name]


def _altered(column: str, own: str, other: str) -> str:
    """The condition that a value does not come back from another type as it was."""
    return f"TRY_CAST(TRY_CAST({column} AS {other}) AS {own}) IS DISTINCT FROM {column}"


def convertible(a: pa.DataType, b: pa.DataType) -> bool:
    """Whether DuckDB can turn one into the other, value by value, in every session alike."""
    return a == b or (_is_simple(a) and _is_simple(b))


def _is_simple(kind: pa.DataType) -> bool:
    number = pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)
    text = pt.is_string(kind) or pt.is_large_string(kind)
    # Times with a zone are read in the session's zone, so they are not among these.
    when = pt.is_date(kind) or (pt.is_timestamp(kind) and kind.tz is None)
    return bool(number or text or when or pt.is_boolean(kind))


def conversion(column: str, old: pa.DataType, new: pa.DataType, sql: str) -> str:
    """What follows the type in ALTER COLUMN: how old values become new ones, "" for DuckDB's way.

    ``old`` and ``new`` are logical types, ``sql`` is DuckDB's name of the new one.
    Only values of partitions that are being replaced can fail to become one.
    """
    if types.common(old, new) is not None or pt.is_string(new):
        return ""
    return f"USING {cast(column, old, new, sql).replace('CAST', 'TRY_CAST', 1)}"


def cast(column: str, old: pa.DataType, new: pa.DataType, sql: str) -> str:
    """A column's values as another type; null where only nulls can be, since nothing converts."""
    nothing = types.common(old, new) is None and not convertible(old, new)
    # What was read of empty lists has a stand-in's type: those of one shape are left to DuckDB.
    alike = pt.is_nested(old) and old.id == new.id
    return f"CAST(NULL AS {sql})" if nothing and not alike else f"CAST({column} AS {sql})"


def settled(
    session: Session, table: AssetTable, new: pa.Schema, source: str, partitions: tuple[str, ...]
) -> pa.Schema:
    """The logical columns of a table that takes ``new`` rows in the place of these partitions'.

    Raises OutputError where no column can hold them beside those of other partitions.
    """
    kinds = {
        field.name: Clash(table, source, partitions, field.name, old, field.type).settle(session)
        for field in new
        if (old := _type_in(table.columns, field.name)) is not None
        and types.common(old, field.type) is None
    }
    return types.merged(_retyped(table.columns, kinds), _retyped(new, kinds), table.sql)


def _type_in(schema: pa.Schema, name: str) -> pa.DataType | None:
    place = schema.get_field_index(name)
    return None if place < 0 else schema.field(place).type


def _retyped(schema: pa.Schema, kinds: dict[str, pa.DataType]) -> pa.Schema:
    return pa.schema([field.with_type(kinds.get(field.name, field.type)) for field in schema])


def sql_types_of(session: Session, schema: pa.Schema) -> dict[str, str]:
    """DuckDB's names for the types of physical columns."""
    if not len(schema):
        return {}
    with session.incoming(schema.empty_table()) as incoming:
        return dict(zip(schema.names, session.column_types(incoming), strict=True))
