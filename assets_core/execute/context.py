"""What a user's function is given besides its data: the context."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from assets_core.asset import ContextMarker
from assets_core.errors import OutputError
from assets_core.partitions import Partition, Partitions

REASON_COLUMN = "_reason"
"""The column that rejected rows carry besides their own."""


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

        ``rows`` is anything tabular; no rows is fine. In a call for several partitions they need
        the asset's ``partition_column``, which tells whose they are. ``asset`` names the
        output of a `multi_asset` that the rows belong to (its first one unless given).
        """
        from assets_core.tabular import to_reader

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

    if REASON_COLUMN in table.column_names:
        table = table.drop_columns([REASON_COLUMN])
    return table.append_column(
        pa.field(REASON_COLUMN, pa.string()), pa.repeat(pa.scalar(reason), table.num_rows)
    )
