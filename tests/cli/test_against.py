"""`assets plan --against` as a reviewer and a CI job use it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cli.shop import SHOP, Command

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def changed(built: Path) -> Path:
    """The shop, built and committed; then the sums are changed."""
    (built / ".gitignore").write_text(".assets\ndata\n__pycache__\n")
    words = ["-c", "user.name=me", "-c", "user.email=me@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "base"]):
        subprocess.run(["git", *words, *command], cwd=built, check=True)
    text = SHOP.replace("sum(a or 0 for", "sum(a or 1 for")
    (built / "definitions" / "__init__.py").write_text(text)
    return built


def test_a_change_is_told_with_its_cause_and_cost(assets: Command, changed: Path) -> None:
    done = assets("plan", "--against", "main", "--jobs", "2")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].startswith("Against main (")
    assert lines[0].endswith("): 3 must run, 3 may run because of this change")
    assert lines[1] == "  because totals: code changed (function totals) → 3 must, 3 may downstream"
    assert "  totals: function totals changed" in lines
    assert any(line.startswith("Takes about ") and " with 2 jobs" in line for line in lines)


def test_as_markdown_it_is_a_comment(assets: Command, changed: Path) -> None:
    out = assets("plan", "--against", "main", "--markdown").out
    assert out.startswith("**Against main (")
    assert "| totals | 2024-01-01..2024-01-03 | 3 | must | code changed |\n" in out


def test_as_json_it_is_for_scripts(assets: Command, changed: Path) -> None:
    found = assets("plan", "--against", "main", "--json").json
    assert (found["must"], found["may"], found["recorded"]) == (3, 3, True)
    assert found["definitions"]["changed"] == {"totals": ["function totals changed"]}
    (group, *_) = found["groups"]
    assert (group["asset"], group["ranges"]) == ("totals", [["2024-01-01", "2024-01-03"]])
    assert found["cost"]["must"]["known"] == 3


def test_a_selection_goes_with_it(assets: Command, changed: Path) -> None:
    found = assets("plan", "trend", "--partition", "2024-01-02", "--against", "main", "--json").json
    assert (found["must"], found["may"]) == (0, 1)


@pytest.mark.parametrize(
    "words", [["-o", "p.json"], ["--against", "main"], ["totals"], ["--force"], ["--each"]]
)
def test_what_code_to_would_not_heed_is_refused(
    assets: Command, changed: Path, words: list[str]
) -> None:
    done = assets("plan", "--code-to", "code.json", *words)
    assert (done.code, "--code-to only writes" in done.err) == (2, True)
    assert not (changed / "code.json").exists()


def test_code_versions_in_a_file_are_compared_with(assets: Command, changed: Path) -> None:
    assert assets("plan", "--code-to", "code.json").code == 0
    assert "nothing becomes stale" in assets("plan", "--against", "code.json").out


def test_an_unknown_revision_is_wrong_usage(assets: Command, changed: Path) -> None:
    done = assets("plan", "--against", "nowhere")
    assert (done.code, "There is no revision 'nowhere'" in done.err) == (2, True)


def test_a_file_that_holds_no_code_versions_is_wrong_usage(assets: Command, changed: Path) -> None:
    assets("plan", "orders", "-o", "plan.json")
    done = assets("plan", "--against", "plan.json")
    assert (done.code, "holds no code versions" in done.err) == (2, True)


@pytest.mark.parametrize("words", [["--force"], ["--each"], ["-o", "p"], ["--explain", "orders"]])
def test_what_does_not_go_with_it_is_refused(
    assets: Command, changed: Path, words: list[str]
) -> None:
    assert assets("plan", "--against", "main", *words).code == 2


def test_markdown_alone_is_refused(assets: Command, changed: Path) -> None:
    assert assets("plan", "--markdown").code == 2
