"""Late and open data as the command shows it: what waits and for what, and what is incomplete."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assets_core import Project
from cli.shop import Command, write_project

LATE = '''
"""Files of days that come late, and a month of them."""

from pathlib import Path

import pyarrow as pa

from assets_core import Group, Partition, daily, monthly, require

days = Group("days", partitions=daily("2024-01-01"))


@days.source
def landing(partition: Partition) -> Path | None:
    path = Path("landing") / f"{partition.key}.txt"
    return path if path.exists() else None


@days.asset
def sales(landing: Path) -> pa.Table:
    return pa.table({"amount": [int(landing.read_text())]})


@days.asset(partitions=monthly("2024-01"))
def report(sales: pa.Table) -> pa.Table:
    return pa.table({"days": [sales.num_rows]})


@days.asset(partitions=monthly("2024-01"), require=0.9)
def estimate(sales: pa.Table) -> pa.Table:
    return pa.table({"days": [sales.num_rows]})
'''


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The instant that every command takes for now; the start of February unless moved."""
    at = [datetime(2024, 2, 1, tzinfo=UTC)]
    monkeypatch.setattr(Project, "now", lambda self: at[0])
    return at


@pytest.fixture
def late(folder: Path, clock: list[datetime]) -> Path:
    """A month of which three days have not landed."""
    write_project(folder, LATE)
    for day in range(1, 32):
        if day not in (7, 8, 20):
            land(folder, day)
    return folder


def land(folder: Path, day: int, amount: int = 1) -> None:
    path = folder / "landing" / f"2024-01-{day:02}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(str(amount))


LACKING = "3 of 31 of sales: 2024-01-07..2024-01-08, 2024-01-20"


def test_a_plan_says_how_much_is_waited_for(assets: Command, late: Path) -> None:
    (line,) = [line for line in assets("plan").out.splitlines() if "report" in line]
    assert line.split(maxsplit=3)[2:] == ["blocked", f"waits for {LACKING}"]


def test_each_partition_that_waits_says_so(assets: Command, late: Path) -> None:
    assert f"blocked  report@2024-01  waits for {LACKING}" in assets("plan", "--each").out


def test_a_plan_as_json_has_the_numbers(assets: Command, late: Path) -> None:
    waiting = {w["asset"]: w for w in assets("plan", "--json").json["waiting"]}
    lack = {"asset": "sales", "missing": 3, "expected": 31, "needed": 31}
    assert waiting["report"]["lacks"] == [lack]
    assert "estimate" not in waiting


def test_status_says_how_much_is_waited_for(assets: Command, late: Path) -> None:
    assert f"blocked  report 2024-01  waits for {LACKING}" in assets("status").out


def test_status_as_json_has_the_numbers(assets: Command, late: Path) -> None:
    rows = {row["asset"]: row for row in assets("status", "--json").json["assets"]}
    (lack,) = rows["report"]["waits"]
    assert lack["partitions"] == [["2024-01-07", "2024-01-08"], ["2024-01-20", "2024-01-20"]]
    assert (lack["missing"], lack["expected"], lack["needed"]) == (3, 31, 31)
    assert rows["estimate"]["waits"] == []


def test_a_run_builds_what_it_can_and_says_what_waits(assets: Command, late: Path) -> None:
    done = assets("materialize", "--yes")
    assert (done.code, f"report@2024-01  waits for {LACKING}" in done.out) == (4, True)
    assert assets("status", "estimate", "--json").json["assets"][0]["counts"]["fresh"] == 1


def test_a_policy_that_is_not_met_says_what_it_needs(assets: Command, late: Path) -> None:
    (late / "landing" / "2024-01-30.txt").unlink()
    needs = "waits for 4 of 31 of sales (needs 28)"
    assert needs in assets("plan", "--each").out
    assert needs in assets("status", "estimate").out
    assert needs in assets("plan", "--explain", "estimate@2024-01").out


def test_what_lands_late_is_the_reason(assets: Command, late: Path) -> None:
    assets("materialize", "--yes")
    land(late, 7)
    out = assets("plan", "--explain", "estimate@2024-01").out
    assert "estimate@2024-01 may run" in out
    assets("materialize", "sales", "--yes")
    out = assets("plan", "--explain", "estimate@2024-01").out
    assert "sales[2024-01-07], which was not there (nothing → " in out


