"""`assets withdraw`, and what the other commands say of partitions that are gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.shop import Command, write_project

SHOP = '''
"""Days of files, what is made of each, and a total."""

from pathlib import Path
from typing import Annotated

import pyarrow as pa

from assets_core import (Partition, all_partitions, daily, source)
from assets_core import asset

DAYS = daily("2024-01-01", end="2024-01-04")


@source(partitions=DAYS)
def landing(partition: Partition) -> Path | None:
    path = Path("landing") / f"{partition.key}.txt"
    return path if path.exists() else None


@asset(partitions=DAYS)
def sales(landing: Path) -> pa.Table:
    return pa.table({"amount": [int(landing.read_text())]})


@asset
def total(sales: Annotated[pa.Table, all_partitions()]) -> pa.Table:
    return pa.table({"amount": [sum(sales["amount"].to_pylist())]})
'''
GONE = "assets withdraw landing --partition 2024-01-02 --reason TEXT"
WORDS = ("withdraw", "landing", "--partition", "2024-01-02", "--reason", "sent twice")


@pytest.fixture
def vanished(assets: Command, folder: Path) -> Path:
    """Everything built, and the second day's file removed."""
    root = write_project(folder, SHOP)
    (root / "landing").mkdir()
    for day in (1, 2, 3):
        (root / "landing" / f"2024-01-0{day}.txt").write_text(str(day))
    assets("materialize", "--yes")
    (root / "landing" / "2024-01-02.txt").unlink()
    return root


@pytest.mark.parametrize(
    "words",
    [
        ("plan",),
        ("materialize", "--yes"),
        ("materialize", "--partition", "2024-01-02"),
        ("status",),
        ("backfill", "--partitions", "2024-01-01..2024-01-03"),
        ("backfill", "--dry-run"),
    ],
)
def test_every_planning_command_says_what_is_gone_and_what_to_do(
    assets: Command, vanished: Path, words: tuple[str, ...]
) -> None:
    result = assets(*words)
    assert GONE in " ".join((result.out + result.err).split())


def test_what_it_says_to_type_works(assets: Command, vanished: Path) -> None:
    assert "1 partition of landing 2024-01-02" in assets(*WORDS).out
    assert "gone" not in assets("plan").out


def test_a_dry_run_says_what_it_would_be(assets: Command, vanished: Path) -> None:
    assert assets(*WORDS, "--dry-run").out.startswith("Would be: Withdrawn: 1 partition")
    assert GONE in " ".join(assets("plan").out.split())


def test_as_json_it_is_only_json(assets: Command, vanished: Path) -> None:
    told = assets(*WORDS, "--json").json
    assert told["partitions"] == [["2024-01-02", "2024-01-02"]]
    assert (told["count"], told["reason"], told["undone"]) == (1, "sent twice", False)


def test_it_can_be_undone(assets: Command, vanished: Path) -> None:
    assets(*WORDS)
    undone = assets(*WORDS[:4], "--undo")
    assert "Withdrawal undone of 1 partition of landing 2024-01-02" in undone.out
    assert assets("plan", "--json").json["must"] == 0


def test_all_that_is_gone_is_asked_about(assets: Command, vanished: Path) -> None:
    asked = assets("withdraw", "landing", "--reason", "x")
    assert asked.code == 2
    assert "--yes" in asked.err
    assert "1 partition" in assets("withdraw", "landing", "--reason", "x", "--yes").out


def test_what_is_still_there_is_refused(assets: Command, vanished: Path) -> None:
    refused = assets("withdraw", "landing", "--partition", "2024-01-01", "--reason", "x")
    assert refused.code == 2
    assert "still there" in refused.err


def test_the_status_counts_it_and_ends_well(assets: Command, vanished: Path) -> None:
    assets(*WORDS)
    assets("materialize", "--yes")
    told = assets("status", "--json").json
    assert told["counts"]["withdrawn"] == 2
    assert "1 withdrawn" in assets("status").out


def test_the_page_of_its_history_says_why(assets: Command, vanished: Path) -> None:
    assets(*WORDS)
    assert "sent twice" in assets("history", "landing@2024-01-02").out
