"""--json: strict JSON, nothing else on stdout, and keys that scripts may rely on."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest

from assets_core.cli.screen import print_json
from cli.shop import Command, process, strict_json, write_project

# The keys that each command promises; more may come, none may go. A list stands for its entries.
SCHEMAS: dict[tuple[str, ...], dict[str, Any]] = {
    ("list",): {
        "assets": ["asset kind partitions dimensions reads read_by group tags owner io description"]
    },
    ("show", "orders"): {
        "asset": str,
        "inputs": list,
        "checks": ["name severity demands"],
        "schema": ["name type nullable"],
        "config": dict,
        "count": int,
        "first": str,
        "last": str,
        "code_version": str,
        "freshness": ["lands_within warn_within"],
    },
    ("show", "trend"): {"inputs": ["name asset mapping data kind"]},
    ("plan", "--force", "+trend"): {
        "must": int,
        "may": int,
        "blocked": int,
        "environment": str,
        "steps": ["asset partition status reasons"],
        "waiting": list,
    },
    ("materialize", "orders", "--partition", "2024-01-01", "--force"): {
        "run": str,
        "status": str,
        "exit_code": int,
        "seconds": float,
        "counts": ["done unchanged released failed blocked"],
        "by_asset": dict,
        "rows": int,
        "rejected": int,
        "warnings": int,
        "failures": list,
        "blocked": list,
        "resume": str,
    },
    ("backfill", "list"): {"backfills": list},
    ("observe",): {"counts": dict, "sources": list, "errors": list},
    ("status",): {
        "now": str,
        "counts": dict,
        "assets": ["asset kind total counts rows landed partitions failures waits incomplete"],
    },
    ("runs",): {
        "runs": [
            "run environment status started finished seconds counts command host pid note "
            "priority backfill",
        ],
        "backfills": list,
    },
    ("runs", "latest"): {
        "run": str,
        "materializations": ["asset partition kind attempt finished rows rejected bytes"],
        "attempts": list,
    },
    ("logs", "latest"): {"run": str, "lines": ["asset partition attempt at stream text"]},
    ("lineage", "trend@2024-01-02"): {
        "asset": str,
        "partition": str,
        "direction": str,
        "root": str,
        "nodes": ["ref asset partition kind data_version code_version run finished rows links"],
    },
    ("history", "orders"): {
        "asset": str,
        "entries": ["at partition what run attempt seconds rows bytes rejected data_version"],
    },
    ("rejects", "orders"): {
        "asset": str,
        "count": int,
        "rows": ["_partition _reason amount"],
    },
    ("partitions", "list", "orders"): {"asset": str, "count": int, "partitions": list},
    ("freshness",): {"now": str, "status": str, "overdue": int, "assets": ["asset status counts"]},
    ("accept", "orders", "--yes"): {"accepted": list},
    ("invalidate", "orders", "--reason", "restated", "--downstream", "--yes"): {
        "reason": str,
        "by": str,
        "count": int,
        "missing": int,
        "invalidated": ["asset partitions count downstream_of"],
    },
    ("withdraw", "landing", "--reason", "taken back"): {
        "source": str,
        "partitions": list,
        "count": int,
        "reason": str,
        "by": str,
        "undone": bool,
        "dry_run": bool,
    },
    ("repair",): {"exposed": int, "swept": int, "verified": int, "damaged": list, "recorded": int},
    ("compact",): {"removed": int, "kept": int},
    ("doctor",): {"checks": ["name status detail hint"]},
}


@pytest.mark.parametrize("line", SCHEMAS, ids=" ".join)
def test_the_promised_keys_are_there(line: tuple[str, ...], built: Path, assets: Command) -> None:
    outcome = assets(*line, "--json")
    assert outcome.code == 0
    found = strict_json(outcome.out)
    for key, promised in SCHEMAS[line].items():
        _check(found[key], promised)


def _check(value: Any, promised: Any) -> None:
    if isinstance(promised, list):
        entry = value[0] if isinstance(value, list) else value
        assert set(promised[0].split()) - set(entry) == set()
    else:
        assert isinstance(value, promised)


def test_a_plans_schema_is_the_documented_one(shop: Path, assets: Command) -> None:
    found = assets("plan", "orders", "--partition", "2024-01-01", "--json").json
    assert (found["must"], found["may"]) == (1, 0)
    assert (
        found["steps"][0].items()
        >= {
            "asset": "orders",
            "partition": "2024-01-01",
            "status": "must",
        }.items()
    )
    assert (
        found["steps"][0]["reasons"][0].items()
        >= {
            "kind": "missing",
            "detail": "never materialized",
        }.items()
    )


def test_every_reading_command_is_covered() -> None:
    from cli.test_outline import PROMISED

    assert {line[0] for line in SCHEMAS} == set(PROMISED) - {"init"}


def test_values_that_json_lacks_are_written_plainly() -> None:
    from datetime import UTC, date, datetime, timedelta
    from decimal import Decimal

    from assets_core.cli.commands.lineage import plain

    row = {
        "nan": float("nan"),
        "when": datetime(2024, 1, 1, tzinfo=UTC),
        "day": date(2024, 1, 1),
        "long": timedelta(seconds=1.5),
        "raw": b"\x00\xff",
        "price": Decimal("1.10"),
        "list": [float("inf"), 1],
        "struct": {"a": None},
    }
    assert plain(row) == {
        "nan": None,
        "when": "2024-01-01T00:00:00+00:00",
        "day": "2024-01-01",
        "long": 1.5,
        "raw": "AP8=",
        "price": "1.10",
        "list": [None, 1],
        "struct": {"a": None},
    }


def test_an_error_leaves_stdout_empty(shop: Path, assets: Command) -> None:
    outcome = assets("show", "nothing_like_it", "--json")
    assert (outcome.code, outcome.out) == (2, "")


def printed(value: Any, encoding: str) -> str:
    """What is written of a value where stdout has this encoding."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, errors="backslashreplace")
    with contextlib.redirect_stdout(stream):
        print_json(value)
    stream.flush()
    return written.getvalue().decode()


