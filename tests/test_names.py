"""One name, one meaning; and classes small enough to be read. Read off the product's code."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_METHODS, MOST_LINES = 25, 400


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in ("assets_core", "io_managers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for file, tree in modules():
        yield from ((file, node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def aliases(tree: ast.Module) -> Iterator[str]:
    """Names of types that a module makes out of others: ``Ranges = Sequence[...]``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name[0].isupper() and not name.isupper():
                yield name


def test_a_public_class_or_type_is_defined_once() -> None:
    places = defaultdict(list)
    for file, node in classes():
        if not node.name.startswith("_"):
            places[node.name].append(f"{file}:{node.lineno}")
    for file, tree in modules():
        for name in aliases(tree):
            places[name].append(file)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_classes_are_small() -> None:
    large = [
        f"{file}:{node.lineno}"
        for file, node in classes()
        if sum(isinstance(each, ast.FunctionDef) for each in node.body) > MOST_METHODS
        or (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES
    ]
    assert large == []
