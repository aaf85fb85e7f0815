"""Columns as values that compare exactly with what users write, whatever the types.

Encodings (dictionaries, runs, views) are undone; times become counts of their unit; bounds are
brought into the column's domain once, so that comparing is plain arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from assets_core.checks.wording import plain_value, python_value

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class UnfitError(Exception):
    """A check does not fit the column or the partition; the text says why."""


def is_encoded(kind: pa.DataType) -> bool:
    """Whether a null may hide from ``null_count``, or kernels are missing for the encoding."""
    return decoded_type(kind) is not kind


def decoded_type(kind: pa.DataType) -> pa.DataType:
    """The plain type of an encoded column; the type itself when it is plain."""
    import pyarrow as pa

    types = pa.types
    if types.is_primitive(kind):
        return kind
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return decoded_type(kind.value_type)
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if isinstance(kind, pa.BaseExtensionType):
        return decoded_type(kind.storage_type)
    return kind


def decoded(column: pa.Array) -> pa.Array:
    """The column in its plain type."""
    import pyarrow as pa

    kind = column.type
    wanted = decoded_type(kind)
    if wanted is kind:
        return column
    if isinstance(kind, pa.BaseExtensionType):
        return decoded(column.storage)
    if pa.types.is_dictionary(kind):
        return decoded(column.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        import pyarrow.compute as pc

        return decoded(pc.run_end_decode(column))
    return column.cast(wanted)


def null_mask(column: pa.Array) -> np.ndarray:
    """Which rows of a plain column are null, bool."""
    mask: np.ndarray = column.is_null().to_numpy(zero_copy_only=False)
    return mask


# --------------------------------------------------------------------------------------------
# Domains

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range in a domain; ``strict`` when it is not an allowed value itself."""

    value: Any
    strict: bool

    def above(self, least: Any) -> bool:
        return bool(least > self.value if self.strict else least >= self.value)

    def below(self, most: Any) -> bool:
        return bool(most < self.value if self.strict else most <= self.value)


class Domain:
    """Values as a numpy array; the base compares them one by one, as Python does."""

    def __init__(self, kind: pa.DataType, accepts: tuple[type, ...]) -> None:
        self.kind = kind
        self.accepts = accepts

    def bound(self, given: Any, strict: bool, *, lower: bool) -> Bound:
        """The given bound in this domain. Raises UnfitError when it is of another kind."""
        if type(given) is bool or not isinstance(given, self.accepts):
            raise UnfitError(
                f"the column's type is {self.kind}, which does not compare with "
                f"{given!r} ({type(given).__name__})"
            )
        return self.exact(given, strict, lower=lower)

    def exact(self, given: Any, strict: bool, *, lower: bool) -> Bound:  # noqa: ARG002  # others do
        """The bound that compares with the domain's values as the given one would."""
        return Bound(given, strict)

    def values(self, column: pa.Array) -> Any:
        """The values of a column without nulls."""
        import numpy as np

        values = np.empty(len(column), object)
        values[:] = column.to_pylist()
        return values

    def extremes(self, values: Any) -> tuple[Any, Any]:
        return values.min(), values.max()

    def outside(self, values: Any, low: Bound | None, high: Bound | None) -> np.ndarray:
        import numpy as np

        inside = np.ones(len(values), bool)
        if low is not None:
            inside &= (values > low.value if low.strict else values >= low.value).astype(bool)
        if high is not None:
            inside &= (values < high.value if high.strict else values <= high.value).astype(bool)
        return ~inside

    def shown(self, value: Any) -> Any:
        """A value of the domain as a plain JSON value."""
        return plain_value(value)


class _Text(Domain):
    """Text and bytes: Arrow finds the extremes, so that objects are made only on a failure."""

    def values(self, column: pa.Array) -> Any:
        return column

    def extremes(self, values: Any) -> tuple[Any, Any]:
        import pyarrow.compute as pc

        found = pc.min_max(values)
        return found["min"].as_py(), found["max"].as_py()

    def outside(self, values: Any, low: Bound | None, high: Bound | None) -> np.ndarray:
        ends = [end and Bound(_as_object(end.value), end.strict) for end in (low, high)]
        return super().outside(super().values(values), *ends)


