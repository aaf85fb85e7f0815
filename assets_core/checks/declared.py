"""What users declare: each check is a small frozen value, made by the function of its name.

Nothing here looks at data; importing it is light.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from assets_core.checks.signatures import parameters_of
from assets_core.checks.wording import (
    arguments,
    bad_check,
    frozen,
    listed,
    plain_value,
    shortened,
    span,
)
from assets_core.durations import Duration, parse_duration
from assets_core.errors import DefinitionError, UsageError
from assets_core.problems import deferred

Severity = Literal["error", "warn"]
Inclusive = Literal["both", "left", "right", "neither"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What came of one check.

    ``message`` is empty when it passed. ``failed_rows`` is None where the check isn't about rows;
    ``observed`` are the values it looked at, ``sample`` up to five offending ones, both as plain
    JSON values. Row numbers count from 1. A user's function that returns one need only set
    ``passed`` and ``message``: name and severity are always the declared ones.
    """

    name: str = ""
    passed: bool = True
    severity: Severity = "error"
    message: str = ""
    failed_rows: int | None = None
    observed: Mapping[str, Any] = field(default_factory=dict)
    sample: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The base of checks. ``error`` blocks the publish, ``warn`` does not."""

    name: str
    severity: Severity = "error"

    def __post_init__(self) -> None:
        if self.severity not in ("error", "warn"):
            raise DefinitionError(
                f"Check {self.name}: severity={self.severity!r} is not known.",
                hint="One of 'error', which blocks the publish, and 'warn', which does not.",
            )

    def describe(self) -> str:
        """What it demands, as a sentence without a full stop."""
        raise NotImplementedError

    def named_columns(self) -> tuple[str, ...]:
        """The columns that it needs to be there."""
        return ()

    def identity(self) -> tuple[Any, ...]:
        """Plain values that tell it from another."""
        own = [getattr(self, name) for name in type(self).__slots__]
        return (type(self).__name__, self.name, self.severity, *(frozen(value) for value in own))


def checks_identity(checks: Iterable[Check]) -> tuple[tuple[Any, ...], ...]:
    """Plain values (text, numbers, None, tuples) that tell one list of checks from another."""
    return tuple(check.identity() for check in checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotNull(Check):
    """See `not_null`."""

    columns: tuple[str, ...]

    def named_columns(self) -> tuple[str, ...]:
        return self.columns

    def describe(self) -> str:
        return f"every row has {listed(self.columns, 'and')}"


@deferred(lambda: Check(name="?"))
def not_null(*columns: str, severity: Severity = "error", name: str = "") -> Check:
    """No row has a null in any of these columns.

    NaN is a value, not a null, as in SQL; `in_range` refuses it.
    """
    names = _columns("not_null", columns)
    return NotNull(name=name or f"not_null({', '.join(names)})", severity=severity, columns=names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique(Check):
    """See `unique`."""

    columns: tuple[str, ...]

    def named_columns(self) -> tuple[str, ...]:
        return self.columns

    def describe(self) -> str:
        return f"no two rows have the same {listed(self.columns, 'and')}"


@deferred(lambda: Check(name="?"))
def unique(*columns: str, severity: Severity = "error", name: str = "") -> Check:
    """No two rows have the same values in all of these columns. Exact at any size.

    As in SQL, rows with a null in any of the columns are left out. NaN equals NaN, and 0.0
    equals -0.0. ``failed_rows`` are the rows that repeat an earlier one.
    """
    names = _columns("unique", columns)
    return Unique(name=name or f"unique({', '.join(names)})", severity=severity, columns=names)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCount(Check):
    """See `row_count`."""

    min: int | None
    max: int | None

    def describe(self) -> str:
        return f"there are {span(self.min, self.max)} rows"


@deferred(lambda: Check(name="?"))
def row_count(
    min: int | None = None,
    max: int | None = None,
    *,
    severity: Severity = "error",
    name: str = "",
) -> Check:
    """The number of rows lies between ``min`` and ``max``, both included."""
    _ordered_bounds("row_count", min, max)
    for bound in (min, max):
        if bound is not None and (type(bound) is not int or bound < 0):
            raise bad_check("row_count", f"{bound!r} is not a number of rows.")
    shown = name or f"row_count({arguments(min=min, max=max)})"
    return RowCount(name=shown, severity=severity, min=min, max=max)


@dataclass(frozen=True, slots=True, kw_only=True)
class InRange(Check):
    """See `in_range`."""

    column: str
    min: Any
    max: Any
    inclusive: Inclusive

    def named_columns(self) -> tuple[str, ...]:
        return (self.column,)

    def describe(self) -> str:
        but = "" if self.inclusive == "both" else f" (inclusive: {self.inclusive})"
        return f"{self.column} is {span(plain_value(self.min), plain_value(self.max))}{but}"


@deferred(lambda: Check(name="?"))
def in_range(
    column: str,
    min: Any = None,
    max: Any = None,
    *,
    inclusive: Inclusive = "both",
    severity: Severity = "error",
    name: str = "",
) -> Check:
    """The values of a column lie between ``min`` and ``max``.

    ``inclusive`` says which bounds are allowed values themselves. Bounds are of the column's
    kind: numbers, `date`, `datetime` (with a zone iff the column has one; a `date` means its
    midnight in a column without), `time`, `timedelta`, text or bytes (by code point). Numbers
    compare exactly, whatever the types. Nulls are ignored, as in an SQL CHECK; NaN is outside
    of every range.
    """
    names = _columns("in_range", (column,))
    min, max = _own(min), _own(max)
    _ordered_bounds("in_range", min, max)
    if inclusive not in typing.get_args(Inclusive):
        raise bad_check(
            "in_range", f"inclusive={inclusive!r} is not known: both, left, right or neither."
        )
    extra = {} if inclusive == "both" else {"inclusive": inclusive}
    shown = name or f"in_range({column}, {arguments(min=min, max=max, **extra)})"
    return InRange(
        name=shown, severity=severity, column=names[0], min=min, max=max, inclusive=inclusive
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedValues(Check):
    """See `accepted_values`."""

    column: str
    values: tuple[Any, ...]

    def named_columns(self) -> tuple[str, ...]:
        return (self.column,)

    def describe(self) -> str:
        return f"{self.column} is {listed([repr(plain_value(v)) for v in self.values], 'or')}"


@deferred(lambda: Check(name="?"))
def accepted_values(
    column: str, values: Iterable[Any], *, severity: Severity = "error", name: str = ""
) -> Check:
    """The values of a column are among ``values``, which are taken as the column's own type.

    Nulls are ignored, as in an SQL CHECK; add `not_null` to refuse them.
    """
    names = _columns("accepted_values", (column,))
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise bad_check("accepted_values", f"{values!r} is one value; write [{values!r}].")
    accepted = tuple([_own(value) for value in values])
    if not accepted:
        raise bad_check("accepted_values", "it accepts nothing.")
    shown = name or f"accepted_values({column})"
    return AcceptedValues(name=shown, severity=severity, column=names[0], values=accepted)


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshnessOfColumn(Check):
    """See `freshness_of_column`."""

    column: str
    within: timedelta

    def named_columns(self) -> tuple[str, ...]:
        return (self.column,)

    def describe(self) -> str:
        return f"the newest {self.column} lies within {self.within} of the partition's end"


@deferred(lambda: Check(name="?"))
def freshness_of_column(
    column: str, within: Duration, *, severity: Severity = "error", name: str = ""
) -> Check:
    """The newest value of a time column lies at most ``within`` before the partition's end.

    The column holds timestamps or dates. Timestamps without a zone are in the partition's zone;
    a date counts until its last moment. No value at all fails, a value after the end passes.
    """
    names = _columns("freshness_of_column", (column,))
    try:
        length = parse_duration(within)
    except UsageError as error:
        raise bad_check("freshness_of_column", error.message) from error
    shown = name or f"freshness_of_column({column}, {within})"
    return FreshnessOfColumn(name=shown, severity=severity, column=names[0], within=length)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlCheck(Check):
    """See `sql`."""

    query: str

    def describe(self) -> str:
        return f"this query finds nothing wrong: {' '.join(self.query.split())}"


@deferred(lambda: Check(name="?"))
def sql(query: str, *, severity: Severity = "error", name: str = "") -> Check:
    """A DuckDB query over the staged rows, which it names ``this``.

    It lists what is wrong: *no rows, and the check passes*; each row it returns is a failed row.
    Or it gives a verdict: a result of one row whose only column is boolean passes when that is
    true, and fails when it is false or NULL (an aggregate over no rows). So a query that lists
    offending rows must select more than one boolean column.

    ``$partition_key`` (text), ``$partition_start`` and ``$partition_end`` (timestamps with time
    zone, NULL for partitions without time) are bound when used; the session's time zone is the
    partition's.
    """
    if not isinstance(query, str) or not query.strip():
        raise bad_check("sql", "there is no query.")
    shown = name or f"sql({shortened(' '.join(query.split()), 60)})"
    return SqlCheck(name=shown, severity=severity, query=query)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCheck(Check):
    """See `check`."""

    function: Callable[..., Any]

    def describe(self) -> str:
        documented = inspect.getdoc(self.function)
        return documented.splitlines()[0].rstrip(".") if documented else f"{self.name}() agrees"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself, so that a test can call it."""
        return self.function(*args, **kwargs)

    def identity(self) -> tuple[Any, ...]:
        function = self.function
        where = f"{function.__module__}.{getattr(function, '__qualname__', self.name)}"
        return (type(self).__name__, self.name, self.severity, where)


