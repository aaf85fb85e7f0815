"""The commands that tell: list, show, plan, status, runs, logs, lineage and the others."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from cli.shop import Command, process, write_project


def test_list_names_every_asset_upstream_first(shop: Path, assets: Command) -> None:
    lines = assets("list").out.splitlines()
    names = [line.split()[0] for line in lines[1:]]
    assert set(names) == {"landing", "orders", "totals", "trend", "lines", "stock"}
    assert names.index("orders") < names.index("totals") < names.index("trend")


def test_list_takes_a_selection(shop: Path, assets: Command) -> None:
    found = assets("list", "tag:day,!kind:source", "--json").json["assets"]
    assert {entry["asset"] for entry in found} == {"orders", "totals", "trend", "lines"}


def test_show_tells_inputs_with_their_mappings(shop: Path, assets: Command) -> None:
    assert ["totals", "last(2)", "python"] in _words(assets("show", "trend").out)


def test_show_tells_the_whole_description(shop: Path, assets: Command) -> None:
    out = assets("show", "orders").out
    assert "What was ordered.\n\n  Second paragraph." in out


def test_show_joins_columns_with_their_types(built: Path, assets: Command) -> None:
    assert ["amount", "int64", "in", "cents"] in _words(assets("show", "orders").out)


def test_show_counts_partitions(shop: Path, assets: Command) -> None:
    assert "daily, 3: 2024-01-01 to 2024-01-03 (UTC)" in assets("show", "orders").out


def test_show_of_an_unknown_asset_suggests_one(shop: Path, assets: Command) -> None:
    outcome = assets("show", "order")
    assert outcome.code == 2
    assert "Did you mean 'orders'?" in outcome.err


def test_plan_says_why(shop: Path, assets: Command) -> None:
    out = assets("plan", "+totals").out
    words = ["orders", "2024-01-01..2024-01-03", "(3)", "must", "missing"]
    assert words in _words(out)


def test_plan_follows_a_changed_constant(built: Path, assets: Command) -> None:
    module = built / "definitions/__init__.py"
    module.write_text(module.read_text().replace("limits.least]", "limits.least + 0]"))
    steps = assets("plan", "+trend", "--json").json["steps"]
    assert {(s["asset"], s["status"]) for s in steps} == {
        ("orders", "must"),
        ("totals", "may"),
        ("trend", "may"),
    }
    assert {r["kind"] for s in steps if s["asset"] == "orders" for r in s["reasons"]} == {
        "code changed"
    }


def test_plan_can_tell_each_partition(shop: Path, assets: Command) -> None:
    lines = assets("plan", "orders", "--each").out.splitlines()
    assert lines[1:] == [
        f"must     orders@2024-01-0{day}  missing: never materialized" for day in (1, 2, 3)
    ]


def test_plan_names_what_is_waited_for(shop: Path, assets: Command) -> None:
    out = assets("plan", "totals", "--each", "--partition", "2024-01-01").out
    assert "blocked  totals@2024-01-01  waits for orders@2024-01-01" in out


def test_plan_refuses_a_partition_that_is_none(shop: Path, assets: Command) -> None:
    outcome = assets("plan", "orders", "--partition", "2024-13-01")
    assert outcome.code == 2
    assert "2024-13-01" in outcome.err


def test_status_draws_a_sign_per_partition(built: Path, assets: Command) -> None:
    (built / "fail-2024-01-02").touch()
    assets("materialize", "totals", "--partition", "2024-01-02", "--force")
    lines = assets("status", "orders", "landing").out.splitlines()
    assert lines[0].split(maxsplit=1) == ["landing", "···  3 not seen"]
    assert lines[1].split(maxsplit=1) == ["orders", "███  3 fresh"]


def test_status_shows_a_forced_run_that_failed(built: Path, assets: Command) -> None:
    (built / "fail-2024-01-02").touch()
    assets("materialize", "totals", "--partition", "2024-01-02", "--force")
    found = assets("status", "totals")
    assert "3 fresh" in found.out
    assert (
        "totals@2024-01-02  still serves; the last attempt failed: ValueError: no total"
        in found.out
    )
    (built / "fail-2024-01-02").unlink()
    assets("materialize", "totals", "--partition", "2024-01-02", "--force")
    assert "still serves" not in assets("status", "totals").out


def test_status_shows_what_failed(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-02").touch()
    assets("materialize", "--yes", "+trend")
    out = assets("status", "+trend").out
    assert "totals  █×█  2 fresh, 1 failed" in out
    assert "failed   totals@2024-01-02  ValueError: no total for 2024-01-02" in out


def test_runs_are_listed_newest_first(built: Path, assets: Command) -> None:
    assets("materialize", "orders", "--partition", "2024-01-01", "--force")
    found = assets("runs", "--json").json["runs"]
    assert [run["status"] for run in found] == ["done", "done"]
    assert found[0]["command"] == (
        "assets materialize --select orders --partition 2024-01-01 --force"
    )


def test_no_runs_is_said(shop: Path, assets: Command) -> None:
    assert assets("runs").out == "Nothing has run yet. Start with: assets materialize\n"


def test_a_run_shows_what_it_made_and_what_failed(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-02").touch()
    assets("materialize", "--yes", "+trend")
    out = assets("runs", "latest").out
    assert ["orders", "3", "9", "3"] in _words(out)
    assert "1 step failed" in out
    assert "ValueError: no total for 2024-01-02" in out


def test_a_run_is_found_by_the_beginning_of_its_id(built: Path, assets: Command) -> None:
    run = assets("runs", "--json").json["runs"][0]["run"]
    assert assets("runs", run[:-3], "--json").json["run"] == run


def test_an_unknown_run_is_refused(built: Path, assets: Command) -> None:
    outcome = assets("runs", "nothing")
    assert outcome.code == 2
    assert "assets runs" in outcome.err


def test_logs_give_back_what_a_step_printed_and_logged(built: Path, assets: Command) -> None:
    out = assets("logs", "latest", "orders", "2024-01-02").out
    assert out.splitlines()[0] == "orders@2024-01-02"
    assert "making 2024-01-02" in out
    assert "a line of the log" in out
    assert "2024-01-01" not in out


def test_logs_take_asset_at_partition(built: Path, assets: Command) -> None:
    found = assets("logs", "latest", "orders@2024-01-02", "--json").json["lines"]
    assert {line["partition"] for line in found} == {"2024-01-02"}


def test_logs_of_a_silent_asset_say_so(built: Path, assets: Command) -> None:
    assert assets("logs", "latest", "trend").out.startswith("Nothing was printed")


def test_logs_of_a_misspelt_asset_are_refused(built: Path, assets: Command) -> None:
    assert assets("logs", "latest", "trent").code == 2


def test_logs_of_a_partition_that_is_not_one_are_refused(built: Path, assets: Command) -> None:
    outcome = assets("logs", "latest", "orders", "2024-01-32")
    assert (outcome.code, outcome.out) == (2, "")
    assert "2024-01-32" in outcome.err
    assert assets("logs", "latest", "trend", "badkey").code == 2


def test_logs_of_a_run_that_is_not_one_are_refused(built: Path, assets: Command) -> None:
    outcome = assets("logs", "20990101")
    assert outcome.code == 2
    assert "assets runs" in outcome.err


def test_logs_name_the_silent_partition(built: Path, assets: Command) -> None:
    out = assets("logs", "latest", "trend", "2024-01-02").out
    assert "by trend@2024-01-02" in out


def test_what_one_function_prints_is_read_by_any_of_its_assets(
    folder: Path, assets: Command
) -> None:
    write_project(
        folder,
        """
