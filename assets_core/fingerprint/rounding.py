"""Floats rounded to significant digits, for versions that last digits must not change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def round_floats(batch: pa.RecordBatch, digits: int) -> pa.RecordBatch:
    """The batch with each float rounded to that many significant digits, also inside of lists and
    structs. NaN, infinities, zeros and nulls stay what they are, types too.
    """
    columns = [_rounded(column, digits) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _rounded(array: Any, digits: int) -> Any:
    kind = array.type
    if not _has_floats(kind):
        return array
    if pa.types.is_floating(kind):
        return _rounded_values(array, digits)
    # Slices share the buffers of a whole; what is rebuilt begins at its own first row.
    array = pa.concat_arrays([array])
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        inner = [_rounded(array.field(i), digits) for i in range(kind.num_fields)]
        return pa.StructArray.from_arrays(inner, fields=fields, mask=array.is_null())
    values = _rounded(array.values, digits)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=array.is_null())
    maker = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    return maker.from_arrays(array.offsets, values, type=kind, mask=array.is_null())


def _has_floats(kind: Any) -> bool:
    if pa.types.is_floating(kind):
        return True
    if pa.types.is_struct(kind):
        return any(_has_floats(kind.field(i).type) for i in range(kind.num_fields))
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in lists) and _has_floats(kind.value_type)


def _rounded_values(array: Any, digits: int) -> Any:
    """By a whole number of the last digit that counts: the same number, the same float."""
    dtype = array.type.to_pandas_dtype()
    x = np.asarray(array.fill_null(0).to_numpy(zero_copy_only=False), np.float64)
    with np.errstate(all="ignore"):
        power = digits - 1 - np.floor(np.log10(np.abs(x)))
        # In two steps, so that neither a very small nor a very large number overflows.
        half = np.trunc(power / 2)
        scaled = np.rint(x * 10.0**half * 10.0 ** (power - half))
        found = scaled / 10.0**half / 10.0 ** (power - half)
    found = np.where(np.isfinite(x) & (x != 0) & np.isfinite(found), found, x).astype(dtype)
    return pa.array(found, array.type, mask=np.asarray(array.is_null()))
