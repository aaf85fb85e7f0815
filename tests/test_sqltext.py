"""Two texts of one version give the same columns and rows: asked of the database itself."""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core.fingerprint.versions import sql_version

NAMES = ["Rows", "Filter", "Range", "Struct", "Partition", "Nulls", "Values", "Exclude", "Over"]
TEMPLATES = [
    "SELECT v {0} FROM b",
    "SELECT v AS {0} FROM b",
    "SELECT {0}: v FROM b",
    "SELECT {{{0}: v}} AS s FROM b",
    "SELECT struct_pack({0} := v) AS s FROM b",
    "WITH c({0}) AS (SELECT v FROM b) SELECT * FROM c",
    "SELECT * FROM (SELECT v, s FROM b) t({0}, o)",
    'SELECT t."{0}" FROM (SELECT v AS "{0}" FROM b) t',
    "SELECT {0} + 1 FROM (SELECT v AS {0} FROM b)",
    "SELECT CASE WHEN {0} > 1 THEN 1 END FROM (SELECT v AS {0} FROM b)",
    "SELECT sum(v) FILTER (v > 0) OVER (PARTITION BY s ORDER BY v NULLS LAST "
    "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS {0} FROM b",
    "SELECT * EXCLUDE (s), v BETWEEN 1 AND 2 AS {0} FROM b WHERE s LIKE 'x%' LIMIT 5",
    "SELECT INTERVAL '1 day' AS {0}, v::Decimal(5, 2) FROM b GROUP BY ALL",
    "SELECT e'\\n' AS {0}, $$a  b$$, x'41', 1_0, 0x10, v - -1, v ** 2 FROM b",
]
IGNORED = ["", " ", "\n", " -- a comment\n", " /* a /* nested */ comment */ "]


def outcome(con: duckdb.DuckDBPyConnection, text: str) -> object:
    try:
        done = con.execute(text)
        assert done.description is not None
        return [(d[0], str(d[1])) for d in done.description], done.fetchall()
    except duckdb.Error as error:
        return type(error).__name__


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    made.execute("CREATE TABLE b AS SELECT 1 AS v, 'x' AS s")
    return made


def flipped(text: str, flip: Callable[[], bool]) -> str:
    """Words outside of literals in another case, here and there."""
    parts = text.split("'")
    for at in range(0, len(parts), 2):
        parts[at] = " ".join(w.swapcase() if flip() else w for w in parts[at].split(" "))
    return "'".join(parts)


@settings(max_examples=300)
@given(st.sampled_from(TEMPLATES), st.sampled_from(NAMES), st.data())
def test_texts_of_one_version_give_the_same(
    con: duckdb.DuckDBPyConnection, template: str, name: str, data: st.DataObject
) -> None:
    text = template.format(name)
    other = flipped(text, lambda: data.draw(st.booleans()))
    other = other.replace(", ", "," + data.draw(st.sampled_from(IGNORED)) + " ")
    if sql_version(text).hex == sql_version(other).hex:
        assert outcome(con, text) == outcome(con, other)


def test_the_case_of_a_name_that_shows_is_part_of_the_version(
    con: duckdb.DuckDBPyConnection,
) -> None:
    pairs = [(t.format(name), t.format(name.upper())) for t in TEMPLATES for name in NAMES]
    shows = [(one, two) for one, two in pairs if outcome(con, one) != outcome(con, two)]
    assert len(shows) > 50
    assert [one for one, two in shows if sql_version(one).hex == sql_version(two).hex] == []


@pytest.mark.parametrize(
    "text",
    [
        "SELECT sum(v) FILTER (WHERE v > 0) OVER (PARTITION BY s ORDER BY v NULLS LAST) FROM b",
        "SELECT * EXCLUDE (s) FROM b WHERE v BETWEEN 1 AND 2 AND s IS NOT NULL",
        "WITH RECURSIVE t AS (SELECT 1 AS n) SELECT n FROM t LEFT JOIN b ON true",
    ],
)
def test_the_case_of_keywords_does_not_count(text: str) -> None:
    names = {"v", "s", "x", "b", "n", "t"}
    lower = " ".join(w if w in names else w.lower() for w in text.split(" "))
    assert sql_version(lower).hex == sql_version(text).hex
