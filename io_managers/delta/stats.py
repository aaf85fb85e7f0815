"""A version file's statistics as a Delta log has them: readers skip files by them."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_LONGEST_TEXT = 64


def stats_of(path: str) -> str:
    """Rows, and of each plain column how many are null, the least and the greatest value."""
    with pa.OSFile(path) as file:
        metadata = pq.read_metadata(file)
    nulls: dict[str, int] = {}
    least: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    for place in range(metadata.num_columns):
        name = metadata.schema.column(place).path
        if "." in name or metadata.schema.column(place).max_repetition_level:
            continue
        found = _column(metadata, place)
        if found is not None:
            nulls[name], least[name], greatest[name] = found
    return json.dumps(
        {
            "numRecords": metadata.num_rows,
            "minValues": {k: v for k, v in least.items() if v is not None},
            "maxValues": {k: v for k, v in greatest.items() if v is not None},
            "nullCount": nulls,
        }
    )


def _column(metadata: Any, place: int) -> tuple[int, Any, Any] | None:
    """Nulls, least and greatest of a column over all row groups; None where one does not tell."""
    nulls = 0
    least: list[Any] = []
    greatest: list[Any] = []
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(place)
        stats = chunk.statistics if chunk.is_stats_set else None
        if stats is None or not stats.has_null_count:
            return None
        nulls += stats.null_count
        if chunk.num_values > stats.null_count:
            least.append(_plain(stats.min) if stats.has_min_max else None)
            greatest.append(_plain(stats.max) if stats.has_min_max else None)
    known = least and None not in least and None not in greatest
    return nulls, min(least) if known else None, max(greatest) if known else None


def _plain(value: Any) -> Any:
    """A value as JSON has it; None for one that is left out."""
    if isinstance(value, bool | bytes | datetime.datetime):
        return None
    if isinstance(value, int | float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else None
    return value.isoformat() if isinstance(value, datetime.date) else None
