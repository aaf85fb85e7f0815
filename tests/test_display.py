"""Displays of plans, graphs and results: causes told once, drawings that parse, no markup in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World

from assets_core import wording as format
from assets_core.declare.decorators import asset, multi_asset, source
from assets_core.display import layout, svg
from assets_core.display.graphs import graph_html
from assets_core.display.layout import Box
from assets_core.execution.events import Failure
from assets_core.execution.result import RunResult
from assets_core.partitions import daily, last, parse_selection, static
from assets_core.planning.summary import plan_groups

DAYS = daily("2024-01-01")


@source(partitions=DAYS)
def landing() -> Any: ...


@asset(partitions=DAYS)
def clean(landing: Any) -> Any: ...


@asset(partitions=DAYS)
def trend(clean: Annotated[Any, last(3)]) -> Any: ...


@multi_asset(["left", "right"], partitions=DAYS)
def both(clean: Any) -> Any: ...


ASSETS = [landing, clean, trend]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, ASSETS, "2024-03-01T00:00:00")
    made.observe_at_once("landing")
    yield made
    made.state.close()


def built(made: World) -> World:
    made.build_at_once("clean")
    made.build_at_once("trend")
    return made


def lines(made: World, **options: Any) -> list[str]:
    return str(made.plan(**options)).splitlines()


def test_the_first_line_counts(world: World) -> None:
    assert lines(world)[0] == "Plan for prod: 120 must run, 0 may run"


def test_nothing_to_do_says_so(world: World) -> None:
    assert lines(built(world)) == ["Nothing to do in prod: everything selected is fresh."]


def test_what_is_fresh_only_since_its_upstream_was_not_selected_is_said(world: World) -> None:
    built(world).codes["clean"] = "d" * 32
    plan = world.plan(assets=["trend"])
    assert (plan.idle, plan.stale_outside_selection()) == (
        True,
        len(world.plan(assets=["clean", "trend"])) - 60,
    )
    assert str(plan) == (
        "Nothing to do in prod: everything selected is fresh, "
        f"but {plan.stale_outside_selection()} of it read something stale that is not."
    )


def test_partitions_that_were_not_selected_say_nothing_of_those_that_were(world: World) -> None:
    built(world).build("clean", "2024-01-20", version=5)
    plan = world.plan(partitions=parse_selection("2024-01-02"))
    assert str(plan) == "Nothing to do in prod: everything selected is fresh."


def test_a_cause_that_all_share_is_one_line(world: World) -> None:
    built(world).codes["clean"] = "d" * 32
    world.parts["clean"] = {"helper scale": "new"}
    text = lines(world)
    assert text[1].startswith("because clean: code changed")
    assert re.fullmatch(r"clean +2024-01-01\.\.2024-02-29 \(60\) +must +code changed", text[2])


def test_a_root_cause_is_named_and_its_followers_only_may_run(world: World) -> None:
    world.parts["clean"] = {"function clean": "same", "helper scale": "old"}
    built(world)
    world.codes["clean"], world.parts["clean"] = (
        "d" * 32,
        {"function clean": "same", "helper scale": "new"},
    )
    text = lines(world)
    assert text[1:] == [
        "because clean: code changed (helper scale) → 60 must, 60 may downstream",
        "clean  2024-01-01..2024-02-29 (60)  must  code changed",
        "trend  2024-01-01..2024-02-29 (60)  may   if clean changes",
    ]


def test_one_late_partition_is_named_with_both_versions(world: World) -> None:
    built(world).observe("landing", "2024-01-05", version=2, at="2024-02-01T00:00:00")
    text = lines(world)
    assert re.fullmatch(
        r"because late data in landing\[2024-01-05\] \(\w{8} → \w{8}\)"
        r" → 1 must, 3 may downstream",
        text[1],
    )
    assert re.fullmatch(r"clean +2024-01-05 \(1\) +must +late data in landing", text[2])


def test_several_late_partitions_are_one_line(world: World) -> None:
    built(world).observe(
        "landing", "2024-01-05", "2024-01-06", "2024-02-01", version=2, at="2024-02-01T00:00:00"
    )
    groups = [group for group in plan_groups(world.plan()) if group.asset == "clean"]
    assert [(g.where, g.count, g.why) for g in groups] == [
        ("2024-01-05..2024-01-06, 2024-02-01", 3, "late data in landing")
    ]


def test_many_late_partitions_are_told_by_one_example(world: World) -> None:
    built(world).observe_at_once("landing", version=2)
    groups = [group for group in plan_groups(world.plan()) if group.asset == "clean"]
    assert [(g.count, g.why) for g in groups] == [(60, "late data in landing")]


def test_missing_and_changed_are_told_apart(world: World) -> None:
    built(world).codes["clean"] = "d" * 32
    fresh = world.again("2024-03-03T00:00:00")
    fresh.observe("landing", "2024-03-01", "2024-03-02", at="2024-03-03T00:00:00")
    groups = [g for g in plan_groups(fresh.plan()) if g.asset == "clean"]
    assert {(g.where, g.why.split(":")[0]) for g in groups} == {
        ("2024-01-01..2024-02-29", "code changed"),
        ("2024-03-01..2024-03-02", "missing"),
    }


def test_partitions_built_by_different_codes_have_causes_of_their_own(world: World) -> None:
    world.parts["clean"] = {"helper scale": "1"}
    built(world).codes["clean"], world.parts["clean"] = "d" * 32, {"helper shift": "1"}
    world.build("clean", "2024-01-05")
    world.codes["clean"], world.parts["clean"] = "e" * 32, {"helper shift": "2"}
    assert lines(world)[1:4] == [
        "because clean: code changed (helper scale removed, helper shift added)"
        " → 59 must, 60 may downstream",
        "because clean: code changed (helper shift) → 1 must, 3 may downstream",
        "clean  2024-01-01..2024-02-29 (60)  must  code changed",
    ]


def test_outputs_that_lack_one_another_are_told_apart(tmp_path: Path) -> None:
    made = World(tmp_path, [landing, clean, *both], "2024-01-03T00:00:00")
    made.observe("landing", at="2024-01-04T00:00:00")
    made.build_at_once("clean")
    made.build("left", "2024-01-01")
    made.build("right", "2024-01-02")
    whys = {(g.asset, g.where): g.why for g in plan_groups(made.plan()) if g.asset == "left"}
    assert whys == {
        ("left", "2024-01-01"): "made together with right",
        ("left", "2024-01-02"): "missing",
    }
    made.state.close()


def test_groups_hold_each_step_of_the_plan_once(world: World) -> None:
    built(world).observe("landing", "2024-01-05", version=2, at="2024-02-01T00:00:00")
    world.codes["trend"] = "d" * 32
    plan = world.plan()
    told = [
        (g.asset, key, g.status)
        for g in plan_groups(plan)
        for key in plan.facts.spaces[g.asset].keys(g.ordinals)
    ]
    assert sorted(told) == sorted((s.asset, s.partition, s.status) for s in plan.steps())


def test_outputs_made_together_each_have_their_lines(tmp_path: Path) -> None:
    made = World(tmp_path, [landing, clean, *both], "2024-01-04T00:00:00")
    made.observe("landing", at="2024-01-04T00:00:00")
    made.build_at_once("clean")
    made.build("left", "2024-01-01")
    whys = {(g.asset, g.where): g.why for g in plan_groups(made.plan())}
    assert whys == {
        ("left", "2024-01-01"): "made together with right",
        ("left", "2024-01-02..2024-01-03"): "missing",
        ("right", "2024-01-01..2024-01-03"): "missing",
    }
    made.state.close()


def test_what_waits_names_what_it_waits_for(tmp_path: Path) -> None:
    made = World(tmp_path, ASSETS, "2024-01-04T00:00:00")
    made.observe("landing", "2024-01-01", at="2024-01-04T00:00:00")
    blocked = [g for g in plan_groups(made.plan()) if g.status == "blocked"]
    assert [(g.asset, g.where, g.why) for g in blocked] == [
        ("clean", "2024-01-02..2024-01-03", "waits for landing 2024-01-02..2024-01-03"),
        ("trend", "2024-01-02..2024-01-03", "waits for 2 of 3 of clean: 2024-01-02..2024-01-03"),
    ]
    made.state.close()


def test_forced_is_a_cause(world: World) -> None:
    built(world)
    assert lines(world, force=True)[1].endswith("forced")


# --------------------------------------------------------------------------------------------
# Drawings

HOSTILE = '</svg><script>alert("1")</script>&\x00\x1b[31m‮\ud800'


def drawings(html: str) -> list[ET.Element]:
    """Every SVG of a display, parsed as strict XML."""
    return [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def texts(html: str) -> list[str]:
    return ["".join(e.itertext()) for d in drawings(html) for e in d.iter() if e.tag.endswith("g")]


def test_a_plan_draws_a_box_per_asset(world: World) -> None:
    (drawing,) = drawings(world.plan()._repr_html_())
    boxes = [e for e in drawing.iter() if e.tag.endswith("rect")]
    assert len(boxes) == 3


def test_a_graph_draws_its_edges(world: World) -> None:
    (drawing,) = drawings(graph_html(world.graph))
    curves = [e for e in drawing.iter() if e.tag.endswith("path") and e.get("fill") == "none"]
    assert len(curves) == 2


def test_upstream_stands_left_of_downstream(world: World) -> None:
    (drawing,) = drawings(graph_html(world.graph))
    boxes = [float(e.get("x", 0)) for e in drawing.iter() if e.tag.endswith("rect")]
    assert boxes == sorted(boxes)


def test_hostile_names_stay_text() -> None:
    boxes = [Box("a", HOSTILE, HOSTILE, HOSTILE), Box("b", "b")]
    html = layout.draw(boxes, [("a", "b")], label=HOSTILE)
    (drawing,) = drawings(html)
    assert not [e for e in drawing.iter() if "script" in e.tag]


@given(st.text(max_size=60))
def test_any_text_is_valid_xml(text: str) -> None:
    drawing = svg.drawing(10, 10, svg.text(0, 0, text), svg.title(text), label=text)
    ET.fromstring(drawing.encode("utf-8", "strict"))


@given(st.integers(1, 25), st.data())
def test_any_graph_is_drawn_without_boxes_on_one_another(n: int, data: st.DataObject) -> None:
    pairs = [(str(a), str(b)) for b in range(n) for a in range(b)]
    edges = data.draw(st.lists(st.sampled_from(pairs), unique=True, max_size=40)) if pairs else []
    (drawing,) = drawings(
        layout.draw([Box(str(i), f"asset {i}") for i in range(n)], edges, label="")
    )
    boxes = [
        tuple(float(e.get(k, 0)) for k in ("x", "y", "width", "height"))
        for e in drawing.iter()
        if e.tag.endswith("rect")
    ]
    assert len(boxes) == n
    for i, (x, y, w, h) in enumerate(boxes):
        for other_x, other_y, other_w, other_h in boxes[i + 1 :]:
            apart = x + w <= other_x or other_x + other_w <= x or y + h <= other_y
            assert apart or other_y + other_h <= y


def test_of_a_circle_all_but_one_edge_is_drawn() -> None:
    boxes = [Box(name, name) for name in "abc"]
    html = layout.draw(boxes, [("a", "b"), ("b", "c"), ("c", "a")], label="")
    curves = [e for e in drawings(html)[0].iter() if e.get("fill") == "none"]
    assert len(curves) == 2


def test_a_graph_too_large_to_read_is_not_drawn() -> None:
    boxes = [Box(str(i), str(i)) for i in range(layout.MOST + 1)]
    assert "too many to draw" in layout.draw(boxes, [], label="")


def test_a_plan_in_a_large_graph_draws_what_takes_part(tmp_path: Path) -> None:
    def make(i: int) -> Any:
        @asset(name=f"a{i}", partitions=static(["x"]))
        def one() -> Any: ...

        return one

    made = World(tmp_path, [make(i) for i in range(layout.MOST + 20)], "2024-01-04T00:00:00")
    made.build_all_at_once(made.graph.order[:-2])
    (drawing,) = drawings(made.plan()._repr_html_())
    assert len([e for e in drawing.iter() if e.tag.endswith("rect")]) == 2
    made.state.close()


# --------------------------------------------------------------------------------------------
# Results


def result(**changes: Any) -> RunResult:
    fields: dict[str, Any] = {
        "run_id": "20240101t060000ab",
        "status": "failed",
        "counts": {"done": 5, "unchanged": 1, "released": 0, "failed": 1, "blocked": 2},
        "by_asset": {"clean": {"done": 5, "failed": 1}, "trend": {"unchanged": 1, "blocked": 2}},
        "failures": (Failure("clean", "2024-01-05", "ValueError: <b>no</b>", "…", 3),),
        "blocked": (
            ("trend", "2024-01-05", "clean@2024-01-05 failed"),
            ("trend", "2024-01-06", "clean@2024-01-05 failed"),
        ),
        "seconds": 3.21,
        "rows": 1234,
        "rejected": 7,
        "warnings": 1,
        "resume": "assets materialize --select clean",
    }
    return RunResult(**{**fields, **changes})


def test_a_result_tells_numbers_failures_and_how_to_go_on() -> None:
    assert str(result()).splitlines() == [
        "Run 20240101t060000ab failed in 3.2 s: 5 done, 1 unchanged, 1 failed, 2 blocked, "
        "1,234 rows, 7 rejected, 1 warning",
        "asset  done  unchanged  failed  blocked",
        "clean     5          0       1        0",
        "trend     0          1       0        2",
        "failed   clean@2024-01-05 (3 tries)  ValueError: <b>no</b>",
        "blocked  trend@2024-01-05 and 1 more  clean@2024-01-05 failed",
        "Resume with: assets materialize --select clean",
    ]


def test_a_result_in_html_is_escaped_and_has_a_bar_per_asset() -> None:
    html = result()._repr_html_()
    assert len(drawings(html)) == 2
    assert "<b>no" not in html


def test_a_run_that_did_nothing_says_so() -> None:
    nothing = result(run_id="", counts={}, by_asset={}, failures=(), blocked=())
    assert str(nothing) == "Nothing to do: everything selected is fresh."


# --------------------------------------------------------------------------------------------
# Formats


@given(st.lists(st.integers(0, 200), unique=True).map(sorted))
def test_runs_hold_the_ordinals_given(ordinals: list[int]) -> None:
    runs = format.runs_of(ordinals)
    assert [i for a, b in runs for i in range(a, b + 1)] == ordinals
    assert all(a2 > b1 + 1 for (_, b1), (a2, _) in pairwise(runs))


def test_ranges_past_a_few_are_counted(world: World) -> None:
    space = world.spaces["clean"]
    assert format.ranges([0, 1, 3, 5, 7, 9], space, most=2) == (
        "2024-01-01..2024-01-02, 2024-01-04 and 3 more ranges"
    )


@given(st.floats(0, 1e7), st.floats(0, 1e7))
def test_durations_never_show_sixty_of_a_smaller_unit(seconds: float, other: float) -> None:
    for value in (seconds, other):
        shown = format.human_duration(value)
        assert not re.search(r"\b(60 (s|min)|24 h|1000 ms|10\.0 s)\b", shown), shown


@given(st.integers(0, 10**17))
def test_bytes_have_at_most_three_digits(n: int) -> None:
    assert re.fullmatch(r"\d{1,3}(\.\d)? [kMGTP]?B", format.human_bytes(n))


@given(st.text(max_size=80), st.integers(2, 30))
def test_one_line_is_printable_and_short_enough(text: str, width: int) -> None:
    shown = format.one_line(text, width)
    assert len(shown) <= width
    assert not set(shown) & set("\n\r\x1b\x00\u202e\u2028")
