"""`assets backfill` as people and scripts use it, in processes of their own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from cli.shop import Command, Outcome, environment, process, strict_json, write_project

LONG = '''
"""Many days, each of which says when it was made and by whom."""

import os
import time

import pyarrow as pa

from assets_core import Partition, daily
from assets_core import asset

DAYS = daily("2020-01-01", end="2023-01-01")


def note(name, partition):
    with open("calls", "a") as calls:
        calls.write(f"{name} {partition.key} {os.getpid()}\\n")
    time.sleep(0.005)


@asset(partitions=DAYS)
def pages(partition: Partition) -> pa.Table:
    note("pages", partition)
    return pa.table({"v": [1]})


@asset(partitions=DAYS)
def visits(pages: pa.Table, partition: Partition) -> pa.Table:
    note("visits", partition)
    return pages
'''
RANGE = ("--partitions", "2024-01-01..2024-01-03")


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "assets_core", *words],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def calls(folder: Path) -> list[list[str]]:
    path = folder / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split() for line in lines]


def wait_for_calls(folder: Path, running: subprocess.Popen[str], number: int) -> None:
    deadline = time.monotonic() + 60
    while sum(call[2] == str(running.pid) for call in calls(folder)) < number:
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="session")
def done_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A shop and a backfill of its three days, to be copied."""
    made = write_project(tmp_path_factory.mktemp("backfilled"))
    outcome = process(made, "backfill", "totals", "+totals", *RANGE)
    assert outcome.code == 0
    return made, outcome


@pytest.fixture
def done(folder: Path, done_once: tuple[Path, Outcome]) -> Outcome:
    """The shop after that backfill, and what it said."""
    shutil.copytree(done_once[0], folder, dirs_exist_ok=True)
    return done_once[1]


def test_it_tells_what_was_done(done: Outcome, assets: Command) -> None:
    assert ": 6 asset partitions\n" in done.out
    assert done.out.splitlines()[-1].endswith("6 done, nothing left")
    assert assets("plan", "+totals").out.startswith("Nothing to do")
    again = assets("backfill", "+totals", *RANGE)
    assert (again.code, again.out) == (0, "Nothing to do: nothing selected is stale.\n")


def test_a_dry_run_stores_nothing(shop: Path, assets: Command) -> None:
    told = assets("backfill", "+totals", *RANGE, "--dry-run")
    assert (told.code, told.out.splitlines()[0]) == (0, "Plan for prod: 6 must run, 0 may run")
    assert assets("backfill", "+totals", *RANGE, "--dry-run", "--json").json["must"] == 6
    assert assets("backfill", "list").out.startswith("There are no backfills.")
    assert assets("backfill", "list", "--json").json == {"backfills": []}


def test_going_on_can_be_tried_dry(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-02").touch()
    assert assets("backfill", "+totals", *RANGE, "--max-failures", "1", "--pin-code").code == 1
    assert (
        assets("runs", "latest", "--json").json["command"].endswith("--pin-code --max-failures 1")
    )
    (shop / "fail-2024-01-02").unlink()
    dry = assets("backfill", "retry-failed", "latest", "--dry-run", "--json").json
    assert dry["must"] == 1
    found = assets("backfill", "show", "latest", "--json").json
    assert (found["status"], found["failed"]) == ("failed", 1)
    assert "retry-failed" not in assets("backfill", "cancel", "latest").out
    assert "was cancelled" in assets("backfill", "retry-failed", "latest").err


def test_nothing_left_and_nothing_failed_are_told_apart(done: Outcome, assets: Command) -> None:
    assert "has failed" in assets("backfill", "retry-failed", "latest").out
    assert "is left" in assets("backfill", "resume", "latest").out
    found = assets("backfill", "resume", "latest", "--json").json
    assert (found["status"], found["done"], found["run"]) == ("done", 6, None)


def test_lists_and_shows_it(done: Outcome, assets: Command) -> None:
    (line,) = assets("backfill", "list", "--environment", "prod").out.splitlines()[1:]
    assert line.split()[1] == "done"
    shown = assets("backfill", "show", "latest").out
    assert "  totals     3     0       0\n" in shown
    found = assets("backfill", "show", "latest", "--json").json
    assert (found["status"], found["total"], found["done"], found["left"]) == ("done", 6, 6, 0)
    assert found["assets"]["orders"] == {"total": 3, "done": 3, "failed": 0}
    run = assets("runs", "latest", "--json").json
    assert run["backfill"] == found["backfill"]
    assert found["created"] <= run["started"]
    assert assets("runs", "--json").json["backfills"] == []


@pytest.mark.slow
def test_failures_are_retried_alone(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-02").touch()
    failed = process(shop, "backfill", "+totals", *RANGE)
    assert failed.code == 1
    assert "Only what failed: assets backfill retry-failed" in failed.out
    assert "5 done, nothing left, 1 failed (failed)" in assets("runs").out
    (group,) = assets("runs", "latest", "--json").json["failure_groups"]
    assert group["retry"].startswith("assets backfill retry-failed ")
    (shop / "fail-2024-01-02").unlink()
    retried = process(shop, "backfill", "retry-failed", "latest", "--json")
    assert retried.code == 0
    found = strict_json(retried.out)
    assert (found["done"], found["failed"]) == (6, 0)
    assert found["run"]["counts"]["done"] == 1
    assert (
        assets("runs", "latest", "--json")
        .json["command"]
        .startswith("assets backfill retry-failed")
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("show",), "takes the id of one backfill"),
        (("show", "bnone"), "There is no backfill 'bnone'"),
        (("pause", "latest"), "is done; there is nothing to stop"),
        (("list", "latest"), "assets backfill show latest"),
        (("pause", "latest", "--dry-run"), "takes no --dry-run"),
        (("resume", "latest", "--order", "newest", *RANGE), "no --partitions and no --order"),
        (("+totals", "--max-cost", "many"), "many"),
        (("+totals", "--jobs", "0"), "greater than or equal to 1"),
        (("+totals", "--reprocess", "some"), "some"),
        (("nothing",), "nothing"),
    ],
)
def test_wrong_usage_is_refused(
    done: Outcome, assets: Command, words: tuple[str, ...], told: str
) -> None:
    outcome = assets("backfill", *words)
    assert outcome.code == 2
    assert told in outcome.err
    assert len(assets("backfill", "list", "--json").json["backfills"]) == 1


