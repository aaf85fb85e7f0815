"""A small real project, and the command run as a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]

SHOP = '''
"""Three days of a shop, a part that can fail, and a source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pyarrow as pa
from pydantic import BaseModel

from assets_core import (
    Context, Freshness, Group, Partition, daily, dynamic, last, not_null, source,
)

shop = Group(
    "shop", partitions=daily("2024-01-01", end="2024-01-04"), owner="me@example.com", tags=["day"]
)


class Limits(BaseModel):
    """What counts."""

    least: int = 0


@shop.source
def landing(partition: Partition) -> Path | None:
    """Files that others put there."""
    path = Path("landing") / f"{partition.key}.txt"
    return path if path.exists() else None


@shop.asset(
    checks=[not_null("amount", severity="warn")],
    freshness=Freshness(lands_within="8h", since="2024-01-01"),
    columns={"amount": "in cents"},
)
def orders(partition: Partition, context: Context, limits: Limits) -> pa.Table:
    """What was ordered.

    Second paragraph.
    """
    print("making", partition.key)
    context.log.info("a line of the log")
    context.reject(pa.table({"amount": [-1]}), reason="negative")
    return pa.table({"amount": [1, None, limits.least]})


@shop.asset
def totals(orders: pa.Table, partition: Partition) -> pa.Table:
    """Sums."""
    print("adding up", partition.key)
    if Path(f"fail-{partition.key}").exists():
        raise ValueError(f"no total for {partition.key}")
    return pa.table({"total": [sum(a or 0 for a in orders["amount"].to_pylist())]})


@shop.asset
def trend(totals: Annotated[pa.Table, last(2)]) -> pa.Table:
    """Two days together."""
    return pa.table({"days": [totals.num_rows]})


@shop.asset(tags=["files"])
def lines(landing: Path) -> pa.Table:
    """What landed."""
    return pa.table({"text": landing.read_text().splitlines()})


per_shop = Group("per_shop", partitions=dynamic("shops"))


@per_shop.asset
def stock(partition: Partition) -> pa.Table:
    """By shop."""
    return pa.table({"shop": [partition.key]})
'''


@dataclass(frozen=True)
class Outcome:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What was printed on stdout, as strict JSON."""
        return strict_json(self.out)


def strict_json(text: str) -> Any:
    """One JSON document and nothing else; no NaN, no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


Command = Callable[..., Outcome]


def forget_definitions(name: str = "definitions") -> None:
    """Let the next load import the module anew."""
    from assets_core.declare.registry import forget

    for module in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        del sys.modules[module]
        forget(module)
    importlib.invalidate_caches()


def write_project(folder: Path, text: str = SHOP) -> Path:
    """A package ``definitions`` with this text."""
    (folder / "definitions").mkdir(parents=True)
    (folder / "definitions" / "__init__.py").write_text(text)
    return folder


def environment() -> dict[str, str]:
    """The environment of a process of its own."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("ASSETS_")}
    kept.pop("NO_COLOR", None)
    return {**kept, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color"}


def command_line(*arguments: str) -> list[str]:
    """The command as a process of its own."""
    return [sys.executable, "-m", "assets_core", *arguments]


def process(folder: Path, *arguments: str, **options: Any) -> Outcome:
    """Run the command as a process of its own, with no terminal."""
    done = subprocess.run(
        command_line(*arguments),
        cwd=folder,
        env=environment() | options.pop("env", {}),
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
        **options,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
