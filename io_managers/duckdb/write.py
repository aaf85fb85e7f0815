"""Swapping staged rows into an asset's table, inside the publisher's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pt

from assets_core.errors import OutputError
from assets_core.partitions import quote_identifier
from io_managers.duckdb import catalog, retype, types
from io_managers.duckdb.catalog import REJECTS, ROWS, AssetTable
from io_managers.duckdb.file import Session
from io_managers.duckdb.retype import sql_types_of
from io_managers.duckdb.types import PARTITION

_EXACT = 2**53  # float64 holds every integer up to here


@dataclass(frozen=True, slots=True)
class NewRows:
    """New rows: the quoted table that they lie in, and the id of their columns."""

    place: str
    columns: str


@dataclass(frozen=True, slots=True)
class Swap:
    """One table's part in a publish: new rows (or none) in the place of these partitions' old ones.

    Of each source go the rows of these partitions; it may hold others' as well.
    """

    environment: str
    asset: str
    role: str
    schema_name: str
    partitions: tuple[str, ...]
    sources: tuple[NewRows, ...] = ()

    def make_room(self, session: Session) -> AssetTable | None:
        """The asset's table, made or widened for the new rows; None when none is needed.

        Comes before any change of rows: DuckDB 1.5 can't alter a table that the same
        transaction has deleted from.
        """
        table = catalog.table_of(session, self.environment, self.asset, self.role)
        for columns, sources in self._alike():
            new = catalog.schemas(session, [columns])[columns]
            if table is None:
                table = self._create(session, new)
            elif not new.equals(table.columns):
                for source in sources:
                    self._widen(session, table, new, source)
                table = catalog.table_of(session, self.environment, self.asset, self.role)
        return table

    def _alike(self) -> Iterable[tuple[str, list[NewRows]]]:
        """Sources of one schema each, by the id of their columns."""
        by_columns: dict[str, list[NewRows]] = {}
        for source in self.sources:
            by_columns.setdefault(source.columns, []).append(source)
        return by_columns.items()

    def _create(self, session: Session, new: pa.Schema) -> AssetTable:
        # Column by column: in DuckDB 2.0.0 rows that are inserted into a table made by CREATE
        # TABLE AS in the same transaction can't be seen until the file is opened again.
        table = catalog.new_table(
            session, self.environment, self.asset, self.role, self.schema_name, new
        )
        columns = [
            f"{quote_identifier(name)} {kind}"
            for name, kind in sql_types_of(session, types.physical(new)).items()
        ]
        session.run(f"CREATE TABLE {table.sql} ({', '.join([*columns, f'{PARTITION} VARCHAR'])})")
        return table

    def delete(self, session: Session, table: AssetTable) -> None:
        """Remove the old rows."""
        which, values = among(self.partitions)
        session.run(f"DELETE FROM {table.sql} WHERE {which}", values)

    def insert(self, session: Session, table: AssetTable) -> None:
        """Copy the new rows in, in the order of their sources."""
        which, values = among(self.partitions)
        for _, sources in self._alike():
            rows = " UNION ALL ".join(f"SELECT * FROM {one.place} WHERE {which}" for one in sources)
            session.run(f"INSERT INTO {table.sql} BY NAME {rows}", values * len(sources))

    def _widen(self, session: Session, table: AssetTable, new: pa.Schema, source: NewRows) -> None:
        """Give the table the columns and types that the new rows need."""
        if self.role == ROWS:
            both = retype.settled(session, table, new, source.place, self.partitions)
        else:
            both = _merged_loosely(table.columns, new)
        _check_exact(session, new, both, source.place, table.sql)
        if both.equals(table.columns):
            return
        old, wanted = types.physical(table.columns), types.physical(both)
        sql_types = sql_types_of(session, wanted)
        _check_exact(session, table.columns, both, table.sql, table.sql)
        for field in wanted:
            column, kind = quote_identifier(field.name), sql_types[field.name]
            place = old.get_field_index(field.name)
            if place < 0:
                session.run(f"ALTER TABLE {table.sql} ADD COLUMN {column} {kind}")
            elif old.field(place).type != field.type:
                had, has = table.columns.field(field.name).type, both.field(field.name).type
                how = retype.conversion(column, had, has, kind)
                session.run(f"ALTER TABLE {table.sql} ALTER COLUMN {column} TYPE {kind} {how}")
        catalog.widen_table(session, self.environment, self.asset, self.role, both)


def among(partitions: tuple[str, ...]) -> tuple[str, list[object]]:
    """The condition that a row is of one of these; quick for one, which is the usual case."""
    if len(partitions) == 1:
        return f"{PARTITION} = ?", [partitions[0]]
    return f"{PARTITION} IN (SELECT unnest(?::VARCHAR[]))", [list(partitions)]


def _merged_loosely(known: pa.Schema, new: pa.Schema) -> pa.Schema:
    """Rejected rows must always find room: columns with nothing in common are kept as text."""
    fields = {field.name: field for field in known}
    for field in new:
        old = fields.get(field.name)
        kind = field.type if old is None else types.common(old.type, field.type) or pa.string()
        fields[field.name] = pa.field(field.name, kind)
    return pa.schema(list(fields.values()))


def _check_exact(session: Session, old: pa.Schema, new: pa.Schema, source: str, table: str) -> None:
    """Refuse to turn integers into floats that can't hold them; DuckDB would round in silence."""
    for field in old:
        kind = new.field(field.name).type
        if types.common(field.type, kind) is None or not _may_round(field.type, kind):
            continue
        column = quote_identifier(field.name)
        beyond = f"{column} NOT BETWEEN {-_EXACT} AND {_EXACT}"
        nested = pt.is_nested(kind)
        if nested or session.run(f"SELECT 1 FROM {source} WHERE {beyond} LIMIT 1"):
            raise OutputError(
                f"The new rows don't fit table {table}.",
                facts={"column": field.name, "types": f"{field.type} and {kind}"},
                hint="Whole numbers beyond 2**53 can't share a column with fractions: cast "
                "the column to one type in the function.",
            )


def _may_round(old: pa.DataType, new: pa.DataType) -> bool:
    if pt.is_struct(old) and pt.is_struct(new):
        return any(_may_round(field.type, new.field(field.name).type) for field in old)
    if pt.is_map(old) and pt.is_map(new):
        return _may_round(old.key_type, new.key_type) or _may_round(old.item_type, new.item_type)
    if pt.is_nested(old) and pt.is_nested(new):
        return _may_round(old.value_type, new.value_type)
    return bool(pt.is_integer(old) and old.bit_width > 32 and pt.is_floating(new))


__all__ = ["REJECTS", "ROWS", "NewRows", "Swap"]
