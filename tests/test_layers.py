"""The layers of the house, read off the code's imports: downward, and never in a circle."""

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
    ("cli", "__main__", "testing"),
    (
        "project",
        "backfills",
        "invalidating",
        "withdrawals",
        "loading",
        "configuring",
        "coding",
        "review",
        "planfile",
        "reading",
        "recalling",
        "settings",
    ),
    ("execute", "observe", "state"),
    ("plan",),
    ("staleness",),
    ("graph", "contracts"),
    (
        "asset",
        "checks",
        "fingerprint",
        "tracing",
        "scripts",
        "contents",
        "sqltext",
        "sql",
        "dataversion",
        "rowhash",
        "rounding",
        "tabular",
        "widening",
        "records",
        "partitions",
    ),
    ("hashing", "durations", "faults", "deferring"),
    ("errors",),
)

# Imports that point upward all the same, each with its reason.
ALLOWED = {
    ("dataversion", "rowhash"): "numpy is loaded when the first row is hashed, not before",
    ("execute.result", "observe.display"): "a result shows itself in a notebook and as text",
    ("execute.running", "project"): "a worker process loads the project anew, by its module's name",
    ("plan", "observe.display"): "a plan shows itself in a notebook and as text",
    ("plan", "observe.why"): "a plan tells why one of its partitions is in it",
}

# What a store may build on. Anybody's store can: these modules are public.
PUBLIC_TO_STORES = {"contracts", "errors", "faults", "partitions", "records", "widening"}


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


def imports(path: Path, package: str) -> Iterator[str]:
    """Absolute names of what a file imports, anywhere in it but for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {id(inner) for statement in node.body for inner in ast.walk(statement)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            # `from package.a import b` may mean the module `package.a.b`.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def edges() -> tuple[tuple[str, str], ...]:
    """Pairs of (importing, imported) modules of assets_core."""
    own = modules("assets_core")
    found = set()
    for name, path in own.items():
        for imported in imports(path, "assets_core"):
            parts = imported.removeprefix("assets_core.").split(".")
            if not imported.startswith("assets_core."):
                continue
            target = ".".join(parts) if ".".join(parts) in own else ".".join(parts[:-1])
            if target in own and target != name:
                found.add((name, target))
    return tuple(sorted(found))


def test_every_module_has_its_layer() -> None:
    homeless = [name for name in modules("assets_core") if layer(name) is None]
    assert homeless == []


def test_imports_point_downward() -> None:
    upward = [
        f"{name} imports {target}"
        for name, target in edges()
        if (name, target) not in ALLOWED and (layer(name) or 0) > (layer(target) or 0)
    ]
    assert upward == []


def test_no_module_reaches_itself() -> None:
    graph: dict[str, set[str]] = {}
    for name, target in edges():
        if (name, target) not in ALLOWED:
            graph.setdefault(name, set()).add(target)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_every_exception_is_still_needed() -> None:
    assert set(ALLOWED) <= set(edges())


def test_errors_import_nothing_of_ours() -> None:
    assert [target for name, target in edges() if name == "errors"] == []


def test_the_core_never_imports_a_store() -> None:
    found = [
        f"{name} imports {imported}"
        for name, path in modules("assets_core").items()
        for imported in imports(path, "assets_core")
        if imported.split(".")[0] == "io_managers"
    ]
    assert found == []


def test_stores_import_only_public_names() -> None:
    strangers = []
    for name, path in modules("io_managers").items():
        for imported in imports(path, "io_managers"):
            top, *rest = imported.split(".")
            private = any(part.startswith("_") for part in rest)
            if top == "assets_core" and (private or rest[0] not in PUBLIC_TO_STORES):
                strangers.append(f"{name} imports {imported}")
    assert strangers == []


PURE = ("graph", "plan", "staleness", "partitions", "observe.freshness", "observe.lineage")
IMPURE = {"duckdb", "pyarrow", "sqlalchemy", "pandas", "polars", "time", "os", "pathlib", "random"}


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_store_clock_or_file(name: str) -> None:
    tops = {i.split(".")[0] for i in imports(modules("assets_core")[name], "assets_core")}
    assert tops & IMPURE == set()
