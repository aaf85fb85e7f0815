"""From lines of text to measurements."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from assets_core import Context

FOLDER = Path(__file__).parent.parent / "nab"
NUMBER = r"^-?\d+(\.\d+)?$"


@cache
def whole_file(name: str) -> pa.Table:
    """All lines of a file as text, with the day that each belongs to."""
    as_text = csv.ConvertOptions(column_types={"timestamp": pa.string(), "value": pa.string()})
    lines = csv.read_csv(FOLDER / f"{name}.csv", convert_options=as_text)
    return lines.append_column("day", pc.utf8_slice_codeunits(lines["timestamp"], 0, 10))


def lines_of_day(name: str, day: str) -> pa.Table:
    """The lines of one day, in the file's order."""
    lines = whole_file(name)
    return lines.filter(pc.equal(lines["day"], day)).select(["timestamp", "value"])


def clean(lines: pa.Table, context: Context) -> pa.Table:
    """Typed measurements; a value that is no number is set aside."""
    good = pc.fill_null(pc.match_substring_regex(lines["value"], NUMBER), False)
    context.reject(lines.filter(pc.invert(good)), reason="not a number")
    kept = lines.filter(good)
    return pa.table(
        {
            "measured_at": pc.strptime(kept["timestamp"], format="%Y-%m-%d %H:%M:%S", unit="s"),
            "value": kept["value"].cast(pa.float64()),
        }
    )
