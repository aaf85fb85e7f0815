"""Mistakes on the command line: each is told by what is wrong, where, and what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from cli.shop import Command, process, write_project

DAY = ("--partition", "2024-01-01")


@pytest.mark.parametrize(
    "backwards",
    ["2024-01-03..2024-01-01", "date=2024-01-03..2024-01-01", "2024-01-02,2024-01-03..2024-01-01"],
)
def test_a_range_that_runs_backwards_is_told(shop: Path, assets: Command, backwards: str) -> None:
    outcome = assets("plan", "orders", "--partitions", backwards)
    assert (outcome.code, outcome.out) == (2, "")
    assert "runs backwards: '2024-01-03' comes after '2024-01-01'" in outcome.err
    assert "Write 2024-01-01..2024-01-03." in outcome.err


def test_a_backward_range_of_names_is_told(shop: Path, assets: Command) -> None:
    assets("partitions", "add", "shops", "north", "south")
    outcome = assets("plan", "stock", "--partitions", "south..north")
    assert "runs backwards: 'south' comes after 'north'" in outcome.err


def test_dimensions_mixed_with_plain_keys_are_told(shop: Path, assets: Command) -> None:
    outcome = assets("plan", "orders", "--partition", "date=2024-01-01,2024-01-02")
    assert outcome.code == 2
    assert "mixes dimensions with plain keys" in outcome.err
    assert "date=A,date=B" in outcome.err


def test_a_dimension_named_each_time_is_taken(shop: Path, assets: Command) -> None:
    outcome = assets("plan", "orders", "--partition", "date=2024-01-01,date=2024-01-02", "--json")
    assert outcome.json["must"] == 2


def test_keys_ranges_and_dimensions_by_options_of_their_own_add_up(
    shop: Path, assets: Command
) -> None:
    outcome = assets(
        *("plan", "orders", "--partition", "2024-01-01", "--partition", "date=2024-01-03"),
        *("--partitions", "2024-01-01..2024-01-02", "--json"),
    )
    assert outcome.json["must"] == 3


def test_a_bad_environment_is_blamed_on_its_option(
    shop: Path, assets: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "assets.toml").write_text("jobs = 1\n")
    err = assets("plan", "-e", "../x").err
    assert "the option --environment" in err
    assert "begins with a letter" in err
    assert "assets.toml" not in err
    monkeypatch.setenv("ASSETS_ENVIRONMENT", "../x")
    assert "environment variable ASSETS_ENVIRONMENT" in assets("plan").err
    monkeypatch.delenv("ASSETS_ENVIRONMENT")
    (shop / "assets.toml").write_text('environment = "../x"\n')
    assert "assets.toml" in assets("plan").err


@pytest.mark.parametrize("option", ["--select", "--partition", "--partitions"])
def test_an_option_that_swallowed_the_next_one_is_told(
    shop: Path, assets: Command, option: str
) -> None:
    outcome = assets("plan", option, "-e", "dev")
    assert outcome.code == 2
    assert "'-e' was taken for a value" in outcome.err


def test_the_tables_of_pyproject_are_refused_in_assets_toml(shop: Path, assets: Command) -> None:
    (shop / "assets.toml").write_text('[tool.assets.io.lake]\ntype = "parquet"\n')
    outcome = assets("plan")
    assert outcome.code == 2
    assert "write [io.lake] for [tool.assets.io.lake]" in outcome.err
    assert str(shop / "assets.toml") in outcome.err


def test_settings_of_other_tools_are_no_business_of_assets_toml(
    shop: Path, assets: Command
) -> None:
    (shop / "assets.toml").write_text("[tool.ruff]\nline-length = 100\n")
    assert "There is no setting 'tool'" in assets("plan").err


RELATIONS = """
import duckdb
from assets_core import asset

@asset
def good() -> duckdb.DuckDBPyRelation:
    return duckdb.sql("SELECT 1 AS a")

@asset
def bad() -> duckdb.DuckDBPyRelation:
    return duckdb.sql("SELECT error('boom') AS a")
