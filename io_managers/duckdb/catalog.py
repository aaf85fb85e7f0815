"""What the DuckDB store notes about itself in the file: the schema ``_assets``.

``fences`` holds who published each partition last, with the fact; ``barred`` who may not publish
it any more; ``staged`` what was staged and not published; ``tables`` which table is whose and its
columns; ``schemas`` the columns of versions. Every function takes an open session; those that
write want a transaction around them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import duckdb
import pyarrow as pa

from assets_core.contracts import Fence, Found, Staged, Target
from assets_core.errors import OutputError, StorageError
from assets_core.partitions import quote_identifier
from assets_core.records import Receipt
from io_managers.duckdb.file import Session

FORMAT = 1
_CREATE = (
    "CREATE SCHEMA IF NOT EXISTS _assets",
    "CREATE TABLE _assets.meta(format INTEGER)",
    """CREATE TABLE _assets.fences(
        environment VARCHAR, asset VARCHAR, partition VARCHAR,
        token BIGINT, run VARCHAR, attempt VARCHAR, kind VARCHAR, location VARCHAR,
        rows BIGINT, bytes BIGINT, rejects VARCHAR, rejected BIGINT,
        columns VARCHAR, reject_columns VARCHAR,
        path_parts VARCHAR, stamp VARCHAR, fact VARCHAR,
        PRIMARY KEY (environment, asset, partition))""",
    """CREATE TABLE _assets.barred(
        environment VARCHAR, asset VARCHAR, partition VARCHAR, token BIGINT,
        PRIMARY KEY (environment, asset, partition))""",
    """CREATE TABLE _assets.tables(
        environment VARCHAR, asset VARCHAR, role VARCHAR,
        schema_name VARCHAR, table_name VARCHAR, columns VARCHAR,
        PRIMARY KEY (environment, asset, role))""",
    "CREATE TABLE _assets.staged(name VARCHAR, run VARCHAR, columns VARCHAR)",
    # No key: two threads may note the same columns at a time, and both rows say the same.
    # Without a key: threads that stage equal columns at once may both add them.
    "CREATE TABLE _assets.schemas(id VARCHAR, arrow BLOB)",
    f"INSERT INTO _assets.meta VALUES ({FORMAT})",
)


def prepare(session: Session, path: str) -> None:
    """Create the notes in a new file; refuse a file of a newer release."""
    try:
        found = session.run("SELECT format FROM _assets.meta")
    except duckdb.CatalogException:
        with session.transaction():
            for statement in _CREATE:
                session.run(statement)
        return
    if not found or found[0][0] > FORMAT:
        raise StorageError(
            "A newer release wrote this duckdb file.",
            facts={"path": path, "format": found[0][0] if found else None, "known": FORMAT},
            hint="Install that release, or name another file.",
        )


# --------------------------------------------------------------------------------------------
# Schemas


_known_schemas: dict[str, pa.Schema] = {}  # named by content, so never stale


def keep_schema(session: Session, schema: pa.Schema) -> str:
    """Store the columns of a version, once; the id they are found by."""
    data = schema.serialize().to_pybytes()
    name = blake2b(data, digest_size=16).hexdigest()
    if name in session.known.schemas:
        return name
    if session.run("SELECT 1 FROM _assets.schemas WHERE id = ?", [name]):
        session.known.schemas.add(name)
    else:  # known once it is found: this transaction may be rolled back
        session.run("INSERT INTO _assets.schemas VALUES (?, ?)", [name, data])
    return name


def name_schema(schema: pa.Schema) -> str:
    """The id that `keep_schema` will store columns under; this process knows them by it already."""
    name = blake2b(schema.serialize().to_pybytes(), digest_size=16).hexdigest()
    _known_schemas[name] = schema
    return name


def schemas(session: Session, names: Iterable[str]) -> dict[str, pa.Schema]:
    """Stored columns by their ids."""
    wanted = set(names)
    if missing := sorted(wanted - _known_schemas.keys()):
        rows = session.run(
            "SELECT id, arrow FROM _assets.schemas WHERE id IN (SELECT unnest(?::VARCHAR[]))",
            [missing],
        )
        if len(_known_schemas) >= 4096:  # a bound, so that a service can run for years
            _known_schemas.clear()
        _known_schemas.update((n, pa.ipc.read_schema(pa.py_buffer(data))) for n, data in rows)
        if not wanted <= _known_schemas.keys():
            return schemas(session, wanted)
    return {name: _known_schemas[name] for name in wanted}


# --------------------------------------------------------------------------------------------
# Fences

_OUT_OF_SIGHT = "hidden:"
"""What the location of a partition begins with that is out of sight: no receipt has it."""


def is_hidden(location: str) -> bool:
    """Whether the location of a fence row says that the partition is out of sight."""
    return location.startswith(_OUT_OF_SIGHT)


def relocate(
    session: Session, environment: str, asset: str, keys: Sequence[str], *, hidden: bool
) -> None:
    """Say of these partitions that they are out of sight, or in sight again."""
    location = (
        f"'{_OUT_OF_SIGHT}' || location" if hidden else f"location[{len(_OUT_OF_SIGHT) + 1}:]"
    )
    session.run(
        f"UPDATE _assets.fences SET location = {location} WHERE environment = ? AND asset = ?"
        " AND partition IN (SELECT unnest(?::VARCHAR[]))",
        [environment, asset, list(keys)],
    )


_FENCE = (
    "environment, asset, partition, token, run, attempt, kind, location, rows, bytes, "
    "rejects, rejected, columns, reject_columns, path_parts, stamp, fact"
)


FenceKey = tuple[str, str, str]
"""Environment, asset, partition."""


@dataclass(frozen=True, slots=True)
class FenceRow:
    """One row of ``fences``: the last publish of a partition."""

    environment: str
    asset: str
    partition: str
    token: int
    run: str
    attempt: str
    kind: Any
    location: str
    rows: int
    bytes: int
    rejects: str
    rejected: int
    columns: str
    reject_columns: str
    path_parts: str
    stamp: str
    fact: str

    def is_of(self, staged: Staged) -> bool:
        """Whether this very attempt was published."""
        return (self.token, self.location) == (staged.target.token, staged.location)

    def fence(self) -> Fence:
        """For rolling forward."""
        return Fence(self.asset, self.partition, self.environment, self.token, self.run, self.fact)

    def receipt(self, store: str) -> Receipt:
        """What reads this version."""
        return Receipt(
            store,
            self.kind,
            self.location,
            self.token,
            self.rows,
            self.bytes,
            self.rejects,
            self.rejected,
        )

    def found(self, store: str) -> Found:
        """For rebuilding the state."""
        return Found(
            self.asset,
            self.partition,
            tuple(json.loads(self.path_parts)),
            self.environment,
            self.run,
            self.attempt,
            json.loads(self.stamp),
            self.receipt(store),
            visible=not is_hidden(self.location),
            fact=self.fact,
        )


def fences(
    session: Session, environment: str, asset: str, partitions: Sequence[str]
) -> dict[str, FenceRow]:
    """The fence rows of these partitions, by key."""
    one = len(partitions) == 1  # the usual case, and three times as quick as a list
    which = "= ?" if one else "IN (SELECT unnest(?::VARCHAR[]))"
    rows = session.run(
        f"SELECT {_FENCE} FROM _assets.fences"
        f" WHERE environment = ? AND asset = ? AND partition {which}",
        [environment, asset, partitions[0] if one else list(partitions)],
    )
    return {row[2]: FenceRow(*row) for row in rows}


def fences_of(session: Session, targets: Sequence[Target]) -> dict[FenceKey, FenceRow]:
    """The fence rows of these partitions, of whatever assets."""
    rows = session.run(f"SELECT {_FENCE} FROM _assets.fences WHERE {_AMONG_SLOTS}", _slots(targets))
    return {row[:3]: FenceRow(*row) for row in rows}


_AMONG_SLOTS = (
    "(environment, asset, partition) IN"
    " (SELECT (unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[])))"
)


def _slots(targets: Sequence[Target]) -> list[object]:
    return [
        [target.environment for target in targets],
        [target.asset for target in targets],
        [target.partition for target in targets],
    ]


def all_fences(session: Session) -> Iterator[FenceRow]:
    """Every fence row there is."""
    for row in session.run(f"SELECT {_FENCE} FROM _assets.fences"):
        yield FenceRow(*row)


_SET = (
    "token",
    "run",
    "attempt",
    "kind",
    "location",
    "rows",
    "bytes",
    "rejects",
    "rejected",
    "columns",
    "reject_columns",
    "path_parts",
    "stamp",
    "fact",
)
_KEY = ("environment", "asset", "partition")
_NUMBERS = ("token", "rows", "bytes", "rejected")
_UPDATE = (
    f"UPDATE _assets.fences SET {', '.join(f'{name} = ?' for name in _SET)}"
    f" WHERE {' AND '.join(f'{name} = ?' for name in _KEY)}"
)
_INSERT = (
    f"INSERT INTO _assets.fences({', '.join(_SET + _KEY)})"
    f" VALUES ({', '.join('?' * len(_SET + _KEY))})"
)
_UPDATE_MANY = (
    f"UPDATE _assets.fences SET {', '.join(f'{name} = i.{name}' for name in _SET)}"
    f" FROM {{}} AS i WHERE {' AND '.join(f'fences.{name} = i.{name}' for name in _KEY)}"
)
_INSERT_MANY = (
    f"INSERT INTO _assets.fences({', '.join(_SET + _KEY)})"
    f" SELECT {', '.join(_SET + _KEY)} FROM {{}}"
)


def raise_fences(
    session: Session,
    rows: Sequence[tuple[Staged, Sequence[str], str]],
    known: Mapping[FenceKey, FenceRow],
) -> None:
    """Put these attempts into their partitions' fence rows: ``(staged, columns, fact)``, with the
    ids of the columns of its rows and rejects. ``known`` are the fence rows that are there.

    An update changes no indexed column: DuckDB would keep the old key for as long as somebody
    reads, and refuse the new row as a duplicate.
    """
    by_novelty: dict[bool, list[list[object]]] = {True: [], False: []}
    for one, columns, fact in rows:
        target = one.target
        is_new = (target.environment, target.asset, target.partition) not in known
        by_novelty[is_new].append(_fence_values(one, columns, fact))
    for is_new, values in by_novelty.items():
        if len(values) == 1:
            session.run(_INSERT if is_new else _UPDATE, values[0])
        elif values:
            with session.incoming(_fence_table(values)) as incoming:
                session.run((_INSERT_MANY if is_new else _UPDATE_MANY).format(incoming))


def _fence_table(rows: Sequence[Sequence[object]]) -> pa.Table:
    kinds = [pa.int64() if name in _NUMBERS else pa.string() for name in _SET + _KEY]
    columns = zip(zip(*rows, strict=True), kinds, strict=True)
    return pa.table([pa.array(*each) for each in columns], names=list(_SET + _KEY))


def _fence_values(staged: Staged, columns: Sequence[str], fact: str) -> list[object]:
    """What stands in a fence row, in the order of its columns."""
    target = staged.target
    own, rejects = (*columns, "", "")[:2]
    return [
        *(target.token, target.run, target.attempt, staged.kind, staged.location),
        *(staged.rows, staged.bytes, staged.rejects, staged.rejected, own, rejects),
        *(json.dumps(target.path_parts), json.dumps(dict(target.stamp)), fact),
        *(target.environment, target.asset, target.partition),
    ]


def fence_off(session: Session, environment: str, asset: str, tokens: Mapping[str, int]) -> None:
    """Bar publishes of these partitions under the given tokens and older ones."""
    session.run(
        "INSERT INTO _assets.barred SELECT ?, ?, unnest(?::VARCHAR[]), unnest(?::BIGINT[])"
        " ON CONFLICT DO UPDATE SET token = greatest(token, excluded.token)",
        [environment, asset, list(tokens), list(tokens.values())],
    )


def barred(session: Session, targets: Sequence[Target]) -> dict[FenceKey, int]:
    """The newest token that may not publish each partition any more; those that nothing bars are
    left out."""
    rows = session.run(
        f"SELECT environment, asset, partition, token FROM _assets.barred WHERE {_AMONG_SLOTS}",
        _slots(targets),
    )
    return {row[:3]: int(row[3]) for row in rows}


# --------------------------------------------------------------------------------------------
# Tables

ROWS, REJECTS, _HIDDEN = "rows", "rejects", "hidden"


@dataclass(frozen=True, slots=True)
class AssetTable:
    """An asset's table: where it is and its logical columns."""

    schema_name: str
    table_name: str
    columns: pa.Schema

    @property
    def sql(self) -> str:
        """Its quoted name."""
        return f"{quote_identifier(self.schema_name)}.{quote_identifier(self.table_name)}"


