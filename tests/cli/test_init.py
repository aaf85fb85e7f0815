"""`assets init`: the project that it makes works at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli.shop import REPOSITORY, Command, environment, process

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh project, materialized by the command that its README gives."""
    folder = tmp_path_factory.mktemp("init") / "weather"
    assert process(folder.parent, "init", "weather").code == 0
    outcome = process(folder, "materialize", "--yes")
    assert (outcome.code, outcome.err.count("failed")) == (0, 0)
    return folder


def test_everything_is_fresh_afterwards(made: Path) -> None:
    assert "Nothing to do" in process(made, "materialize").out


def test_its_own_test_passes(made: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=made,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_command_of_its_readme_works(made: Path) -> None:
    text = (made / "README.md").read_text().split("```")[1]
    lines = [line.split("  ")[0] for line in text.splitlines() if line.startswith("assets ")]
    assert len(lines) > 4
    for line in lines:
        assert process(made, *line.split()[1:]).code == 0, line


def test_it_has_rejects_to_look_at(made: Path) -> None:
    assert "out of range" in process(made, "rejects", "readings").out


def test_a_comment_makes_nothing_stale_and_a_number_does(made: Path) -> None:
    module = made / "definitions/weather.py"
    text = module.read_text()
    try:
        module.write_text(text.replace("believable = pc", "# warm\n    believable = pc"))
        assert "Nothing to do" in process(made, "plan").out
        module.write_text(text.replace('["celsius"], 60)', '["celsius"], 50)'))
        assert "7 must run" in process(made, "plan").out
    finally:
        module.write_text(text)


def test_its_code_is_formatted_and_free_of_findings(made: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", str(REPOSITORY / "pyproject.toml"), "--no-cache", "."]
    for words in (["check", "--ignore", "PT,I001"], ["format", "--check"]):
        done = subprocess.run(
            [*ruff, *words, *config], cwd=made, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_working_directory_is_the_default(folder: Path, assets: Command) -> None:
    assert assets("init").code == 0
    assert assets("list").code == 0


def test_nothing_is_overwritten(folder: Path, assets: Command) -> None:
    (folder / "assets.toml").write_text("")
    outcome = assets("init")
    assert outcome.code == 2
    assert "assets.toml" in outcome.err
    assert [path.name for path in folder.iterdir()] == ["assets.toml"]


def test_json_lists_what_was_made(folder: Path, assets: Command) -> None:
    found = assets("init", "here", "--json").json
    assert all((folder / "here" / name).is_file() for name in found["files"])


def test_a_folder_of_two_words_is_quoted_in_what_to_do_next(folder: Path, assets: Command) -> None:
    assert "  cd 'my project'\n" in assets("init", "my project").out


@pytest.mark.parametrize("at", ["file", "file/below"])
def test_a_folder_that_can_not_be_made_is_told(at: str, folder: Path, assets: Command) -> None:
    (folder / "file").touch()
    outcome = assets("init", at)
    assert (outcome.code, outcome.out) == (2, "")
    assert "The project can't be made there" in outcome.err
    assert "Traceback" not in outcome.err
