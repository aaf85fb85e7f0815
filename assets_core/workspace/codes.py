"""Code versions of a graph's assets: code, config, windows, and how the output is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets_core.declare.asset import Asset
from assets_core.fingerprint.contents import Contents, declared
from assets_core.fingerprint.following.items import About
from assets_core.fingerprint.hashing import hexdigest
from assets_core.fingerprint.sql_tokens import files_named
from assets_core.fingerprint.versions import CodeVersion, Fingerprints, stored_parts
from assets_core.fingerprint.watch import Watch
from assets_core.graph import Graph
from assets_core.partitions.definitions import PartitionsDefinition
from assets_core.partitions.products import Product
from assets_core.partitions.time_windows import TimeWindows
from assets_core.records import TRACED, Code


def code_versions(
    graph: Graph,
    config: Mapping[str, Any],
    io_identities: Mapping[str, tuple[object, ...]],
    root: Path,
    contents: Contents | None = None,
    resources: Mapping[str, Any] | None = None,
) -> dict[str, CodeVersion]:
    """The current code version of every asset.

    ``io_identities`` are what the IO managers tell of themselves, by name. ``contents`` gives what
    files and variables hold; without it, as they are in ``root``.
    """
    contents = contents or Contents(root, Watch(), root / ".assets")
    prints = Fingerprints(
        (str(root),),
        own_folders=contents.watch.more,
        about=About(
            contents.read_at_import, contents.named_files, resources or {}, contents.secret
        ),
    )
    own = {name: config.get(graph.op_of[name].name) for name in graph.assets}
    return {
        name: _of_source(prints, asset, own[name], _read(asset, root, contents))
        if asset.kind == "source"
        else _of(prints, asset, own[name], io_identities[asset.io], _read(asset, root, contents))
        for name, asset in graph.assets.items()
    }


def stored(versions: Mapping[str, CodeVersion]) -> dict[str, Code]:
    """Code versions as they are recorded."""
    return {name: Code(one.hex, stored_parts(one)) for name, one in versions.items()}


@dataclass(frozen=True, slots=True)
class CodePart:
    """Something that counts as an asset's code: what it is, and why it counts."""

    kind: str
    name: str
    why: str
    digest: str


_KINDS = ("class value", "traced file", "traced folder", "traced module", "traced variable")
_REASONS = {
    "function": "makes the asset",
    "sql": "makes the asset",
    "config": "config",
    "io": "how the output is kept",
    "windows": "which windows its partitions are",
    "exclude": "what of the output counts",
    "ordered": "the order of rows counts",
    "float_digits": "how many digits of floats count",
    "library": "declared: libraries=",
    "version": "declared: version=",
    "closure": "held by a function that is reached",
    "default": "default of a parameter",
    "effect": "statement of a module that acts on a library",
    "module": "as a whole: something in it has no form of its own",
    "resource": "context.resources",
    "text": "its code looks at source text",
}


def code_parts(asset: Asset, parts: Mapping[str, str], traced: Mapping[str, str]) -> list[CodePart]:
    """Everything that counts as an asset's code. ``traced`` are the parts that its builds were
    seen to read."""
    found = []
    for name, digest in {**parts, **traced}.items():
        kind = next((k for k in _KINDS if name.startswith(f"{k} ")), name.partition(" ")[0])
        what = name.removeprefix(kind).strip()
        found.append(CodePart(kind.removeprefix(TRACED), what, _why(asset, kind, name), digest))
    return found


def _why(asset: Asset, kind: str, name: str) -> str:
    if name.startswith(TRACED):
        return "traced: a build read it"
    if kind in ("file", "folder", "variable"):
        declared_here = asset.reads_env if kind == "variable" else asset.reads_files
        return "declared, or read at import" if declared_here else "read at import"
    return _REASONS.get(kind, "reached by its code")


def _read(asset: Asset, root: Path, contents: Contents) -> dict[str, bytes]:
    """The parts of what an asset declares to read, and of the files that its SQL names."""
    found = declared(contents, root, asset.reads_files, asset.reads_env)
    for text in files_named(asset.sql) if asset.sql and asset.version is None else ():
        found |= {f"file {name}": digest for name, digest in contents.named_files(str(root / text))}
    return {name: digest.encode() for name, digest in found.items()}


def _of_source(
    prints: Fingerprints, source: Asset, config: Any, read: Mapping[str, bytes]
) -> CodeVersion:
    """What a token stands for; a source that is looked at whole each time needs none.

    It makes nothing stale: what other code sees is told by the content.
    """
    asked = {"token": source.token, "observe_range": source.observe_range}
    extra: dict[str, object] = {
        n: prints.of(function).hex for n, function in asked.items() if function
    }
    if not extra:
        return CodeVersion(hexdigest("source"))
    if config is not None:
        extra["config"] = _values(config)
    return prints.of(
        source.function,
        version=source.version,
        extra=extra,
        libraries=source.libraries,
        read=read,
    )


def _of(
    prints: Fingerprints,
    asset: Asset,
    config: Any,
    io_identity: tuple[object, ...],
    read: Mapping[str, bytes],
) -> CodeVersion:
    extra: dict[str, object] = {"io": io_identity}
    if asset.is_ordered:
        extra["ordered"] = True
    if asset.float_digits is not None:
        extra["float_digits"] = asset.float_digits
    if asset.exclude:
        extra["exclude"] = sorted(asset.exclude)
    if windows := _windows(asset.partitions):
        extra["windows"] = windows
    if config is not None:
        extra["config"] = _values(config)
    return prints.of(
        asset.function,
        version=asset.version,
        extra=extra,
        libraries=asset.libraries,
        sql=asset.sql or None,
        read=read,
    )


def _values(config: Any) -> dict[str, Any]:
    """A config model's values, with those that it takes beyond its fields."""
    fields = {name: getattr(config, name) for name in type(config).model_fields}
    return {**fields, **(config.model_extra or {})}


def _windows(definition: PartitionsDefinition) -> dict[str, object]:
    """What tells windows of one key apart, by dimension; none where a day is a day in UTC."""
    parts = definition.parts if isinstance(definition, Product) else [("", definition)]
    return {
        name or part.dimensions[0]: (part.timezone, part.offset, part.cron)
        for name, part in parts
        if isinstance(part, TimeWindows) and (part.timezone, part.offset, part.cron) != _PLAIN
    }


_PLAIN = ("UTC", 0, "")
