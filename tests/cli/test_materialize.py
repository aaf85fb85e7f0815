"""`assets materialize`: what runs, what is asked, what is said afterwards."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cli.shop import Command, environment, process, strict_json, write_project


def test_a_partition_is_built_without_asking(shop: Path, assets: Command) -> None:
    outcome = assets("materialize", "orders", "--partition", "2024-01-02")
    assert outcome.code == 0
    assert (shop / "data/orders/date=2024-01-02").is_dir()
    assert not (shop / "data/orders/date=2024-01-01").exists()


def test_a_second_time_there_is_nothing_to_do(built: Path, assets: Command) -> None:
    outcome = assets("materialize", "--yes", "-s", "+trend")
    assert (outcome.code, outcome.out) == (0, "Nothing to do: everything selected is fresh.\n")


def test_everything_is_not_built_unasked(shop: Path, assets: Command) -> None:
    outcome = assets("materialize", "+trend")
    assert outcome.code == 2
    assert "Add --yes" in outcome.err
    assert not (shop / "data").exists()


def test_the_plan_is_shown_before_asking(shop: Path, assets: Command) -> None:
    assert "Plan for prod: 9 must run" in assets("materialize", "+trend").out


def test_nothing_to_do_needs_no_yes(built: Path, assets: Command) -> None:
    assert assets("materialize", "+trend").code == 0


def test_words_and_options_select_together(shop: Path, assets: Command) -> None:
    outcome = assets("materialize", "orders", "-s", "totals", "--partition", "2024-01-01", "--json")
    assert set(outcome.json["by_asset"]) == {"orders", "totals"}


def test_a_range_and_a_key_add_up(shop: Path, assets: Command) -> None:
    keys = ("--partitions", "2024-01-02..2024-01-03", "--partition", "2024-01-01")
    assert assets("materialize", "orders", *keys, "--json").json["counts"]["done"] == 3


def test_a_dimension_selects_like_a_key(shop: Path, assets: Command) -> None:
    outcome = assets("materialize", "orders", "--partition", "date=2024-01-01", "--json")
    assert outcome.json["counts"]["done"] == 1


def test_force_builds_what_is_fresh(built: Path, assets: Command) -> None:
    outcome = assets("materialize", "orders", "--partition", "2024-01-01", "--force", "--json")
    assert outcome.json["counts"]["done"] + outcome.json["counts"]["unchanged"] == 1


def test_a_dry_run_builds_nothing(shop: Path, assets: Command) -> None:
    outcome = assets("materialize", "--dry-run", "+trend")
    assert outcome.code == 0
    assert "9 must run" in outcome.out
    assert not (shop / "data").exists()


def test_a_dry_run_prints_the_plans_json(shop: Path, assets: Command) -> None:
    outcome = assets("materialize", "--dry-run", "+trend", "--json")
    assert outcome.json["must"] == 9


def test_the_summary_counts_by_asset(shop: Path, assets: Command) -> None:
    out = assets("materialize", "--yes", "+trend").out
    lines = [line.split() for line in out.splitlines()]
    assert ["orders", "3", "9"] in lines
    assert ["in", "all", "9", "15"] in lines


def test_rows_set_aside_are_told_with_how_to_see_them(shop: Path, assets: Command) -> None:
    out = assets("materialize", "orders", "--partition", "2024-01-01").out
    assert "1 row of orders set aside; see: assets rejects orders" in out


def test_alike_warnings_of_checks_are_one_line(shop: Path, assets: Command) -> None:
    out = assets("materialize", "--yes", "orders").out
    warnings = [line for line in out.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "2024-01-01..2024-01-03 (3)" in warnings[0]
    assert "not_null(amount)" in warnings[0]


def test_a_failure_shows_the_users_own_frames_alone(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-02").touch()
    out = assets("materialize", "--yes", "+trend").out
    assert "totals@2024-01-02  ValueError: no total for 2024-01-02" in out
    assert 'raise ValueError(f"no total for {partition.key}")' in out
    assert "assets_core" not in out


def test_a_failure_tells_where_its_output_is(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-02").touch()
    out = assets("materialize", "--yes", "+trend").out
    line = next(line for line in out.splitlines() if "what it printed:" in line)
    words = line.split("assets ", 1)[1].split()
    assert assets(*words).code == 0
    assert words[-2:] == ["totals", "2024-01-02"]


def test_a_failure_without_output_points_to_none(shop: Path, assets: Command) -> None:
    module = shop / "definitions/__init__.py"
    module.write_text(module.read_text().replace('print("adding up", partition.key)', "pass"))
    (shop / "fail-2024-01-02").touch()
    assert "what it printed:" not in assets("materialize", "--yes", "+trend").out


def test_many_alike_failures_are_told_once(shop: Path, assets: Command) -> None:
    for day in (1, 2, 3):
        (shop / f"fail-2024-01-0{day}").touch()
    out = assets("materialize", "--yes", "+totals").out
    assert "3 steps failed" in out
    assert out.count("ValueError: no total") == 2  # in the heading, and in the one traceback
    assert "3 partitions: ValueError: no total for 2024-01-01 in totals" in out
    assert "    2024-01-01..2024-01-03\n" in out


def _retry_line(out: str) -> list[str]:
    line = next(line for line in out.splitlines() if "retry just this: " in line)
    return shlex.split(line.split("retry just this: assets ")[1])


def test_one_kind_of_failure_is_retried_alone(shop: Path, assets: Command) -> None:
    for day in (1, 2):
        (shop / f"fail-2024-01-0{day}").touch()
    words = _retry_line(assets("materialize", "--yes", "+trend", "--jobs", "2").out)
    assert words == [
        "materialize",
        "totals",
        "--partitions",
        "2024-01-01..2024-01-02",
        "--jobs",
        "2",
    ]
    for day in (1, 2):
        (shop / f"fail-2024-01-0{day}").unlink()
    assert assets(*words, "--json").json["counts"]["done"] == 2


def test_a_runs_failures_are_told_by_kind_with_how_to_retry(shop: Path, assets: Command) -> None:
    for day in (1, 2):
        (shop / f"fail-2024-01-0{day}").touch()
    assets("materialize", "--yes", "+totals")
    out = assets("runs", "latest").out
    assert "2 steps failed" in out
    assert "2 partitions: ValueError: no total for 2024-01-0" in out
    assert _retry_line(out) == ["materialize", "totals", "--partitions", "2024-01-01..2024-01-02"]


@pytest.mark.parametrize("command", ["materialize", "runs"])
def test_failures_by_kind_are_json_too(shop: Path, assets: Command, command: str) -> None:
    (shop / "fail-2024-01-02").touch()
    found = assets("materialize", "--yes", "+totals", "--json").json
    if command == "runs":
        found = assets("runs", "latest", "--json").json
    (group,) = found["failure_groups"]
    assert group["ranges"] == [["2024-01-02", "2024-01-02"]]
    assert group["error"] == "ValueError: no total for 2024-01-02"
    assert group["retry"] == "assets materialize totals --partition 2024-01-02"
    assert "Traceback" in group["traceback"]


def test_the_resume_command_does_the_rest_and_no_more(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-02").touch()
    out = assets("materialize", "--yes", "+trend", "--jobs", "2").out
    command = next(line for line in out.splitlines() if line.startswith("Resume with: "))
    words = command.removeprefix("Resume with: assets ").split()
    assert words == ["materialize", "--select", "+trend", "--jobs", "2", "--yes"]
    (shop / "fail-2024-01-02").unlink()
    outcome = assets(*words, "--json")
    assert outcome.json["counts"]["done"] == 3  # the failed one, and two that read it


def _resume_line(out: str) -> list[str]:
    command = next(line for line in out.splitlines() if line.startswith("Resume with: "))
    return command.removeprefix("Resume with: assets ").split()


def test_a_forced_run_is_resumed_with_what_it_left(built: Path, assets: Command) -> None:
    (built / "fail-2024-01-02").touch()
    first = assets("materialize", "--yes", "+trend", "--force")
    assert first.code == 1
    words = _resume_line(first.out)
    assert words[:-1] == ["materialize", "--select", "+trend", "--force", "--yes", "--resume"]
    # Failing again it is the same command: what the first of them did stays done.
    second = assets(*words)
    assert (second.code, _resume_line(second.out)) == (1, words)
    (built / "fail-2024-01-02").unlink()
    counts = assets(*words, "--json").json["counts"]
    assert (counts["done"], counts["failed"]) == (3, 0)  # totals of one day, trends of two
    assert "Nothing to do: everything selected is built since run" in assets(*words).out


def test_a_forced_run_that_did_nothing_is_resumed_whole(built: Path, assets: Command) -> None:
    for day in (1, 2, 3):
        (built / f"fail-2024-01-0{day}").touch()
    words = _resume_line(assets("materialize", "--yes", "totals", "--force").out)
    (built / "fail-2024-01-01").unlink()
    again = assets(*words)
    assert again.code == 1
    for day in (2, 3):
        (built / f"fail-2024-01-0{day}").unlink()
    assert assets(*_resume_line(again.out), "--json").json["counts"]["done"] == 2


def test_resume_without_force_is_refused(built: Path, assets: Command) -> None:
    outcome = assets("materialize", "--resume", "latest")
    assert outcome.code == 2
    assert "--resume goes with --force" in outcome.err


def test_a_run_to_resume_must_be_there(built: Path, assets: Command) -> None:
    outcome = assets("materialize", "--force", "--yes", "--resume", "20990101")
    assert outcome.code == 2
    assert "assets runs" in outcome.err


def test_the_resume_command_keeps_how_the_project_was_named(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-01").touch()
    outcome = assets(
        "-e", "dev", "materialize", "totals", "orders", "--partition", "2024-01-01", "--json"
    )
    assert outcome.json["resume"] == (
        "assets materialize --environment dev --select totals --select orders "
        "--partition 2024-01-01"
    )


def test_passwords_are_not_recorded_with_the_command(shop: Path, assets: Command) -> None:
    (shop / "fail-2024-01-01").touch()
    day = ("--partition", "2024-01-01")
    resume = assets("materialize", "+totals", *day, "--config", "least=7", "--json").json["resume"]
    assert "--config least=7" in resume
    from assets_core.cli.session import without_secrets

    assert without_secrets("api_token=x=y") == "api_token=***"


def test_what_a_missing_upstream_needs_is_said(shop: Path, assets: Command) -> None:
    outcome = assets("materialize", "totals", "--partition", "2024-01-02")
    assert outcome.code == 4
    assert "Build it with: assets materialize +orders --partition 2024-01-02" in outcome.out


def test_the_command_that_was_advised_helps(shop: Path, assets: Command) -> None:
    out = assets("materialize", "totals", "--partition", "2024-01-02").out
    advice = next(line for line in out.splitlines() if "Build it with" in line)
    assert assets(*advice.split("assets ", 1)[1].split()).code == 0
    assert assets("materialize", "totals", "--partition", "2024-01-02").code == 0


def test_a_source_that_is_not_there_is_named(shop: Path, assets: Command) -> None:
    outcome = assets("materialize", "lines", "--partition", "2024-01-01")
    assert outcome.code == 4
    assert "Not there (yet): source landing, 2024-01-01" in outcome.out


def test_config_reaches_the_asset(shop: Path, assets: Command) -> None:
    day = ("--partition", "2024-01-01")
    assets("materialize", "+totals", *day, "--config", "orders.least=41")
    import pyarrow.parquet as pq

    path = next((shop / "data/totals/date=2024-01-01").glob("*.parquet"))
    assert pq.ParquetFile(path).read().to_pylist() == [{"total": 42}]


def test_config_without_a_key_is_refused(shop: Path, assets: Command) -> None:
    outcome = assets("materialize", "--yes", "--config", "least")
    assert outcome.code == 2
    assert "sets nothing" in outcome.err


def test_fail_fast_starts_nothing_more(shop: Path, assets: Command) -> None:
    for day in (1, 2, 3):
        (shop / f"fail-2024-01-0{day}").touch()
    assets("materialize", "--yes", "orders")
    outcome = assets("materialize", "--yes", "totals", "--fail-fast", "-j", "1", "--json")
    assert outcome.json["counts"]["failed"] == 1


@pytest.mark.slow
def test_worker_processes_build_the_same(shop: Path) -> None:
    day = ("--partition", "2024-01-01")
    outcome = process(shop, "materialize", "+totals", *day, "--executor", "process", "--json")
    assert outcome.json["counts"]["done"] == 2


def test_without_a_terminal_each_of_a_few_steps_gets_a_line(shop: Path, assets: Command) -> None:
    err = assets("materialize", "orders", "--partition", "2024-01-01").err
    assert err.startswith("done       orders@2024-01-01  3 rows, 1 rejected, ")
    assert err.count("\n") == 1


def test_json_is_all_that_is_on_stdout(shop: Path) -> None:
    outcome = process(shop, "materialize", "--yes", "+trend", "--json")
    assert strict_json(outcome.out)["status"] == "done"
    assert "done       orders@2024-01-01" in outcome.err


def test_nothing_to_do_is_the_same_json(built: Path, assets: Command) -> None:
    outcome = assets("materialize", "--yes", "+trend", "--json")
    assert (outcome.json["status"], outcome.json["run"]) == ("done", "")


def test_json_without_yes_asks_nobody(shop: Path, assets: Command) -> None:
    outcome = assets("materialize", "+trend", "--json")
    assert (outcome.code, outcome.out) == (2, "")


def test_where_odd_definitions_come_from_is_said(folder: Path, assets: Command) -> None:
    write_project(folder / "deep")
    (folder / "deep/assets.toml").write_text("")
    outcome = assets("--root", "deep", "list")
    assert outcome.err == "Definitions: deep/definitions/__init__.py\n"


def test_where_plain_definitions_come_from_is_not_said(shop: Path, assets: Command) -> None:
    assert assets("list").err == ""


def test_a_named_module_is_not_repeated(folder: Path, assets: Command) -> None:
    write_project(folder / "deep")
    assert assets("list", "--root", "deep", "--module", "definitions").err == ""


def test_a_dead_run_is_recovered_and_reported(shop: Path) -> None:
    script = (
        "import os; from pathlib import Path; Path('fail-2024-01-01').touch();"
        "from assets_core import Project; project = Project.load();"
        "end = lambda event: event.kind == 'done' and os.kill(os.getpid(), 9);"
        "project.materialize('orders', on_event=end)"
    )
    died = subprocess.run([sys.executable, "-c", script], cwd=shop, env=environment(), check=False)
    assert died.returncode == -9
    outcome = process(shop, "materialize", "--yes", "orders")
    assert outcome.code == 0
    assert "Recovered: run " in outcome.err
    assert "died" in outcome.err


def test_accept_stamps_what_is_stale(built: Path, assets: Command) -> None:
    module = built / "definitions/__init__.py"
    module.write_text(module.read_text().replace('"days": [totals', '"days": [0 + totals'))
    assert assets("plan", "trend", "--json").json["must"] == 3
    outcome = assets("accept", "trend", "--yes", "--json")
    assert outcome.json["accepted"][0] == {"asset": "trend", "partition": "2024-01-01"}
    assert assets("plan", "trend", "--json").json["must"] == 0


def test_accept_asks(built: Path, assets: Command) -> None:
    module = built / "definitions/__init__.py"
    module.write_text(module.read_text().replace('"days": [totals', '"days": [0 + totals'))
    outcome = assets("accept", "trend")
    assert outcome.code == 2
    assert "This would accept 3 asset partitions" in outcome.err


def test_accept_never_invents_what_is_missing(shop: Path, assets: Command) -> None:
    out = assets("accept", "orders", "--partition", "2024-01-01").out
    assert out == "Nothing to accept: what is stale was never materialized.\n"


def test_invalidate_says_what_runs_again(built: Path, assets: Command) -> None:
    outcome = assets(
        *("invalidate", "orders", "--partitions", "2024-01-01..2024-01-02"),
        *("--reason", "the till was off"),
    )
    assert outcome.code == 0
    first, second = outcome.out.splitlines()
    assert first.startswith("Invalidated 2 asset partitions by ")
    assert first.endswith(": the till was off")
    assert second == "  orders 2024-01-01..2024-01-02 (2)"
    assert "the till was off" in assets("plan", "orders").out
    assert "the till was off" in assets("status", "orders").out
    assert "the till was off" in assets("history", "orders").out


def test_invalidate_asks_before_everything_downstream(built: Path, assets: Command) -> None:
    line = ("invalidate", "orders", "--partition", "2024-01-01", "--downstream", "--reason", "x")
    outcome = assets(*line)
    assert outcome.code == 2
    assert "This would invalidate 4 asset partitions" in outcome.err
    assert assets("plan", "orders").out.startswith("Nothing to do")
    assert assets(*line, "--yes").code == 0
    assert assets("plan", "+trend", "--json").json["must"] == 4


@pytest.mark.parametrize(
    "line",
    [
        ("orders", "--yes"),
        ("--reason", "x", "--yes"),
        ("landing", "--reason", "x", "--yes"),
        ("orders", "--partition", "2030-01-01", "--reason", "x"),
    ],
)
def test_invalidate_refuses_what_makes_no_sense(
    built: Path, assets: Command, line: tuple[str, ...]
) -> None:
    assert assets("invalidate", *line).code == 2
    assert assets("plan", "orders").out.startswith("Nothing to do")


def test_invalidate_marks_nothing_that_is_missing(shop: Path, assets: Command) -> None:
    out = assets("invalidate", "orders", "--reason", "x", "--yes").out
    assert out == "Nothing to invalidate: nothing of it was ever built.\n"