"""


@pytest.mark.parametrize(("asset", "code"), [("good", 0), ("bad", 1)])
def test_nothing_of_a_library_is_said_at_the_end(folder: Path, asset: str, code: int) -> None:
    outcome = process(write_project(folder, RELATIONS), "materialize", asset, "--yes")
    assert outcome.code == code
    assert "leaked" not in outcome.err
    assert "nanobind" not in outcome.err


@pytest.mark.parametrize("nothing", ["", ",", " "])
def test_an_empty_selection_is_not_taken_for_nothing_to_do(
    shop: Path, assets: Command, nothing: str
) -> None:
    outcome = assets("materialize", nothing, "--yes")
    assert (outcome.code, outcome.out) == (2, "")
    assert "An empty selection of assets." in outcome.err


def test_what_is_told_to_be_run_next_is_of_the_same_environment(
    shop: Path, assets: Command
) -> None:
    built = assets("-e", "dev", "materialize", "orders", *DAY)
    assert "see: assets rejects orders --environment dev\n" in built.out
    assert "1 row set aside" in assets("rejects", "orders", "--environment", "dev").out
    blocked = assets("-e", "dev", "materialize", "trend", *DAY)
    assert "materialize +totals --partition 2024-01-01 --environment dev\n" in blocked.out
    for path in (shop / "data").rglob("*.pq"):
        path.unlink()
    again = "materialize orders --partition 2024-01-01 --force --environment dev"
    assert f"Build it again with: assets {again}\n" in assets("repair", "--verify", "-e", "dev").out
    assert assets(*again.split()).code == 0


def test_a_backfill_that_failed_is_retried_in_its_environment(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-01").touch()
    told = assets("backfill", "+totals", *DAY, "-e", "dev").out
    (line,) = re.findall("Only what failed: assets (.*)", told)
    assert line.endswith(" --environment dev")
    (shop / "fail-2024-01-01").unlink()
    assert assets(*line.split()).code == 0


HUGE = "99999999999999999999"


@pytest.mark.parametrize(
    "line",
    [
        ("runs", "-n", HUGE),
        ("history", "orders", "-n", HUGE),
        ("rejects", "orders", "-n", HUGE),
        ("compact", "--keep-last", HUGE),
        ("backfill", "orders", *DAY, "--priority", HUGE),
        ("backfill", "orders", *DAY, "--priority", f"-{HUGE}"),
        ("backfill", "orders", *DAY, "--max-failures", HUGE),
        ("freshness", "--now", "0001-01-01T00:00:00+14:00"),
        ("freshness", "--now", "9999-12-31T23:59:59-14:00"),
    ],
    ids=" ".join,
)
def test_numbers_and_times_beyond_all_measure_are_refused(
    line: tuple[str, ...], built: Path, assets: Command
) -> None:
    outcome = assets(*line)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Traceback" not in outcome.err


def test_a_root_that_is_no_folder_is_refused_and_not_made(shop: Path, assets: Command) -> None:
    for root in ("elsewhere", "definitions/__init__.py"):
        outcome = assets("status", "--root", root)
        assert outcome.code == 2
        assert "There is no folder" in outcome.err
    assert not (shop / "elsewhere").exists()


def test_a_working_directory_that_was_removed_is_told(folder: Path, assets: Command) -> None:
    (folder / "gone").mkdir()
    os.chdir(folder / "gone")
    (folder / "gone").rmdir()
    outcome = assets("list")
    os.chdir(folder)
    assert outcome.code == 2
    assert "The working directory is not there any more." in outcome.err


def test_a_cache_that_holds_something_else_is_made_again(shop: Path, assets: Command) -> None:
    (shop / ".assets").mkdir()
    for text in ("[]", '{"a": 3}', "3", "{"):
        (shop / ".assets/parsed-sql.json").write_text(text)
        assert assets("list").code == 0


def test_lines_of_a_log_that_a_power_cut_damaged_are_left_out(built: Path, assets: Command) -> None:
    (path,) = (built / ".assets/logs").iterdir()
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, b"\x00" * 40 + b"\n", b'{"as', b"\xff\n", b"3\n", *rest]))
    found = assets("logs", "latest", "--json").json["lines"]
    assert len(found) == 1 + len(rest)


def test_a_damaged_store_says_how_it_is_made_again(built: Path, assets: Command) -> None:
    (built / ".assets/state.db").write_bytes(b"no database" * 500)
    assert "assets repair --rebuild" in assets("status").err
