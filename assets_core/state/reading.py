"""The reads of the state store: the planner's columns, the log, lineage, runs and attempts.

Each works on one read transaction that it is handed; nothing here writes.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    union,
)

from assets_core.contracts import Columns, Lease, Snapshot
from assets_core.records import (
    Attempt,
    Backfill,
    Code,
    Invalidation,
    Materialization,
    Measured,
    Receipt,
    Run,
)
from assets_core.state import statements, tables
from assets_core.state.rows import (
    FACTS,
    RAN,
    decode_checks,
    decode_inputs,
    input_numbers,
    kind_of,
    read_backfill,
    read_invalidation,
    read_receipt,
    read_run,
    unpack_version,
)
from assets_core.state.sqlite import listed_numbers, now_micros, unindexed

if TYPE_CHECKING:
    import numpy as np

_CHUNK = 4_000
_log = tables.materializations
_slots = tables.asset_partitions
_shared_checks = tables.texts.alias("shared_checks")


def asset_numbers(connection: Connection, environment: str) -> dict[str, int]:
    """Every recorded asset of an environment."""
    assets = tables.assets
    found = select(assets.c.name, assets.c.id).where(assets.c.environment == environment)
    return dict(connection.execute(found).all())


def asset_number(connection: Connection, environment: str, asset: str) -> int | None:
    """One asset's number, None when nothing of it was ever recorded."""
    assets = tables.assets
    return connection.execute(
        select(assets.c.id).where(assets.c.environment == environment, assets.c.name == asset)
    ).scalar()


def _asset_names(connection: Connection, numbers: Iterable[int]) -> dict[int, str]:
    assets = tables.assets
    wanted = listed_numbers("numbers")
    found = select(assets.c.id, assets.c.name).join_from(
        wanted, assets, assets.c.id == wanted.c.value
    )
    return dict(connection.execute(found, {"numbers": json.dumps(sorted(numbers))}).all())


# ---------------------------------------------------------------------------------------------
# Snapshots


def _whole() -> Select[Any]:
    wanted = listed_numbers("assets")
    return select(_slots.c.asset, _slots.c.partition, _slots.c.facts).where(
        _slots.c.asset.in_(select(wanted.c.value)), _slots.c.materialization.is_not(None)
    )


def _tail() -> Select[Any]:
    gone = tables.withdrawals
    wanted = listed_numbers("assets")
    changed = union(
        select(_log.c.asset, _log.c.partition).where(_log.c.id > bindparam("since")),
        select(gone.c.asset, gone.c.partition).where(gone.c.id > bindparam("since_too")),
    ).subquery("changed")
    place = and_(_slots.c.asset == changed.c.asset, _slots.c.partition == changed.c.partition)
    return (
        select(_slots.c.asset, _slots.c.partition, _slots.c.facts)
        .join_from(changed, _slots, place)
        .where(unindexed(_slots.c.asset).in_(select(wanted.c.value)))
    )


_WHOLE = statements.Prepared(_whole, ["assets"])
_TAIL = statements.Prepared(_tail, ["since", "since_too", "assets"])


def snapshot(
    connection: Connection, environment: str, names: Iterable[str], since: int
) -> Snapshot:
    """See the contract. A million partitions take about a second."""
    revision = statements.HEAD.run(connection, "revision").fetchone()[0]
    found = Snapshot(revision, {name: _no_columns() for name in names}, {})
    if revision <= since:
        return found
    numbers = asset_numbers(connection, environment)
    wanted = {numbers[name]: name for name in found.assets if name in numbers}
    found.invalidations = _invalidated(connection, environment, wanted, since)
    text = json.dumps(sorted(wanted))
    values = (since, since, text) if since else (text,)
    cursor = (_TAIL if since else _WHOLE).run(connection, *values)
    keys, assets, facts = _fetch_columns(cursor)
    for number, rows in _by_asset(assets):
        part = keys[rows] if isinstance(rows, slice) else [keys[row] for row in rows]
        found.assets[wanted[number]] = _columns_of(part, facts[rows])
    found.codes = _code_names(connection, facts[:, 6])
    return found


