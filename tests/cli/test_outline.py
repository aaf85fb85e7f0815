"""The commands and options that exist, and what finding that out costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from assets_core.cli.app import COMMANDS, command
from cli.shop import REPOSITORY, Command, environment

PROMISED = [
    *("list", "show", "plan", "materialize", "observe", "backfill", "status", "runs", "logs"),
    *("lineage", "history", "rejects", "partitions", "freshness", "accept", "invalidate"),
    *("withdraw", "repair", "compact", "doctor", "init"),
]

OPTIONS = {
    "materialize": (
        "--partition --partitions --select -s --force --resume --plan --dry-run --fail-fast "
        "--jobs -j --executor --include-open --config --allow-schema-change --yes -y --json"
    ),
    "plan": (
        "--partition --partitions --select -s --force --include-open --config --explain -o --each "
        "--against --markdown --code-to --json"
    ),
    "observe": "--json",
    "backfill": (
        "--partition --partitions --select -s --reprocess --order --jobs -j --priority --pin-code "
        "--max-failures --max-cost --dry-run --yes -y --json"
    ),
    "status": "--select --json",
    "lineage": "--downstream --depth --json",
    "repair": "--verify --json",
    "accept": "--partition --partitions --select --yes --json",
    "invalidate": ("--partition --partitions --select -s --downstream --reason --yes -y --json"),
    "withdraw": "--partition --partitions --reason --undo --dry-run --yes -y --json",
    "list": "--json",
    "show": "--json",
    "runs": "--json",
    "logs": "--json",
    "history": "--json",
    "rejects": "--json",
    "freshness": "--json",
    "compact": "--keep --keep-last --dry-run --json",
    "doctor": "--json",
    "init": "--json",
}


def test_every_promised_command_exists() -> None:
    assert list(COMMANDS) == PROMISED


@pytest.mark.parametrize("name", PROMISED)
def test_each_command_explains_itself(name: str, assets: Command) -> None:
    outcome = assets(name, "--help")
    assert outcome.code == 0
    assert f"Usage: assets {name}" in outcome.out


@pytest.mark.parametrize("name", OPTIONS)
def test_each_command_takes_its_options(name: str) -> None:
    known = {text for param in command().commands[name].params for text in param.opts}
    assert set(OPTIONS[name].split()) - known == set()


@pytest.mark.parametrize("name", [n for n in PROMISED if n not in ("init", "partitions")])
def test_the_shared_options_may_come_after_the_command(name: str) -> None:
    known = {text for param in command().commands[name].params for text in param.opts}
    assert {"--module", "-m", "--root", "--environment", "-e", "--state"} - known == set()


def test_partitions_has_its_own_commands() -> None:
    assert list(command().commands["partitions"].commands) == ["list", "add", "remove"]


def test_the_list_of_commands_shows_each_in_one_line(assets: Command) -> None:
    lines = assets("--help").out.splitlines()
    for name, (_, _, about) in COMMANDS.items():
        assert f"  {name:<11}  {about}" in lines


def test_the_version_is_the_packages(assets: Command) -> None:
    from assets_core import __version__

    assert assets("--version").out == f"assets {__version__}\n"


def test_a_misspelt_command_is_corrected(assets: Command) -> None:
    outcome = assets("materialise")
    assert outcome.code == 2
    assert "Did you mean 'materialize'?" in outcome.err


def test_an_unknown_option_is_refused(assets: Command) -> None:
    outcome = assets("list", "--nonsense")
    assert outcome.code == 2
    assert "--nonsense" in outcome.err


def test_no_jobs_at_all_is_refused(assets: Command) -> None:
    assert assets("materialize", "--jobs", "0").code == 2


def loaded_by(command: str, folder: Path, heavy: tuple[str, ...]) -> list[str]:
    """Which of these modules a command in a process of its own has imported in the end."""
    script = (
        f"import sys; from assets_core.cli import run; run(['{command}']);"
        f"print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr.split()


def test_help_loads_neither_data_libraries_nor_rich(tmp_path: Path) -> None:
    heavy = ("numpy", "pyarrow", "pydantic", "sqlalchemy", "duckdb", "rich", "sqlglot", "pandas")
    assert loaded_by("--help", tmp_path, heavy) == []


def test_listing_loads_neither_the_state_store_nor_rich(shop: Path) -> None:
    heavy = ("sqlalchemy", "sqlite3", "duckdb", "rich", "pandas")
    assert loaded_by("list", shop, heavy) == []


@pytest.mark.parametrize("command", ["plan", "materialize", "status"])
def test_where_nothing_is_to_be_done_no_query_compiler_is_loaded(built: Path, command: str) -> None:
    heavy = ("sqlalchemy", "duckdb", "rich", "sqlglot", "pandas")
    assert loaded_by(command, built, heavy) == []


def test_the_installed_command_is_this_one() -> None:
    import tomllib

    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert settings["project"]["scripts"]["assets"] == "assets_core.cli:main"
