"""What a user's function is given besides its data: the context."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from assets_core.declare.signature import ContextMarker
from assets_core.errors import OutputError
from assets_core.partitions import Partition, Partitions

if TYPE_CHECKING:
    import pyarrow as pa

REASON_COLUMN, PARTITION_COLUMN = "_reason", "_partition"
"""The columns that rejected rows carry besides their own, when they are stored and when read."""


class Context(ContextMarker):
    """The running step, for the function that runs in it.

    Every part has a default, so that a test can call an asset's function with ``Context()``.
    ``partitions`` are those that the call builds; ``partition`` is None when there are several.
    """

    def __init__(
        self,
        *,
        asset: str = "",
        partition: Partition | None = None,
        partitions: Partitions | None = None,
        run_id: str = "",
        attempt: int = 1,
        resources: Mapping[str, Any] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self.asset = asset
        self.partition = partition
        self.partitions = partitions
        self.run_id = run_id
        self.attempt = attempt
        self.resources: Mapping[str, Any] = resources or {}
        self.log = logger or logging.getLogger(f"assets.{asset}" if asset else "assets")
        self.metadata: dict[str, Any] = {}
        self.rejected: dict[str, list[Any]] = {}

    def reject(self, rows: Any, reason: str, *, asset: str = "") -> None:
        """Set bad rows aside, with the reason; they land beside the partition.

        ``rows`` is anything tabular; no rows is fine, without columns, too. In a call for several
        partitions they need the asset's ``partition_column``, which tells whose they are.
        ``asset`` names the output of a `multi_asset` that the rows belong to (its first one unless
        given).
        """
        from assets_core.tabular.outputs import is_nothing, to_reader

        if isinstance(rows, Iterator):
            rows = list(rows)
        if is_nothing(rows):
            return
        output = to_reader(rows, what="context.reject()")
        table = output.table if output.table is not None else None
        if table is None and output.reader is not None:
            table = output.reader.read_all()
        if table is None:
            raise OutputError(
                "context.reject() was given no rows.",
                facts={"given": type(rows).__name__},
                hint="Pass a table or data frame that holds the rows to set aside.",
            )
        if table.num_rows:
            self.rejected.setdefault(asset or self.asset, []).append(_with_reason(table, reason))


def _with_reason(table: Any, reason: str) -> Any:
    import pyarrow as pa

    # Rows that were read as rejects before have these of then.
    table = table.drop_columns({REASON_COLUMN, PARTITION_COLUMN} & set(table.column_names))
    return table.append_column(
        pa.field(REASON_COLUMN, pa.string()), pa.repeat(pa.scalar(reason), table.num_rows)
    )


def stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """Rejected rows under one another; where the types of a column don't go together, as text.

    Bad rows are the ones whose types can't be relied on.
    """
    import pyarrow as pa

    names = dict.fromkeys(name for table in tables for name in table.column_names)
    mixed = {name for name in names if not _go_together(tables, name)}
    alike = [_as_text(table, mixed) for table in tables]
    return pa.concat_tables(alike, promote_options="permissive")


def _go_together(tables: Sequence[pa.Table], name: str) -> bool:
    import pyarrow as pa

    fields = [table.schema.field(name) for table in tables if name in table.column_names]
    try:
        pa.unify_schemas([pa.schema([field]) for field in fields], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return False
    return True


def _as_text(table: pa.Table, names: set[str]) -> pa.Table:
    import pyarrow as pa

    for name in names & set(table.column_names):
        values = [None if value is None else str(value) for value in table[name].to_pylist()]
        at = table.column_names.index(name)
        table = table.set_column(at, pa.field(name, pa.string()), pa.array(values, pa.string()))
    return table
