"""Audits of staged data: their declarations, and their evaluation in one pass over the batches.

A declaration is a small frozen value. A `CheckRunner` evaluates many of them while the staged
rows go by once; only what needs all rows at a time (SQL, a user's function, uniqueness of more
rows than memory should hold) reads them a second time, from the store. Whether a failure blocks
the publish is decided by the caller, from the result's severity.
"""

from __future__ import annotations

import inspect
import math
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from assets_core.durations import Duration, parse_duration
from assets_core.errors import AssetsError, DefinitionError, StorageError, UsageError

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa

    from assets_core.partitions import Partition

Severity = Literal["error", "warn"]
Inclusive = Literal["both", "left", "right", "neither"]

_SAMPLES = 5
_SHOWN_TEXT = 200
_HELD_BYTES = 64 << 20
"""Rows that some check needs all at a time are held up to this; beyond, they are read again."""

_LARGE_MEMORY = "256MB"
"""What DuckDB may use for checks on more than that; it spills to disk."""


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


# --------------------------------------------------------------------------------------------
# Declarations


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

    def identity(self) -> tuple[Any, ...]:
        """Plain values that tell it from another."""
        own = [getattr(self, name) for name in type(self).__slots__]
        return (type(self).__name__, self.name, self.severity, *(_frozen(value) for value in own))


