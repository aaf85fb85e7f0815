"""Evaluators that look at one batch at a time and hold next to nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from assets_core.checks.declared import (
    AcceptedValues,
    CheckResult,
    FreshnessOfColumn,
    InRange,
    NotNull,
    RowCount,
)
from assets_core.checks.domains import (
    EPOCH,
    PER_SECOND,
    UnfitError,
    decoded,
    decoded_type,
    domain_of,
    is_encoded,
    micros_of,
    null_mask,
)
from assets_core.checks.evaluator import Evaluator
from assets_core.checks.wording import (
    SAMPLES,
    have,
    length_of,
    listed,
    of_rows,
    plain_value,
    python_value,
    shortened,
    span,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_LOOKED_AT = 100
"""Offending rows of a batch that are looked at for distinct samples."""


class NotNullEvaluator(Evaluator):
    check: NotNull

    def prepare(self) -> None:
        schema = self.staged.schema
        self.indices = [schema.get_field_index(name) for name in self.check.columns]
        self.counts = [0] * len(self.indices)
        self.bad = 0
        self.rows: list[int] = []
        self.encoded = [is_encoded(schema.field(index).type) for index in self.indices]

    def update(self, batch: pa.RecordBatch) -> None:
        found = False
        for at, index in enumerate(self.indices):
            column = batch.column(index)
            nulls = decoded(column).null_count if self.encoded[at] else column.null_count
            if nulls:
                found = True
                self.counts[at] += nulls
        if found:
            self._locate(batch)

    def _locate(self, batch: pa.RecordBatch) -> None:
        import numpy as np

        mask = np.zeros(batch.num_rows, bool)
        for index in self.indices:
            mask |= null_mask(decoded(batch.column(index)))
        at = np.flatnonzero(mask)
        self.bad += len(at)
        before = self.staged.rows + 1
        self.rows += [before + int(row) for row in at[: SAMPLES - len(self.rows)]]

    def finish(self) -> CheckResult:
        if not self.bad:
            return self.passed()
        lacking = {
            name: count
            for name, count in zip(self.check.columns, self.counts, strict=True)
            if count
        }
        rows = of_rows(self.bad, self.staged.rows)
        return self.failed(
            f"{rows} {have(self.bad)} no {listed(list(lacking), 'or')}, "
            f"first at row {self.rows[0]:,}",
            rows=self.bad,
            observed={"nulls": lacking},
            sample=[{"row": row} for row in self.rows],
        )


class RowCountEvaluator(Evaluator):
    check: RowCount

    def finish(self) -> CheckResult:
        rows = self.staged.rows
        low, high = self.check.min, self.check.max
        if (low is None or rows >= low) and (high is None or rows <= high):
            return self.passed({"rows": rows})
        are = "is 1 row" if rows == 1 else f"are {rows:,} rows"
        return self.failed(f"there {are}, expected {span(low, high)}", observed={"rows": rows})


class _ByValue(Evaluator):
    """Counts the values of one column that offend, and keeps the first of them."""

    check: InRange | AcceptedValues

    def prepare(self) -> None:
        self.column = self.check.column
        self.index = self.staged.schema.get_field_index(self.column)
        self.kind = decoded_type(self.staged.schema.field(self.index).type)
        self.bad = 0
        self.first = 0
        self.samples: list[Any] = []

    def offenders(self, column: pa.Array) -> np.ndarray | None:
        """The row numbers within the batch that offend; None when none does."""
        raise NotImplementedError

    def update(self, batch: pa.RecordBatch) -> None:
        column = decoded(batch.column(self.index))
        at = self.offenders(column)
        if at is None or not len(at):
            return
        if not self.bad:
            self.first = self.staged.rows + 1 + int(at[0])
        self.bad += len(at)
        for row in at[:_LOOKED_AT]:
            if len(self.samples) == SAMPLES:
                break
            value = plain_value(python_value(column[int(row)]))
            if value not in self.samples:
                self.samples.append(value)

    def refusal(self, rule: str, observed: Mapping[str, Any]) -> CheckResult:
        shown = shortened(str(self.samples[0]), 60)
        return self.failed(
            f"in {of_rows(self.bad, self.staged.rows)} {self.column} {rule}, "
            f"first {shown} at row {self.first:,}",
            rows=self.bad,
            observed=observed,
            sample=self.samples,
        )


class InRangeEvaluator(_ByValue):
    check: InRange

    def prepare(self) -> None:
        super().prepare()
        check = self.check
        self.domain = domain_of(self.kind)
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
        return np.flatnonzero(~null_mask(column))[at] if column.null_count else at

    def finish(self) -> CheckResult:
        shown = self.domain.shown
        observed = {} if self.least is None else {"min": shown(self.least), "max": shown(self.most)}
        if not self.bad:
            return self.passed(observed)
        rule = f"is not {span(plain_value(self.check.min), plain_value(self.check.max))}"
        return self.refusal(rule, observed)


class AcceptedValuesEvaluator(_ByValue):
    check: AcceptedValues

    def prepare(self) -> None:
        super().prepare()
        self.accepted = _value_set(self.check.values, self.kind)

    def offenders(self, column: pa.Array) -> np.ndarray | None:
        import numpy as np
        import pyarrow.compute as pc

        known = pc.is_in(column, value_set=self.accepted)
        if known.true_count == len(known):
            return None
        return np.flatnonzero(~known.to_numpy(zero_copy_only=False))

    def finish(self) -> CheckResult:
        if not self.bad:
            return self.passed()
        return self.refusal("is not an accepted value", {"accepted": len(self.check.values)})


def _value_set(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """The values that a column of this type can hold, and null, which is always accepted."""
    import pyarrow as pa

    if pa.types.is_null(kind):
        return pa.nulls(1)
    if pa.types.is_floating(kind) and 0 in values:
        values = [*values, 0.0, -0.0]  # which Arrow tells apart, and who writes one does not
    unfit = (pa.ArrowException, TypeError, ValueError, OverflowError)
    with suppress(*unfit):
        return pa.array([*values, None], kind)
    fitting = []
    for value in values:
        with suppress(*unfit):
            pa.array([value], kind)
            fitting.append(value)
    if not fitting:
        raise UnfitError(
            f"the column's type is {kind}, and none of the accepted values is one: "
            f"{shortened(', '.join(repr(plain_value(value)) for value in values), 100)}"
        )
    return pa.array([*fitting, None], kind)


class FreshnessOfColumnEvaluator(Evaluator):
    check: FreshnessOfColumn

    def prepare(self) -> None:
        import pyarrow as pa

        self.index = self.staged.schema.get_field_index(self.check.column)
        self.kind = decoded_type(self.staged.schema.field(self.index).type)
        is_type = pa.types
        if not any(f(self.kind) for f in (is_type.is_timestamp, is_type.is_date, is_type.is_null)):
            raise UnfitError(
                f"column {self.check.column!r} is {self.kind}; it takes a timestamp or a date"
            )
        end = getattr(self.staged.partition, "end", None)
        if end is None:
            raise UnfitError("the partition has no end in time, so nothing can be fresh by it")
        self.end: datetime = end
        self.domain = domain_of(self.kind)
        self.newest: int | None = None

    def update(self, batch: pa.RecordBatch) -> None:
        column = decoded(batch.column(self.index))
        nulls = column.null_count
        if nulls < len(column):
            values = self.domain.values(column.drop_null() if nulls else column)
            newest = int(values.max())
            self.newest = newest if self.newest is None else max(self.newest, newest)

    def finish(self) -> CheckResult:
        column, within = self.check.column, self.check.within
        if self.newest is None:
            return self.failed(f"no row has a {column}, so the newest is unknown")
        age = micros_of(self.end) - self._moment(self.newest)
        observed = {"newest": self.domain.shown(self.newest), "age_seconds": age / 1_000_000}
        if age <= within // timedelta(microseconds=1):
            return self.passed(observed)
        return self.failed(
            f"the newest {column} is {observed['newest']}, "
            f"{length_of(age)} before the partition's end; allowed is {within}",
            observed=observed,
        )

    def _moment(self, ordinal: int) -> int:
        """Microseconds since 1970 UTC, rounded up."""
        import pyarrow as pa

        if pa.types.is_date(self.kind):
            days = ordinal if pa.types.is_date32(self.kind) else ordinal // 86_400_000
            return self._local((days + 1) * 86_400_000_000)
        moment = math.ceil(Fraction(ordinal * 1_000_000, PER_SECOND[self.kind.unit]))
        return moment if self.kind.tz is not None else self._local(moment)

    def _local(self, wall: int) -> int:
        """A wall clock time in the partition's zone; of a doubled hour, the later."""
        zone = self.end.tzinfo
        try:
            naive = EPOCH.replace(tzinfo=None) + timedelta(microseconds=wall)
            return micros_of(naive.replace(tzinfo=zone or UTC, fold=1))
        except OverflowError:
            return wall  # far outside the calendar, where a zone's hours don't matter
