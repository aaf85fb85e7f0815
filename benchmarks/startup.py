"""What a command costs before it does anything: whole processes, bytecode compiled.

Run ``python benchmarks/startup.py [--rounds 15]``. Each command runs on a copy of the bundled
project where nothing is stale, in turn with the others and with a bare typer app: how many times
that one's wall time a command takes is what the goals are about. Processor time, in the same
measure, tells a busy machine from a slow command.
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

BARE = "a bare typer app"
BARE_APP = """
import typer

app = typer.Typer()


@app.command()
def hello(name: str = "world") -> None:
    print(name)


app()
"""
CHANGED = "assets plan, after a change"

# What is measured, and how many times the bare app's time to stay within (None: a yardstick).
COMMANDS: dict[str, tuple[list[str], float | None]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], None),
    BARE: ([sys.executable, "bare.py"], None),
    "assets --help": ([*ASSETS, "--help"], 1.3),
    "assets list": ([*ASSETS, "list"], 2.1),
    "assets materialize, nothing stale": ([*ASSETS, "materialize"], 3.3),
    "assets plan, nothing stale": ([*ASSETS, "plan"], 3.3),
    "assets status": ([*ASSETS, "status"], 3.3),
    CHANGED: ([*ASSETS, "plan"], 3.75),
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
                change(project, name == CHANGED)
                measured[name].append(seconds(words, project))
    report(measured)


def prepare(project: Path) -> None:
    """A copy of the bundled project with everything built, and every module compiled."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "definitions", project / "definitions", ignore=ignored)
    (project / "bare.py").write_text(BARE_APP)
    subprocess.run([*ASSETS, "materialize", "--yes"], cwd=project, env=environment(), check=True)
    for words, _goal in COMMANDS.values():
        seconds(words, project)


def change(project: Path, changed: bool) -> None:
    """One word of the report's code, as it was built or another."""
    words = ("bad air", "a bad day for lungs")
    path = project / "definitions" / "reports.py"
    text = path.read_text()
    wanted = text.replace(words[not changed], words[changed])
    if wanted != text:
        path.write_text(wanted)


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
    wall = {name: statistics.median(each[0] for each in found) for name, found in measured.items()}
    used = {name: statistics.median(each[1] for each in found) for name, found in measured.items()}
    print(f"{'whole process':<36}{'median':>9}{'best':>9}{'times':>9}{'of cpu':>9}{'goal':>9}")
    for name, found in measured.items():
        times, of_cpu = wall[name] / wall[BARE], used[name] / used[BARE]
        goal = COMMANDS[name][1]
        verdict = "" if goal is None else "reached" if times <= goal else "missed"
        shown = "" if goal is None else f"{goal:.2f}"
        seconds = f"{wall[name]:>7.3f} s{min(each[0] for each in found):>7.3f} s"
        print(f"{name:<36}{seconds}{times:>9.2f}{of_cpu:>9.2f}{shown:>9}  {verdict}".rstrip())
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
