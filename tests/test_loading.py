"""Loading users' modules: what is found, and how failures are told."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from assets_core.errors import DefinitionError, UsageError
from assets_core.loading import load_definitions

LOOP = """
    import pyarrow as pa
    from assets_core import asset, source, multi_asset

    for partner in ["ann", "bob"]:
        @asset(name=f"orders_{partner}")
        def _orders(partner=partner) -> pa.Table:
            return pa.table({"who": [partner]})

    @multi_asset(["good", "bad"])
    def split(orders_ann: pa.Table): ...
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def names(module: str, root: Path) -> list[str]:
    return sorted(asset.name for asset in load_definitions(module, root).flat())


def test_assets_made_in_a_loop_are_found(tmp_path: Path) -> None:
    write(tmp_path, loop_defs=LOOP)
    assert names("loop_defs", tmp_path) == ["bad", "good", "orders_ann", "orders_bob"]


def test_a_package_is_loaded_with_all_its_modules(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{
            "pack_defs/__init__": """
            from assets_core import Definitions
            d = Definitions(resources={'x': 1})
            """,
            "pack_defs/a": "from assets_core import asset\n@asset\ndef a(): ...",
            "pack_defs/sub/__init__": "",
            "pack_defs/sub/b": "from assets_core import asset\n@asset\ndef b(a): ...",
        },
    )
    definitions = load_definitions("pack_defs", tmp_path)
    assert sorted(a.name for a in definitions.flat()) == ["a", "b"]
    assert definitions.resources == {"x": 1}


def test_a_path_is_loaded_like_a_module(tmp_path: Path) -> None:
    write(tmp_path, **{"deep/path_defs": "from assets_core import asset\n@asset\ndef a(): ..."})
    assert names("deep/path_defs.py", tmp_path) == ["a"]


def test_definitions_that_list_assets_hold_only_those(tmp_path: Path) -> None:
    write(
        tmp_path,
        list_defs="""
        from assets_core import Definitions, asset
        @asset
        def a(): ...
        @asset
        def b(): ...
        definitions = Definitions([a])
        """,
    )
    assert names("list_defs", tmp_path) == ["a"]


def test_a_missing_module_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="assets init"):
        load_definitions("nowhere_defs", tmp_path)


def test_a_module_that_fails_to_import_names_the_line(tmp_path: Path) -> None:
    write(tmp_path, broken_defs="x = 1\ny = x / 0\n")
    with pytest.raises(DefinitionError, match=r"broken_defs\.py:2"):
        load_definitions("broken_defs", tmp_path)


def test_a_missing_import_inside_is_not_taken_for_a_missing_module(tmp_path: Path) -> None:
    write(tmp_path, needy_defs="import no_such_library\n")
    with pytest.raises(DefinitionError, match="no_such_library"):
        load_definitions("needy_defs", tmp_path)


def test_two_definitions_objects_are_refused(tmp_path: Path) -> None:
    write(
        tmp_path, two_defs="from assets_core import Definitions\na=Definitions()\nb=Definitions([])"
    )
    with pytest.raises(DefinitionError, match="2 Definitions"):
        load_definitions("two_defs", tmp_path)


def test_parsed_queries_are_kept_and_the_parser_is_not_imported_again(tmp_path: Path) -> None:
    write(
        tmp_path,
        sql_defs="""
        from assets_core import asset, sql_asset
        @asset
        def orders(): ...
        totals = sql_asset("totals", "SELECT count(*) AS n FROM orders")
        """,
    )
    code = (
        "import sys; from assets_core import Project; p = Project.load('sql_defs');"
        "print(p.graph.op_of['totals'].upstream, 'sqlglot' in sys.modules)"
    )
    repository = Path(__file__).resolve().parents[1]
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": str(repository), "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert told == ["('orders',) True", "('orders',) False"]
