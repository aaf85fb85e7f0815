"""Numbers and lists in messages, and values as JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from assets_core.errors import DefinitionError

SAMPLES = 5
"""How many offending values a result shows."""

SHOWN_TEXT = 200
"""Characters of a value that a result shows."""


def of_rows(bad: int, rows: int) -> str:
    return f"{bad:,} of {rows:,} row{'' if rows == 1 else 's'}"


def have(count: int) -> str:
    return "has" if count == 1 else "have"


def listed(items: Sequence[str], word: str) -> str:
    if len(items) <= 1:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def span(low: Any, high: Any) -> str:
    if low is None:
        return f"at most {number(high)}"
    if high is None:
        return f"at least {number(low)}"
    return f"{number(low)}" if low == high else f"between {number(low)} and {number(high)}"


def number(value: Any) -> str:
    return f"{value:,}" if type(value) is int else str(value)


def arguments(**given: Any) -> str:
    return ", ".join(f"{k}={plain_value(v)}" for k, v in given.items() if v is not None)


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def length_of(micros: int) -> str:
    try:
        return str(timedelta(microseconds=micros))
    except OverflowError:
        return f"{micros // 31_557_600_000_000:,} years"


def python_value(scalar: Any) -> Any:
    """An Arrow scalar as a Python value; what Python has no value for becomes text."""
    import pyarrow as pa

    try:
        return scalar.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return f"{scalar.type} {getattr(scalar, 'value', '?')}"


def plain_value(value: Any) -> Any:
    """A value as JSON can hold it."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return shortened(value, SHOWN_TEXT)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return shortened("0x" + value.hex(), SHOWN_TEXT)
    if isinstance(value, Mapping):
        return {str(key): plain_value(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(each) for each in value]
    return shortened(str(value), SHOWN_TEXT)


def frozen(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(frozen(each) for each in value)
    return value if isinstance(value, (str, int, type(None))) else f"{type(value).__name__} {value}"


def bad_check(kind: str, problem: str) -> DefinitionError:
    return DefinitionError(f"Check {kind}: {problem}")