def _as_object(value: Any) -> np.ndarray:
    """A value that numpy compares as it is: as text of its own it would lose trailing NULs."""
    import numpy as np

    found = np.empty((), object)
    found[()] = value
    return found


class _Floats(Domain):
    """Floating-point numbers, as float64, which holds every one of them exactly."""

    def exact(self, given: Any, strict: bool, *, lower: bool) -> Bound:
        try:
            nearest = float(given)
        except OverflowError:
            nearest = math.inf if given > 0 else -math.inf
        # No float lies between the bound and the nearest one, so that one stands for it, and is
        # itself allowed exactly when it lies on the right side.
        if nearest != given:
            strict = nearest < given if lower else nearest > given
        return Bound(nearest, strict)

    def values(self, column: pa.Array) -> Any:
        import numpy as np

        return column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)

    def extremes(self, values: Any) -> tuple[Any, Any]:
        least, most = float(values.min()), float(values.max())
        return (None, None) if math.isnan(least) else (least, most)


class _Ints(Domain):
    """AllRows numbers, and times as counts of their unit."""

    def exact(self, given: Any, strict: bool, *, lower: bool) -> Bound:
        number = self.number(given)
        if number in (math.inf, -math.inf):
            return Bound(number, strict)
        whole = Fraction(number)
        if lower:
            return Bound(math.floor(whole) + 1 if strict else math.ceil(whole), False)
        return Bound(math.ceil(whole) - 1 if strict else math.floor(whole), False)

    def number(self, given: Any) -> Any:
        """A bound as an exact number in the domain's unit."""
        return given

    def values(self, column: pa.Array) -> Any:
        return column.to_numpy(zero_copy_only=False)

    def extremes(self, values: Any) -> tuple[Any, Any]:
        return int(values.min()), int(values.max())

    def outside(self, values: Any, low: Bound | None, high: Bound | None) -> np.ndarray:
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

    def bound(self, given: Any, strict: bool, *, lower: bool) -> Bound:
        if isinstance(given, datetime) and datetime in self.accepts:
            zoned = getattr(self.kind, "tz", None) is not None
            if zoned != (given.tzinfo is not None):
                raise UnfitError(
                    f"the column's type is {self.kind}, and the bound {given.isoformat()} "
                    f"has {'no' if zoned else 'a'} time zone"
                )
        elif isinstance(given, datetime) or (
            # A date is the midnight of nowhere in particular.
            type(given) is date and getattr(self.kind, "tz", None) is not None
        ):
            raise UnfitError(
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
        return plain_value(python_value(pa.array([value], integer).view(self.kind)[0]))


def _time_micros(value: Any) -> int:
    micro = timedelta(microseconds=1)
    if isinstance(value, datetime):
        return micros_of(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        return (value - EPOCH.date()) // micro
    if isinstance(value, time):
        return micros_of(datetime.combine(EPOCH.date(), value.replace(tzinfo=None), UTC))
    found: int = value // micro
    return found


def micros_of(moment: datetime) -> int:
    # In UTC, as times of one zone are subtracted by their wall clocks.
    return (moment.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)


def domain_of(kind: pa.DataType) -> Domain:
    """How values of a type are ordered. Raises UnfitError for types without an order."""
    import pyarrow as pa

    types = pa.types
    numbers = (int, float, Decimal, Fraction)
    if types.is_null(kind):
        return Domain(kind, (object,))
    if types.is_integer(kind):
        return _Ints(kind, numbers)
    if types.is_floating(kind):
        return _Floats(kind, numbers)
    if types.is_decimal(kind):
        return Domain(kind, numbers)
    if types.is_string(kind) or types.is_large_string(kind):
        return _Text(kind, (str,))
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return _Text(kind, (bytes,))
    return _time_domain(kind)


def _time_domain(kind: pa.DataType) -> Domain:
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
        raise UnfitError(f"the column's type is {kind}, which has no order to be in a range of")
    return _Times(kind, accepts, Fraction(PER_SECOND[kind.unit]))