def table_of(session: Session, environment: str, asset: str, role: str) -> AssetTable | None:
    """The table that holds an asset's rows (or rejects), None before the first publish."""
    rows = session.run(
        "SELECT schema_name, table_name, columns FROM _assets.tables"
        " WHERE environment = ? AND asset = ? AND role = ?",
        [environment, asset, role],
    )
    if not rows:
        return None
    schema_name, table_name, columns = rows[0]
    return AssetTable(schema_name, table_name, schemas(session, [columns])[columns])


def new_table(
    session: Session, environment: str, asset: str, role: str, schema_name: str, columns: pa.Schema
) -> AssetTable:
    """Choose and note a name for an asset's table; the caller creates it."""
    session.run(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(schema_name)}")
    table = AssetTable(
        schema_name, _free_name(session, schema_name, environment, asset, role), columns
    )
    session.run(
        "INSERT INTO _assets.tables VALUES (?, ?, ?, ?, ?, ?)",
        [environment, asset, role, schema_name, table.table_name, keep_schema(session, columns)],
    )
    return table


def new_hidden_table(
    session: Session, environment: str, asset: str, role: str, columns: pa.Schema
) -> AssetTable:
    """Note one more table for rows of an asset that are out of sight; the caller creates it."""
    taken = {name for name, _ in hidden_tables(session, environment, asset, role)}
    hidden = next(n for i in itertools.count() if (n := f"{_HIDDEN} {role} {i}") not in taken)
    name = f"h_{_digest(f'{environment}/{asset}/{hidden}')}"
    session.run(
        "INSERT INTO _assets.tables VALUES (?, ?, ?, '_assets', ?, ?)",
        [environment, asset, hidden, name, keep_schema(session, columns)],
    )
    return AssetTable("_assets", name, columns)