def test_text_that_no_encoding_holds_is_still_json(shop: Path, assets: Command) -> None:
    assert strict_json(printed({"name": "a\udc80b"}, "utf-8")) == {"name": "a\udc80b"}


LOUD = """
import subprocess
import sys
import pyarrow as pa
from assets_core import source
from assets_core import asset
print("loaded")

@source
def landing() -> pa.Table:
    print("looked")
    subprocess.run([sys.executable, "-c", "print('asked')"], check=True)
    return pa.table({"n": [1]})

@asset(executor="process")
def copied(landing: pa.Table) -> pa.Table:
    return landing

@asset
def whole(copied: pa.Table) -> pa.Table:
    subprocess.run([sys.executable, "-c", "print('called')"], check=True)
    return copied
"""


@pytest.mark.parametrize(
    "line", [("list",), ("plan",), ("plan", "--each"), ("materialize", "--yes")], ids=" ".join
)
def test_what_definitions_and_their_programs_print_is_not_among_results(
    line: tuple[str, ...], folder: Path
) -> None:
    write_project(folder, LOUD)
    outcome = process(folder, *line, "--json")
    assert outcome.code == 0
    strict_json(outcome.out)
    assert "loaded" in outcome.err
    plain = process(folder, *line)
    assert not {"loaded", "looked", "asked", "called"} & set(plain.out.split())


def test_what_definitions_print_in_this_process_is_not_among_results(
    folder: Path, assets: Command
) -> None:
    write_project(folder, LOUD)
    outcome = assets("plan", "--json")
    assert outcome.json["must"] == 2
    assert {"loaded", "looked"} <= set(outcome.err.split())


def test_json_in_an_encoding_that_lacks_the_letters_is_still_json() -> None:
    assert strict_json(printed({"name": "Köln 🎉"}, "latin-1")) == {"name": "Köln 🎉"}
