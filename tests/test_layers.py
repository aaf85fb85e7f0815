"""The layers of the house, read off the code's imports: downward, and never in a circle.

Every import counts: those within functions and those for type checkers alone as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Top to bottom, as docs/architecture.md draws it. A package's line stands for its modules.
LAYERS = (
    ("__main__",),
    ("cli", "testing"),
    ("project", "loading"),
    ("operations",),
    ("workspace",),
    ("display",),
    ("executors",),
    ("execution",),
    ("state",),
    ("lineage",),
    ("planning",),
    ("graph",),
    ("declare",),
    ("contracts",),
    ("checks",),
    ("tabular",),
    ("wording",),
    ("partitions",),
    ("records",),
    ("fingerprint",),
    ("durations", "faults", "ours", "problems", "settings", "shown"),
    ("errors",),
)

# What a store may build on. Anybody's store can: these modules are public.
PUBLIC_TO_STORES = {"contracts", "errors", "faults", "partitions", "records", "tabular"}


def modules(package: str) -> dict[str, Path]:
    """Dotted names below the package → files; the package's own surface left out."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT / package).with_suffix("").parts
        name = ".".join(p for p in parts if p != "__init__")
        if name:
            found[name] = path
    return found


def layer(name: str) -> int | None:
    top = name.split(".")[0]
    return next((i for i, names in enumerate(LAYERS) if top in names), None)


def imports(path: Path) -> Iterator[str]:
    """Absolute names of what a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            # `from package.a import b` may mean the module `package.a.b`.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def edges(package: str) -> tuple[tuple[str, str], ...]:
    """Pairs of (importing, imported) modules of a package."""
    own = modules(package)
    found = set()
    for name, path in own.items():
        for imported in imports(path):
            target = imported.removeprefix(f"{package}.")
            if target == imported:
                continue
            while target and target not in own:
                target = target.rpartition(".")[0]
            if target and target != name:
                found.add((name, target))
    return tuple(sorted(found))


def test_every_module_has_its_layer() -> None:
    homeless = [name for name in modules("assets_core") if layer(name) is None]
    assert homeless == []


def test_imports_point_downward() -> None:
    upward = {
        (name, target)
        for name, target in edges("assets_core")
        if (layer(name) or 0) > (layer(target) or 0)
    }
    assert sorted(upward) == []


@pytest.mark.parametrize("package", ["assets_core", "io_managers"])
def test_no_file_reaches_itself(package: str) -> None:
    graph: dict[str, set[str]] = {}
    for name, target in edges(package):
        graph.setdefault(name, set()).add(target)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_errors_import_nothing_of_ours() -> None:
    assert [target for name, target in edges("assets_core") if name == "errors"] == []


def test_the_core_never_imports_a_store() -> None:
    found = [
        f"{name} imports {imported}"
        for name, path in modules("assets_core").items()
        for imported in imports(path)
        if imported.split(".")[0] == "io_managers"
    ]
    assert found == []


def test_stores_import_only_public_names() -> None:
    strangers = []
    for name, path in modules("io_managers").items():
        for imported in imports(path):
            top, *rest = imported.split(".")
            private = any(part.startswith("_") for part in rest)
            if top == "assets_core" and (private or rest[0] not in PUBLIC_TO_STORES):
                strangers.append(f"{name} imports {imported}")
    assert strangers == []


PURE = ("graph", "planning", "partitions", "lineage", "records", "wording")
NOT_PURE = {"planning.planfile", "planning.description"}
"""They read and write the files that they are named for."""
IMPURE = {"duckdb", "pyarrow", "sqlalchemy", "pandas", "polars", "time", "os", "pathlib", "random"}


@pytest.mark.parametrize("top", PURE)
def test_pure_modules_know_no_store_clock_or_file(top: str) -> None:
    known = {
        (name, imported)
        for name, path in modules("assets_core").items()
        if name.split(".")[0] == top and name not in NOT_PURE
        for imported in (i.split(".")[0] for i in imports(path))
        if imported in IMPURE
    }
    assert known == set()