import pyarrow as pa
from assets_core import multi_asset

@multi_asset(["first", "second"])
def both():
    print("making both")
    return {"first": pa.table({"a": [1]}), "second": pa.table({"a": [2]})}
""",
    )
    told = assets("materialize", "first", "--yes").out
    assert "second was not selected; one function makes it and first." in told
    assert "making both" in assets("logs", "latest", "second").out
    assert "not selected" not in assets("materialize", "--force", "--yes").out


def test_lineage_is_a_tree(built: Path, assets: Command) -> None:
    lines = assets("lineage", "trend@2024-01-02").out.splitlines()
    starts = [line[: line.index("@")] for line in lines]
    assert starts == ["trend", "├─ totals", "│  └─ orders", "└─ totals", "   └─ orders"]


def test_lineage_takes_the_partition_as_a_word(built: Path, assets: Command) -> None:
    one = assets("lineage", "trend@2024-01-02").out
    assert assets("lineage", "trend", "2024-01-02").out == one


def test_lineage_goes_downstream(built: Path, assets: Command) -> None:
    found = assets("lineage", "orders@2024-01-01", "--downstream", "--json").json
    assert {node["ref"].partition("#")[0] for node in found["nodes"]} == {
        "orders@2024-01-01",
        "totals@2024-01-01",
        "trend@2024-01-01",
        "trend@2024-01-02",
    }


def test_lineage_stops_at_a_depth(built: Path, assets: Command) -> None:
    assert "orders" not in assets("lineage", "trend@2024-01-02", "--depth", "1").out


def test_lineage_of_no_partition_suggests_one(built: Path, assets: Command) -> None:
    outcome = assets("lineage", "trend")
    assert outcome.code == 2
    assert "assets lineage trend@2024-01-03" in outcome.err


def test_history_is_newest_first_and_limited(built: Path, assets: Command) -> None:
    assets("materialize", "orders", "--partition", "2024-01-01", "--force")
    entries = assets("history", "orders@2024-01-01", "--json").json["entries"]
    assert len(entries) == 2
    assert entries[0]["at"] > entries[1]["at"]
    assert len(assets("history", "orders", "-n", "1", "--json").json["entries"]) == 1


def test_rejects_show_rows_with_their_reasons(built: Path, assets: Command) -> None:
    out = assets("rejects", "orders@2024-01-02").out
    assert ["2024-01-02", "negative", "-1"] in _words(out)
    assert "1 row set aside" in out


def test_rejects_are_printed_to_a_limit_and_counted_whole(built: Path, assets: Command) -> None:
    out = assets("rejects", "orders", "--limit", "1").out
    assert "3 rows set aside" in out
    assert out.count("2024-01-0") == 1


def test_no_rejects_is_said(built: Path, assets: Command) -> None:
    assert assets("rejects", "totals").out == "No row of totals was set aside.\n"


def test_partitions_are_listed_one_to_a_line(shop: Path, assets: Command) -> None:
    assert assets("partitions", "list", "orders").out == "2024-01-01\n2024-01-02\n2024-01-03\n"


def test_partitions_are_added_and_removed(shop: Path, assets: Command) -> None:
    assert "Added 2 partitions to shops." in assets("partitions", "add", "shops", "ber", "ham").out
    again = assets("partitions", "add", "shops", "ber", "muc", "--json").json
    assert again == {"name": "shops", "added": 1, "known": 1}
    assets("partitions", "remove", "shops", "ham")
    assert assets("partitions", "list", "stock").out == "ber\nmuc\n"


def test_a_hostile_partition_is_refused(shop: Path, assets: Command) -> None:
    assert assets("partitions", "add", "shops", "a\x00b").code == 2


def test_an_unknown_dynamic_name_is_refused(shop: Path, assets: Command) -> None:
    outcome = assets("partitions", "add", "nothing", "x")
    assert outcome.code == 2
    assert "shops" in outcome.err


def test_freshness_tells_what_is_late(built: Path, assets: Command) -> None:
    out = assets("freshness", "orders").out
    promise = ["within", "8", "h,", "since", "2024-01-01"]
    assert ["orders", "late", "0", "0", "3", "0", *promise] in _words(out)


def test_history_filled_in_before_it_was_promised_is_not_late(shop: Path, assets: Command) -> None:
    module = next(shop.glob("definitions/*.py"))
    module.write_text(module.read_text().replace(', since="2024-01-01"', ""))
    assets("materialize", "+orders", "--partition", "2024-01-01")
    out = assets("freshness", "orders").out
    assert ["orders", "backfilled", "1", "0", "0", "0", "2", "within", "8", "h"] in _words(out)
    assert "backfilled" in assets("history", "orders").out


def test_freshness_can_be_asked_of_the_past(shop: Path, assets: Command) -> None:
    found = assets("freshness", "--now", "2024-01-02T06:00:00+00:00", "--json").json
    assert found["assets"][0]["counts"]["not due"] == 1


def test_an_instant_without_a_zone_is_refused(shop: Path, assets: Command) -> None:
    assert assets("freshness", "--now", "2024-01-02").code == 2


def test_repair_restores_a_folder_that_was_removed(built: Path, assets: Command) -> None:
    shutil.rmtree(built / "data/orders/date=2024-01-01")
    assert assets("repair").code == 0
    assert list((built / "data/orders/date=2024-01-01").glob("*.parquet"))


def test_repair_finds_flipped_bits(built: Path, assets: Command) -> None:
    assert assets("repair", "--verify", "--json").json["damaged"] == []
    for path in (built / "data").rglob("*.parquet"):
        if "totals" in str(path):
            data = bytearray(path.read_bytes())
            data[len(data) // 3] ^= 0x10
            path.write_bytes(data)
    outcome = assets("repair", "--verify")
    assert outcome.code == 1
    assert "damaged  totals@2024-01-01" in outcome.out
    assert "9 versions read: 6 verified, 3 damaged" in outcome.out


def test_a_damaged_version_is_none_of_the_verified_ones(built: Path, assets: Command) -> None:
    (file,) = (built / "data/.versions/totals").glob("2024-01-02*.pq")
    file.unlink()
    found = assets("repair", "--verify", "--json").json
    assert (found["verified"], len(found["damaged"])) == (8, 1)


def test_repair_mends_what_it_can_and_tells_what_is_gone(built: Path, assets: Command) -> None:
    (file,) = (built / "data/.versions/orders").glob("2024-01-01*[!s].pq")
    file.unlink()
    for view in (built / "data").glob("*/date=*"):
        shutil.rmtree(view)
    found = assets("repair", "--json")
    assert found.code == 1
    assert [(d["asset"], d["partition"]) for d in found.json["damaged"]] == [
        ("orders", "2024-01-01")
    ]
    assert found.json["exposed"] == 8
    assert len(list((built / "data").glob("*/date=*"))) == 8
    again = assets("repair").out.splitlines()[-1].removeprefix("Build it again with: assets ")
    assert assets(*again.split()).code == 0
    assert assets("repair").code == 0


@pytest.mark.parametrize("gone", ["data", "data/.versions/orders"])
def test_doctor_misses_data_that_is_gone(built: Path, assets: Command, gone: str) -> None:
    shutil.rmtree(built / gone)
    outcome = assets("doctor")
    assert outcome.code == 1
    assert "orders" in next(line for line in outcome.out.splitlines() if " data: " in line)
    assert "assets repair" in outcome.out
    assert "All is well" not in outcome.out


def test_a_lost_state_store_is_made_out_of_the_data(built: Path, assets: Command) -> None:
    shutil.rmtree(built / ".assets")
    assert "9 versions recorded again" in assets("repair", "--rebuild").out
    assert assets("plan", "+trend", "--json").json["must"] == 0


def test_doctor_says_that_all_is_well(built: Path, assets: Command) -> None:
    outcome = assets("doctor")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == "All is well."
    kinds = [one["kind"] for one in assets("list", "--json").json["assets"]]
    made = len(kinds) - kinds.count("source")
    assert kinds.count("source") == 1
    assert f"data: 3 of {made} assets have some, sources aside" in outcome.out


def test_doctor_tells_what_is_wrong_with_the_definitions(shop: Path, assets: Command) -> None:
    (shop / "definitions/__init__.py").write_text("import nothing_like_this")
    outcome = assets("doctor", "--json")
    assert outcome.code == 1
    assert outcome.json["checks"][0]["status"] == "error"
    assert "nothing_like_this" in outcome.json["checks"][0]["detail"]


def test_doctor_tells_each_problem_of_the_definitions(shop: Path, assets: Command) -> None:
    (shop / "definitions/more.py").write_text(
        "from assets_core import asset\n@asset\ndef one(order): ...\n@asset\ndef two(total): ...\n"
    )
    outcome = assets("doctor")
    assert outcome.code == 1
    assert outcome.out.count("depends on an unknown asset") == 2
    assert {"missing: order", "missing: total"} <= set(re.findall(r"missing: \w+", outcome.out))


@pytest.mark.parametrize("command", ["list", "status", "plan", "freshness"])
def test_a_project_without_assets_is_no_error(command: str, folder: Path, assets: Command) -> None:
    (folder / "definitions.py").write_text("")
    assert assets(command).code == 0


def test_python_m_is_the_command(shop: Path) -> None:
    assert process(shop, "list").out.startswith("asset")


def _words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]
