"""Reading the log: materializations with all that is recorded of them, receipts, readers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from assets_core.records import Code, Materialization, Measured, Receipt
from assets_core.state.part import StorePart, asset_number
from assets_core.state.rows import (
    RAN,
    decode_checks,
    decode_inputs,
    input_numbers,
    kind_of,
    read_receipt,
    unpack_version,
)
from assets_core.state.sql import LISTED, Connection, Row, limited, listed, scalar

_RECEIPT = (
    "stores.name, m.data_kind, m.location, m.receipt_token, m.token, m.rows, m.bytes, m.rejects,"
    " m.rejected"
)
_FACTS = f"""
    SELECT {_RECEIPT}, assets.environment, assets.name, m.partition, codes.hex, codes.parts,
        m.input_digest, m.data_version, m.started, m.finished, runs.run, m.token, m.attempt,
        m.kind, m.inputs, coalesce(m.checks, shared.text), m.metadata, texts.text, m.deadline, m.id
    FROM materializations AS m
    JOIN assets ON assets.id = m.asset
    JOIN codes ON codes.id = m.code
    JOIN stores ON stores.id = m.store
    LEFT JOIN runs ON runs.id = m.run
    LEFT JOIN texts ON texts.id = m.schema
    LEFT JOIN texts AS shared ON shared.id = m.passed"""
_INPUTS = 22
"""Where a row of _FACTS has its inputs."""

_RECEIPTS = f"""
    SELECT {_RECEIPT}, m.id
    FROM {LISTED} AS wanted
    JOIN materializations AS m ON m.id = wanted.value
    JOIN stores ON stores.id = m.store"""
_MEASURED = f"""
    SELECT now.id, m.finished - m.started, m.rows, m.bytes
    FROM {LISTED} AS wanted
    JOIN materializations AS now ON now.id = wanted.value
    JOIN materializations AS m ON m.id = (
        SELECT max(build.id) FROM materializations AS build
        WHERE build.asset = now.asset AND build.partition = now.partition AND build.id <= now.id
        AND build.kind IN {RAN} AND build.run IS NOT NULL)"""
_CURRENT_READERS = f"""{_FACTS}
    JOIN asset_partitions AS s
    ON s.asset = m.asset AND s.partition = m.partition AND s.materialization = m.id
    WHERE s.asset IN (SELECT asset FROM edges WHERE upstream = ?)
    ORDER BY assets.name, s.partition"""
_PROMISED_SINCE = """
    SELECT coalesce(
        (SELECT min(started) FROM materializations AS m
            WHERE m.asset = assets.id AND m.deadline IS NOT NULL),
        (SELECT min(started) FROM attempts
            WHERE attempts.asset = assets.id AND attempts.started > coalesce(
                (SELECT max(finished) FROM materializations AS m WHERE m.asset = assets.id), 0)))
    FROM assets WHERE environment = ? AND name = ?"""
_NEWEST = "SELECT max(id) FROM materializations WHERE asset = ? AND partition = key.value"


class Log(StorePart):
    """The materializations."""

    def receipts(self, ids: Iterable[int]) -> dict[int, Receipt]:
        rows = self._rows(_RECEIPTS, listed(ids))
        return {row[-1]: read_receipt(row[:-1]) for row in rows}

    def measured(self, ids: Iterable[int]) -> dict[int, Measured]:
        """An index look-up for each, in one query."""
        rows = self._rows(_MEASURED, listed(ids))
        return {number: Measured(max(micros, 0), n, size) for number, micros, n, size in rows}

    def materializations(
        self,
        environment: str,
        asset: str | None,
        partition: str | None = None,
        *,
        ids: Iterable[int] | None = None,
        run: str | None = None,
        limit: int | None = None,
    ) -> list[Materialization]:
        conditions: dict[str, object] = {}
        if partition is not None:
            conditions["partition = ?"] = partition
        if ids is not None:
            conditions[f"id IN (SELECT value FROM {LISTED})"] = listed(ids)
        if run is not None:
            conditions["run = (SELECT id FROM runs WHERE run = ?)"] = run
        with self._database.read() as connection:
            if asset is not None:
                number = asset_number(connection, environment, asset)
                conditions["asset = ?"] = -1 if number is None else number
            else:
                # All of an environment: best read from the newest on, not asset by asset.
                own = "coalesce(asset, 0) IN (SELECT id FROM assets WHERE environment = ?)"
                conditions[own] = environment
            # The newest are found first, in an index alone, and only they are read.
            chosen = f"""
                SELECT id FROM materializations WHERE {" AND ".join(conditions)}
                ORDER BY id DESC{limited(limit)}"""
            query = f"{_FACTS} WHERE m.id IN ({chosen}) ORDER BY m.id DESC"
            return _read_facts(connection, query, *conditions.values())

    def version_as_of(
        self,
        environment: str,
        asset: str,
        partitions: Sequence[str],
        revision: int,
        run: str,
        before: int,
    ) -> list[Materialization | None]:
        """Two index look-ups for each partition, in one query."""
        with self._database.read() as connection:
            number = asset_number(connection, environment, asset)
            chosen, values = f"({_NEWEST} AND id <= ?)", [number, revision]
            own = scalar(connection, "SELECT id FROM runs WHERE run = ?", (run,))
            if own is not None:
                of_run = f"({_NEWEST} AND coalesce(run, 0) = ? AND id < ? AND id > ?)"
                chosen = f"coalesce({of_run}, {chosen})"
                values = [number, own, before, revision, *values]
            query = f"SELECT key.value, {chosen} FROM {LISTED} AS key"
            rows = connection.execute(query, (*values, listed(partitions))).fetchall()
            at = {key: identity for key, identity in rows if identity is not None}
            by_id = f"{_FACTS} WHERE m.id IN (SELECT value FROM {LISTED})"
            facts = _read_facts(connection, by_id, listed(at.values()))
        known = {fact.id: fact for fact in facts}
        return [known.get(at.get(partition, 0)) for partition in partitions]

    def readers(self, environment: str, asset: str) -> list[Materialization]:
        with self._database.read() as connection:
            upstream = asset_number(connection, environment, asset)
            facts = _read_facts(connection, _CURRENT_READERS, upstream)
        return [fact for fact in facts if any(read.asset == asset for read in fact.inputs)]

    def code(self, hex_version: str) -> Code | None:
        rows = self._rows("SELECT parts FROM codes WHERE hex = ?", hex_version)
        return _read_code(hex_version, rows[0][0]) if rows else None

    def promised_since(self, environment: str, asset: str) -> int:
        return self._value(_PROMISED_SINCE, environment, asset) or 0

    def schema(self, environment: str, asset: str) -> str:
        query = """
            SELECT texts.text FROM assets JOIN texts ON texts.id = assets.schema
            WHERE assets.environment = ? AND assets.name = ?"""
        return self._value(query, environment, asset) or ""


def _read_facts(connection: Connection, query: str, *values: object) -> list[Materialization]:
    rows = connection.execute(query, values).fetchall()
    encoded = (row[_INPUTS] for row in rows if row[_INPUTS] is not None)
    upstreams = {number for text in encoded for number in input_numbers(text)}
    names: dict[int, str] = {}
    if upstreams:
        text = f"""
            SELECT assets.id, assets.name
            FROM {LISTED} AS wanted JOIN assets ON assets.id = wanted.value"""
        names = dict(connection.execute(text, (listed(upstreams),)).fetchall())
    return [_read_fact(row, names) for row in rows]


def _read_fact(row: Row, names: dict[int, str]) -> Materialization:
    environment, asset, partition, hex_version, parts, digest, data, started, finished = row[9:18]
    run, token, attempt, kind, inputs, checks, metadata, schema, deadline, identity = row[18:]
    return Materialization(
        environment=environment,
        asset=asset,
        partition=partition,
        code=_read_code(hex_version, parts),
        input_digest=unpack_version(digest),
        data_version=unpack_version(data),
        receipt=read_receipt(row[:9]),
        started=started,
        finished=finished,
        run=run or "",
        token=token,
        attempt=attempt,
        kind=kind_of(kind),
        inputs=decode_inputs(inputs, names),
        checks=decode_checks(checks),
        metadata=json.loads(metadata) if metadata else {},
        schema=schema or "",
        deadline=deadline or 0,
        id=identity,
    )


@lru_cache(maxsize=4096)
def _read_code(hex_version: str, parts: str | None) -> Code:
    return Code(hex_version, json.loads(parts) if parts else {})