def checks_identity(checks: Iterable[Check]) -> tuple[tuple[Any, ...], ...]:
    """Plain values (text, numbers, None, tuples) that tell one list of checks from another."""
    return tuple(check.identity() for check in checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotNull(Check):
    """See `not_null`."""

    columns: tuple[str, ...]

    def describe(self) -> str:
        return f"every row has {_listed(self.columns, 'and')}"


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

    def describe(self) -> str:
        return f"no two rows have the same {_listed(self.columns, 'and')}"


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
        return f"there are {_span(self.min, self.max)} rows"


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
            raise _bad_check("row_count", f"{bound!r} is not a number of rows.")
    shown = name or f"row_count({_arguments(min=min, max=max)})"
    return RowCount(name=shown, severity=severity, min=min, max=max)


@dataclass(frozen=True, slots=True, kw_only=True)
class InRange(Check):
    """See `in_range`."""

    column: str
    min: Any
    max: Any
    inclusive: Inclusive

    def describe(self) -> str:
        but = "" if self.inclusive == "both" else f" (inclusive: {self.inclusive})"
        return f"{self.column} is {_span(_plain(self.min), _plain(self.max))}{but}"


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
    _ordered_bounds("in_range", min, max)
    if inclusive not in typing.get_args(Inclusive):
        raise _bad_check(
            "in_range", f"inclusive={inclusive!r} is not known: both, left, right or neither."
        )
    extra = {} if inclusive == "both" else {"inclusive": inclusive}
    shown = name or f"in_range({column}, {_arguments(min=min, max=max, **extra)})"
    return InRange(
        name=shown, severity=severity, column=names[0], min=min, max=max, inclusive=inclusive
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedValues(Check):
    """See `accepted_values`."""

    column: str
    values: tuple[Any, ...]

    def describe(self) -> str:
        return f"{self.column} is {_listed([repr(_plain(v)) for v in self.values], 'or')}"


def accepted_values(
    column: str, values: Iterable[Any], *, severity: Severity = "error", name: str = ""
) -> Check:
    """The values of a column are among ``values``, which are taken as the column's own type.

    Nulls are ignored, as in an SQL CHECK; add `not_null` to refuse them.
    """
    names = _columns("accepted_values", (column,))
    if isinstance(values, (str, bytes)):
        raise _bad_check("accepted_values", f"{values!r} is one value; write [{values!r}].")
    accepted = tuple(values)
    if not accepted:
        raise _bad_check("accepted_values", "it accepts nothing.")
    shown = name or f"accepted_values({column})"
    return AcceptedValues(name=shown, severity=severity, column=names[0], values=accepted)


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshnessOfColumn(Check):
    """See `freshness_of_column`."""

    column: str
    within: timedelta

    def describe(self) -> str:
        return f"the newest {self.column} lies within {self.within} of the partition's end"


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
        raise _bad_check("freshness_of_column", error.message) from error
    shown = name or f"freshness_of_column({column}, {within})"
    return FreshnessOfColumn(name=shown, severity=severity, column=names[0], within=length)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlCheck(Check):
    """See `sql`."""

    query: str

    def describe(self) -> str:
        return f"this query finds nothing wrong: {' '.join(self.query.split())}"


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
        raise _bad_check("sql", "there is no query.")
    shown = name or f"sql({_shortened(' '.join(query.split()), 60)})"
    return SqlCheck(name=shown, severity=severity, query=query)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCheck(Check):
    """See `check`."""

    function: Callable[..., Any]

    def describe(self) -> str:
        documented = inspect.getdoc(self.function)
        return documented.splitlines()[0].rstrip(".") if documented else f"{self.name}() agrees"

    def identity(self) -> tuple[Any, ...]:
        function = self.function
        where = f"{function.__module__}.{getattr(function, '__qualname__', self.name)}"
        return (type(self).__name__, self.name, self.severity, where)


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
        raise _bad_check("check", f"{function!r} is not a function.")
    shown = name or getattr(function, "__name__", type(function).__name__)
    found = FunctionCheck(name=shown, severity=severity, function=function)
    _parameters(found)
    return found


def _columns(kind: str, columns: Sequence[str]) -> tuple[str, ...]:
    if not columns:
        raise _bad_check(kind, "it names no column.")
    for column in columns:
        if not isinstance(column, str) or not column:
            raise _bad_check(kind, f"{column!r} is not a column's name.")
    return tuple(dict.fromkeys(columns))


def _ordered_bounds(kind: str, low: Any, high: Any) -> None:
    if low is None and high is None:
        raise _bad_check(kind, "it has neither min nor max.")
    for bound in (low, high):
        if isinstance(bound, bool) or bound != bound:  # noqa: PLR0124  # only NaN is not itself
            raise _bad_check(kind, f"{bound!r} is not a bound.")
    try:
        crossed = low is not None and high is not None and low > high
    except TypeError:
        raise _bad_check(kind, f"min={low!r} and max={high!r} can't be compared.") from None
    if crossed:
        raise _bad_check(kind, f"min={low!r} is greater than max={high!r}.")


def _bad_check(kind: str, problem: str) -> DefinitionError:
    return DefinitionError(f"Check {kind}: {problem}")


# --------------------------------------------------------------------------------------------
# The runner

Reopen = Callable[[], "pa.RecordBatchReader"]


class CheckRunner:
    """Evaluates checks while the batches of the staged rows go by.

    ``reopen`` reads the rows again from where they are staged; checks that need all rows at a
    time use it when there are more than 64 MB of them. Without it they are held in memory.
    What reading raises (StorageError) comes out of ``finish`` unchanged; everything else that
    goes wrong within a check is a failed result.
    """

    def __init__(
        self,
        checks: Sequence[Check],
        schema: pa.Schema,
        partition: Partition | None = None,
        *,
        reopen: Reopen | None = None,
    ) -> None:
        self._rows = 0
        self._all: list[_Evaluator] = [_evaluator(check, schema, partition) for check in checks]
        self._streaming = [each for each in self._all if each.streams]
        whole = [each for each in self._all if not each.streams]
        self._whole = _Whole(schema, whole, reopen) if whole else None

    @property
    def needs_table(self) -> bool:
        """Whether some check needs all rows at a time."""
        return self._whole is not None

    def update(self, batch: pa.RecordBatch) -> None:
        """Look at the next batch."""
        for each in self._streaming:
            each.update(batch, self._rows)
        if self._whole is not None:
            self._whole.add(batch)
        self._rows += batch.num_rows

    def finish(self) -> tuple[CheckResult, ...]:
        """The results, in the order of the checks."""
        if self._whole is None:
            return tuple([each.finish(self._rows, None) for each in self._all])
        with self._whole:
            return tuple([each.finish(self._rows, self._whole) for each in self._all])


class _Evaluator:
    """One check on one run over the rows. ``finish`` gets all rows if it does not stream."""

    streams = True

    def __init__(self, check: Check) -> None:
        self.check = check

    def update(self, batch: pa.RecordBatch, start: int) -> None:
        """``start`` rows went before this batch."""

    def finish(self, rows: int, whole: _Whole | None) -> CheckResult:
        raise NotImplementedError

    def needed(self) -> tuple[str, ...] | None:
        """The columns that one that does not stream needs; None for all."""
        return None

    def passed(self, **observed: Any) -> CheckResult:
        return CheckResult(self.check.name, True, self.check.severity, "", None, observed)

    def failed(
        self,
        message: str,
        *,
        rows: int | None = None,
        observed: Mapping[str, Any] | None = None,
        sample: Iterable[Any] = (),
    ) -> CheckResult:
        return CheckResult(
            self.check.name,
            False,
            self.check.severity,
            message,
            rows,
            observed or {},
            tuple(_plain(value) for value in sample),
        )


class _Broken(_Evaluator):
    """A check that can't be made: of an unknown column, or of one of another kind."""

    def __init__(self, check: Check, problem: str) -> None:
        super().__init__(check)
        self.problem = problem

    def finish(self, rows: int, whole: _Whole | None) -> CheckResult:
        return self.failed(self.problem)


class _UnfitError(Exception):
    """The check does not fit the column; the text says why."""


def _evaluator(check: Check, schema: pa.Schema, partition: Partition | None) -> _Evaluator:
    missing = [name for name in _named_columns(check) if schema.get_field_index(name) < 0]
    if missing:
        return _Broken(check, _no_column(missing[0], schema.names))
    try:
        return _EVALUATORS[type(check)](check, schema, partition)
    except _UnfitError as unfit:
        return _Broken(check, str(unfit))


def _named_columns(check: Check) -> tuple[str, ...]:
    if isinstance(check, (NotNull, Unique)):
        return check.columns
    if isinstance(check, (InRange, AcceptedValues, FreshnessOfColumn)):
        return (check.column,)
    return ()


def _no_column(name: str, names: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, names, 1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"there is no column {name!r}; {meant}The columns are {', '.join(names)}"


# --------------------------------------------------------------------------------------------
# Checks that stream


class _NotNull(_Evaluator):
    check: NotNull

    def __init__(self, check: NotNull, schema: pa.Schema, partition: object) -> None:
        super().__init__(check)
        self.indices = [schema.get_field_index(name) for name in check.columns]
        self.counts = [0] * len(self.indices)
        self.bad = 0
        self.rows: list[int] = []
        kinds = [schema.field(index).type for index in self.indices]
        self.encoded = [_is_encoded(kind) for kind in kinds]

    def update(self, batch: pa.RecordBatch, start: int) -> None:
        found = False
        for at, index in enumerate(self.indices):
            column = batch.column(index)
            nulls = _decoded(column).null_count if self.encoded[at] else column.null_count
            if nulls:
                found = True
                self.counts[at] += nulls
        if found:
            self._locate(batch, start)

    def _locate(self, batch: pa.RecordBatch, start: int) -> None:
        import numpy as np

        mask = np.zeros(batch.num_rows, bool)
        for index in self.indices:
            mask |= _nulls(_decoded(batch.column(index)))
        at = np.flatnonzero(mask)
        self.bad += len(at)
        self.rows += [start + 1 + int(row) for row in at[: _SAMPLES - len(self.rows)]]

    def finish(self, rows: int, whole: _Whole | None) -> CheckResult:
        if not self.bad:
            return self.passed()
        lacking = {
            name: count
            for name, count in zip(self.check.columns, self.counts, strict=True)
            if count
        }
        return self.failed(
            f"{_of_rows(self.bad, rows)} {_have(self.bad)} no {_listed(list(lacking), 'or')}, "
            f"first at row {self.rows[0]:,}",
            rows=self.bad,
            observed={"nulls": lacking},
            sample=[{"row": row} for row in self.rows],
        )


class _RowCount(_Evaluator):
    check: RowCount

    def __init__(self, check: RowCount, schema: object, partition: object) -> None:
        super().__init__(check)

    def finish(self, rows: int, whole: _Whole | None) -> CheckResult:
        low, high = self.check.min, self.check.max
        if (low is None or rows >= low) and (high is None or rows <= high):
            return self.passed(rows=rows)
        are = "is 1 row" if rows == 1 else f"are {rows:,} rows"
        return self.failed(f"there {are}, expected {_span(low, high)}", observed={"rows": rows})


class _ByValue(_Evaluator):
    """Counts the values of one column that offend, and keeps the first of them."""

    def __init__(self, check: InRange | AcceptedValues, schema: pa.Schema) -> None:
        super().__init__(check)
        self.column = check.column
        self.index = schema.get_field_index(check.column)
        self.bad = 0
        self.first = 0
        self.samples: list[Any] = []

    def offenders(self, column: pa.Array) -> np.ndarray | None:
        """The row numbers within the batch that offend; None when none does."""
        raise NotImplementedError

    def update(self, batch: pa.RecordBatch, start: int) -> None:
        column = _decoded(batch.column(self.index))
        at = self.offenders(column)
        if at is None or not len(at):
            return
        if not self.bad:
            self.first = start + 1 + int(at[0])
        self.bad += len(at)
        for row in at:
            if len(self.samples) == _SAMPLES:
                break
            value = _python(column[int(row)])
            if value not in self.samples:
                self.samples.append(value)

    def refusal(self, rows: int, rule: str, observed: Mapping[str, Any]) -> CheckResult:
        shown = _shortened(str(_plain(self.samples[0])), 60)
        return self.failed(
            f"{_of_rows(self.bad, rows)} {_have(self.bad)} a {self.column} {rule}, "
            f"first {shown} at row {self.first:,}",
            rows=self.bad,
            observed=observed,
            sample=self.samples,
        )


class _InRange(_ByValue):
    check: InRange

    def __init__(self, check: InRange, schema: pa.Schema, partition: object) -> None:
        super().__init__(check, schema)
        kind = _decoded_type(schema.field(self.index).type)
        self.domain = _domain(kind)
        low, high = check.min, check.max
        strict_low = check.inclusive in ("right", "neither")
        strict_high = check.inclusive in ("left", "neither")
        self.low = None if low is None else self.domain.bound(low, strict_low, lower=True)
        self.high = None if high is None else self.domain.bound(high, strict_high, lower=False)
        self.least: Any = None
        self.most: Any = None

    def offenders(self, column: pa.Array) -> np.ndarray | None:
        nulls = column.null_count
        if nulls == len(column):
            return None
        values = self.domain.values(column.drop_null() if nulls else column)
        least, most = self.domain.extremes(values)
        if least is not None:
            self.least = least if self.least is None else min(self.least, least)
            self.most = most if self.most is None else max(self.most, most)
            if self._fits(least, most):
                return None
        return self._located(column, self.domain.outside(values, self.low, self.high))

    def _fits(self, least: Any, most: Any) -> bool:
        # A NaN among the values makes both of these NaN, which fits nothing.
        return (self.low is None or self.low.above(least)) and (
            self.high is None or self.high.below(most)
        )

    def _located(self, column: pa.Array, outside: np.ndarray) -> np.ndarray:
        import numpy as np

        at = np.flatnonzero(outside)
        return np.flatnonzero(~_nulls(column))[at] if column.null_count else at

    def finish(self, rows: int, whole: _Whole | None) -> CheckResult:
        shown = self.domain.shown
        observed = {} if self.least is None else {"min": shown(self.least), "max": shown(self.most)}
        if not self.bad:
            return self.passed(**observed)
        rule = f"that is not {_span(_plain(self.check.min), _plain(self.check.max))}"
        return self.refusal(rows, rule, observed)


class _AcceptedValues(_ByValue):
    check: AcceptedValues

    def __init__(self, check: AcceptedValues, schema: pa.Schema, partition: object) -> None:
        super().__init__(check, schema)
        self.accepted = _value_set(check.values, _decoded_type(schema.field(self.index).type))

    def offenders(self, column: pa.Array) -> np.ndarray | None:
        import numpy as np
        import pyarrow.compute as pc

        known = pc.is_in(column, value_set=self.accepted)
        if known.true_count == len(known):
            return None
        return np.flatnonzero(~known.to_numpy(zero_copy_only=False))

    def finish(self, rows: int, whole: _Whole | None) -> CheckResult:
        if not self.bad:
            return self.passed()
        return self.refusal(rows, "that is not accepted", {"accepted": len(self.check.values)})


def _value_set(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
    """The values that a column of this type can hold, and null, which is always accepted."""
    import pyarrow as pa

    fitting, unfit = [], []
    for value in values:
        try:
            pa.array([value], kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            unfit.append(value)
        else:
            fitting.append(value)
    if not fitting:
        raise _UnfitError(
            f"the column's type is {kind}, and none of the accepted values is one: "
            f"{_shortened(', '.join(repr(_plain(value)) for value in unfit), 100)}"
        )
    return pa.array([*fitting, None], kind)


class _FreshnessOfColumn(_Evaluator):
    check: FreshnessOfColumn

    def __init__(
        self, check: FreshnessOfColumn, schema: pa.Schema, partition: Partition | None
    ) -> None:
        import pyarrow as pa

        super().__init__(check)
        self.index = schema.get_field_index(check.column)
        self.kind = _decoded_type(schema.field(self.index).type)
        if not (pa.types.is_timestamp(self.kind) or pa.types.is_date(self.kind)):
            raise _UnfitError(
                f"column {check.column!r} is {self.kind}; it takes a timestamp or a date"
            )
        end = getattr(partition, "end", None)
        if end is None:
            raise _UnfitError("the partition has no end in time, so nothing can be fresh by it")
        self.end: datetime = end
        self.domain = _domain(self.kind)
        self.newest: int | None = None

    def update(self, batch: pa.RecordBatch, start: int) -> None:
        column = _decoded(batch.column(self.index))
        nulls = column.null_count
        if nulls < len(column):
            values = self.domain.values(column.drop_null() if nulls else column)
            newest = int(values.max())
            self.newest = newest if self.newest is None else max(self.newest, newest)

    def finish(self, rows: int, whole: _Whole | None) -> CheckResult:
        column, within = self.check.column, self.check.within
        if self.newest is None:
            return self.failed(f"no row has a {column}, so the newest is unknown")
        age = _micros(self.end) - self._moment(self.newest)
        observed = {"newest": self.domain.shown(self.newest), "age_seconds": age / 1_000_000}
        if age <= within // timedelta(microseconds=1):
            return self.passed(**observed)
        return self.failed(
            f"the newest {column} is {observed['newest']}, "
            f"{_length(age)} before the partition's end; allowed is {within}",
            observed=observed,
        )

    def _moment(self, ordinal: int) -> int:
        """Microseconds since 1970 UTC, rounded up."""
        import pyarrow as pa

        if pa.types.is_date(self.kind):
            days = ordinal if pa.types.is_date32(self.kind) else ordinal // 86_400_000
            return self._local((days + 1) * 86_400_000_000)
        micros = math.ceil(Fraction(ordinal * 1_000_000, _PER_SECOND[self.kind.unit]))
        return micros if self.kind.tz is not None else self._local(micros)

    def _local(self, wall: int) -> int:
        """A wall clock time in the partition's zone; of a doubled hour, the later."""
        zone = self.end.tzinfo
        try:
            naive = _EPOCH.replace(tzinfo=None) + timedelta(microseconds=wall)
            return _micros(naive.replace(tzinfo=zone or UTC, fold=1))
        except OverflowError:
            return wall  # far outside the calendar, where a zone's hours don't matter


# --------------------------------------------------------------------------------------------
# Ordered values. A domain maps a column to values that compare exactly, and bounds likewise.

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class _Bound:
    """One end of a range in a domain; ``strict`` when it is not an allowed value itself."""

    value: Any
    strict: bool

    def above(self, least: Any) -> bool:
        return bool(least > self.value if self.strict else least >= self.value)

    def below(self, most: Any) -> bool:
        return bool(most < self.value if self.strict else most <= self.value)


class _Domain:
    """Values as a numpy array; the base compares them one by one, as Python does."""

    def __init__(self, kind: pa.DataType, accepts: tuple[type, ...]) -> None:
        self.kind = kind
        self.accepts = accepts

    def bound(self, given: Any, strict: bool, *, lower: bool) -> _Bound:
        """The given bound in this domain. Raises _UnfitError when it is of another kind."""
        if type(given) is bool or not isinstance(given, self.accepts):
            raise _UnfitError(
                f"the column's type is {self.kind}, which does not compare with "
                f"{given!r} ({type(given).__name__})"
            )
        return self.exact(given, strict, lower=lower)

    def exact(self, given: Any, strict: bool, *, lower: bool) -> _Bound:
        return _Bound(given, strict)

    def values(self, column: pa.Array) -> Any:
        """The values of a column without nulls."""
        import numpy as np

        values = np.empty(len(column), object)
        values[:] = column.to_pylist()
        return values

    def extremes(self, values: Any) -> tuple[Any, Any]:
        return values.min(), values.max()

    def outside(self, values: Any, low: _Bound | None, high: _Bound | None) -> np.ndarray:
        import numpy as np

        inside = np.ones(len(values), bool)
        if low is not None:
            inside &= (values > low.value if low.strict else values >= low.value).astype(bool)
        if high is not None:
            inside &= (values < high.value if high.strict else values <= high.value).astype(bool)
        return ~inside

    def shown(self, value: Any) -> Any:
        """A value of the domain as a plain JSON value."""
        return _plain(value)


class _Text(_Domain):
    """Text and bytes: Arrow finds the extremes, so that objects are made only on a failure."""

    def values(self, column: pa.Array) -> Any:
        return column

    def extremes(self, values: Any) -> tuple[Any, Any]:
        import pyarrow.compute as pc

        found = pc.min_max(values)
        return found["min"].as_py(), found["max"].as_py()

    def outside(self, values: Any, low: _Bound | None, high: _Bound | None) -> np.ndarray:
        return super().outside(super().values(values), low, high)


class _Floats(_Domain):
    """Floating-point numbers, as float64, which holds every one of them exactly."""

    def exact(self, given: Any, strict: bool, *, lower: bool) -> _Bound:
        try:
            nearest = float(given)
        except OverflowError:
            nearest = math.inf if given > 0 else -math.inf
        # No float lies between the bound and the nearest one, so that one stands for it, and is
        # itself allowed exactly when it lies on the right side.
        if nearest != given:
            strict = nearest < given if lower else nearest > given
        return _Bound(nearest, strict)

    def values(self, column: pa.Array) -> Any:
        import numpy as np

        return column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)

    def extremes(self, values: Any) -> tuple[Any, Any]:
        least, most = float(values.min()), float(values.max())
        return (None, None) if math.isnan(least) else (least, most)


class _Ints(_Domain):
    """Whole numbers, and times as counts of their unit."""

    def exact(self, given: Any, strict: bool, *, lower: bool) -> _Bound:
        number = self.number(given)
        if number in (math.inf, -math.inf):
            return _Bound(number, strict)
        whole = Fraction(number)
        if lower:
            return _Bound(math.floor(whole) + 1 if strict else math.ceil(whole), False)
        return _Bound(math.ceil(whole) - 1 if strict else math.floor(whole), False)

    def number(self, given: Any) -> Any:
        """A bound as an exact number in the domain's unit."""
        return given

    def values(self, column: pa.Array) -> Any:
        return column.to_numpy(zero_copy_only=False)

    def extremes(self, values: Any) -> tuple[Any, Any]:
        return int(values.min()), int(values.max())

    def outside(self, values: Any, low: _Bound | None, high: _Bound | None) -> np.ndarray:
        import numpy as np

        # Bounds beyond the type are drawn in, so that numpy compares whole numbers only.
        limits = np.iinfo(values.dtype)
        outside = np.zeros(len(values), bool)
        if low is not None:
            outside |= low.value > limits.max or values < max(low.value, limits.min)
        if high is not None:
            outside |= high.value < limits.min or values > min(high.value, limits.max)
        return outside


class _Times(_Ints):
    """Timestamps, dates, times of day and durations, by their counts since zero."""

    def __init__(self, kind: pa.DataType, accepts: tuple[type, ...], per_second: Fraction) -> None:
        super().__init__(kind, accepts)
        self.per_second = per_second

    def bound(self, given: Any, strict: bool, *, lower: bool) -> _Bound:
        if isinstance(given, datetime) and datetime in self.accepts:
            zoned = getattr(self.kind, "tz", None) is not None
            if zoned != (given.tzinfo is not None):
                raise _UnfitError(
                    f"the column's type is {self.kind}, and the bound {given.isoformat()} "
                    f"has {'no' if zoned else 'a'} time zone"
                )
        elif isinstance(given, datetime) or (
            # A date is the midnight of nowhere in particular.
            type(given) is date and getattr(self.kind, "tz", None) is not None
        ):
            raise _UnfitError(
                f"the column's type is {self.kind}, which does not compare with "
                f"{given!r} ({type(given).__name__})"
            )
        return super(_Ints, self).bound(given, strict, lower=lower)

    def number(self, given: Any) -> Any:
        return Fraction(_time_micros(given), 1_000_000) * self.per_second

    def values(self, column: pa.Array) -> Any:
        import pyarrow as pa

        return column.view(pa.int32() if self.kind.bit_width == 32 else pa.int64()).to_numpy()

    def shown(self, value: Any) -> Any:
        import pyarrow as pa

        integer = pa.int32() if self.kind.bit_width == 32 else pa.int64()
        return _plain(_python(pa.array([value], integer).view(self.kind)[0]))


def _time_micros(value: Any) -> int:
    micro = timedelta(microseconds=1)
    if isinstance(value, datetime):
        return _micros(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        return (value - _EPOCH.date()) // micro
    if isinstance(value, time):
        return _micros(datetime.combine(_EPOCH.date(), value.replace(tzinfo=None), UTC))
    found: int = value // micro
    return found


def _micros(moment: datetime) -> int:
    # In UTC, as times of one zone are subtracted by their wall clocks.
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def _domain(kind: pa.DataType) -> _Domain:
    """How values of a type are ordered. Raises _UnfitError for types without an order."""
    import pyarrow as pa

    types = pa.types
    numbers = (int, float, Decimal, Fraction)
    if types.is_integer(kind):
        return _Ints(kind, numbers)
    if types.is_floating(kind):
        return _Floats(kind, numbers)
    if types.is_decimal(kind):
        return _Domain(kind, numbers)
    if types.is_string(kind) or types.is_large_string(kind):
        return _Text(kind, (str,))
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return _Text(kind, (bytes,))
    return _time_domain(kind)


def _time_domain(kind: pa.DataType) -> _Domain:
    import pyarrow as pa

    types = pa.types
    if types.is_date(kind):
        per_second = Fraction(1, 86_400) if types.is_date32(kind) else Fraction(1_000)
        return _Times(kind, (date,), per_second)
    accepts: tuple[type, ...]
    if types.is_timestamp(kind):
        accepts = (datetime, date)
    elif types.is_time(kind):
        accepts = (time,)
    elif types.is_duration(kind):
        accepts = (timedelta,)
    else:
        raise _UnfitError(f"the column's type is {kind}, which has no order to be in a range of")
    return _Times(kind, accepts, Fraction(_PER_SECOND[kind.unit]))


# --------------------------------------------------------------------------------------------
# Encodings


def _is_encoded(kind: pa.DataType) -> bool:
    """Whether a null may hide from ``null_count``, or kernels are missing for the encoding."""
    return _decoded_type(kind) is not kind


def _decoded_type(kind: pa.DataType) -> pa.DataType:
    """The plain type of an encoded column; the type itself when it is plain."""
    import pyarrow as pa

    types = pa.types
    if types.is_primitive(kind):
        return kind
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _decoded_type(kind.value_type)
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if isinstance(kind, pa.BaseExtensionType):
        return _decoded_type(kind.storage_type)
    return kind


def _decoded(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    kind = column.type
    plain = _decoded_type(kind)
    if plain is kind:
        return column
    if isinstance(kind, pa.BaseExtensionType):
        return _decoded(column.storage)
    if pa.types.is_dictionary(kind):
        return _decoded(column.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        import pyarrow.compute as pc

        return _decoded(pc.run_end_decode(column))
    return column.cast(plain)


def _nulls(column: pa.Array) -> np.ndarray:
    mask: np.ndarray = column.is_null().to_numpy(zero_copy_only=False)
    return mask


# --------------------------------------------------------------------------------------------
# Checks that need all rows at a time


class _Whole:
    """All rows, or the columns of them that are needed: held while small, else read again."""

    def __init__(
        self, schema: pa.Schema, users: Sequence[_Evaluator], reopen: Reopen | None
    ) -> None:
        needed = [each.needed() for each in users]
        self.schema = schema
        self.columns = (
            None
            if any(each is None for each in needed)
            else tuple(dict.fromkeys(name for each in needed for name in each or ()))
        )
        self.reopen = reopen
        self._held: list[pa.RecordBatch] | None = []
        self._bytes = 0
        self._table: pa.Table | None = None
        self._large: _Large | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        if self._held is None:
            return
        part = batch if self.columns is None else batch.select(list(self.columns))
        self._held.append(part)
        self._bytes += part.nbytes
        if self._bytes > _HELD_BYTES and self.reopen is not None:
            self._held = None

    def __enter__(self) -> _Whole:
        return self

    def __exit__(self, *_: object) -> None:
        if self._large is not None:
            self._large.close()

    def table(self) -> pa.Table | None:
        """The rows when they are held."""
        import pyarrow as pa

        if self._table is None and self._held is not None:
            schema = self.schema
            if self.columns is not None:
                schema = pa.schema([schema.field(name) for name in self.columns])
            self._table = pa.Table.from_batches(self._held, schema)
        return self._table

    def large(self) -> duckdb.DuckDBPyConnection:
        """A connection in which ``this`` is the rows, on disk."""
        if self._large is None:
            assert self.reopen is not None
            self._large = _Large(self.reopen(), self.columns)
        return self._large.connection


class _Large:
    """Rows in a DuckDB file of their own, so that memory stays bounded; removed when closed."""

    def __init__(self, reader: pa.RecordBatchReader, columns: Sequence[str] | None) -> None:
        import tempfile

        import duckdb

        self._folder = tempfile.TemporaryDirectory(prefix="assets-checks-")
        try:
            self.connection = duckdb.connect(
                f"{self._folder.name}/rows.duckdb",
                config={
                    "memory_limit": _LARGE_MEMORY,
                    "temp_directory": f"{self._folder.name}/spill",
                    "preserve_insertion_order": "false",
                },
            )
            self._load(reader, columns)
        except BaseException:
            self.close()
            raise

    def _load(self, reader: pa.RecordBatchReader, columns: Sequence[str] | None) -> None:
        from assets_core.tabular import load_into, to_reader

        names = columns or reader.schema.names
        incoming = to_reader(
            (batch.select(list(names)) for batch in reader), what="the staged data"
        )
        load_into(self.connection, incoming, "this")

    def close(self) -> None:
        connection = getattr(self, "connection", None)
        if connection is not None:
            connection.close()
        self._folder.cleanup()


class _Unique(_Evaluator):
    check: Unique
    streams = False

    def __init__(self, check: Unique, schema: pa.Schema, partition: object) -> None:
        super().__init__(check)

    def needed(self) -> tuple[str, ...]:
        return self.check.columns

    def finish(self, rows: int, whole: _Whole | None) -> CheckResult:
        import pyarrow as pa

        assert whole is not None
        table = whole.table()
        if table is None:
            return self._result(rows, *_repeats_on_disk(whole.large(), self.check.columns))
        try:
            found = _repeats(table.select(list(self.check.columns)))
        except pa.ArrowNotImplementedError:  # lists and structs have no codes
            found = _repeats_of_nested(table, self.check.columns)
        return self._result(rows, *found)

    def _result(self, rows: int, repeated: int, examples: list[tuple[Any, int]]) -> CheckResult:
        if not repeated:
            return self.passed()
        value, times = examples[0]
        return self.failed(
            f"{_of_rows(repeated, rows)} {'repeats' if repeated == 1 else 'repeat'} an earlier "
            f"{_listed(self.check.columns, 'and')}, such as "
            f"{_shortened(str(_plain(value)), 80)} ({times:,} times)",
            rows=repeated,
            sample=[value for value, _ in examples],
        )


Repeats = tuple[int, list[tuple[Any, int]]]
"""How many rows repeat an earlier one, and up to five of the values with how often they occur."""


def _repeats(table: pa.Table) -> Repeats:
    """By dense codes: equal codes are equal values, so this is exact."""
    import numpy as np

    codes, valid = _codes(table.column(0))
    for column in table.columns[1:]:
        more, also_valid = _codes(column)
        codes = _combined(codes, more)
        valid = (
            valid & also_valid
            if valid is not None and also_valid is not None
            else (also_valid if valid is None else valid)
        )
    kept = codes if valid is None else codes[valid]
    if not len(kept):
        return 0, []
    counts = np.bincount(kept)
    repeated = len(kept) - int(np.count_nonzero(counts))
    if not repeated:
        return 0, []
    often = np.argsort(counts, kind="stable")[::-1][:_SAMPLES]
    often = [int(code) for code in often if counts[code] > 1]
    return repeated, [
        (
            _row_of(table, int(np.argmax((codes == code) & (True if valid is None else valid)))),
            int(counts[code]),
        )
        for code in often
    ]


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray | None]:
    """A number below the length for each value, equal for equal values; and which are valid."""
    import numpy as np
    import pyarrow as pa

    whole = _decoded(column.combine_chunks() if column.num_chunks != 1 else column.chunk(0))
    if isinstance(whole, pa.ChunkedArray):
        raise pa.ArrowNotImplementedError("more text than one array holds")
    if pa.types.is_floating(whole.type):
        whole = _without_negative_zero(whole)
    encoded = whole.dictionary_encode()
    indices = encoded.indices
    valid = None if not indices.null_count else ~_nulls(indices)
    filled = indices.fill_null(0) if indices.null_count else indices
    return filled.to_numpy().astype(np.int64, copy=False), valid


def _without_negative_zero(values: pa.Array) -> pa.Array:
    import pyarrow as pa

    mask = _nulls(values) if values.null_count else None
    return pa.array(
        values.fill_null(0).to_numpy(zero_copy_only=False) + 0.0, values.type, mask=mask
    )


def _combined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Dense codes of pairs. Both are below the number of rows, so the product fits 64 bits."""
    import numpy as np

    pairs = first * (int(second.max(initial=0)) + 1) + second
    dense: np.ndarray = np.unique(pairs, return_inverse=True)[1]
    return dense


def _row_of(table: pa.Table, row: int) -> Any:
    values = [_python(column[row]) for column in table.columns]
    return values[0] if len(values) == 1 else values


def _repeats_of_nested(table: pa.Table, columns: Sequence[str]) -> Repeats:
    from assets_core.tabular import duckdb_cursor

    with duckdb_cursor() as connection:
        connection.register("this", table)
        return _repeats_on_disk(connection, columns)


def _repeats_on_disk(connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> Repeats:
    names = [_quoted(column) for column in columns]
    # Zero has two signs in DuckDB's rows but one value; it groups them as one.
    found = connection.sql(
        f"WITH groups AS MATERIALIZED (SELECT {', '.join(names)}, count(*) AS _times FROM this "
        f"WHERE {' AND '.join(f'{name} IS NOT NULL' for name in names)} "
        f"GROUP BY {', '.join(names)} HAVING count(*) > 1) "
        "SELECT *, (SELECT sum(_times - 1)::BIGINT FROM groups) AS _repeated FROM groups "
        f"ORDER BY _times DESC LIMIT {_SAMPLES}"
    ).to_arrow_table()
    if not found.num_rows:
        return 0, []
    repeated = found.column(len(columns) + 1)[0].as_py()
    times = found.column(len(columns)).to_pylist()
    keys = found.select(list(range(len(columns))))
    return repeated, [(_row_of(keys, row), count) for row, count in enumerate(times)]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class _Sql(_Evaluator):
    check: SqlCheck
    streams = False

    def __init__(self, check: SqlCheck, schema: object, partition: Partition | None) -> None:
        super().__init__(check)
        self.partition = partition

    def finish(self, rows: int, whole: _Whole | None) -> CheckResult:
        import duckdb

        assert whole is not None
        with _connected(whole) as connection:
            try:
                _set_zone(connection, self.partition)
                result = connection.sql(self.check.query, params=self._bound(connection))
                return self._judged(result, rows)
            except _UnfitError as unfit:
                return self.failed(str(unfit))
            except duckdb.Error as error:
                return self.failed(f"the query failed: {str(error).strip()}")

    def _bound(self, connection: duckdb.DuckDBPyConnection) -> dict[str, Any] | None:
        statements = connection.extract_statements(self.check.query)
        if len(statements) != 1:
            raise _UnfitError(f"it is one query, not {len(statements)} statements")
        values = {
            "partition_key": getattr(self.partition, "key", None),
            "partition_start": getattr(self.partition, "start", None),
            "partition_end": getattr(self.partition, "end", None),
        }
        used = statements[0].named_parameters
        unknown = sorted(set(used) - set(values))
        if unknown:
            known = ", ".join(f"${name}" for name in values)
            raise _UnfitError(f"the query binds an unknown ${unknown[0]}; there are {known}")
        return {name: values[name] for name in used} or None

    def _judged(self, result: Any, rows: int) -> CheckResult:
        if result is None:
            raise _UnfitError("the statement returns no rows; write a SELECT")
        verdicts = len(result.columns) == 1 and str(result.types[0]) == "BOOLEAN"
        count, first = _counted(result)
        if not count or (verdicts and count == 1 and next(iter(first[0].values())) is True):
            return self.passed()
        if verdicts and count == 1:
            return self._verdict(next(iter(first[0].values())))
        shown = ", ".join(f"{name}={_plain(value)}" for name, value in first[0].items())
        returned = "1 row" if count == 1 else f"{count:,} rows"
        return self.failed(
            f"the query returned {returned}, first {_shortened(shown, _SHOWN_TEXT)}",
            rows=count,
            sample=first,
        )

    def _verdict(self, value: bool | None) -> CheckResult:
        if value is None:
            return self.failed(
                "the query returned NULL (an aggregate over no rows?); "
                "say with coalesce(…, true) what that means"
            )
        return self.failed("the query returned false")


def _counted(result: Any) -> tuple[int, list[dict[str, Any]]]:
    """The number of rows of a relation and the first five, without holding them all."""
    from assets_core.tabular import BATCH_ROWS

    count = 0
    first: list[dict[str, Any]] = []
    for batch in result.to_arrow_reader(BATCH_ROWS):
        wanted = min(_SAMPLES - len(first), batch.num_rows)
        for row in range(wanted):
            values = [_python(column[row]) for column in batch.columns]
            first.append(dict(zip(batch.schema.names, values, strict=True)))
        count += batch.num_rows
    return count, first


@contextmanager
def _connected(whole: _Whole) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which ``this`` is the rows."""
    from assets_core.tabular import duckdb_cursor

    table = whole.table()
    if table is None:
        yield whole.large()
        return
    with duckdb_cursor() as connection:
        connection.register("this", table)
        yield connection


def _set_zone(connection: duckdb.DuckDBPyConnection, partition: Partition | None) -> None:
    zone = getattr(getattr(getattr(partition, "start", None), "tzinfo", None), "key", None) or "UTC"
    quoted = zone.replace("'", "''")
    connection.execute(f"SET TimeZone = '{quoted}'")


class _Function(_Evaluator):
    check: FunctionCheck
    streams = False

    def __init__(self, check: FunctionCheck, schema: object, partition: Partition | None) -> None:
        super().__init__(check)
        self.partition = partition
        try:
            self.parameters = _parameters(check, final=True)
        except DefinitionError as error:
            raise _UnfitError(error.message) from error

    def finish(self, rows: int, whole: _Whole | None) -> CheckResult:
        from assets_core.tabular import from_reader, from_table

        assert whole is not None
        table = whole.table()
        data = next(annotation for name, annotation in self.parameters if name != "partition")
        if table is not None:
            value = from_table(table, data)
        else:
            assert whole.reopen is not None
            value = from_reader(whole.reopen(), data)
        given = [self.partition if name == "partition" else value for name, _ in self.parameters]
        return self._called(given)

    def _called(self, given: list[Any]) -> CheckResult:
        try:
            returned = self.check.function(*given)
        except StorageError:  # the staged data can't be read: not the check's failure
            raise
        except AssertionError as error:
            return self.failed(str(error) or f"assertion failed: {_last_line(error)}")
        except Exception as error:  # noqa: BLE001  # whatever a user's check raises fails it
            return self.failed(_told(error))
        return self._understood(returned)

    def _understood(self, returned: Any) -> CheckResult:
        if isinstance(returned, CheckResult):
            severity = self.check.severity
            return replace(
                returned,
                name=self.check.name,
                severity=severity,
                message="" if returned.passed else returned.message or "it returned a failure",
                observed={str(k): _plain(v) for k, v in returned.observed.items()},
                sample=tuple(_plain(value) for value in returned.sample[:_SAMPLES]),
            )
        if returned is None or _is_boolean(returned):
            passed = returned is None or bool(returned)
            return self.passed() if passed else self.failed("it returned False")
        return self.failed(
            f"it returned {_shortened(repr(returned), 60)}; a check returns True, False, "
            "a CheckResult or None"
        )


def _is_boolean(value: Any) -> bool:
    # numpy's own truth value, which comparisons of data frames give
    return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")


def _parameters(check: FunctionCheck, *, final: bool = False) -> list[tuple[str, Any]]:
    """What to give the function, in order: ``("partition", …)`` or ``("data", annotation)``.

    When a check is declared, names of its annotations may not exist yet; when it runs they must.
    """
    from assets_core.tabular import can_supply, describe_supported

    hints = _hints(check, final=final)
    if hints is None:
        return []
    found: list[tuple[str, Any]] = []
    for name, parameter in _signature(check).parameters.items():
        annotation = hints.get(name, inspect.Parameter.empty)
        if name == "partition" or getattr(annotation, "__name__", "") == "Partition":
            found.append(("partition", annotation))
        elif parameter.default is inspect.Parameter.empty:
            found.append(("data", annotation))
    wanted = [annotation for role, annotation in found if role == "data"]
    if len(wanted) != 1 or len(found) - len(wanted) > 1:
        raise _bad_check(check.name, "it takes the rows and, if it likes, the partition.")
    if not can_supply(wanted[0]) or _asks_for_files(wanted[0]):
        raise DefinitionError(
            f"Check {check.name}: rows can't be given as {_type_name(wanted[0])}.",
            hint=f"Ask for {describe_supported()}.",
        )
    return found


def _asks_for_files(annotation: Any) -> bool:
    from assets_core.tabular import form_of

    form = form_of(annotation)
    return form is not None and (form.keyed or form.kind in ("path", "paths"))


def _hints(check: FunctionCheck, *, final: bool) -> dict[str, Any] | None:
    function = inspect.unwrap(check.function)
    if not inspect.isroutine(function):
        function = type(function).__call__
    try:
        return typing.get_type_hints(function)
    except NameError as error:
        if not final:
            return None
        raise _bad_check(check.name, f"its annotations can't be resolved: {error}") from error


def _signature(check: FunctionCheck) -> inspect.Signature:
    try:
        signature = inspect.signature(check.function)
    except (TypeError, ValueError) as error:
        raise _bad_check(check.name, f"its parameters can't be read: {error}") from error
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    odd = [p for p in signature.parameters.values() if p.kind not in named]
    if odd:
        raise _bad_check(check.name, f"it takes {odd[0]}; name its parameters one by one.")
    return signature


def _type_name(annotation: Any) -> str:
    return getattr(annotation, "__qualname__", None) or str(annotation)


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames below ours: the user's."""
    return [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__
    ]


def _told(error: Exception) -> str:
    text = error.message if isinstance(error, AssetsError) else str(error)
    head = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return "\n".join(
        [head, *(line.rstrip() for line in traceback.format_list(_frames(error)[-5:]))]
    )


def _last_line(error: BaseException) -> str:
    frames = _frames(error)
    return f"{frames[-1].line} (line {frames[-1].lineno})" if frames else ""


_EVALUATORS: dict[type[Check], Callable[[Any, Any, Any], _Evaluator]] = {
    NotNull: _NotNull,
    RowCount: _RowCount,
    InRange: _InRange,
    AcceptedValues: _AcceptedValues,
    FreshnessOfColumn: _FreshnessOfColumn,
    Unique: _Unique,
    SqlCheck: _Sql,
    FunctionCheck: _Function,
}

# --------------------------------------------------------------------------------------------
# Words and plain values


def _of_rows(bad: int, rows: int) -> str:
    return f"{bad:,} of {rows:,} row{'' if rows == 1 else 's'}"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _listed(items: Sequence[str], word: str) -> str:
    if len(items) <= 1:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def _span(low: Any, high: Any) -> str:
    if low is None:
        return f"at most {_number(high)}"
    if high is None:
        return f"at least {_number(low)}"
    return f"{_number(low)}" if low == high else f"between {_number(low)} and {_number(high)}"


def _number(value: Any) -> str:
    return f"{value:,}" if type(value) is int else str(value)


def _arguments(**given: Any) -> str:
    return ", ".join(f"{k}={_plain(v)}" for k, v in given.items() if v is not None)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _length(micros: int) -> str:
    try:
        return str(timedelta(microseconds=micros))
    except OverflowError:
        return f"{micros // 31_557_600_000_000:,} years"


def _python(scalar: Any) -> Any:
    """An Arrow scalar as a Python value; what Python has no value for becomes text."""
    import pyarrow as pa

    try:
        return scalar.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return f"{scalar.type} {getattr(scalar, 'value', '?')}"


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return _shortened(value, _SHOWN_TEXT)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return _shortened("0x" + value.hex(), _SHOWN_TEXT)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return _shortened(str(value), _SHOWN_TEXT)


def _frozen(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_frozen(each) for each in value)
    return value if isinstance(value, (str, int, type(None))) else f"{type(value).__name__} {value}"