@deferred(lambda: Check(name="?"))
def check(
    function: Callable[..., Any] | None = None, *, severity: Severity = "error", name: str = ""
) -> Any:
    """A user's own function as a check; also a decorator, with or without arguments.

    The function takes the staged rows, as what the parameter is annotated with (a pyarrow.Table
    unless told otherwise), and, if it likes, the partition, in a parameter named ``partition`` or
    annotated so. It returns True or None when all is well, False or a `CheckResult`; or it uses
    ``assert``. Any exception it raises is a failed check that shows where it was raised.

    Raises DefinitionError for a signature or an annotation that can't be served.
    """
    if function is None:
        return lambda decorated: check(decorated, severity=severity, name=name)
    if not callable(function):
        raise bad_check("check", f"{function!r} is not a function.")
    shown = name or getattr(function, "__name__", type(function).__name__)
    found = FunctionCheck(name=shown, severity=severity, function=function)
    parameters_of(shown, function)
    return found


def _columns(kind: str, columns: Sequence[str]) -> tuple[str, ...]:
    if not columns:
        raise bad_check(kind, "it names no column.")
    for column in columns:
        if not isinstance(column, str) or not column:
            raise bad_check(kind, f"{column!r} is not a column's name.")
    return tuple(dict.fromkeys(columns))


def _own(value: Any) -> Any:
    """A number of numpy's as Python's own."""
    return value.item() if type(value).__module__ == "numpy" else value


def _ordered_bounds(kind: str, low: Any, high: Any) -> None:
    if low is None and high is None:
        raise bad_check(kind, "it has neither min nor max.")
    for bound in (low, high):
        if isinstance(bound, bool) or bound != bound:  # only NaN is not itself
            raise bad_check(kind, f"{bound!r} is not a bound.")
    try:
        crossed = low is not None and high is not None and low > high
    except TypeError:
        raise bad_check(kind, f"min={low!r} and max={high!r} can't be compared.") from None
    if crossed:
        raise bad_check(kind, f"min={low!r} is greater than max={high!r}.")
