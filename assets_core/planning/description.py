"""Definitions as a value: each asset's code version, inputs and declaration, without the code.

What a project is described by can be stored, and compared with what it is later or elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assets_core.declare.asset import Asset
from assets_core.errors import UsageError
from assets_core.fingerprint.hashing import hexdigest
from assets_core.planning.planfile import write_whole

if TYPE_CHECKING:
    from assets_core.fingerprint.versions import Fingerprints
    from assets_core.graph import Graph
    from assets_core.records import Code

FORMAT = "assets code"
SCHEMA = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DescribedInput(_Strict):
    """An edge: ``mapping`` in words; two that say the same read the same partitions."""

    name: str
    asset: str
    mapping: str


class DescribedAsset(_Strict):
    """One asset. ``code`` is its code version, ``parts`` the short hash of each part of it.

    ``partitions`` tells the definition in words that differ when it does; ``declared`` is what
    else a reader of the data would notice, in words.
    """

    kind: str
    code: str
    parts: dict[str, str]
    inputs: list[DescribedInput]
    partitions: str
    declared: dict[str, str]


class Described(_Strict):
    """Definitions at one moment. ``notes`` tell what could not be followed in their code."""

    format: Literal["assets code"] = "assets code"
    schema_: Literal[1] = Field(alias="schema")
    environment: str
    assets: dict[str, DescribedAsset]
    notes: list[str] = Field(default_factory=list)


# --------------------------------------------------------------------------------------------
# Describing


def describe(graph: Graph, codes: Mapping[str, Code], environment: str, root: str) -> Described:
    """Definitions and their code versions as a value. ``root`` is where the users' own code lies,
    which mappings may call.
    """
    from assets_core.fingerprint.versions import Fingerprints

    prints = Fingerprints((root,))
    assets = {
        name: DescribedAsset(
            kind=asset.kind,
            code=codes[name].hex,
            parts=dict(codes[name].parts),
            inputs=[
                DescribedInput(
                    name=read.name, asset=read.asset, mapping=_mapping_text(read.mapping, prints)
                )
                for read in graph.op_of[name].inputs
            ],
            partitions=_words(asset.partitions.identity()),
            declared=_declared(asset),
        )
        for name, asset in graph.assets.items()
    }
    return Described(schema=1, environment=environment, assets=assets)


def _words(values: Any) -> str:
    """Nested plain values as words, those that say nothing left out."""
    if isinstance(values, tuple | list):
        return " ".join(word for word in map(_words, values) if word)
    return "" if values in (None, "", 0, False) else str(values)


def _mapping_text(mapping: Any, prints: Fingerprints) -> str:
    """A mapping in words; users' own functions in it with the hash of their code."""
    hashes = [prints.of(function).hex[:12] for function in _functions(mapping)]
    return " ".join([str(mapping), *hashes])


def _functions(value: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _functions(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _functions(one)
    elif callable(value):
        yield value


def _declared(asset: Asset) -> dict[str, str]:
    told = {
        "columns": ", ".join(sorted(asset.columns)),
        "schema policy": asset.schema,
        "partition column": asset.partition_column or "",
        "IO manager": asset.io,
        "checks": ", ".join(sorted(f"{check.name} ({check.severity})" for check in asset.checks)),
    }
    return {name: text for name, text in told.items() if text}


def stamp(asset: DescribedAsset) -> tuple[str, dict[str, str]]:
    """One version for all by which an asset can become stale through code, with its parts.

    Beside the code version that is which partitions are read of what, under which name.
    """
    reads = {
        f"input {read.name}": hexdigest("input", read.asset, read.mapping)[:12]
        for read in asset.inputs
    }
    return hexdigest("code and inputs", asset.code, *reads.items()), {**asset.parts, **reads}


# --------------------------------------------------------------------------------------------
# Files


def write_description(found: Described, path: Path) -> None:
    """Write it whole or not at all. Raises UsageError where it can't be written."""
    text = found.model_dump_json(indent=1, by_alias=True) + "\n"
    write_whole(path, text, "The code versions")


def read_description(path: Path) -> Described:
    """Read a file that `write_description` wrote.

    Raises UsageError for what is no such file.
    """
    hint = "Write one with: assets plan --code-to FILE"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}.", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not whole JSON: {error}.", hint=hint) from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise UsageError(f"{path} holds no code versions.", hint=hint)
    schema = raw.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise UsageError(
            f"{path} was written by a newer release (schema {schema}; this one reads {SCHEMA}).",
            hint="Upgrade this installation.",
        )
    try:
        return Described.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: {where or 'it'}: {first['msg']}.", hint=hint) from error
