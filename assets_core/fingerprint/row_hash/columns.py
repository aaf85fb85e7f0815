"""How the arrays of a type are read: finds its reader, compiled once per type."""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa

from assets_core.fingerprint.row_hash.bytes_and_text import open_bytes, open_fixed_bytes, open_view
from assets_core.fingerprint.row_hash.encodings import DictionaryOpener, open_extension, open_runs
from assets_core.fingerprint.row_hash.fixed_width import (
    open_bool,
    open_fixed,
    open_float,
    open_null,
    open_wide,
)
from assets_core.fingerprint.row_hash.logical_types import (
    FLAT,
    is_bytes,
    is_list,
    is_list_view,
    is_text,
    unknown_type,
)
from assets_core.fingerprint.row_hash.mixing import Open
from assets_core.fingerprint.row_hash.nested import (
    open_fixed_list,
    open_list,
    open_list_view,
    open_struct,
    open_union,
)


def opener_of(kind: pa.DataType) -> Open:
    """How to read arrays of this type. Raises UnhashableError for a type we don't know."""
    opener = _flat_opener(kind) or _nested_opener(kind)
    if opener is None:
        raise unknown_type(kind)
    return opener


def _flat_opener(kind: pa.DataType) -> Open | None:
    if is_text(kind) or is_bytes(kind):
        return _bytes_opener(kind)
    flat = FLAT.get(kind.id)
    if flat is None:
        return None
    if flat.dtype.endswith("words"):
        return partial(open_wide, int(flat.dtype[0]))
    if flat.dtype.startswith("<f"):
        return partial(open_float, int(flat.dtype[2]))
    if flat.dtype:
        return partial(open_fixed, np.dtype(flat.dtype))
    if flat.name == "fixed_size_binary":
        return partial(open_fixed_bytes, kind.byte_width)
    return open_bool if flat.name == "bool" else open_null


def _bytes_opener(kind: pa.DataType) -> Open:
    types = pa.types
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return open_view
    large = types.is_large_string(kind) or types.is_large_binary(kind)
    return partial(open_bytes, np.dtype("<i8" if large else "<i4"))


def _nested_opener(kind: pa.DataType) -> Open | None:
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return partial(open_extension, opener_of(kind.storage_type))
    if types.is_dictionary(kind):
        return DictionaryOpener(opener_of(kind.value_type))
    if types.is_run_end_encoded(kind):
        return partial(open_runs, opener_of(kind.value_type))
    if is_list(kind):
        opener = opener_of(kind.value_type)
        if is_list_view(kind):
            return partial(open_list_view, opener)
        dtype = np.dtype("<i8" if types.is_large_list(kind) else "<i4")
        return partial(open_list, dtype, opener)
    if types.is_map(kind):
        entries = pa.struct([kind.key_field, kind.item_field])
        return partial(open_list, np.dtype("<i4"), opener_of(entries))
    if types.is_fixed_size_list(kind):
        return partial(open_fixed_list, kind.list_size, opener_of(kind.value_type))
    children = [opener_of(kind.field(i).type) for i in range(kind.num_fields)]
    if types.is_struct(kind):
        return partial(open_struct, children)
    if types.is_union(kind):
        return partial(open_union, kind, children)
    return None
