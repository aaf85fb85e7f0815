"""What the laws are tried with: targets, rows, names, and the short way to a publish."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pyarrow as pa

from assets_core.contracts import (
    IOManager,
    Staged,
    Target,
)
from assets_core.partitions import safe_path_part
from assets_core.records import Receipt

HOSTILE_NAMES = (
    "..",
    "../..",
    "../../etc/passwd",
    "/absolute",
    ".hidden",
    "_underscore",
    "a/b",
    "a%2Fb",
    "a\\b",
    "a'b",
    'a"b',
    "a;DROP TABLE fences;--",
    "a b",
    "a.b",
    "a.1.run.attempt",
    "%s%d{}",
    "*",
    "?",
    "CON",
    "naïve",
    "日本",
    "а",
    "a",
    "A",
    "x" * 299,
    "x" * 298 + "y",
)
"""Keys and asset names that have broken stores: each must be kept safely and distinctly."""

_attempts = itertools.count(1)


def target(
    partition: str = "2024-01-01",
    token: int = 1,
    *,
    asset: str = "orders",
    run: str = "run00000001",
    environment: str = "prod",
) -> Target:
    """What a new attempt writes to; no two are the same attempt."""
    return Target(
        asset=asset,
        partition=partition,
        path_parts=(f"date={safe_path_part(partition)}",),
        token=token,
        run=run,
        attempt=f"a{next(_attempts)}",
        environment=environment,
        stamp={"code": "c0de", "digest": "d1ge57"},
    )


def publish(manager: IOManager, where: Target, table: pa.Table, fact: str = "fact") -> Receipt:
    """Stage, audit, publish and expose, as a run does."""
    staged = manager.stage(where, table)
    manager.audit(staged).read_all()
    return release(manager, staged, fact)


def release(manager: IOManager, staged: Staged, fact: str = "fact") -> Receipt:
    receipt = manager.publish(staged, fact)
    if not manager.transactional:
        where = staged.target
        manager.expose(where.environment, where.asset, where.path_parts, receipt)
        manager.flush()
    return receipt


def rows(*values: int) -> pa.Table:
    """A small table that tells itself from others."""
    return pa.table(
        {
            "id": pa.array(values, pa.int64()),
            "name": pa.array([f"row {value}" for value in values], pa.string()),
        }
    )


class UsersError(Exception):
    """What a user's generator may raise."""


def failing(error: Exception) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from rows(*range(1_000)).to_batches()
        raise error

    return pa.RecordBatchReader.from_batches(rows().schema, batches())
