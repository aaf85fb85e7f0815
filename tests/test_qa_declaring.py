"""What a demanding new user ran into while declaring: projects of a few lines, loaded for real."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from assets_core import Definitions, Project, asset, source, sql_asset
from assets_core.declare.policies import Retry
from assets_core.declare.sql import tables_of
from assets_core.errors import AssetsError, ConfigError, DefinitionError, OutputError
from assets_core.graph import Graph

Loader = Callable[..., Project]
_number = itertools.count()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """Write a module and settings, load the project as the command does."""

    def write(text: str, settings: str = "", **given: object) -> Project:
        name = f"qa_definitions_{next(_number)}"
        (tmp_path / f"{name}.py").write_text(text)
        (tmp_path / "assets.toml").write_text(settings)
        monkeypatch.setattr(sys, "path", list(sys.path))
        return Project.from_module(name, root=tmp_path, **given)  # type: ignore[arg-type]

    return write


CONFIG = """
from pydantic import BaseModel, ConfigDict, Field
from assets_core import multi_asset
from assets_core import asset

class Limit(BaseModel):
    limit: int = 5

class Aliased(BaseModel):
    limit: int = Field(5, alias="max")

class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

@asset(name="Big-Name")
def big(config: Limit):
    return [{"limit": config.limit}]

@multi_asset(["first", "second"])
def several(config: Limit):
    return {"first": [{"limit": 1}], "second": [{"limit": 2}]}

@asset
def aliased(config: Aliased):
    return [{"limit": config.limit}]

@asset
def anything(config: Open):
    return [{"limit": 1}]
"""

# --------------------------------------------------------------------------------------------
# SQL


def test_a_query_names_tables_in_any_case() -> None:
    assert tables_of("SELECT * FROM Orders JOIN orders ON true") == ("Orders",)


def test_a_cte_hides_its_name_in_any_case() -> None:
    query = "WITH Recent AS (SELECT * FROM orders) SELECT * FROM recent"
    assert tables_of(query) == ("orders",)


def test_a_comment_may_follow_the_last_semicolon() -> None:
    assert tables_of("SELECT * FROM orders;\n-- that is all\n") == ("orders",)


@pytest.mark.parametrize("word", ["SUMMARIZE", "DESCRIBE", "PIVOT"])
def test_tables_of_statements_in_brackets_are_inputs(word: str) -> None:
    more = " ON day USING count(*)" if word == "PIVOT" else ""
    assert tables_of(f"SELECT * FROM ({word} orders{more})") == ("orders",)


def test_a_query_reads_an_asset_whatever_the_case(tmp_path: Path) -> None:
    @asset(name="Orders")
    def orders() -> list[dict[str, int]]:
        return [{"amount": 1}]

    total = sql_asset("total", "SELECT sum(amount)::BIGINT AS amount FROM ORDERS")
    with Project(Definitions([orders, total]), root=tmp_path) as project:
        project.materialize().raise_for_status()
        assert project.load("total").to_pylist() == [{"amount": 1}]


def test_inputs_of_a_query_are_given_in_any_case() -> None:
    @asset
    def orders() -> list[dict[str, int]]:
        return [{"amount": 1}]

    total = sql_asset("total", "SELECT * FROM Bought", inputs={"bought": orders})
    graph = Graph.build([orders, total])
    assert [read.asset for read in graph.op_of["total"].inputs] == ["orders"]


def test_a_parameter_in_a_comment_or_a_text_is_not_bound(tmp_path: Path) -> None:
    query = "SELECT '$partition_start' AS said -- and $partition_end\n/* $partition_key */"
    with Project(Definitions([sql_asset("said", query)]), root=tmp_path) as project:
        project.materialize().raise_for_status()
        assert project.load("said").to_pylist() == [{"said": "$partition_start"}]


# --------------------------------------------------------------------------------------------
# Wrong definitions


def test_a_name_that_a_loop_declares_twice_is_reported(load: Loader) -> None:
    text = """
from assets_core import asset

for name in ["acme", "acme"]:
    @asset(name=name)
    def partner():
        return [{"a": 1}]
