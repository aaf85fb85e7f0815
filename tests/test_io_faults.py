"""Crash points: they cost nothing unarmed, kill when armed, and none is named in vain."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import timeit
from pathlib import Path

import pytest

from assets_core import faults

ROOT = Path(__file__).parent.parent


def run(code: str, armed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"ASSETS_CRASH_AT": armed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_point_is_described() -> None:
    assert all(faults.describe(point).endswith(".") for point in faults.CRASH_POINTS)


def test_every_point_that_is_reached_is_listed_and_the_other_way_round() -> None:
    code = [*(ROOT / "assets_core").rglob("*.py"), *(ROOT / "io_managers").rglob("*.py")]
    reached = {p for f in code for p in re.findall(r'\breach\("([\w.]+)"\)', f.read_text())}
    assert reached <= set(faults.CRASH_POINTS)
    assert set(faults.CRASH_POINTS) <= reached


def test_an_armed_point_kills_with_sigkill() -> None:
    done = run(
        "from assets_core.faults import reach; reach('stage.synced'); print('alive')",
        "stage.synced",
    )
    assert done.returncode == -signal.SIGKILL
    assert "alive" not in done.stdout


def test_only_the_nth_pass_kills() -> None:
    code = (
        "from assets_core.faults import reach\n"
        "for i in range(5):\n"
        "    print(i, flush=True); reach('publish.begin')"
    )
    done = run(code, "publish.begin:3")
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1", "2"]


def test_other_points_pass() -> None:
    assert run("from assets_core.faults import reach; reach('stage.synced')", "").returncode == 0
    code = "from assets_core.faults import reach; reach('stage.synced')"
    assert run(code, "stage.created").returncode == 0


@pytest.mark.parametrize("setting", ["stage.snyced", "stage.synced:x", ":1"])
def test_a_wrong_name_is_refused_at_import(setting: str) -> None:
    done = run("import assets_core.faults", setting)
    assert done.returncode == 1
    assert "ASSETS_CRASH_AT names no crash point" in done.stderr


def test_an_unarmed_point_costs_less_than_100_ns() -> None:
    best = min(timeit.repeat(lambda: faults.reach("stage.synced"), number=10_000, repeat=20))
    assert best / 10_000 < 200e-9  # twice the goal: the timed lambda costs as much as the call
