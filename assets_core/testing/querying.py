"""Law 16: a query that runs in the store gives what it gives beside it, or says why not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from assets_core.contracts import IOManager, Query, QueryingIOManager
from assets_core.errors import MissingDataError, UserCodeError, VersionReplacedError
from assets_core.fingerprint.row_hash.hasher import data_version
from assets_core.testing.making import publish, release, rows, target

QUERIES = (
    "SELECT id, name FROM orders",
    "SELECT id % 3 AS third, count(*) AS n, sum(id) AS total, max(name) AS last"
    " FROM orders GROUP BY ALL",
    "WITH orders AS (SELECT id FROM orders WHERE id > 2) SELECT id * 1.5 AS v FROM orders",
    "SELECT a.id, b.name FROM orders a JOIN ORDERS b USING (id) ORDER BY id DESC LIMIT 3",
    "SELECT id, {'a': name, 'b': [id, NULL]} AS nested FROM orders; -- the end",
    "SELECT NULL AS nothing, id, DATE '2024-01-01' + id::INTEGER AS day FROM orders",
    "SELECT id FROM orders WHERE false",
    "SELECT $word AS word, TIMESTAMPTZ '2024-01-01 00:00:00' AS noon, 1::UTINYINT AS small,"
    " id::HUGEINT AS huge, 1.25::DECIMAL(9, 2) AS price, name::BLOB AS raw FROM orders",
    "SELECT 'a\"b''c' AS \"q\"\"uo'ted\", id FROM orders",
)


class QueryingLaws:
    """What is run inside is what would have been run outside, over exactly what was named."""

    @pytest.mark.parametrize("hold", [True, False])
    @pytest.mark.parametrize("query", QUERIES)
    def test_a_query_inside_gives_what_it_gives_outside(
        self, manager: IOManager, query: str, hold: bool
    ) -> None:
        if not isinstance(manager, QueryingIOManager):
            return  # its rows are loaded, and the query runs beside it
        receipts = [publish(manager, target(key), rows(i, i + 3)) for i, key in enumerate("abc")]
        publish(manager, target("other"), rows(99))
        asked = Query(query, {"orders": tuple(receipts)}, _bound(query), "Europe/Berlin")
        where = target("a", asset="made")
        receipt = release(manager, manager.stage_query(where, asked, hold=hold))
        found = manager.read([receipt])
        beside = publish(manager, target("a", asset="beside"), _outside(manager, asked))
        expected = manager.read([beside])
        assert found.schema == expected.schema
        assert data_version(found) == data_version(expected)
        assert receipt.rows == expected.num_rows

    @pytest.mark.parametrize("hold", [True, False])
    def test_what_a_query_made_is_seen_by_nobody_before(
        self, manager: IOManager, hold: bool
    ) -> None:
        if not isinstance(manager, QueryingIOManager):
            return
        old = publish(manager, target(token=1), rows(1))
        asked = Query("SELECT id + 1 AS id, name FROM orders", {"orders": (old,)})
        staged = manager.stage_query(target(token=2), asked, hold=hold)
        assert manager.audit(staged).read_all().column("id").to_pylist() == [2]
        assert manager.read([old]).equals(rows(1))
        manager.discard(staged)
        manager.discard(staged)
        assert manager.read([old]).equals(rows(1))
        with pytest.raises(MissingDataError):
            manager.publish(staged, "")

    def test_rows_that_lie_elsewhere_are_handed_over(self, manager: IOManager) -> None:
        if not isinstance(manager, QueryingIOManager):
            return
        own = publish(manager, target(), rows(1, 2, 3))
        other = pa.table({"id": [2, 3, 4], "price": [1.5, 2.5, 3.5]})
        asked = Query(
            "SELECT name, price FROM orders JOIN prices USING (id)",
            {"orders": (own,), "prices": other},
        )
        staged = manager.stage_query(target(asset="made"), asked)
        assert sorted(manager.audit(staged).read_all().column("price").to_pylist()) == [1.5, 2.5]

    def test_ordered_versions_are_read_in_their_order(self, manager: IOManager) -> None:
        if not isinstance(manager, QueryingIOManager):
            return
        by_key = {key: publish(manager, target(key), rows(i)) for i, key in enumerate("abc")}
        receipts = tuple(by_key[key] for key in "cab")
        query = "SELECT list(id) AS ids FROM orders"
        asked = Query(query, {"orders": receipts}, ordered=frozenset({"orders"}))
        staged = manager.stage_query(target(asset="made"), asked)
        assert manager.audit(staged).read_all().column("ids").to_pylist() == [[2, 0, 1]]

    def test_a_version_that_is_not_there_is_not_read(self, manager: IOManager) -> None:
        if not isinstance(manager, QueryingIOManager):
            return
        old = publish(manager, target(token=1), rows(1))
        staged = manager.stage(target("never"), rows(1))
        never = replace(old, location=staged.location, token=staged.target.token)
        with pytest.raises(MissingDataError):
            manager.stage_query(
                target(asset="made"), Query("SELECT * FROM orders", {"orders": (never,)})
            )
        publish(manager, target(token=2), rows(2))
        replaced = Query("SELECT * FROM orders", {"orders": (old,)})
        try:
            kept = manager.read([old])
        except VersionReplacedError:
            with pytest.raises(VersionReplacedError):
                manager.stage_query(target(asset="made"), replaced)
        else:
            staged = manager.stage_query(target(asset="made"), replaced)
            assert manager.audit(staged).read_all().equals(kept)

    @pytest.mark.parametrize("query", ["SELECT nothing FROM orders", "SELECT error('boom') AS e"])
    def test_a_query_that_fails_is_its_authors_error(self, manager: IOManager, query: str) -> None:
        if not isinstance(manager, QueryingIOManager):
            return
        own = publish(manager, target(), rows(1))
        asked = Query(query, {"orders": (own,)})
        for hold in (True, False):
            with pytest.raises(UserCodeError, match=r"nothing|boom"):
                manager.stage_query(target(asset="made", run="runthatfails"), asked, hold=hold)
        assert manager.sweep("runthatfails", []) == 0
        assert manager.read([own]).equals(rows(1))


def _bound(query: str) -> dict[str, Any]:
    return {"word": "it's"} if "$word" in query else {}


def _outside(manager: IOManager, asked: Query) -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = '{asked.timezone}'")
        for name, read in asked.inputs.items():
            connection.register(name, manager.read(read) if isinstance(read, tuple) else read)
        relation = connection.sql(asked.text, params=dict(asked.parameters) or None)
        return relation.to_arrow_table()
