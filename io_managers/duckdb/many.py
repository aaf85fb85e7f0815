"""Many partitions staged in one DuckDB table: loaded by one statement, read back by one query."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from assets_core.contracts import Staged, Target
from assets_core.errors import CorruptDataError, OutputError
from assets_core.partitions import quote_identifier
from io_managers.duckdb import catalog, held, types
from io_managers.duckdb.file import Session
from io_managers.duckdb.read import BATCH_ROWS
from io_managers.duckdb.types import PARTITION


@dataclass(frozen=True, slots=True)
class Load:
    """The rows of partitions, one after the other, on their way into a staging table."""

    targets: Sequence[Target]
    tables: Sequence[pa.Table]

    @property
    def columns(self) -> pa.Schema:
        """The logical columns."""
        return types.logical(self.tables[0].schema)

    def into(self, session: Session, place: str) -> None:
        """Create the staging table with all rows."""
        given = self.tables[0].schema
        stored = types.physical(self.columns)
        if not len(stored):
            raise OutputError(
                "Rows without a column that DuckDB keeps can't be told apart.",
                facts={"asset": self.targets[0].asset},
            )
        table = types.to_physical(pa.concat_tables(self.tables), given, stored)
        counts = [len(one) for one in self.tables]
        places = pa.array(np.repeat(np.arange(len(counts)), counts))
        keys = pa.array([target.partition for target in self.targets], pa.string()).take(places)
        with session.incoming(table.append_column(PARTITION, keys)) as incoming:
            session.run(f"CREATE TABLE {place} AS SELECT * FROM {incoming}")


def staged_tables(session: Session, staged: Sequence[Staged], path: str) -> list[pa.Table] | None:
    """The rows of each, in the order they were loaded; None when they are not there."""
    name = staged[0].together
    columns = held.columns_of(session, name)
    if columns is None:
        return None
    schema = types.readable(catalog.schemas(session, [columns])[columns])
    chosen = [quote_identifier(column) for column in types.physical(schema).names]
    query = (
        f"SELECT {', '.join([*chosen, PARTITION])} FROM {held.place(session, name)}"
        f" WHERE {PARTITION} IN (SELECT unnest(?::VARCHAR[]))"
    )
    keys = [one.target.partition for one in staged]
    with session.stream(query, [keys], BATCH_ROWS) as batches:
        rows = batches.read_all()
    return _apart(rows, schema, staged, path)


def _apart(rows: pa.Table, schema: pa.Schema, staged: Sequence[Staged], path: str) -> list[Any]:
    import pyarrow.compute as pc

    keys = pa.array([one.target.partition for one in staged], pa.string())
    places = np.asarray(pc.index_in(rows.column(rows.num_columns - 1), value_set=keys))
    if len(places) and (places[1:] < places[:-1]).any():
        order = np.argsort(places, kind="stable")
        rows, places = rows.take(order), places[order]
    table = types.to_logical(rows.drop_columns([rows.column_names[-1]]), schema)
    bounds = places.searchsorted(np.arange(len(staged) + 1)).tolist()
    counts = [high - low for low, high in itertools.pairwise(bounds)]
    if counts != [one.rows for one in staged]:
        raise CorruptDataError(
            "The staging table holds other rows than were loaded.",
            facts={"path": path, "loaded": sum(o.rows for o in staged), "found": sum(counts)},
            hint="Check the disk; the old versions still serve.",
        )
    return [table.slice(low, count) for low, count in zip(bounds[:-1], counts, strict=True)]


def forget(session: Session, staged: Staged) -> None:
    """Take one partition's rows out of what is staged together; the others' stay."""
    # Gone with the others already, perhaps.
    if held.columns_of(session, staged.together) is not None:
        session.run(
            f"DELETE FROM _assets.{quote_identifier(staged.together)} WHERE {PARTITION} = ?",
            [staged.target.partition],
        )


__all__ = ["Load", "forget", "staged_tables"]
