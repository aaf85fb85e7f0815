"""What a command costs before it does anything: whole processes, bytecode compiled.

Run ``python benchmarks/startup.py [--rounds 15]``. Each command runs on a copy of the bundled
project where nothing is stale, in turn with the others and with a bare ``python -c pass`` as a
yardstick. Wall time is what is felt; processor time tells a busy machine from a slow command.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
ASSETS = [sys.executable, "-m", "assets_core"]

# What is measured, and the seconds to stay within (None: a yardstick).
COMMANDS: dict[str, tuple[list[str], float | None]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], None),
    "assets --help": ([*ASSETS, "--help"], 0.15),
    "assets list": ([*ASSETS, "list"], 0.3),
    "assets materialize, nothing stale": ([*ASSETS, "materialize"], 0.5),
    "assets plan, nothing stale": ([*ASSETS, "plan"], None),
    "assets status": ([*ASSETS, "status"], None),
}


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        prepare(project)
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
        for _ in range(given.rounds):
            for name, (words, _goal) in COMMANDS.items():
                measured[name].append(seconds(words, project))
    report(measured)


def prepare(project: Path) -> None:
    """A copy of the bundled project with everything built, and every module compiled."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "definitions", project / "definitions", ignore=ignored)
    subprocess.run([*ASSETS, "materialize", "--yes"], cwd=project, env=environment(), check=True)
    for words, _goal in COMMANDS.values():
        seconds(words, project)


def environment() -> dict[str, str]:
    """This process's, with bytecode written and this checkout importable."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("ASSETS_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONPATH": str(REPOSITORY)}


def seconds(words: list[str], project: Path) -> tuple[float, float]:
    """Wall time and processor time of one process."""
    before = time.perf_counter()
    child = subprocess.Popen(
        words, cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert child.stderr is not None
    said = child.stderr.read().decode()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stderr.close()
    if child.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {child.returncode}:\n{said}")
    return time.perf_counter() - before, used.ru_utime + used.ru_stime


def report(measured: dict[str, list[tuple[float, float]]]) -> None:
    """Medians beside the goals."""
    print(f"{'whole process':<36}{'median':>9}{'best':>9}{'cpu':>9}{'goal':>9}")
    for name, found in measured.items():
        wall = [each[0] for each in found]
        cpu = statistics.median(each[1] for each in found)
        goal = COMMANDS[name][1]
        shown = f"{goal:.2f} s" if goal is not None else ""
        median = statistics.median(wall)
        verdict = "" if goal is None else "reached" if median <= goal else "missed"
        numbers = f"{median:>7.3f} s{min(wall):>7.3f} s{cpu:>7.3f} s{shown:>9}"
        print(f"{name:<36}{numbers}  {verdict}".rstrip())
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