def mark(connection: Connection, revision: int) -> str:
    """See the contract."""
    gone = tables.withdrawals
    entry = select(
        _log.c.asset, _log.c.partition, _log.c.token, _log.c.finished, func.hex(_log.c.data_version)
    ).where(_log.c.id == revision)
    cleared = select(gone.c.asset, gone.c.partition).where(gone.c.id == revision)
    marked = tables.invalidations
    declared = select(marked.c.asset, marked.c.ranges, marked.c.made, marked.c.reason).where(
        marked.c.id == revision
    )
    found: Sequence[Any] | None = None
    for one in (entry, cleared, declared):
        if found is None:
            found = connection.execute(one).one_or_none()
    return json.dumps(list(found)) if found is not None else ""


def _invalidated(
    connection: Connection, environment: str, names: Mapping[int, str], since: int
) -> list[Invalidation]:
    """Those of these assets after a revision, oldest first."""
    marked = tables.invalidations
    found = select(marked).where(marked.c.id > since).order_by(marked.c.id)
    return [
        read_invalidation(row, environment, names[row.asset])
        for row in connection.execute(found)
        if row.asset in names
    ]


def invalidations(
    connection: Connection, environment: str, asset: str | None, limit: int | None
) -> list[Invalidation]:
    """Newest first."""
    assets, marked = tables.assets, tables.invalidations
    found = (
        select(marked, assets.c.name)
        .join_from(marked, assets, assets.c.id == marked.c.asset)
        .where(assets.c.environment == environment)
        .order_by(marked.c.id.desc())
        .limit(limit)
    )
    if asset is not None:
        found = found.where(assets.c.name == asset)
    return [read_invalidation(row, environment, row.name) for row in connection.execute(found)]


_NO_FACTS = bytes(FACTS.size)


