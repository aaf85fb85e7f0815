"""Small real projects in temporary folders, and the command run on them in this process."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.shop import Command, Outcome, forget_definitions, process, write_project


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, with no settings of the surroundings."""
    for name in [n for n in os.environ if n.startswith("ASSETS_")] + ["NO_COLOR", "FORCE_COLOR"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "definitions"}
    forget_definitions()
    yield tmp_path
    forget_definitions()
    sys.modules.update(before)


@pytest.fixture
def assets(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in this process, in the folder; each call loads the project anew."""
    from assets_core.cli import run

    def call(*arguments: str) -> Outcome:
        forget_definitions()
        capsys.readouterr()
        code = run(arguments)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture
def shop(folder: Path) -> Path:
    """The shop, nothing built yet."""
    return write_project(folder)


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop, built in a process of its own; to be copied, a project can be moved."""
    made = write_project(tmp_path_factory.mktemp("built"))
    assert process(made, "materialize", "--yes", "--select", "+trend").code == 0
    return made


@pytest.fixture
def built(folder: Path, built_once: Path) -> Path:
    """The shop with everything built that can be."""
    shutil.copytree(built_once, folder, dirs_exist_ok=True)
    return folder