def test_an_open_window_is_marked_wherever_it_is_shown(
    assets: Command, late: Path, clock: list[datetime]
) -> None:
    clock[0] = datetime(2024, 1, 6, 12, tzinfo=UTC)
    assert assets("materialize", "--yes", "--include-open").code == 0
    assert (
        "report  2024-01  incomplete: its window is open" in assets("status", "--include-open").out
    )
    rows = assets("status", "--include-open", "--json").json["assets"]
    assert {r["asset"]: r["incomplete"] for r in rows} == {
        "landing": [],
        "sales": [["2024-01-06", "2024-01-06"]],
        "report": [["2024-01", "2024-01"]],
        "estimate": [["2024-01", "2024-01"]],
    }
    assert "incomplete" in assets("history", "report@2024-01").out
    assert "incomplete" in assets("lineage", "report@2024-01").out
    nodes = assets("lineage", "report@2024-01", "--json").json["nodes"]
    marks = {(n["asset"], n["partition"]): n["incomplete"] for n in nodes}
    assert (marks["sales", "2024-01-05"], marks["sales", "2024-01-06"]) == (False, True)


def test_a_window_that_has_closed_is_stale_and_says_why(
    assets: Command, late: Path, clock: list[datetime]
) -> None:
    clock[0] = datetime(2024, 1, 6, 12, tzinfo=UTC)
    assets("materialize", "sales", "--yes", "--include-open")
    assert assets("plan", "sales", "--include-open").out.startswith("Nothing to do")
    clock[0] = datetime(2024, 1, 7, 0, tzinfo=UTC)
    out = assets("plan", "sales").out
    assert "sales  2024-01-06    must  its window was open when it was built" in out
    told = "sales 2024-01-06  its window was open when it was built"
    assert f"stale    {told}" in assets("status", "sales").out
    (row,) = assets("status", "sales", "--json").json["assets"]
    assert row["was_open"] == [["2024-01-06", "2024-01-06"]]
    explained = assets("plan", "--explain", "sales@2024-01-06").out
    assert "closed: its window was open when it was built" in explained
    assert assets("materialize", "sales", "--yes").code == 0
    assert "incomplete" not in assets("lineage", "sales@2024-01-06").out


def test_accepting_says_what_it_leaves_since_it_waits(assets: Command, late: Path) -> None:
    assets("materialize", "--yes")
    (late / "landing" / "2024-01-01.txt").unlink()
    (late / "landing" / "2024-01-01.txt").mkdir()
    accepted = assets("accept", "sales", "--partition", "2024-01-01")
    assert "waiting for upstream" in accepted.out
    assert "fresh" not in accepted.out
    assert (accepted.code, "which is not a file" in accepted.err) == (1, True)


def test_status_names_a_source_that_can_not_be_looked_at_as_a_plan_does(
    assets: Command, late: Path
) -> None:
    assets("materialize", "--yes")
    (late / "landing" / "2024-01-01.txt").unlink()
    (late / "landing" / "2024-01-01.txt").mkdir()
    assert "waits for landing@2024-01-01" in assets("plan", "sales", "--each").out
    assert (
        "waits for landing 2024-01-01, 2024-01-07..2024-01-08, 2024-01-20" in assets("status").out
    )


STATIONS = '''
"""Two stations' days, and what reads them all."""

import pyarrow as pa

from assets_core import (Context, Partition, daily, product, static)
from assets_core import asset

days = daily("2024-01-01", end="2024-01-04")


@asset(partitions=product(station=static(["north", "south"]), date=days))
def weather(partition: Partition, context: Context) -> pa.Table:
    context.reject(pa.table({"degrees": [float("nan"), None]}), reason="broken")
    return pa.table({"station": [partition.station]})


@asset
def summary(weather: pa.Table) -> pa.Table:
    return weather
'''


def test_what_is_said_to_build_covers_all_that_is_missing_of_a_product(
    assets: Command, folder: Path
) -> None:
    write_project(folder, STATIONS)
    assets("materialize", "weather", "--partition", "north|2024-01-01")
    assets("materialize", "weather", "--partition", "south|2024-01-03")
    out = assets("materialize", "summary", "--yes").out
    (advice,) = [line for line in out.splitlines() if "Build it with" in line]
    words = shlex.split(advice.partition("assets ")[2])
    assert words[1:] == ["+weather", "--partitions", "north|2024-01-01..south|2024-01-03"]
    assert assets(*words).code == 0
    assert assets("materialize", "summary", "--yes").code == 0


def test_rejected_values_that_are_no_numbers_are_told_from_nulls(
    assets: Command, folder: Path
) -> None:
    write_project(folder, STATIONS)
    assets("materialize", "weather", "--partition", "north|2024-01-01")
    rows = assets("rejects", "weather").out.splitlines()[1:3]
    assert [row.split()[-1] for row in rows] == ["nan", "null"]
