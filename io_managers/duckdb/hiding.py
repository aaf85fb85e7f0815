"""Partitions that the definitions no longer have, out of sight but not gone.

Their rows (and rejects) lie in tables of ``_assets`` that are named in ``_assets.tables`` by a role
of their own; their fence rows stay, with a location that no receipt has. So nothing reads them, no
token is given twice, and they come back by being moved again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from assets_core.contracts import InView
from assets_core.partitions import quote_identifier
from io_managers.duckdb import catalog, types
from io_managers.duckdb.catalog import REJECTS, ROWS, AssetTable
from io_managers.duckdb.file import Session
from io_managers.duckdb.retype import sql_types_of
from io_managers.duckdb.types import PARTITION
from io_managers.duckdb.write import NewRows, Swap

_AMONG = f"{PARTITION} IN (SELECT unnest(?::VARCHAR[]))"


def restrict(
    session: Session, environment: str, asset: str, schema_name: str, wanted: Sequence[InView]
) -> int:
    """Leave exactly these partitions in the asset's table, of all that there ever were; how many
    of them stay out of sight, for want of a receipt.

    Two transactions: DuckDB can't widen a table that the same one has deleted from.
    """
    by_key = {one.partition: one for one in wanted}
    with session.transaction():
        there = list(_all(session, environment, asset))
        shown = [(key, place) for key, hidden, place in there if not hidden]
        gone = {key for key, place in shown if not _stays(by_key.get(key), place)}
        hide = sorted(gone)
        for role in (ROWS, REJECTS) if hide else ():
            _hide(session, environment, asset, role, hide)
        catalog.relocate(session, environment, asset, hide, hidden=True)
        _drop_empty(session, environment, asset)
    hidden = {key for key, is_hidden, _ in there if is_hidden} | gone
    show = [key for key, is_hidden, _ in there if is_hidden and _is_current(by_key.get(key))]
    with session.transaction():
        for role in (ROWS, REJECTS) if show else ():
            _show(session, environment, asset, schema_name, role, show)
        catalog.relocate(session, environment, asset, show, hidden=False)
    return len(hidden & by_key.keys()) - len(show)


def _stays(wanted: InView | None, place: tuple[str, ...]) -> bool:
    return _is_current(wanted) or (wanted is not None and wanted.path_parts == place)


def _is_current(wanted: InView | None) -> bool:
    return wanted is not None and wanted.receipt is not None


def _all(
    session: Session, environment: str, asset: str
) -> Iterator[tuple[str, bool, tuple[str, ...]]]:
    """Each partition that has rows: its key, whether it is hidden, its folders."""
    rows = session.run(
        "SELECT partition, location, path_parts FROM _assets.fences"
        " WHERE environment = ? AND asset = ? AND kind <> 'none'",
        [environment, asset],
    )
    for key, location, parts in rows:
        yield key, catalog.is_hidden(location), tuple(json.loads(parts))


def _hide(session: Session, environment: str, asset: str, role: str, keys: Sequence[str]) -> None:
    table = catalog.table_of(session, environment, asset, role)
    if table is None:
        return
    for _, older in catalog.hidden_tables(session, environment, asset, role):
        _delete(session, older, keys)  # hidden before, and published again since
    hidden = catalog.new_hidden_table(session, environment, asset, role, table.columns)
    kinds = sql_types_of(session, types.physical(table.columns)).items()
    columns = [f"{quote_identifier(name)} {kind}" for name, kind in kinds]
    session.run(f"CREATE TABLE {hidden.sql} ({', '.join([*columns, f'{PARTITION} VARCHAR'])})")
    _move(session, table, hidden, keys)


def _show(
    session: Session,
    environment: str,
    asset: str,
    schema_name: str,
    role: str,
    keys: Sequence[str],
) -> None:
    """Move rows back, into a table that has room for them; what nothing counts any more goes."""
    for hidden_role, hidden in catalog.hidden_tables(session, environment, asset, role):
        source = NewRows(hidden.sql, catalog.keep_schema(session, hidden.columns))
        swap = Swap(environment, asset, role, schema_name, tuple(keys), (source,))
        table = swap.make_room(session)
        assert table is not None  # there are rows to be shown
        _move(session, hidden, table, keys)
        if not session.run(f"SELECT 1 FROM {hidden.sql} LIMIT 1"):
            catalog.forget_table(session, environment, asset, hidden_role, hidden)


def _move(session: Session, source: AssetTable, into: AssetTable, keys: Sequence[str]) -> None:
    session.run(
        f"INSERT INTO {into.sql} BY NAME SELECT * FROM {source.sql} WHERE {_AMONG}", [list(keys)]
    )
    _delete(session, source, keys)


def _delete(session: Session, table: AssetTable, keys: Sequence[str]) -> None:
    session.run(f"DELETE FROM {table.sql} WHERE {_AMONG}", [list(keys)])


def _drop_empty(session: Session, environment: str, asset: str) -> None:
    """An asset of which nothing is in sight has no table."""
    if any(not hidden for _, hidden, _ in _all(session, environment, asset)):
        return
    for role in (ROWS, REJECTS):
        table = catalog.table_of(session, environment, asset, role)
        if table is not None and not session.run(f"SELECT 1 FROM {table.sql} LIMIT 1"):
            catalog.forget_table(session, environment, asset, role, table)
