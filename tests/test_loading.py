"""Loading users' modules: what is found, and how failures are told."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from assets_core import Project, asset, lag
from assets_core.declare.loading import load_definitions
from assets_core.errors import DefinitionError, UsageError

LOOP = """
    import pyarrow as pa
    from assets_core import source, multi_asset
    from assets_core import asset

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
        from assets_core import Definitions
        from assets_core import asset
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
        from assets_core import sql_asset
        from assets_core import asset, checks
        @asset
        def orders(): ...
        totals = sql_asset("totals", "SELECT count(*) AS n FROM orders",
                           checks=[checks.sql("SELECT * FROM this WHERE n < 0")])
        """,
    )
    code = (
        "import sys; from assets_core import Project; p = Project.load('sql_defs');"
        "print(p.graph.op_of['totals'].upstream, {'sqlglot', 'duckdb'} & set(sys.modules) != set())"
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


# --------------------------------------------------------------------------------------------
# Everything that is wrong, in one report


WRONG = """
from pathlib import Path
from typing import Annotated
import pyarrow as pa
from assets_core import (Freshness, Group, Retry, daily, dynamic, lag, last, multi_asset)
from assets_core import asset
from assets_core import not_null, product, row_count, source, sql_asset, static, window

DAYS = daily("2024-01-01")

@asset(partitions=daily("2024-01-01", timezone="Europe/Berlinn"))
def zone(orders: Annotated[pa.Table, last(7)]): ...

@asset(partitions=DAYS)
def orders(): ...

@asset(partitions=DAYS)
def none_before(orders: Annotated[pa.Table, lag(0)]): ...

@asset(partitions=DAYS, retry=Retry(-1), schema="evlove", owner="me")
def several(orders: pa.Table): ...

@asset(partitons=DAYS)
def misspelt(): ...

@asset(partitions=static(["a", "b", "a"]), checks=[not_null(), row_count(min=-1)])
def keys(): ...

@asset(partitions=product(date=DAYS), max_rejected=3)
def one_dimension(orders: pa.Table): ...

@asset(freshness=Freshness("8h", warn_within="9h"), depends_on=[3])
def late(): ...

totals = sql_asset("totals", "nowhere.sql", partitions=DAYS)

@asset(partitions=DAYS)
def reads_window(orders: Annotated[pa.Table, window(1, -2)]): ...

@asset
def orders_again(order): ...
"""


def report(module: str, root: Path) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        Project.from_module(module, root=root)
    return [str(problem) for problem in caught.value.problems]


def test_every_wrong_line_of_a_module_is_reported(tmp_path: Path) -> None:
    (tmp_path / "wrong_lines.py").write_text(WRONG)
    found = report("wrong_lines", tmp_path)
    expected = [
        "Berlinn",
        "lag(0)",
        "Retry(max=-1)",
        "schema='evlove'",
        "no option 'partitons'",
        "holds 'a' twice",
        "not_null",
        "row_count",
        "two dimensions",
        "max_rejected=3",
        "warn_within=9h",
        "3 does not name an upstream",
        "nowhere.sql",
        "window(1, -2)",
        "depends on an unknown asset",
    ]
    assert len(found) == len(expected), "\n\n".join(found)
    for text in expected:
        assert any(text in problem for problem in found), text


def test_each_reported_line_says_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "placed_lines.py").write_text(WRONG)
    lines = WRONG.splitlines()
    for problem in report("placed_lines", tmp_path):
        match = re.search(r"placed_lines\.py:(\d+)", problem)
        assert match is not None, problem
        assert lines[int(match[1]) - 1].strip(), problem


def test_wrong_lines_of_several_modules_are_reported_together(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{
            "many_defs/__init__": "",
            "many_defs/a": "from assets_core import lag\nx = lag(0)\n",
            "many_defs/b": "from .c import nothing\n",
            "many_defs/c": "y = 1 / 0\n",
            "many_defs/d": "from assets_core import asset\n@asset(name='1 2')\ndef d(): ...\n",
            "many_defs/sub/__init__": "raise ValueError('no')",
        },
    )
    found = report("many_defs", tmp_path)
    texts = ["lag(0)", "division by zero", "can't be an asset's name", "ValueError: no"]
    for text in texts:
        assert any(text in problem for problem in found), text
    assert len(found) == len(texts)  # b breaks where c does, which it imports


def test_what_a_broken_module_would_declare_is_not_called_unknown(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{
            "half_defs/__init__": "",
            "half_defs/a": "y = 1 / 0\nfrom assets_core import asset\n@asset\ndef a(): ...\n",
            "half_defs/b": "from assets_core import asset\n@asset\ndef b(a): ...\n",
        },
    )
    (problem,) = report("half_defs", tmp_path)
    assert "division by zero" in problem


def test_a_wrong_declaration_fails_at_once_outside_of_loading() -> None:
    with pytest.raises(DefinitionError):
        lag(0)
    with pytest.raises(DefinitionError):
        asset(schema="evlove")(lambda: None)  # type: ignore[call-overload]


def test_definitions_mended_in_the_same_process_are_loaded_anew(tmp_path: Path) -> None:
    path = tmp_path / "mended_defs.py"
    path.write_text("from assets_core import asset\n@asset(schema='x')\ndef a(): ...\n")
    report("mended_defs", tmp_path)
    path.write_text("from assets_core import asset\n@asset(schema='strict')\ndef a(): ...  # ok\n")
    with Project.from_module("mended_defs", root=tmp_path) as project:
        assert project.graph.assets["a"].schema == "strict"


def test_a_wrong_default_of_a_group_is_told_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        group_defs="""
        from assets_core import Group
        g = Group("g", schema="evlove")
        @g.asset
        def a(): ...
        @g.asset
        def b(): ...
        """,
    )
    (problem,) = report("group_defs", tmp_path)
    assert "group_defs.py:3" in problem


def test_an_exit_at_import_is_told_as_a_failure_to_import(tmp_path: Path) -> None:
    write(tmp_path, exit_defs="import sys\nsys.exit(0)\n")
    with pytest.raises(DefinitionError, match="SystemExit: 0") as caught:
        load_definitions("exit_defs", tmp_path)
    assert "exit_defs.py:2: sys.exit(0)" in caught.value.facts["at"]


def test_sql_that_duckdb_cant_parse_is_told_with_its_line_and_a_caret(tmp_path: Path) -> None:
    write(
        tmp_path,
        unparsable_defs="""
        from assets_core import asset, checks, daily, sql_asset
        import pyarrow as pa

        @asset(checks=[checks.sql("SELECT * FRM this", name="clean")])
        def events() -> pa.Table: ...

        late = sql_asset(
            "late",
            "SELECT id\\nFROM events\\nWHERE at >= $partition_start",
            partitions=daily("2024-01-01"),
        )
        open_ended = sql_asset("open_ended", "SELECT 'abc FROM events")
        """,
    )
    with pytest.raises(DefinitionError) as refused:
        Project.load("unparsable_defs", root=tmp_path)
    assert str(refused.value).startswith("3 problems in the definitions.")
    late, open_ended, events = (str(problem) for problem in refused.value.problems)
    assert late.splitlines()[0] == """The SQL can't be read: syntax error at or near ">=\""""
    *_, line, caret, hint = late.splitlines()
    assert line == "  line 3: WHERE at >= $partition_start"
    assert caret.index("^^") == line.index(">=")
    assert "quotes" in hint
    assert "unterminated" in open_ended
    assert "check:  clean" in events
    assert "line 1: SELECT * FRM this" in events
