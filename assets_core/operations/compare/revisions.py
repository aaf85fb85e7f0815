"""Definitions at a git revision: checked out into a temporary folder, described there.

Reads the repository and nothing else of it: neither the work tree nor the index, branches or the
list of work trees are touched. Loading runs the revision's own code, in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from assets_core.errors import UsageError
from assets_core.ours import HOME
from assets_core.planning.description import Described

if TYPE_CHECKING:
    from assets_core.workspace.workspace import Workspace

_DEPTH = 6
"""So many folders lie around a checkout, so that what it reaches by ``..`` stays within them."""

_LINES = 12


@dataclass(frozen=True, slots=True)
class Revision:
    """``name`` as it was asked for, and the commit that is compared with.

    ``tip`` is the commit that the name stands for; ``commit`` is where the work in hand left it
    (their merge base), or the tip itself where none is known.
    """

    name: str
    commit: str
    tip: str
    top: Path

    @property
    def told(self) -> str:
        """``main (1a2b3c4d5e6f)``."""
        return f"{self.name} ({self.commit[:12]})"


def find_revision(name: str, root: Path) -> Revision:
    """The commit to compare with, seen from the repository that ``root`` lies in.

    Raises UsageError where there is no git, no repository or no such revision.
    """
    top = Path(_git(root, "rev-parse", "--show-toplevel", what="find the repository"))
    found = _run(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if found.returncode:
        raise UsageError(
            f"There is no revision {name!r} in this repository, and no such file.",
            facts={"repository": top},
            hint=f"After a shallow clone fetch it first: git fetch origin {name}",
        )
    tip = found.stdout.strip()
    base = _run(top, "merge-base", tip, "HEAD")
    commit = base.stdout.split()[0] if not base.returncode and base.stdout.split() else tip
    return Revision(name, commit, tip, top)


def describe_revision(revision: Revision, workspace: Workspace) -> Described:
    """What the project's definitions were at a revision.

    Raises UsageError where they don't load there, with what went wrong.
    """
    if workspace.origin is None:
        raise UsageError(
            "Another revision can only be looked at of definitions that were loaded by name.",
            hint="Load the project from its module: Project.load('definitions')",
        )
    root = workspace.root.resolve()
    inside = root.relative_to(revision.top.resolve())
    with tempfile.TemporaryDirectory(prefix="assets-") as folder:
        holder = Path(folder).resolve()
        top = holder.joinpath(*map(str, range(_DEPTH)))
        top.mkdir(parents=True)
        _check_out(revision, top, holder / "index")
        if not (top / inside).is_dir():
            raise UsageError(
                f"At {revision.told} there is no folder {str(inside)!r}.",
                hint="Compare with a revision that has the project.",
            )
        answer = holder / "answer.json"
        task = {
            "module": _relative(workspace.origin.module, root),
            "root": str(top / inside),
            "environment": workspace.origin.environment,
            "config": {name: dict(values) for name, values in workspace.origin.config.items()},
            "top": str(top),
            "holder": str(holder),
            "own_top": str(revision.top.resolve()),
            "own_root": str(root),
            "path": [entry for entry in sys.path if entry],
            "answer": str(answer),
        }
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD, json.dumps(task)],
            cwd=top / inside,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return _answer(answer, done, revision)


# The stores are imported before the checkout's folders come first on the path: it may hold others.
_CHILD = (
    "import sys, io_managers; from assets_core.operations.compare.checkout import main;"
    "main(sys.argv[1])"
)


def _environment() -> dict[str, str]:
    """Such that this library is found, the same release of it for both."""
    ours = [str(HOME), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry for entry in ours if entry),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _relative(module: str, root: Path) -> str:
    """A module given by its absolute path, as a path that also means its counterpart."""
    path = Path(module)
    if path.is_absolute() and path.is_relative_to(root):
        return f"./{path.relative_to(root)}"
    return module


def _answer(answer: Path, done: subprocess.CompletedProcess[str], revision: Revision) -> Described:
    text = answer.read_text(encoding="utf-8") if answer.exists() else ""
    problem = json.loads(text).get("error", "") if text else done.stderr.strip()
    if problem or done.returncode:
        lines = (problem or done.stderr.strip()).splitlines()
        raise UsageError(
            f"The definitions do not load at {revision.told}.",
            facts={"problem": "\n".join(lines[-_LINES:] if not text else lines[: 2 * _LINES])},
            hint="Compare with a revision where `assets list` works: --against REVISION",
        )
    try:
        return Described.model_validate_json(text)
    except ValidationError as error:
        raise UsageError(
            f"What describes {revision.told} can't be read.", facts={"problem": error}
        ) from error


# --------------------------------------------------------------------------------------------
# git


def _check_out(revision: Revision, into: Path, index: Path) -> None:
    """All files of a commit, as a checkout writes them, through an index of its own."""
    own = {"GIT_INDEX_FILE": str(index), "GIT_LFS_SKIP_SMUDGE": "1"}
    top = revision.top
    _git(top, "read-tree", revision.commit, what="read the revision", more=own)
    prefix = f"--prefix={into}{os.sep}"
    _git(top, "checkout-index", "--all", "--force", prefix, what="check it out", more=own)


def _run(
    folder: Path, *words: str, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = ["git", "-C", str(folder), *words]
    try:
        return subprocess.run(
            command,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **(more or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise UsageError(
            "git is not installed, so no revision can be looked at.",
            hint="Install git, or compare with a file: assets plan --code-to FILE",
        ) from error


def _git(folder: Path, *words: str, what: str, more: Mapping[str, str] | None = None) -> str:
    done = _run(folder, *words, more=more)
    if not done.returncode:
        return done.stdout.strip()
    if "not a git repository" in done.stderr:
        raise UsageError(
            "The project does not lie in a git repository, and there is no such file.",
            facts={"project": folder},
            hint="--against takes a git revision, or a file that assets plan --code-to wrote.",
        )
    raise UsageError(
        f"git could not {what}.",
        facts={"command": f"git {' '.join(words)}", "it said": done.stderr.strip()},
    )