@pytest.mark.slow
def test_what_costs_too_much_is_refused(built: Path, assets: Command) -> None:
    wish = ("backfill", "+totals", "--reprocess", "all", *RANGE)
    refused = assets(*wish, "--max-cost", "1 rows")
    assert refused.code == 2
    assert "more than 1 rows" in refused.err
    assert process(built, *wish, "--max-cost", "1000 rows").code == 0


@pytest.mark.slow
def test_without_partitions_it_asks_first(shop: Path) -> None:
    refused = process(shop, "backfill", "+totals")
    assert refused.code != 0
    assert "--yes" in refused.err
    assert process(shop, "backfill", "+totals", "--yes").code == 0


@pytest.mark.slow
def test_paused_killed_and_gone_on_with_beside_a_daily_run(folder: Path) -> None:
    """The daily run ends first, and everything is built once, save what a kill cut short."""
    write_project(folder, LONG)
    long = ("--partitions", "2020-01-01..2022-12-31")
    backfill = start(folder, "backfill", *long, "--jobs", "2")
    wait_for_calls(folder, backfill, 10)
    one_day = process(folder, "materialize", "--partition", "2022-12-30")
    assert one_day.code == 0, one_day.err
    assert backfill.poll() is None
    assert "2 done" in process(folder, "runs").out

    assert process(folder, "backfill", "pause", "latest").code == 0
    told = backfill.communicate(timeout=30)[0]
    assert backfill.returncode == 130, told
    assert Counter(map(tuple, (c[:2] for c in calls(folder)))).most_common(1)[0][1] == 1

    backfill = start(folder, "backfill", "resume", "latest", "--jobs", "2")
    wait_for_calls(folder, backfill, 50)
    assert ", about " in process(folder, "runs").out
    again = process(folder, "backfill", "resume", "latest")
    assert (again.code, "at work already" in again.err) == (2, True)
    backfill.kill()
    backfill.communicate()
    assert "interrupted" in process(folder, "backfill", "list").out

    backfill = start(folder, "backfill", "resume", "latest", "--jobs", "2")
    wait_for_calls(folder, backfill, 50)
    backfill.send_signal(signal.SIGINT)
    told = backfill.communicate(timeout=60)[0]
    assert backfill.returncode == 130, told
    assert "paused" in process(folder, "backfill", "list").out
    rest = process(folder, "backfill", "resume", "latest")
    assert rest.code == 0, rest.err
    assert f"{2 * 1096:,} done, nothing left" in rest.out
    # Called again is at most what was called and not yet recorded when it was killed.
    times = Counter(map(tuple, (c[:2] for c in calls(folder))))
    assert len(times) == 2 * 1096
    assert max(times.values()) <= 2
    assert sum(times.values()) - len(times) <= 100
    for name in ("pages", "visits"):
        history = strict_json(process(folder, "history", name, "--json", "--limit", "5000").out)
        assert len(history["entries"]) == 1096