def _fetch_columns(cursor: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Keys, asset numbers, and packed facts as int64 of shape (n, 9)."""
    import numpy as np

    keys: list[str] = []
    assets: list[np.ndarray] = [np.empty(0, "i8")]
    facts: list[np.ndarray] = [np.empty((0, 9), "i8")]
    with _collector_paused():
        while chunk := cursor.fetchmany(_CHUNK):
            numbers, partitions, blobs = zip(*chunk, strict=True)
            keys.extend(partitions)
            assets.append(np.fromiter(numbers, "i8", len(numbers)))
            joined = b"".join([blob or _NO_FACTS for blob in blobs])
            facts.append(np.frombuffer(joined, ">i8").reshape(-1, 9).astype("i8"))
    return keys, np.concatenate(assets), np.concatenate(facts)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A million tuples, none in a cycle: looking for cycles among them would double the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _by_asset(assets: np.ndarray) -> list[tuple[int, Any]]:
    """Each asset number with its rows: a slice where they lie together, as they mostly do."""
    import numpy as np

    if not len(assets):
        return []
    starts = np.flatnonzero(np.diff(assets, prepend=-1))
    numbers = assets[starts].tolist()
    if len(set(numbers)) == len(numbers):
        ends = [*starts[1:].tolist(), len(assets)]
        return [
            (number, slice(start, end))
            for number, start, end in zip(numbers, starts.tolist(), ends, strict=True)
        ]
    return [(number, np.flatnonzero(assets == number)) for number in sorted(set(numbers))]


def _columns_of(keys: list[str], facts: np.ndarray) -> Columns:
    unsigned = facts.view("u8")
    return Columns(
        keys=keys,
        id=facts[:, 0].copy(),
        token=facts[:, 1].copy(),
        data=unsigned[:, 2:4].copy(),
        digest=unsigned[:, 4:6].copy(),
        code=facts[:, 6].copy(),
        finished=facts[:, 7].copy(),
        rows=facts[:, 8].copy(),
    )


def _no_columns() -> Columns:
    import numpy as np

    return _columns_of([], np.empty((0, 9), "i8"))


def _code_names(connection: Connection, numbers: np.ndarray) -> dict[int, str]:
    codes = tables.codes
    wanted = listed_numbers("codes")
    found = select(codes.c.id, codes.c.hex).join_from(wanted, codes, codes.c.id == wanted.c.value)
    text = json.dumps(sorted(set(numbers.tolist())))
    return dict(connection.execute(found, {"codes": text}).all())


# ---------------------------------------------------------------------------------------------
# The log

_RECEIPT = (
    tables.stores.c.name.label("store_name"),
    _log.c.data_kind,
    _log.c.location,
    _log.c.receipt_token,
    _log.c.token,
    _log.c.rows,
    _log.c.bytes,
    _log.c.rejects,
    _log.c.rejected,
)


def _facts() -> Select[Any]:
    """Everything of materializations, with what is interned joined in."""
    assets, codes, stores, runs, texts = (
        tables.assets,
        tables.codes,
        tables.stores,
        tables.runs,
        tables.texts,
    )
    return select(
        *_RECEIPT,
        _log.c.id,
        assets.c.environment,
        assets.c.name.label("asset_name"),
        _log.c.partition,
        _log.c.kind,
        codes.c.hex,
        codes.c.parts,
        _log.c.input_digest,
        _log.c.data_version,
        texts.c.text.label("schema_text"),
        runs.c.run.label("run_id"),
        _log.c.attempt,
        _log.c.started,
        _log.c.finished,
        _log.c.deadline,
        _log.c.inputs,
        _shared_checks.c.text.label("passed_text"),
        _log.c.checks,
        _log.c.metadata,
    ).select_from(
        _log.join(assets, assets.c.id == _log.c.asset)
        .join(codes, codes.c.id == _log.c.code)
        .join(stores, stores.c.id == _log.c.store)
        .outerjoin(runs, runs.c.id == _log.c.run)
        .outerjoin(texts, texts.c.id == _log.c.schema)
        .outerjoin(_shared_checks, _shared_checks.c.id == _log.c.passed)
    )


def _read_facts(
    connection: Connection, query: Select[Any], values: Mapping[str, object] | None = None
) -> list[Materialization]:
    rows = connection.execute(query, dict(values or {})).all()
    upstreams = {n for row in rows if row.inputs is not None for n in input_numbers(row.inputs)}
    names = _asset_names(connection, upstreams) if upstreams else {}
    return [_read_fact(row, names) for row in rows]


def _read_fact(row: Any, names: Mapping[int, str]) -> Materialization:
    return Materialization(
        environment=row.environment,
        asset=row.asset_name,
        partition=row.partition,
        code=_read_code(row.hex, row.parts),
        input_digest=unpack_version(row.input_digest),
        data_version=unpack_version(row.data_version),
        receipt=read_receipt(row[:9]),
        started=row.started,
        finished=row.finished,
        run=row.run_id or "",
        token=row.token,
        attempt=row.attempt,
        kind=kind_of(row.kind),
        inputs=decode_inputs(row.inputs, names),
        checks=decode_checks(row.passed_text if row.checks is None else row.checks),
        metadata=json.loads(row.metadata) if row.metadata else {},
        schema=row.schema_text or "",
        deadline=row.deadline or 0,
        id=row.id,
    )


@lru_cache(maxsize=4096)
def _read_code(hex_version: str, parts: str | None) -> Code:
    return Code(hex_version, json.loads(parts) if parts else {})


def receipts(connection: Connection, ids: Iterable[int]) -> dict[int, Receipt]:
    """Receipts by the materializations' ids; ids that are not there are left out."""
    wanted = listed_numbers("ids")
    stores = tables.stores
    found = (
        select(*_RECEIPT, _log.c.id)
        .select_from(wanted.join(_log, _log.c.id == wanted.c.value))
        .join(stores, stores.c.id == _log.c.store)
    )
    rows = connection.execute(found, {"ids": json.dumps(sorted(set(ids)))}).all()
    return {row.id: read_receipt(row[:9]) for row in rows}


def measured(connection: Connection, ids: Iterable[int]) -> dict[int, Measured]:
    """See the contract: an index look-up for each, in one query."""
    wanted, current, build = listed_numbers("ids"), _log.alias("current"), _log.alias("build")
    ran = (
        select(func.max(build.c.id))
        .where(
            build.c.asset == current.c.asset,
            build.c.partition == current.c.partition,
            build.c.id <= current.c.id,
            build.c.kind.in_(RAN),
            build.c.run.is_not(None),
        )
        .scalar_subquery()
    )
    found = (
        select(current.c.id, _log.c.finished - _log.c.started, _log.c.rows, _log.c.bytes)
        .select_from(wanted.join(current, current.c.id == wanted.c.value))
        .join(_log, _log.c.id == ran)
    )
    rows = connection.execute(found, {"ids": json.dumps(sorted(set(ids)))})
    return {number: Measured(max(micros, 0), n, size) for number, micros, n, size in rows}


def materializations(
    connection: Connection,
    environment: str,
    asset: str | None,
    partition: str | None,
    ids: Iterable[int] | None,
    run: str | None,
    limit: int | None,
) -> list[Materialization]:
    """Newest first; every argument that is given narrows them down."""
    conditions, values = [_of_asset(connection, environment, asset)], {}
    if partition is not None:
        conditions.append(_log.c.partition == partition)
    if ids is not None:
        conditions.append(_log.c.id.in_(select(listed_numbers("ids").c.value)))
        values["ids"] = json.dumps(sorted(set(ids)))
    if run is not None:
        numbers = select(tables.runs.c.id).where(tables.runs.c.run == run)
        conditions.append(_log.c.run == numbers.scalar_subquery())
    # The newest are found first, in an index alone, and only they are read.
    chosen = select(_log.c.id).where(*conditions).order_by(_log.c.id.desc()).limit(limit)
    found = _facts().where(_log.c.id.in_(chosen.correlate(None))).order_by(_log.c.id.desc())
    return _read_facts(connection, found, values)


def _of_asset(connection: Connection, environment: str, asset: str | None) -> ColumnElement[bool]:
    if asset is not None:
        number = asset_number(connection, environment, asset)
        return _log.c.asset == (-1 if number is None else number)
    # All of an environment: best read from the newest on, not asset by asset.
    own = select(tables.assets.c.id).where(tables.assets.c.environment == environment)
    return unindexed(_log.c.asset).in_(own)


def version_as_of(
    connection: Connection,
    environment: str,
    asset: str,
    partitions: Sequence[str],
    revision: int,
    run: str,
    before: int,
) -> list[Materialization | None]:
    """In the order of ``partitions``; two index look-ups for each, in one query."""
    number = asset_number(connection, environment, asset)
    if number is None:
        return [None] * len(partitions)
    wanted = listed_numbers("keys")
    newest = _newest(number, wanted.c.value).where(_log.c.id <= revision)
    chosen: ColumnElement[Any] = newest.scalar_subquery()
    own = connection.execute(select(tables.runs.c.id).where(tables.runs.c.run == run)).scalar()
    if own is not None:
        of_run = _newest(number, wanted.c.value).where(
            unindexed(_log.c.run) == own, _log.c.id < before, _log.c.id > revision
        )
        chosen = func.coalesce(of_run.scalar_subquery(), chosen)
    keys = json.dumps(list(dict.fromkeys(partitions)))
    rows = connection.execute(select(wanted.c.value, chosen), {"keys": keys}).all()
    at = {key: identity for key, identity in rows if identity is not None}
    facts = {fact.id: fact for fact in facts_by_id(connection, at.values())}
    return [facts.get(at.get(partition, 0)) for partition in partitions]


def _newest(number: int, key: ColumnElement[Any]) -> Select[Any]:
    return select(func.max(_log.c.id)).where(_log.c.asset == number, _log.c.partition == key)


def facts_by_id(connection: Connection, ids: Iterable[int]) -> list[Materialization]:
    """Materializations by id, oldest first."""
    found = _facts().where(_log.c.id.in_(select(listed_numbers("ids").c.value)))
    values = {"ids": json.dumps(sorted(set(ids)))}
    return _read_facts(connection, found.order_by(_log.c.id), values)


def readers(connection: Connection, environment: str, asset: str) -> list[Materialization]:
    """Current materializations with an input from ``asset``, by asset and partition."""
    upstream = asset_number(connection, environment, asset)
    edges = tables.edges
    reading = select(edges.c.asset).where(edges.c.upstream == upstream)
    found = (
        _facts()
        .join(
            _slots,
            and_(
                _slots.c.asset == _log.c.asset,
                _slots.c.partition == _log.c.partition,
                _slots.c.materialization == _log.c.id,
            ),
        )
        .where(_slots.c.asset.in_(reading))
        .order_by(tables.assets.c.name, _slots.c.partition)
    )
    facts = _read_facts(connection, found)
    return [fact for fact in facts if any(read.asset == asset for read in fact.inputs)]


def code(connection: Connection, hex_version: str) -> Code | None:
    """A code version with its parts."""
    codes = tables.codes
    row = connection.execute(select(codes.c.parts).where(codes.c.hex == hex_version)).first()
    return None if row is None else _read_code(hex_version, row.parts)


def schema(connection: Connection, environment: str, asset: str) -> str:
    """The newest schema of an asset."""
    assets, texts = tables.assets, tables.texts
    found = (
        select(texts.c.text)
        .join_from(assets, texts, texts.c.id == assets.c.schema)
        .where(assets.c.environment == environment, assets.c.name == asset)
    )
    return connection.execute(found).scalar() or ""


# ---------------------------------------------------------------------------------------------
# Runs and attempts


def runs(connection: Connection, environment: str | None, limit: int | None) -> list[Run]:
    """Newest first."""
    found = select(tables.runs).order_by(tables.runs.c.id.desc()).limit(limit)
    if environment is not None:
        found = found.where(tables.runs.c.environment == environment)
    return [read_run(row) for row in connection.execute(found).mappings()]


def runs_of(connection: Connection, backfill: str) -> list[Run]:
    """The runs of a backfill, oldest first."""
    table = tables.runs
    found = select(table).where(table.c.backfill == backfill).order_by(table.c.id)
    return [read_run(row) for row in connection.execute(found).mappings()]


def recorded_by(connection: Connection, run_ids: Sequence[str]) -> dict[str, int]:
    """How many partitions runs have recorded so far, by asset."""
    runs, assets = tables.runs, tables.assets
    found = (
        select(assets.c.name, func.count(_log.c.partition.distinct()))
        .join_from(_log, assets, _log.c.asset == assets.c.id)
        .where(_log.c.run.in_(select(runs.c.id).where(runs.c.run.in_(list(run_ids)))))
        .group_by(assets.c.name)
    )
    return dict(connection.execute(found).all())


def outranked(connection: Connection, priority: int) -> list[str]:
    """Runs at work whose priority is higher, by id."""
    table = tables.runs
    found = select(table.c.run).where(
        table.c.status == "running",
        func.coalesce(table.c.priority, 0) > priority,
        table.c.expires >= now_micros(),
    )
    return list(connection.execute(found).scalars())


def backfills(connection: Connection, environment: str | None) -> list[Backfill]:
    """Newest first."""
    table = tables.backfills
    found = select(table).order_by(table.c.id.desc())
    if environment is not None:
        found = found.where(table.c.environment == environment)
    return [read_backfill(row) for row in connection.execute(found).mappings()]


def runs_beginning(connection: Connection, beginning: str) -> list[Run]:
    """The run of exactly this id, or else those whose ids begin so, ten at most."""
    table = tables.runs
    exact = connection.execute(select(table).where(table.c.run == beginning)).mappings().all()
    if not exact and beginning:
        alike = select(table).where(func.substr(table.c.run, 1, len(beginning)) == beginning)
        exact = connection.execute(alike.order_by(table.c.id).limit(10)).mappings().all()
    return [read_run(row) for row in exact]


def running(connection: Connection) -> list[tuple[Run, bool]]:
    """Runs recorded as running, each with whether its leases have run out."""
    table = tables.runs
    found = select(table, (table.c.expires < now_micros()).label("late"))
    rows = connection.execute(found.where(table.c.status == "running").order_by(table.c.id))
    return [(read_run(row), bool(row["late"])) for row in rows.mappings()]


def held(connection: Connection, run_id: str) -> list[Lease]:
    """The leases that a run holds."""
    assets, table = tables.assets, tables.runs
    found = (
        select(assets.c.name, _slots.c.partition, _slots.c.token, _slots.c.materialization)
        .join_from(_slots, assets, assets.c.id == _slots.c.asset)
        .where(_slots.c.holder == select(table.c.id).where(table.c.run == run_id).scalar_subquery())
        .order_by(assets.c.name, _slots.c.partition)
    )
    rows = connection.execute(found)
    return [Lease(asset, key, token, current or 0) for asset, key, token, current in rows]


def _attempts() -> Select[Any]:
    attempts, assets, table = tables.attempts, tables.assets, tables.runs
    return (
        select(attempts, assets.c.environment, assets.c.name, table.c.run.label("run_id"))
        .join_from(attempts, assets, assets.c.id == attempts.c.asset)
        .outerjoin(table, table.c.id == attempts.c.run)
    )


def _read_attempt(row: Mapping[Any, Any]) -> Attempt:
    return Attempt(
        run=row["run_id"] or "",
        environment=row["environment"],
        asset=row["name"],
        partition=row["partition"],
        attempt=row["attempt"],
        status=row["status"],
        started=row["started"],
        finished=row["finished"],
        error=row["error"] or "",
        traceback=row["traceback"] or "",
        checks=decode_checks(row["checks"]),
        id=row["id"],
    )


def attempts(
    connection: Connection,
    run: str | None,
    environment: str | None,
    asset: str | None,
    partition: str | None,
    limit: int | None,
) -> list[Attempt]:
    """Newest first; every argument that is given narrows them down."""
    conditions = (
        (tables.runs.c.run, run),
        (tables.assets.c.environment, environment),
        (tables.assets.c.name, asset),
        (tables.attempts.c.partition, partition),
    )
    found = _attempts().where(
        *(column == value for column, value in conditions if value is not None)
    )
    found = found.order_by(tables.attempts.c.id.desc()).limit(limit)
    return [_read_attempt(row) for row in connection.execute(found).mappings()]


def failed(connection: Connection, environment: str) -> dict[str, dict[str, Attempt]]:
    """Newest failed attempt of each partition that was not materialized since."""
    table, assets = tables.attempts, tables.assets
    newest = (
        select(func.max(table.c.id))
        .join(assets, assets.c.id == table.c.asset)
        .where(assets.c.environment == environment, table.c.status == "failed")
        .group_by(table.c.asset, table.c.partition)
    )
    healed = exists().where(
        _slots.c.asset == table.c.asset,
        _slots.c.partition == table.c.partition,
        _slots.c.materialization > table.c.revision,
    )
    found = _attempts().where(table.c.id.in_(newest), ~healed).order_by(table.c.id)
    result: dict[str, dict[str, Attempt]] = {}
    for row in connection.execute(found).mappings():
        result.setdefault(row["name"], {})[row["partition"]] = _read_attempt(row)
    return result


# ---------------------------------------------------------------------------------------------
# Dynamic partitions, and the store's own consistency


def dynamic_keys(connection: Connection) -> dict[str, tuple[str, ...]]:
    """Keys by the name of their definition, in their places."""
    table = tables.dynamic_partitions
    found = select(table.c.name, table.c.key).where(~table.c.removed)
    keys: dict[str, list[str]] = {}
    for name, key in connection.execute(found.order_by(table.c.name, table.c.position)):
        keys.setdefault(name, []).append(key)
    return {name: tuple(found) for name, found in keys.items()}


def inconsistencies(connection: Connection) -> list[str]:
    """Pointers that point to nothing or to another partition, and ids from the future."""
    assets = tables.assets
    lost = (
        select(assets.c.environment, assets.c.name, _slots.c.partition)
        .join_from(_slots, assets, assets.c.id == _slots.c.asset)
        .outerjoin(_log, _log.c.id == _slots.c.materialization)
        .where(
            _slots.c.materialization.is_not(None),
            or_(
                _log.c.id.is_(None),
                _log.c.asset != _slots.c.asset,
                _log.c.partition != _slots.c.partition,
                _slots.c.facts.is_(None),
            ),
        )
        .limit(20)
    )
    problems = [
        f"{asset}[{key}] in {environment} points to a materialization that is not its own"
        for environment, asset, key in connection.execute(lost)
    ]
    revision = statements.HEAD.run(connection, "revision").fetchone()[0]
    newest = connection.execute(select(func.max(_log.c.id))).scalar() or 0
    if newest > revision:
        problems.append(f"materialization {newest} is newer than the store's revision {revision}")
    return problems
