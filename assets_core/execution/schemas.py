"""Published schemas: kept as text, compared by the asset's declared policy."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import TYPE_CHECKING

from assets_core.declare.asset import Asset
from assets_core.errors import SchemaChangedError

if TYPE_CHECKING:
    import pyarrow as pa


@lru_cache(maxsize=512)
def schema_text(schema: pa.Schema) -> str:
    """A schema as text that can be stored and read back."""
    plain = _canonical(schema)
    return base64.b64encode(plain.serialize().to_pybytes()).decode("ascii")


def _canonical(schema: pa.Schema) -> pa.Schema:
    """Without metadata, and with one name for each sort of text."""
    import pyarrow as pa

    fields = [field.remove_metadata().with_type(_canonical_type(field.type)) for field in schema]
    return pa.schema(fields)


def _canonical_type(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


@lru_cache(maxsize=512)
def schema_of(text: str) -> pa.Schema:
    """The inverse of `schema_text`."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def check_schema(asset: Asset, published: str, schema: pa.Schema) -> None:
    """Raise SchemaChangedError when the policy does not let ``schema`` follow the published one."""
    was = schema_of(published)
    schema = _canonical(schema)
    changes = describe_changes(was, schema)
    if not changes:
        return
    if asset.schema == "strict":
        raise _refusal(asset, changes, "its policy is schema='strict'")
    if not _widens(was, schema):
        raise _refusal(asset, changes, "a column's new type can't be read together with its old")


def describe_changes(was: pa.Schema, now: pa.Schema) -> list[str]:
    """Added, dropped and retyped columns, one line each."""
    old, new = {f.name: f.type for f in was}, {f.name: f.type for f in now}
    changes = [f"dropped {name} ({old[name]})" for name in old if name not in new]
    changes += [f"added {name} ({new[name]})" for name in new if name not in old]
    changes += [
        f"{name}: {old[name]} → {new[name]}"
        for name in new
        if old.get(name, new[name]) != new[name]
    ]
    if not changes and list(old) != list(new):
        changes.append(f"order: {', '.join(old)} → {', '.join(new)}")
    return changes


def _widens(was: pa.Schema, now: pa.Schema) -> bool:
    """Whether both can be read as one table."""
    from assets_core.tabular.common_types import common_type

    old = {field.name: field.type for field in was}
    return all(common_type(old.get(f.name, f.type), f.type) is not None for f in now)


def _refusal(asset: Asset, changes: list[str], why: str) -> SchemaChangedError:
    return SchemaChangedError(
        f"The schema of {asset.name!r} changed, and {why}.",
        facts={"change": "; ".join(changes)},
        hint="If it is meant, run again with --allow-schema-change; otherwise keep the old types.",
    )
