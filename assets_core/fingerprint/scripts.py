"""Which files of the project a program reads that is started with some words: the script itself,
and the files beside it that it names or imports, as far as its text tells."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path


def read_by(words: Sequence[str], folder: str) -> list[str]:
    """Absolute paths of the files that the words name (each may be a command or a program itself),
    and of what Python code among them imports."""
    found: dict[Path, None] = {}
    for before, word in itertools.pairwise(["", *words]):
        if before == "-c":
            places = [Path(folder), Path.cwd()]
            scripts = [one for name in _imports(word) for one in _files(name, places)]
        elif before == "-m":
            module = _module(word, Path(folder))
            scripts = [module] if module is not None else []
        else:
            scripts = []
        scripts += [path for path in _named(word, folder) if path.is_file()]
        for script in scripts:
            found.update(dict.fromkeys(_with_imports(script.resolve())))
    return [str(path) for path in found]


def variables_named(words: Sequence[str]) -> list[str]:
    """The variables that a line of the shell among some words asks for."""
    found = dict.fromkeys(name for word in words for name in _VARIABLE.findall(word[:_MOST]))
    return [name for name in found if name not in _OF_EVERY_SHELL]


_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)")
_OF_EVERY_SHELL = frozenset({"PWD", "OLDPWD", "PATH", "SHLVL", "IFS", "RANDOM", "PPID"})

_MOST = 10_000
"""Characters of an argument in which names of files are looked for."""


def _named(word: str, folder: str) -> Iterator[Path]:
    if "\0" not in word and len(word) < os.pathconf("/", "PC_PATH_MAX"):
        yield Path(folder, word)
    if any(sign in word for sign in " '\"()=;"):
        for part in dict.fromkeys(_PART.findall(word[:_MOST])):
            yield Path(folder, part)


_PART = re.compile(r"[^\s'\"()<>|;&=,:\0]{1,255}")


def _module(name: str, folder: Path) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.origin and Path(spec.origin).is_file():
        return Path(spec.origin)
    return next(_files(name, [folder]), None)


def _with_imports(script: Path) -> Iterator[Path]:
    """The script, all that it imports from its own folder or the import path's, and the files that
    a script of the shell names."""
    seen = {script}
    queue = [script]
    for path in queue:  # grows while it is walked
        yield path
        places = [script.parent, path.parent, Path.cwd()]
        if path.suffix == ".py":
            found = [one for name in _imports(path) for one in _files(name, places)]
        else:
            found = [one for word in _words_of_shell(path) for one in _there(word, places)]
        new = [one for one in dict.fromkeys(found) if one not in seen]
        seen.update(new)
        queue += new


def _words_of_shell(script: Path) -> list[str]:
    """The words of a script that a shell runs; none of any other file."""
    try:
        with script.open("rb") as file:
            text = file.read(_MOST_OF_SCRIPT)
    except OSError:
        return []
    if script.suffix not in (".sh", ".bash") and not text.startswith(b"#!"):
        return []
    return list(dict.fromkeys(_PART.findall(text.decode(errors="replace"))))


_MOST_OF_SCRIPT = 100_000


def _there(word: str, folders: Sequence[Path]) -> list[Path]:
    return [path.resolve() for path in (folder / word for folder in folders) if path.is_file()]


def _imports(script: Path | str) -> Iterator[str]:
    """The modules that a script imports, or a text of Python."""
    try:
        tree = ast.parse(script if isinstance(script, str) else script.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names)


def _files(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    """Where a module's file may lie; packages on the way run as well."""
    parts = name.split(".") if name else []
    for folder in folders:
        for depth in range(1, len(parts) + 1):
            base = folder.joinpath(*parts[:depth])
            for path in (base.with_suffix(".py"), base / "__init__.py"):
                if path.is_file():
                    yield path.resolve()
