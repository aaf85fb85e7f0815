"""Judging what lies staged: its schema, its data version, its checks, its rejected rows.

What is found wrong is raised; nothing is published or removed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from assets_core.declare.asset import Asset
from assets_core.errors import CheckFailedError, OutputError, TooManyRejectsError, bounded
from assets_core.execution.context import REASON_COLUMN, Context
from assets_core.execution.schemas import check_schema, schema_text
from assets_core.execution.task import Runtime
from assets_core.fingerprint.data_version import unique_version
from assets_core.fingerprint.hashing import UnhashableError
from assets_core.graph import Op
from assets_core.partitions import Partition
from assets_core.records import CheckOutcome, Version

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_REASONS = 5
_EXAMPLE_CHARACTERS = 300


class ChecksError(CheckFailedError):
    """A failed check, with the results of all checks for the record."""

    def __init__(self, message: str, checks: tuple[CheckOutcome, ...], **parts: Any) -> None:
        super().__init__(message, **parts)
        self.checks = checks


def refuse_unkept(op: Op, context: Context) -> None:
    """Refuse rejected rows that no output took along; they would be lost."""
    for name, tables in context.rejected.items():
        raise OutputError(
            f"Rows were rejected of {name!r}, which has nothing to keep them beside.",
            facts={
                "made here": ", ".join(op.outputs),
                "rejected": f"{sum(len(table) for table in tables):,} rows",
            },
            hint="Reject rows of an asset that this function returns data for, and before that "
            "data has been written.",
        )


def count_rejects(asset: Asset, partition: Partition, rows: pa.Table, kept: int) -> None:
    """Refuse more rejected rows than the asset allows, with TooManyRejectsError."""
    limit, rejected = asset.max_rejected, rows.num_rows
    fraction = rejected / (rejected + kept)
    if limit is not None and fraction > limit:
        raise TooManyRejectsError(
            f"{rejected:,} of {rejected + kept:,} rows were rejected "
            f"({fraction:.1%}), more than max_rejected={limit:.4g} allows.",
            facts={
                "asset": f"{asset.name}@{partition.key}",
                # Nothing is published, so `assets rejects` can't show these.
                **_why_rejected(rows),
            },
            hint="Mend the input or the rule, or raise max_rejected.",
        )


def admit_schema(
    runtime: Runtime, asset: Asset, schemas: Mapping[str, str], schema: pa.Schema
) -> str:
    """The schema as it is recorded, if the asset's policy lets it follow the published one."""
    text = schema_text(schema)
    published = schemas.get(asset.name, "")
    if published and published != text and not runtime.allow_schema_change:
        check_schema(asset, published, schema)
    return text


class Size:
    """Counts the bytes of batches on their way, as Arrow lays them out."""

    def __init__(self) -> None:
        self.bytes = 0

    def of(self, batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        """The same batches."""
        for batch in batches:
            self.bytes += batch.nbytes
            yield batch


def scan(
    asset: Asset,
    partition: Partition,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    reopen: Callable[[], pa.RecordBatchReader] | None,
    inside: Callable[[pa.RecordBatch], None] | None = None,
) -> tuple[Version, tuple[CheckOutcome, ...]]:
    """One pass over what lies staged: its data version, and what the checks found."""
    from assets_core.fingerprint.row_hash.hasher import RowHasher

    hasher = _hasher(RowHasher, schema, asset)
    runner = _runner(asset, schema, partition, reopen)
    for batch in batches:
        if inside is not None:
            inside(batch)
        if hasher is not None:
            hasher.update(batch)
        if runner is not None:
            runner.update(batch)
    version = tuple(hasher.result()) if hasher is not None else tuple(unique_version())
    results = runner.finish() if runner is not None else ()
    outcomes = tuple(
        CheckOutcome(r.name, r.passed, r.severity, bounded(r.message), r.failed_rows)
        for r in results
    )
    return (version[0], version[1]), outcomes


def judge(asset: Asset, partition: Partition, outcomes: tuple[CheckOutcome, ...]) -> None:
    """Raise ChecksError when an ``error`` check failed."""
    failed = [o for o in outcomes if not o.passed and o.severity == "error"]
    if failed:
        raise ChecksError(
            f"check {failed[0].name} failed: {failed[0].message}",
            outcomes,
            facts={"asset": f"{asset.name}@{partition.key}"},
            hint="Nothing was published; the previous version still serves.",
        )


def _why_rejected(rows: pa.Table) -> dict[str, str]:
    """The commonest reasons with their numbers, and one row."""
    counted = Counter(rows[REASON_COLUMN].to_pylist()).most_common(_MOST_REASONS)
    first = rows.slice(0, 1).drop_columns([REASON_COLUMN]).to_pylist()[0]
    return {
        "reasons": ", ".join(f"{reason} ({n:,})" for reason, n in counted),
        "for example": str(first)[:_EXAMPLE_CHARACTERS],
    }


def _hasher(kind: Any, schema: pa.Schema, asset: Asset) -> Any:
    try:
        return kind(
            schema, asset.exclude, ordered=asset.is_ordered, float_digits=asset.float_digits
        )
    except UnhashableError:
        return None


def _runner(asset: Asset, schema: pa.Schema, partition: Partition, reopen: Any) -> Any:
    if not asset.checks:
        return None
    from assets_core.checks import CheckRunner

    return CheckRunner(asset.checks, schema, partition, reopen=reopen)
