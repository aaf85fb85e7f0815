"""What only a terminal shows: the question, the bar, colours, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.shop import command_line, environment, process, write_project
from cli.terminal import Terminal

pytestmark = pytest.mark.slow

SLOW = '''
from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa

from assets_core import Partition, static
from assets_core import asset


@asset(partitions=static([f"p{n:02}" for n in range(60)]))
def slow(partition: Partition) -> pa.Table:
    """Takes a while, and one of them for ever."""
    Path("started").touch()
    time.sleep(3600 if partition.key == "p59" and Path("hang").exists() else 0.05)
    return pa.table({"n": [1]})
'''


def open_terminal(folder: Path, *arguments: str, columns: int = 100, **env: str) -> Terminal:
    return Terminal(command_line(*arguments), folder, environment() | env, columns)


@pytest.fixture
def slow(folder: Path) -> Path:
    return write_project(folder, SLOW)


def test_yes_builds(shop: Path) -> None:
    with open_terminal(shop, "materialize", "orders") as terminal:
        terminal.wait_for("Materialize 3 asset partitions? [y/N]")
        assert "3 must run" in terminal.text
        terminal.press("y\n")
        assert terminal.wait() == 0
    assert (shop / "data/orders/date=2024-01-03").is_dir()


def test_no_builds_nothing_and_is_130(shop: Path) -> None:
    with open_terminal(shop, "materialize", "orders") as terminal:
        terminal.wait_for("[y/N]")
        terminal.press("n\n")
        assert terminal.wait() == 130
        assert "Nothing was done." in terminal.text
    assert not (shop / "data").exists()


def test_another_answer_is_asked_again(shop: Path) -> None:
    with open_terminal(shop, "materialize", "orders") as terminal:
        terminal.wait_for("[y/N]")
        terminal.press("perhaps\n")
        terminal.wait_for("Please answer y or n.")
        terminal.press("YES\n")
        assert terminal.wait() == 0
    assert (shop / "data").exists()


def test_the_end_of_input_is_no(shop: Path) -> None:
    with open_terminal(shop, "materialize", "orders") as terminal:
        terminal.wait_for("[y/N]")
        terminal.press("\x04")
        assert terminal.wait() == 130
        assert "Nothing was done." in terminal.text


def test_just_enter_is_no(shop: Path) -> None:
    with open_terminal(shop, "materialize", "orders") as terminal:
        terminal.wait_for("[y/N]")
        terminal.press("\n")
        assert terminal.wait() == 130


def test_ctrl_c_at_the_question_is_130(shop: Path) -> None:
    with open_terminal(shop, "materialize", "orders") as terminal:
        terminal.wait_for("[y/N]")
        terminal.press("\x03")  # often before the process has begun to wait for a key
        assert terminal.wait() == 130
        assert "Nothing was done." in terminal.text
        assert "Traceback" not in terminal.text


def test_a_named_partition_is_not_asked_about(shop: Path) -> None:
    with open_terminal(shop, "materialize", "orders", "--partition", "2024-01-01") as terminal:
        assert terminal.wait() == 0
        assert "[y/N]" not in terminal.text


def test_accept_asks_too(built: Path) -> None:
    module = built / "definitions/__init__.py"
    module.write_text(module.read_text().replace('"days": [totals', '"days": [0 + totals'))
    with open_terminal(built, "accept", "trend") as terminal:
        terminal.wait_for("Accept 3 asset partitions? [y/N]")
        terminal.press("y\n")
        assert terminal.wait() == 0
        assert "Accepted 3 asset partitions." in terminal.text


def test_a_no_to_invalidating_changes_nothing(built: Path) -> None:
    before = process(built, "history", "orders", "--json").json
    line = ("invalidate", "orders", "--reason", "the till was off", "--downstream")
    with open_terminal(built, *line) as terminal:
        terminal.wait_for("totals 2024-01-01..2024-01-03 (3, downstream of orders)")
        terminal.wait_for("Invalidate 9 asset partitions? [y/N]")
        terminal.press("n\n")
        assert terminal.wait() == 130
    assert process(built, "history", "orders", "--json").json == before


def test_a_bar_shows_numbers_and_what_runs(slow: Path) -> None:
    with open_terminal(slow, "materialize", "--yes", "-j", "2") as terminal:
        terminal.wait_for(" of 60 (")
        terminal.wait_for("slow@p1")
        terminal.wait_for(" left")
        assert terminal.wait() == 0
        assert "━" in terminal.text


def test_the_bar_is_gone_afterwards(slow: Path) -> None:
    with open_terminal(slow, "materialize", "--yes", "-j", "4") as terminal:
        assert terminal.wait() == 0
        summary = terminal.text.rindex("Run 2")
        assert "━" not in terminal.text[summary:]


def test_a_narrow_terminal_gets_lines_that_fit(slow: Path) -> None:
    with open_terminal(slow, "list", columns=40) as terminal:
        assert terminal.wait() == 0
        assert max(map(len, terminal.text.splitlines())) <= 40


def test_status_is_coloured_on_a_terminal_alone(built: Path) -> None:
    with open_terminal(built, "status", "orders") as terminal:
        assert terminal.wait() == 0
        assert "\x1b[32m█" in terminal.drawn
    assert "\x1b" not in process(built, "status", "orders").out


def test_no_color_is_respected_on_a_terminal(built: Path) -> None:
    with open_terminal(built, "status", "orders", NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert "\x1b[" not in terminal.drawn


def test_a_bar_without_colours_has_none(slow: Path) -> None:
    with open_terminal(slow, "materialize", "--yes", "-j", "4", NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert "\x1b[3" not in terminal.drawn


def started(folder: Path, terminal: Terminal) -> None:
    terminal.wait_for(" of 60 (")
    deadline = time.monotonic() + 30
    while not (folder / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_stops_cleanly_and_tells_how_to_go_on(slow: Path) -> None:
    with open_terminal(slow, "materialize", "--yes", "-j", "2") as terminal:
        started(slow, terminal)
        terminal.press("\x03")
        before = time.monotonic()
        assert terminal.wait() == 130
        assert time.monotonic() - before < 5
        assert "stopping… again to quit at once" in terminal.text
        assert "interrupted in" in terminal.text
        assert "Resume with: assets materialize --jobs 2 --yes" in terminal.text
        assert "Traceback" not in terminal.text


def test_after_ctrl_c_the_next_command_does_the_rest(slow: Path) -> None:
    with open_terminal(slow, "materialize", "--yes", "-j", "2") as terminal:
        started(slow, terminal)
        terminal.press("\x03")
        terminal.wait()
    runs = process(slow, "runs", "--json").json["runs"]
    assert runs[0]["status"] == "interrupted"
    rest = process(slow, "materialize", "--yes", "-j", "4", "--json")
    assert rest.code == 0
    assert "Recovered" not in rest.err
    assert rest.json["counts"]["done"] == 60 - runs[0]["counts"].get("done", 0)


def test_a_step_that_hangs_does_not_keep_ctrl_c_waiting(slow: Path) -> None:
    (slow / "hang").touch()
    with open_terminal(slow, "materialize", "--partition", "p59") as terminal:
        terminal.wait_for("slow@p59")
        terminal.press("\x03")
        before = time.monotonic()
        assert terminal.wait() == 130
        assert time.monotonic() - before < 5


def test_ctrl_c_twice_quits_at_once(slow: Path) -> None:
    (slow / "hang").touch()
    with open_terminal(slow, "materialize", "--partition", "p59") as terminal:
        terminal.wait_for("slow@p59")
        terminal.press("\x03")
        terminal.wait_for("again to quit at once")
        terminal.press("\x03")
        before = time.monotonic()
        assert terminal.wait() == 130
        assert time.monotonic() - before < 1


def test_what_was_quit_at_once_is_recovered(slow: Path) -> None:
    (slow / "hang").touch()
    with open_terminal(slow, "materialize", "--partition", "p59") as terminal:
        terminal.wait_for("slow@p59")
        terminal.press("\x03")
        terminal.wait_for("again to quit at once")
        terminal.press("\x03")
        terminal.wait()
    (slow / "hang").unlink()
    again = process(slow, "materialize", "--partition", "p59")
    assert again.code == 0


@pytest.fixture
def running(slow: Path) -> Iterator[subprocess.Popen[str]]:
    """A run with no terminal, in the middle."""
    with subprocess.Popen(
        command_line("materialize", "--yes", "-j", "2"),
        cwd=slow,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        deadline = time.monotonic() + 30
        while not (slow / "started").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield child
        child.kill()


def test_sigterm_stops_as_cleanly_as_ctrl_c(running: subprocess.Popen[str]) -> None:
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "stopping…" in err
    assert "Resume with: assets materialize --jobs 2 --yes" in out


def test_a_terminal_that_goes_away_does_not_end_the_run(slow: Path) -> None:
    read, write = os.pipe()
    child = subprocess.Popen(
        command_line("materialize", "--yes", "-j", "4", "--json"),
        cwd=slow,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=write,
    )
    os.close(write)
    os.close(read)
    assert child.wait(timeout=60) == 0
    assert process(slow, "status", "--json").json["counts"]["fresh"] == 60