"""
    with pytest.raises(DefinitionError, match="'acme' is declared twice"):
        load(text)


def test_what_is_declared_by_a_module_run_again_replaces_the_old() -> None:
    from assets_core.declare.registry import declared_in

    text = "from assets_core import asset\n@asset\ndef orders():\n    return []\n"
    names: dict[str, object] = {"__name__": "qa_run_twice"}
    for _ in range(2):
        exec(compile(text, "qa_run_twice.py", "exec"), names)
    assert declared_in("qa_run_twice") == [names["orders"]]


def test_a_misspelt_option_is_refused_with_a_suggestion() -> None:
    with pytest.raises(DefinitionError) as caught:
        asset(partition="daily")(lambda: [])  # type: ignore[call-overload]
    assert caught.value.hint == "Did you mean 'partitions'?"


@pytest.mark.parametrize("option", ["partitions", "retry", "freshness"])
def test_an_option_of_another_kind_is_refused(option: str) -> None:
    with pytest.raises(DefinitionError, match=option):
        asset(**{option: "daily"})(lambda: [])  # type: ignore[call-overload]


def test_an_error_of_a_declaration_says_where_it_stands(load: Loader) -> None:
    with pytest.raises(AssetsError) as caught:
        load("from assets_core import asset\n\n@asset(schema='evlove')\ndef x(): return 1\n")
    assert ".py:3: @asset(schema='evlove')" in caught.value.facts["declared"]


def test_a_syntax_error_says_where_it_stands(load: Loader) -> None:
    with pytest.raises(DefinitionError) as caught:
        load("import os\ndef broken(:\n")
    assert caught.value.facts["at"].endswith(".py:2: def broken(:")


# --------------------------------------------------------------------------------------------
# Config


def test_config_of_any_asset_that_a_function_makes_counts(load: Loader) -> None:
    with load(CONFIG, config={"second": {"limit": "9"}}) as project:
        assert project.config["first"].limit == 9


@pytest.mark.parametrize("key", ["limit", "max"])
def test_a_field_is_set_by_its_name_or_alias(load: Loader, key: str) -> None:
    with load(CONFIG, config={"aliased": {key: "9"}}) as project:
        assert project.config["aliased"].limit == 9


def test_a_model_that_takes_any_key_is_given_it(load: Loader) -> None:
    with load(CONFIG, config={"anything": {"more": "9"}}) as project:
        assert project.config["anything"].more == "9"


def test_a_variable_names_an_asset_without_its_case_and_dashes(
    load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSETS_CONFIG__BIG_NAME__LIMIT", "9")
    with load(CONFIG) as project:
        assert project.config["Big-Name"].limit == 9


@pytest.mark.parametrize("settings", ["config = 3", "[config]\nlimit = 3"])
def test_config_that_belongs_to_no_asset_is_refused(load: Loader, settings: str) -> None:
    with pytest.raises(ConfigError, match="belongs to no asset"):
        load(CONFIG, settings)


# --------------------------------------------------------------------------------------------
# Retries


def test_an_output_that_cant_be_stored_is_not_tried_again() -> None:
    assert not Retry().applies(OutputError("The function returned None."))


def test_a_failed_query_tells_its_message_and_no_frames_of_the_library(tmp_path: Path) -> None:
    wrong = sql_asset("wrong", "SELECT nothing FROM range(3)")
    with Project(Definitions([wrong]), root=tmp_path) as project:
        project.materialize()
        (attempt,) = project.state.attempts(asset="wrong")
    assert "Traceback" not in attempt.traceback
    assert "nothing" in attempt.traceback


# --------------------------------------------------------------------------------------------
# Sources


def test_a_file_changed_under_its_old_time_and_size_is_late_data(tmp_path: Path) -> None:
    file = tmp_path / "landed.txt"
    file.write_text("one")
    os.utime(file, (1_700_000_000, 1_700_000_000))

    @source
    def landed() -> Path:
        return file

    @asset
    def read(landed: Path) -> list[dict[str, str]]:
        return [{"text": landed.read_text()}]

    with Project(Definitions([landed, read]), root=tmp_path) as project:
        project.materialize().raise_for_status()
        file.write_text("two")
        os.utime(file, (1_700_000_000, 1_700_000_000))
        assert project.plan().must == 1
