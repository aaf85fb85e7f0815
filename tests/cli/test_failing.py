"""Errors: ours without a traceback, the user's with theirs, bugs with how to report them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.shop import Command


def test_facts_are_aligned_and_the_hint_closes(shop: Path, assets: Command) -> None:
    (shop / "definitions/more.py").write_text(
        "from assets_core import asset\n@asset\ndef one(order): ...\n"
    )
    lines = assets("list").err.splitlines()
    assert lines[0] == "Asset 'one' depends on an unknown asset."
    assert lines[1].startswith("  asset:   one  (")
    assert lines[2] == "  missing: order"
    assert lines[3].startswith("Did you mean 'orders'?")


def test_a_broken_module_tells_the_line(shop: Path, assets: Command) -> None:
    (shop / "definitions/more.py").write_text("x = 1\ny = x / 0\n")
    outcome = assets("list")
    assert outcome.code == 2
    assert "ZeroDivisionError" in outcome.err
    assert "more.py:2: y = x / 0" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_users_exception_shows_their_frames(shop: Path, assets: Command) -> None:
    module = shop / "definitions/__init__.py"
    module.write_text(
        module.read_text().replace(
            'path = Path("landing")', 'raise RuntimeError("the share is gone"); path = Path("l")'
        )
    )
    outcome = assets("plan", "+lines")
    assert outcome.code == 1
    assert "RuntimeError: the share is gone" in outcome.err
    assert "definitions/__init__.py" in outcome.err
    assert "assets_core/" not in outcome.err


def test_a_bug_says_what_to_do_with_it(
    shop: Path, assets: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A bug can't be had for the asking: this one is put in.
    from assets_core.cli.commands import show

    monkeypatch.setattr(show, "summary", None)
    outcome = assets("list", "--json")
    assert outcome.code == 1
    assert "TypeError: 'NoneType' object is not callable" in outcome.err
    assert "This is a bug in assets" in outcome.err
    assert "assets doctor" in outcome.err


def test_an_exception_of_the_users_mapping_is_called_theirs(folder: Path, assets: Command) -> None:
    (folder / "definitions.py").write_text(
        "from typing import Annotated\nimport pyarrow as pa\n"
        "from assets_core import asset, daily, mapped\n"
        "days = daily('2024-01-01', end='2024-01-03')\n"
        "def through(partition):\n    raise LookupError('no such day')\n"
        "@asset(partitions=days)\ndef one(): ...\n"
        "@asset(partitions=days)\ndef two(one: Annotated[pa.Table, mapped(through)]): ...\n"
    )
    outcome = assets("plan")
    assert outcome.code == 1
    assert "LookupError: no such day" in outcome.err
    assert "in through" in outcome.err
    assert "bug in assets" not in outcome.err
    assert "typer" not in outcome.err


def test_no_definitions_at_all_say_how_to_start(folder: Path, assets: Command) -> None:
    outcome = assets("list", "--module", "nothing_like_it")
    assert outcome.code == 2
    assert "assets init" in outcome.err


def test_a_reader_that_leaves_early_is_no_error(shop: Path) -> None:
    import subprocess

    from cli.shop import command_line, environment

    line = " ".join(command_line("partitions", "list", "orders"))
    done = subprocess.run(
        ["bash", "-c", f"{line} | true; echo ${{PIPESTATUS[0]}}"],
        cwd=shop,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout in ("0\n", "141\n")  # it may have finished before


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_bug(closed: str, shop: Path) -> None:
    assert _in_bash(shop, f"list {closed}") == (0, "")
    code, err = _in_bash(shop, f"materialize {closed}")
    assert code == 2
    assert "Traceback" not in err


def test_output_that_finds_no_room_is_no_bug(shop: Path) -> None:
    code, err = _in_bash(shop, "list --json > /dev/full")
    assert (code, err) == (1, "The output can't be written: No space left on device.\n")
    assert _in_bash(shop, "--help > /dev/full") == (code, err)


def _in_bash(folder: Path, words: str) -> tuple[int, str]:
    import subprocess

    from cli.shop import command_line, environment

    done = subprocess.run(
        ["bash", "-c", f"{' '.join(command_line())} {words}"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr
