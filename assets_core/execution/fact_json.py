"""Materializations as strict JSON, for the fence rows of transactional stores and for `--json`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from assets_core.records import (
    CheckOutcome,
    Code,
    InputRead,
    Materialization,
    Receipt,
    is_withdrawn,
    version_from_hex,
    version_hex,
)

_PLAIN = (
    "environment",
    "asset",
    "partition",
    "started",
    "finished",
    "run",
    "token",
    "attempt",
    "kind",
    "schema",
    "deadline",
    "id",
)


def fact_to_dict(fact: Materialization) -> dict[str, Any]:
    """A materialization as plain JSON values."""
    out: dict[str, Any] = {name: getattr(fact, name) for name in _PLAIN}
    out["code"] = {"hex": fact.code.hex, "parts": dict(fact.code.parts)}
    out["input_digest"] = version_hex(fact.input_digest)
    out["data_version"] = version_hex(fact.data_version)
    out["receipt"] = {name: getattr(fact.receipt, name) for name in Receipt.__slots__}
    out["inputs"] = [_read_to_dict(read) for read in fact.inputs]
    out["checks"] = [{n: getattr(c, n) for n in CheckOutcome.__slots__} for c in fact.checks]
    out["metadata"] = dict(fact.metadata)
    return out


def _read_to_dict(read: InputRead) -> dict[str, Any]:
    out = {name: getattr(read, name) for name in ("name", "asset", "count", "revision")}
    return {**out, "ranges": [list(r) for r in read.ranges], "digest": version_hex(read.digest)}


def fact_to_json(fact: Materialization) -> str:
    """A materialization as one line of JSON; metadata that JSON can't hold is shown as text."""
    return json.dumps(fact_to_dict(fact), ensure_ascii=False, default=str)


def fact_from_json(text: str) -> Materialization:
    """The inverse of `fact_to_json`."""
    raw = json.loads(text)
    return Materialization(
        **{name: raw[name] for name in _PLAIN},
        code=Code(raw["code"]["hex"], raw["code"]["parts"]),
        input_digest=version_from_hex(raw["input_digest"]),
        data_version=version_from_hex(raw["data_version"]),
        receipt=Receipt(**raw["receipt"]),
        inputs=tuple(_read_from_dict(read) for read in raw["inputs"]),
        checks=tuple(CheckOutcome(**check) for check in raw["checks"]),
        metadata=raw["metadata"],
    )


def rolled_forward(text: str, **changes: Any) -> Materialization:
    """The fact that a transactional store committed and nobody recorded, to be recorded now."""
    fact = fact_from_json(text)
    return replace(fact, kind=fact.kind if is_withdrawn(fact) else "recovered", **changes)


def _read_from_dict(raw: dict[str, Any]) -> InputRead:
    return InputRead(
        name=raw["name"],
        asset=raw["asset"],
        ranges=tuple((a, b) for a, b in raw["ranges"]),
        count=raw["count"],
        revision=raw["revision"],
        digest=version_from_hex(raw["digest"]),
    )
