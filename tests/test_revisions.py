"""Another git revision of a project, looked at without touching anything: real repositories."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.shop import forget_definitions

from assets_core import Project
from assets_core.errors import UsageError
from assets_core.operations.compare.revisions import find_revision

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

HELPERS = "LIMIT = 3\n\n\ndef scale(x):\n    return x * LIMIT\n"
ASSETS = """
import pyarrow as pa
from assets_core import Group, daily
from helpers_of_it import scale

g = Group("g", partitions=daily("2024-01-01", end="2024-01-04"))


@g.asset
def raw() -> pa.Table:
    return pa.table({"n": [1, 2]})


@g.asset
def clean(raw: pa.Table) -> pa.Table:
    return pa.table({"n": [scale(n) for n in raw["n"].to_pylist()]})


@g.asset
def report(clean: pa.Table) -> pa.Table:
    return clean
"""


class Repository:
    """A git repository with a project in it."""

    def __init__(self, top: Path, inside: str = "") -> None:
        self.top, self.root = top, top / inside
        self.clock = int(time.time()) - 1_000
        self.root.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        self.write(".gitignore", ".assets\ndata\n__pycache__\n")
        self.write("definitions.py", ASSETS)
        self.write("helpers_of_it.py", HELPERS)
        self.commit("base")

    def git(self, *words: str) -> str:
        own = ["-c", "user.name=me", "-c", "user.email=me@example.com"]
        done = subprocess.run(
            ["git", *own, *words], cwd=self.top, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        # Python tells by the second and the size whether compiled code is still that of a file.
        self.clock += 2
        os.utime(path, (self.clock, self.clock))

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def project(self) -> Project:
        forget_definitions()
        forget_definitions("helpers_of_it")
        return Project.load("definitions", root=self.root)

    def build(self) -> None:
        with self.project() as loaded:
            assert loaded.materialize().ok


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    forget_definitions()
    forget_definitions("helpers_of_it")


@pytest.fixture
def repository(tmp_path: Path, here: None) -> Repository:
    return Repository(tmp_path / "repo")


def test_the_same_code_makes_nothing_stale(repository: Repository) -> None:
    with repository.project() as loaded:
        found = loaded.against("main")
    assert not found.changes
    assert len(found.plan) == 0


def test_a_changed_helper_is_seen_and_named(repository: Repository) -> None:
    repository.build()
    repository.write("helpers_of_it.py", HELPERS.replace("3", "4"))
    with repository.project() as loaded:
        found = loaded.against("main")
        assert found.summary().because == [
            "because clean: code changed (constant LIMIT) → 3 must, 3 may downstream"
        ]
        assert found.recorded
        assert found.cost(1).must.known == 3


def test_without_a_state_store_every_partition_counts_and_none_is_made(
    repository: Repository,
) -> None:
    repository.write("helpers_of_it.py", HELPERS.replace("3", "4"))
    with repository.project() as loaded:
        found = loaded.against("main")
    assert (found.plan.must, found.plan.may, found.recorded) == (3, 3, False)
    assert not (repository.root / ".assets" / "state.db").exists()


def test_nothing_is_written_to_the_store_the_repository_or_the_work_tree(
    repository: Repository,
) -> None:
    repository.build()
    repository.write("helpers_of_it.py", HELPERS.replace("3", "4"))
    store = repository.root / ".assets" / "state.db"

    def everything() -> tuple[object, ...]:
        index = (repository.top / ".git" / "index").read_bytes()
        return (
            hashlib.sha256(store.read_bytes()).hexdigest(),
            hashlib.sha256(index).hexdigest(),
            repository.git("--no-optional-locks", "status", "--porcelain"),
            repository.git("worktree", "list"),
            repository.git("for-each-ref"),
        )

    before = everything()
    with repository.project() as loaded:
        loaded.against("main")
    assert everything() == before


def test_a_branch_is_compared_with_where_it_left(repository: Repository) -> None:
    left = repository.git("rev-parse", "HEAD")
    repository.git("checkout", "-q", "-b", "feature")
    repository.git("checkout", "-q", "main")
    repository.write("helpers_of_it.py", HELPERS.replace("3", "5"))
    tip = repository.commit("another's change")
    repository.git("checkout", "-q", "feature")
    revision = find_revision("main", repository.root)
    assert (revision.commit, revision.tip) == (left, tip)
    with repository.project() as loaded:
        assert not loaded.against("main").changes


def test_a_project_may_lie_below_the_repositorys_top(tmp_path: Path, here: None) -> None:
    repository = Repository(tmp_path / "repo", "jobs/nightly")
    repository.write("definitions.py", ASSETS.replace("[1, 2]", "[1, 2, 3]"))
    with repository.project() as loaded:
        assert list(loaded.against("main").changes.changed) == ["raw"]


def test_a_store_outside_the_project_is_the_same_one_at_both(tmp_path: Path, here: None) -> None:
    repository = Repository(tmp_path / "repo", "jobs")
    text = ASSETS + (
        "\nfrom assets_core import Definitions\nfrom io_managers import ParquetFiles\n"
        "made = Definitions(io_managers={'default': ParquetFiles('../lake')})\n"
    )
    repository.write("definitions.py", text)
    repository.commit("a lake")
    with repository.project() as loaded:
        assert not loaded.against("HEAD").changes


def test_added_and_removed_assets_are_told(repository: Repository) -> None:
    text = ASSETS.replace("def report(clean", "def summary(clean")
    repository.write("definitions.py", text)
    with repository.project() as loaded:
        changes = loaded.against("main").changes
    assert (changes.added, changes.removed) == (("summary",), ("report",))


def test_a_file_of_code_versions_does_as_well(repository: Repository, tmp_path: Path) -> None:
    path = tmp_path / "code.json"
    with repository.project() as loaded:
        loaded.store_code(path)
    repository.write("helpers_of_it.py", HELPERS.replace("3", "4"))
    with repository.project() as loaded:
        assert loaded.against(str(path)).plan.must == 3


# --------------------------------------------------------------------------------------------
# What can't be compared with


def test_an_unknown_revision_is_told_with_how_to_fetch_it(repository: Repository) -> None:
    with repository.project() as loaded, pytest.raises(UsageError) as caught:
        loaded.against("mian")
    assert "There is no revision 'mian'" in str(caught.value)
    assert "git fetch origin mian" in caught.value.hint


def test_a_word_like_an_option_is_no_option_of_git(repository: Repository) -> None:
    with repository.project() as loaded, pytest.raises(UsageError, match="no revision '--all'"):
        loaded.against("--all")


def test_outside_of_a_repository_it_says_so(tmp_path: Path, here: None) -> None:
    (tmp_path / "definitions.py").write_text(ASSETS)
    (tmp_path / "helpers_of_it.py").write_text(HELPERS)
    forget_definitions()
    with (
        Project.load("definitions", root=tmp_path) as loaded,
        pytest.raises(UsageError, match="does not lie in a git repository"),
    ):
        loaded.against("main")


def test_definitions_that_do_not_load_there_are_told_with_the_problem(
    repository: Repository,
) -> None:
    repository.write("definitions.py", "import not_there_at_all\n")
    repository.commit("broken")
    repository.write("definitions.py", ASSETS)
    with repository.project() as loaded, pytest.raises(UsageError) as caught:
        loaded.against("HEAD")
    assert "do not load at HEAD" in caught.value.message
    assert "not_there_at_all" in caught.value.facts["problem"]


def test_definitions_that_end_their_process_are_told_too(repository: Repository) -> None:
    repository.write("definitions.py", "import sys\nsys.exit('no licence here')\n")
    repository.commit("exits")
    repository.write("definitions.py", ASSETS)
    with repository.project() as loaded, pytest.raises(UsageError) as caught:
        loaded.against("HEAD")
    assert "no licence here" in caught.value.facts["problem"]


def test_what_the_definitions_print_is_no_answer(repository: Repository) -> None:
    repository.write("definitions.py", "print('hello')\n" + ASSETS)
    repository.commit("talks")
    with repository.project() as loaded:
        assert not loaded.against("HEAD").changes


def test_a_project_that_is_not_there_yet_is_told(tmp_path: Path, here: None) -> None:
    repository = Repository(tmp_path / "repo")
    root = repository.top / "new"
    root.mkdir()
    (root / "definitions.py").write_text(ASSETS)
    (root / "helpers_of_it.py").write_text(HELPERS)
    forget_definitions()
    with (
        Project.load("definitions", root=root) as loaded,
        pytest.raises(UsageError, match="there is no folder 'new'"),
    ):
        loaded.against("main")
