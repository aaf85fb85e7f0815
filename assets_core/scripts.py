"""Which files of the project a program reads that is started with some words: the script itself,
and the modules beside it that a Python script imports, as far as its text tells."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path


def read_by(words: Sequence[str], folder: str) -> list[str]:
    """Absolute paths of the files among the words, and of what Python scripts import."""
    found: dict[str, None] = {}
    for at, word in enumerate(words):
        path = Path(folder, word)
        if word == "-m" and at + 1 < len(words):
            module = _module(words[at + 1], Path(folder))
            path = module if module is not None else path
        if path.is_file():
            for one in _with_imports(path.resolve()):
                found[str(one)] = None
    return list(found)


def _module(name: str, folder: Path) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.origin and Path(spec.origin).is_file():
        return Path(spec.origin)
    return next(_files(name, [folder]), None)


def _with_imports(script: Path) -> Iterator[Path]:
    """The script and all that it imports from its own folder or the import path's."""
    seen = {script}
    queue = [script]
    for path in queue:
        yield path
        if path.suffix != ".py":
            continue
        for name in _imports(path):
            for one in _files(name, [script.parent, path.parent, Path.cwd()]):
                if one not in seen:
                    seen.add(one)
                    queue.append(one)


def _imports(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
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