def hidden_tables(
    session: Session, environment: str, asset: str, role: str
) -> list[tuple[str, AssetTable]]:
    """The tables of an asset's rows (or rejects) that are out of sight, by their own roles."""
    rows = session.run(
        "SELECT role, table_name, columns FROM _assets.tables"
        " WHERE environment = ? AND asset = ? AND starts_with(role, ?) ORDER BY role",
        [environment, asset, f"{_HIDDEN} {role} "],
    )
    return [
        (hidden, AssetTable("_assets", name, schemas(session, [columns])[columns]))
        for hidden, name, columns in rows
    ]


def forget_table(
    session: Session, environment: str, asset: str, role: str, table: AssetTable
) -> None:
    """Drop a table that nothing is in, and its note."""
    session.run(f"DROP TABLE {table.sql}")
    session.run(
        "DELETE FROM _assets.tables WHERE environment = ? AND asset = ? AND role = ?",
        [environment, asset, role],
    )


def _free_name(session: Session, schema_name: str, environment: str, asset: str, role: str) -> str:
    """The asset's own name; DuckDB ignores case, so another spelling's gets a suffix."""
    name = bounded(asset if role == ROWS else f"{asset}__rejects")
    ours = _names_in(session, "_assets.tables", schema_name)
    if name.casefold() in ours:
        return f"{name}__{_digest(f'{environment}/{asset}')}"
    there = _names_in(session, "duckdb_tables()", schema_name)
    if name.casefold() in there | _names_in(session, "duckdb_views()", schema_name, "view_name"):
        raise OutputError(
            f"There is a table {name!r} that this project did not make.",
            facts={"schema": schema_name},
            hint="Rename or drop it, or give the asset another name.",
        )
    return name


def bounded(name: str) -> str:
    """``name``, or its beginning with a digest where it is too long for an identifier."""
    return name if len(name) <= 200 else f"{name[:180]}__{_digest(name)}"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=6).hexdigest()


def _names_in(
    session: Session, source: str, schema_name: str, column: str = "table_name"
) -> set[str]:
    rows = session.run(
        f"SELECT {column} FROM {source} WHERE lower(schema_name) = lower(?)", [schema_name]
    )
    return {str(name).casefold() for (name,) in rows}


def widen_table(
    session: Session, environment: str, asset: str, role: str, columns: pa.Schema
) -> None:
    """Note a table's new columns; the caller alters it."""
    session.run(
        "UPDATE _assets.tables SET columns = ? WHERE environment = ? AND asset = ? AND role = ?",
        [keep_schema(session, columns), environment, asset, role],
    )
