"""Each exit code: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 blocked, 130 stopped.

130 is in `test_terminal`: it takes a terminal, or a signal.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cli.shop import Command

DAY = ("--partition", "2024-01-01")


def test_done_is_0(shop: Path, assets: Command) -> None:
    assert assets("materialize", "orders", *DAY).code == 0


def test_nothing_stale_is_0(built: Path, assets: Command) -> None:
    assert assets("materialize", "orders", *DAY).code == 0


def test_a_failed_step_is_1(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-01").touch()
    assert assets("materialize", "+totals", *DAY).code == 1


def test_a_failed_step_is_1_with_json_too(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-01").touch()
    outcome = assets("materialize", "+totals", *DAY, "--json")
    assert (outcome.code, outcome.json["exit_code"]) == (1, 1)


@pytest.mark.parametrize(
    "line",
    [
        ("materialise",),
        ("materialize", "--nonsense"),
        ("materialize", "nothing_like_it", "--yes"),
        ("materialize", "orders", "--partition", "yesterday"),
        ("materialize", "--yes", "--config", "nobody=1"),
        ("show", "nothing_like_it"),
        ("--module", "nothing_like_it", "list"),
        ("--environment", "not a name", "list"),
        ("logs", "nothing_like_it"),
    ],
)
def test_wrong_usage_is_2(line: tuple[str, ...], shop: Path, assets: Command) -> None:
    outcome = assets(*line)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err
    assert "Traceback" not in outcome.err


def test_wrong_definitions_are_2(shop: Path, assets: Command) -> None:
    (shop / "definitions/more.py").write_text(
        "from assets_core import asset\n"
        "@asset\ndef one(order): ...\n"
        "@asset\ndef two(nothing_like_it): ...\n"
    )
    outcome = assets("list")
    assert outcome.code == 2
    assert "2 problems in the definitions." in outcome.err
    assert "Did you mean 'orders'?" in outcome.err


def test_a_store_that_is_none_is_3(shop: Path, assets: Command) -> None:
    (shop / ".assets").mkdir()
    (shop / ".assets/state.db").write_bytes(b"this is no database at all" * 100)
    outcome = assets("status")
    assert outcome.code == 3
    assert "Traceback" not in outcome.err


def test_a_newer_store_is_3(built: Path, assets: Command) -> None:
    with sqlite3.connect(built / ".assets/state.db") as connection:
        changed = connection.execute("UPDATE meta SET value = '99999' WHERE key = 'version'")
        assert changed.rowcount == 1
    outcome = assets("materialize", "orders", *DAY)
    assert outcome.code == 3
    assert "99999" in outcome.err


def test_blocked_is_4(shop: Path, assets: Command) -> None:
    outcome = assets("materialize", "totals", *DAY)
    assert outcome.code == 4


def test_blocked_is_4_with_json_too(shop: Path, assets: Command) -> None:
    outcome = assets("materialize", "totals", *DAY, "--json")
    assert (outcome.code, outcome.json["blocked"][0]["asset"]) == (4, "totals")


def test_a_failure_outweighs_what_is_blocked_by_it(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-01").touch()
    outcome = assets("materialize", "+trend", *DAY, "--json")
    assert outcome.json["counts"]["blocked"] == 1
    assert outcome.code == 1
