"""Shell completion: what Tab offers, quietly, in each shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from assets_core.cli.completion import for_bash, join_words
from cli.shop import Command, environment, write_project
from cli.terminal import Terminal


@pytest.fixture
def offered(shop: Path, assets: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """What fish is offered after these words, the last of them not finished."""

    def ask(*words: str) -> list[str]:
        monkeypatch.setenv("_ASSETS_COMPLETE", "complete_fish")
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", " ".join(["assets", *words]))
        outcome = assets()
        assert outcome.err == ""
        return [line.split("\t")[0] for line in outcome.out.splitlines() if line]

    return ask


def test_commands_are_offered(offered: Command) -> None:
    assert offered("ma") == ["materialize"]


def test_names_of_assets_are_offered(offered: Command) -> None:
    assert offered("show", "t") == ["totals", "trend"]


def test_selections_are_offered_after_a_plus(offered: Command) -> None:
    assert offered("materialize", "+to") == ["+totals"]


def test_selections_are_offered_after_a_comma(offered: Command) -> None:
    assert offered("plan", "-s", "orders,!tr") == ["orders,!trend"]


def test_tags_and_groups_are_offered(offered: Command) -> None:
    assert offered("status", "tag:") == ["tag:day", "tag:files"]
    assert offered("status", "group:s") == ["group:shop"]


def test_partitions_are_offered_newest_first(offered: Command) -> None:
    found = offered("materialize", "orders", "--partition", "2024")
    assert found == ["2024-01-03", "2024-01-02", "2024-01-01"]


def test_both_ends_of_a_range_are_offered(offered: Command) -> None:
    assert offered("plan", "orders", "--partitions", "2024-01-01")[-1] == "2024-01-01.."
    found = offered("plan", "orders", "--partitions", "2024-01-01..2024-01-0")
    assert found[0] == "2024-01-01..2024-01-03"


def test_a_partition_of_the_named_asset_is_offered(offered: Command) -> None:
    assert offered("lineage", "trend", "2024-01-03") == ["2024-01-03"]


def test_a_partition_is_offered_after_the_at_sign(offered: Command) -> None:
    assert offered("lineage", "trend@2024-01-03") == ["trend@2024-01-03"]


def test_dynamic_partitions_are_offered(
    offered: Command, assets: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert offered("partitions", "add", "sh") == ["shops"]
    monkeypatch.delenv("_ASSETS_COMPLETE")
    assert assets("partitions", "add", "shops", "ber", "ham").code == 0
    assert offered("partitions", "remove", "shops", "b") == ["ber"]
    assert offered("rejects", "stock@h") == ["stock@ham"]


def test_runs_are_offered(
    offered: Command, assets: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("_ASSETS_COMPLETE", raising=False)
    assets("materialize", "orders", "--partition", "2024-01-01")
    run = assets("runs", "--json").json["runs"][0]["run"]
    assert offered("logs", run[:3]) == [run]


def test_the_module_named_on_the_line_is_completed_from(offered: Command, shop: Path) -> None:
    (shop / "other.py").write_text("from assets_core import asset\n@asset\ndef another(): ...\n")
    assert offered("--module", "ot") == ["other"]
    assert offered("--module", "other", "show", "a") == ["another"]
    assert offered("show", "--module", "other", "a") == ["another"]


def test_a_tab_press_prints_nothing_of_the_users_modules(offered: Command, shop: Path) -> None:
    (shop / "definitions/more.py").write_text("print('hello from a module')\n")
    assert offered("show", "tr") == ["trend"]


def test_definitions_that_do_not_load_complete_to_nothing(offered: Command, shop: Path) -> None:
    (shop / "definitions/more.py").write_text("1 / 0\n")
    assert offered("show", "tr") == []


def test_a_tab_press_makes_no_state_store(offered: Command, shop: Path) -> None:
    offered("logs", "2")
    offered("rejects", "stock@")
    assert not (shop / ".assets").exists()


@pytest.mark.parametrize(
    ("words", "joined", "kept"),
    [
        (["assets", "plan", "ord"], ["assets", "plan", "ord"], ""),
        (["assets", "plan", ""], ["assets", "plan", ""], ""),
        (["assets", "plan", "tag", ":"], ["assets", "plan", "tag:"], "tag:"),
        (["assets", "plan", "tag", ":", "d"], ["assets", "plan", "tag:d"], "tag:"),
        (["assets", "plan", "tag", ":", "d", ""], ["assets", "plan", "tag:d", ""], ""),
        (["assets", "lineage", "t", "@"], ["assets", "lineage", "t@"], "t"),
        (["assets", "lineage", "t", "@", "2"], ["assets", "lineage", "t@2"], "t"),
        (
            ["assets", "-s", "x", "--select", "=", "t"],
            ["assets", "-s", "x", "--select=t"],
            "--select=",
        ),
    ],
)
def test_words_that_bash_broke_are_joined(words: list[str], joined: list[str], kept: str) -> None:
    assert join_words(words) == (joined, kept)


def test_bash_gets_special_characters_escaped() -> None:
    assert for_bash("2024-01-01|EWR\na b", "") == "2024-01-01\\|EWR\na\\ b"


# --------------------------------------------------------------------------------------------
# Real shells

PRODUCT = """
import pyarrow as pa
from assets_core import product, static
from assets_core import asset

@asset(tags=["daily"], partitions=product(day=static(["d1"]), city=static(["EWR"])))
def flights() -> pa.Table:
    return pa.table({"n": [1]})
"""


@pytest.fixture
def bash(folder: Path) -> Terminal:
    """An interactive bash with the completion that `--show-completion` prints."""
    write_project(folder, PRODUCT)
    program = folder / "bin/assets"
    program.parent.mkdir()
    import sys

    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m assets_core "$@"\n')
    program.chmod(0o755)
    env = environment() | {"PS1": "$ ", "PATH": f"{program.parent}:{os.environ['PATH']}"}
    script = subprocess.run(
        ["assets", "--show-completion", "bash"],
        env=env | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (folder / "completion.sh").write_text(script)
    return Terminal(["bash", "--norc", "--noprofile", "-i"], folder, env, columns=160)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("assets stat", "assets status "),
        ("assets show fl", "assets show flights "),
        ("assets plan tag:da", "assets plan tag:daily "),
        ("assets lineage flights@d", "assets lineage flights@d1\\|EWR "),
        ("assets plan --partition d", "assets plan --partition d1\\|EWR "),
        ("assets plan --select=gr", "assets plan --select=gr"),
        ("assets plan --select=fl", "assets plan --select=flights "),
    ],
)
def test_bash_completes(bash: Terminal, typed: str, completed: str) -> None:
    with bash as terminal:
        terminal.press("source completion.sh; PS1='> '\n")
        terminal.wait_for("> ")
        terminal.press(typed + "\t\x01echo '\x05'\n")  # to the line's beginning, and to its end
        terminal.wait_for(f"\n{completed.replace(chr(92), chr(92))}\n")
        terminal.press("exit\n")
        terminal.wait()
