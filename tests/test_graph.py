"""The graph: problems found together, order, selection."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pytest

from assets_core.checks import not_null
from assets_core.declare.asset import Asset, Out
from assets_core.declare.decorators import asset, multi_asset, source, sql_asset
from assets_core.declare.group import Group
from assets_core.declare.policies import Retry
from assets_core.errors import DefinitionError, UnknownAssetError, UsageError
from assets_core.graph import Graph
from assets_core.partitions import (
    all_partitions,
    daily,
    hourly,
    lag,
    last,
    latest,
    monthly,
    static,
    window,
)

DAYS = daily("2024-01-01")


def named(name: str, *upstream: str, **options: Any) -> Asset:
    """An asset that reads others by parameter name."""
    scope: dict[str, Any] = {}
    exec(f"def {name}({', '.join(upstream)}): ...", scope)  # a signature is what is under test
    return asset(**options)(scope[name])


def problems(*assets: Asset) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        Graph.build(assets)
    return [problem.message for problem in caught.value.problems]


def test_an_unknown_upstream_is_refused_with_a_suggestion() -> None:
    with pytest.raises(DefinitionError) as caught:
        Graph.build([named("orders"), named("daily_revenue", "order")])
    text = str(caught.value)
    assert "Asset 'daily_revenue' depends on an unknown asset." in text
    assert "missing: order" in text
    assert "Did you mean 'orders'?" in text


def test_all_problems_are_reported_together() -> None:
    found = problems(
        named("a", "nowhere"),
        named("b", "c"),
        named("c", "b"),
        named("d", io="elsewhere"),
        named("d"),
    )
    assert len(found) == 4
    assert any("circle" in message for message in found)
    assert any("declared twice" in message for message in found)
    assert any("unknown IO manager" in message for message in found)


def test_a_cycle_names_its_path_in_order() -> None:
    found = problems(named("a", "c"), named("b", "a"), named("c", "b"))
    path = found[0].split(": ")[1].split(" → ")
    assert path[0] == path[-1]
    edges = {("c", "a"), ("a", "b"), ("b", "c")}
    assert set(itertools.pairwise(path)) == edges


def test_two_separate_cycles_are_both_reported() -> None:
    found = problems(named("a", "b"), named("b", "a"), named("c", "d"), named("d", "c"))
    assert len(found) == 2


@pytest.mark.parametrize("mapping", [lag(1), lag(7), window(7, -1)])
def test_an_asset_may_read_its_own_past(mapping: Any) -> None:
    def balance(balance: Annotated[pa.Table | None, mapping]) -> pa.Table: ...

    balance.__annotations__ = {"balance": Annotated[pa.Table | None, mapping]}
    graph = Graph.build([asset(partitions=DAYS)(balance)])
    assert graph.order == ("balance",)


@pytest.mark.parametrize("mapping", [last(2), window(1, 0), all_partitions(), latest(), None])
def test_an_asset_may_not_read_its_own_present(mapping: Any) -> None:
    def balance(balance): ...

    if mapping is not None:
        balance.__annotations__ = {"balance": Annotated[pa.Table, mapping]}
    assert "use lag(n)" in problems(asset(partitions=DAYS)(balance))[0]


def test_a_mapping_between_kinds_that_do_not_fit_is_refused() -> None:
    found = problems(
        named("regions", partitions=static(["EU", "US"])), named("days", "regions", partitions=DAYS)
    )
    assert "nothing in common" in found[0]


def test_a_window_needs_time_on_both_sides() -> None:
    regions = named("regions", partitions=static(["EU"]))

    def days(regions: Annotated[pa.Table, last(7)]) -> pa.Table: ...

    days.__annotations__ = {"regions": Annotated[pa.Table, last(7)]}
    assert "has none" in problems(regions, asset(partitions=DAYS)(days))[0]


@pytest.mark.parametrize("name", ["", "1st", "a b", "a/b", "../x", "a" * 121, "é", "_x\n", "a."])
def test_a_bad_name_is_refused(name: str) -> None:
    assert "can't be an asset's name" in problems(asset(name=name)(lambda: None))[0]


def test_names_that_differ_only_in_case_are_refused() -> None:
    assert "differs only in case" in problems(named("Orders"), named("orders"))[0]


def test_an_annotation_that_nothing_supplies_is_refused_at_load() -> None:
    def report(orders: int) -> pa.Table: ...

    report.__annotations__ = {"orders": int}
    message = problems(named("orders"), asset(report))[0]
    assert "asks for int, which no IO manager can supply" in message


def test_a_source_that_reads_an_asset_is_refused() -> None:
    @source
    def landing(orders: pa.Table) -> Path: ...

    assert "is not built" in problems(named("orders"), landing)[0]


@pytest.mark.parametrize(
    "option",
    [
        {"checks": [not_null("x")]},
        {"retry": Retry(3)},
        {"io": "default2"},
        {"exclude": ["x"]},
        {"partition_column": "x"},
        {"max_rejected": 0.0},
        {"schema": "strict"},
    ],
)
def test_what_is_only_done_to_built_data_is_refused_of_a_source(option: Any) -> None:
    @source(**option)
    def landing() -> Path: ...

    assert f"has {next(iter(option))}=, and a source is observed" in problems(landing)[0]


@pytest.mark.parametrize("check", [len, 1, "not_null"])
def test_what_is_no_check_is_refused(check: Any) -> None:
    @multi_asset({"a": Out(checks=[check])})
    def several() -> Any: ...

    assert "which is no check" in problems(named("b", checks=[check]))[0]
    assert "which is no check" in problems(*several)[0]


@pytest.mark.parametrize("limit", ["0.1", 2, -0.5])
def test_a_limit_that_is_no_fraction_is_refused(limit: Any) -> None:
    with pytest.raises(DefinitionError, match="is not a fraction"):
        asset(max_rejected=limit)(lambda: None)


def test_inputs_that_name_no_parameter_are_refused() -> None:
    found = problems(named("a"), named("b", "a", inputs={"c": "a"}))
    assert "does not read" in found[0]


def test_variable_arguments_are_refused() -> None:
    def report(*orders: pa.Table) -> pa.Table: ...

    assert "each parameter must name one input" in problems(asset(report))[0]


def test_unresolvable_annotations_are_refused_with_the_reason() -> None:
    def report(orders): ...

    report.__annotations__ = {"orders": "NoSuchThing"}
    assert "NoSuchThing" in problems(named("orders"), asset(report))[0]


def test_sql_inputs_are_found_and_ctes_are_not_inputs() -> None:
    totals = sql_asset(
        "totals",
        "WITH big AS (SELECT * FROM orders WHERE v > 1) "
        "SELECT b.*, (SELECT max(v) FROM rates) AS r FROM big b JOIN users USING (id)",
    )
    graph = Graph.build([named("orders"), named("users"), named("rates"), totals])
    assert {read.name for read in graph.op_of["totals"].inputs} == {"orders", "users", "rates"}


def test_sql_that_is_not_one_query_is_refused() -> None:
    assert "one query" in problems(sql_asset("x", "DROP TABLE orders"))[0]
    assert "one query" in problems(sql_asset("x", "SELECT 1; SELECT 2"))[0]


def test_sql_with_an_unknown_parameter_is_refused() -> None:
    assert "$day" in problems(sql_asset("x", "SELECT $day AS d"))[0]


def test_sql_of_a_file_is_relative_to_the_module(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"nowhere\.sql"):
        sql_asset("x", "nowhere.sql")


def test_a_parameter_of_another_name_reads_through_a_reference() -> None:
    readings = named("readings", partitions=DAYS)

    def trend(week) -> pa.Table: ...

    trend.__annotations__ = {"week": Annotated[pa.Table, readings.last(7)]}
    graph = Graph.build([readings, asset(partitions=DAYS)(trend)])
    (read,) = graph.op_of["trend"].inputs
    assert (read.name, read.asset, read.mapping) == ("week", "readings", last(7))


def test_depends_on_is_an_edge_without_data() -> None:
    graph = Graph.build([named("a"), named("b", depends_on=["a"])])
    (read,) = graph.op_of["b"].inputs
    assert not read.data
    assert graph.order == ("a", "b")


def test_assets_of_one_function_are_one_op() -> None:
    @multi_asset(["good", "bad"])
    def split(raw: pa.Table) -> dict[str, pa.Table]: ...

    graph = Graph.build([named("raw"), *split, named("report", "good", "bad")])
    assert graph.order == ("raw", "good", "bad", "report")
    assert graph.op_of["good"] is graph.op_of["bad"]


def test_a_group_shares_defaults_and_an_assets_own_option_wins() -> None:
    iot = Group("iot", partitions=DAYS, owner="team", tags=["raw"])

    @iot.asset(owner="me", tags=["hot"])
    def readings() -> pa.Table: ...

    assert (readings.group, readings.owner, readings.tags) == ("iot", "me", ("raw", "hot"))
    assert readings.partitions == DAYS


SHOP = [
    named("users", tags=["daily"], group="crm"),
    named("orders", tags=["daily"], owner="ann"),
    named("clean", "orders", group="shop"),
    named("report", "clean", "users", group="shop"),
    named("mail", "report"),
]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("orders", {"orders"}),
        ("orders,users", {"orders", "users"}),
        (["orders", "users"], {"orders", "users"}),
        ("+report", {"report", "clean", "orders", "users"}),
        ("1+report", {"report", "clean", "users"}),
        ("clean+", {"clean", "report", "mail"}),
        ("clean+1", {"clean", "report"}),
        ("+clean+", {"orders", "clean", "report", "mail"}),
        ("tag:daily", {"users", "orders"}),
        ("group:shop", {"clean", "report"}),
        ("owner:ann", {"orders"}),
        ("*e*,!mail", {"users", "orders", "clean", "report"}),
        ("!mail", {"users", "orders", "clean", "report"}),
        (None, {"users", "orders", "clean", "report", "mail"}),
    ],
)
def test_selection(selection: Any, expected: set[str]) -> None:
    chosen = Graph.build(SHOP).select(selection)
    assert set(chosen) == expected
    assert list(chosen) == [name for name in Graph.build(SHOP).order if name in expected]


def test_a_selection_of_nothing_is_refused_with_a_suggestion() -> None:
    graph = Graph.build(SHOP)
    with pytest.raises(UnknownAssetError, match="Did you mean 'orders'"):
        graph.select("ordres")
    with pytest.raises(UnknownAssetError, match="daily"):
        graph.select("tag:dayly")
    with pytest.raises(UsageError):
        graph.select("colour:red")


def test_default_mappings_follow_the_partitions() -> None:
    graph = Graph.build(
        [
            named("ticks", partitions=hourly("2024-01-01")),
            named("days", "ticks", partitions=DAYS),
            named("months", "days", partitions=monthly("2024-01")),
            named("total", "months"),
        ]
    )
    assert [str(i.mapping) for op in graph.ops for i in op.inputs] == ["overlap()"] * 3
