"""`assets list` and `assets show`: what is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from assets_core.cli import options
from assets_core.cli.screen import Screen, print_json, stdout
from assets_core.cli.session import project, shown_path

if TYPE_CHECKING:
    from assets_core.declare.asset import Asset
    from assets_core.graph import Graph, Input
    from assets_core.project import Project
    from assets_core.workspace.codes import CodePart


def list_(
    ctx: typer.Context,
    selection: options.Selection = None,
    select: options.SelectOption = None,
    as_json: options.Json = False,
) -> None:
    """The assets of the project, upstream first."""
    with project(ctx) as loaded:
        graph = loaded.graph
        names = graph.select(options.both(selection, select))
        if as_json:
            print_json({"assets": [summary(graph, name) for name in names]})
        else:
            _print_list(stdout(), graph, names)


def summary(graph: Graph, name: str) -> dict[str, Any]:
    """An asset's declaration in strict JSON values."""
    asset = graph.assets[name]
    return {
        "asset": name,
        "kind": asset.kind,
        "partitions": asset.partitions.kind,
        "dimensions": list(asset.partitions.dimensions),
        "reads": list(graph.op_of[name].upstream),
        "read_by": list(graph.downstream.get(name, ())),
        "group": asset.group,
        "tags": list(asset.tags),
        "owner": asset.owner,
        "io": "" if asset.kind == "source" else asset.io,
        "description": asset.description,
        "declared": {"file": asset.location.file, "line": asset.location.line},
    }


def _print_list(screen: Screen, graph: Graph, names: tuple[str, ...]) -> None:
    if not names:
        screen.line("Nothing is declared." if not graph.assets else "Nothing is selected.")
        return
    rows = []
    for name in names:
        asset = graph.assets[name]
        reads = ", ".join(graph.op_of[name].upstream)
        line = first_line(asset.description)
        kind = (asset.kind, "cyan" if asset.kind == "source" else "")
        rows.append([(name, "bold"), kind, asset.partitions.kind, asset.group, reads, line])
    header = ["asset", "kind", "partitions", "group", "reads", "description"]
    screen.table(*without_empty_columns(header, rows))


def without_empty_columns(header: list[str], rows: list[list[Any]]) -> tuple[list[str], Any]:
    """A table without the columns that no row has anything in."""
    used = [i for i in range(len(header)) if any(row[i] not in ("", ("", "")) for row in rows)]
    return [header[i] for i in used], [[row[i] for i in used] for row in rows]


def first_line(text: str) -> str:
    """The first line of a description."""
    return text.strip().partition("\n")[0]


def show(
    ctx: typer.Context,
    asset: options.AssetName,
    code: Annotated[
        bool, typer.Option("--code", help="Everything that counts as its code, and why.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Everything about one asset: inputs with their mappings, partitions, checks, schema."""
    with project(ctx) as loaded:
        declared = loaded.graph.asset(asset)
        if code:
            _show_code(loaded, declared, as_json=as_json)
        elif as_json:
            print_json(full(loaded, declared))
        else:
            _print_asset(stdout(), loaded, declared)


def _show_code(loaded: Project, asset: Asset, *, as_json: bool) -> None:
    parts = [vars_of(part) for part in loaded.code_parts(asset)]
    warnings = list(loaded.code_warnings.get(asset.name, ()))
    if as_json:
        version = loaded.codes[asset.name].hex
        print_json({"asset": asset.name, "version": version, "parts": parts, "warnings": warnings})
        return
    screen = stdout()
    screen.line(f"{asset.name}  code version {loaded.codes[asset.name].hex[:12]}", "bold")
    rows = [[part["kind"], part["name"], part["why"], part["digest"]] for part in parts]
    screen.table(["kind", "name", "why it counts", "digest"], rows, indent=2)
    for warning in warnings:
        screen.line(f"  {warning}", "yellow")


def vars_of(part: CodePart) -> dict[str, str]:
    """A part in plain JSON values."""
    return {"kind": part.kind, "name": part.name, "why": part.why, "digest": part.digest}


def full(loaded: Project, asset: Asset) -> dict[str, Any]:
    """All about an asset in strict JSON values."""
    graph, name = loaded.graph, asset.name
    space = loaded.spaces()[name]
    retry, freshness = asset.retry, asset.freshness
    return {
        **summary(graph, name),
        "inputs": [_input(graph, read) for read in graph.op_of[name].inputs],
        "made_with": [other for other in graph.op_of[name].outputs if other != name],
        "sql": asset.sql,
        "count": space.n,
        "first": space.key(0) if space.n else None,
        "last": space.key(space.n - 1) if space.n else None,
        "timezone": asset.partitions.zone_name if asset.partitions.has_time else None,
        "checks": [
            {"name": c.name, "severity": c.severity, "demands": c.describe()} for c in asset.checks
        ],
        "columns": dict(asset.columns),
        "schema": loaded.columns(name),
        "schema_policy": asset.schema,
        "partition_column": asset.partition_column,
        "max_rejected": asset.max_rejected,
        "exclude": list(asset.exclude),
        "executor": asset.executor,
        "version": asset.version,
        "code_version": loaded.codes[name].hex,
        "config": _config(loaded, name),
        "retry": None
        if retry is None
        else {
            "max": retry.max,
            "delay": str(retry.delay),
            "backoff": retry.backoff,
            "max_delay": str(retry.max_delay),
        },
        "freshness": None
        if freshness is None
        else {
            "lands_within": str(freshness.lands_within),
            "warn_within": None if freshness.warn_within is None else str(freshness.warn_within),
        },
    }


def _config(loaded: Project, name: str) -> dict[str, Any] | None:
    """The asset's config as filled in; secrets stay masked by their own types."""
    model = loaded.config.get(loaded.graph.op_of[name].name)
    if model is None:
        return None
    values: dict[str, Any] = model.model_dump(mode="json")
    return values


def _input(graph: Graph, read: Input) -> dict[str, Any]:
    return {
        "name": read.name,
        "asset": read.asset,
        "mapping": str(read.mapping),
        "data": read.data,
        "kind": graph.assets[read.asset].kind,
    }


def _print_asset(screen: Screen, loaded: Project, asset: Asset) -> None:
    told = full(loaded, asset)
    screen.line(asset.name, "bold")
    if asset.description:
        screen.lines(f"  {line}".rstrip() for line in asset.description.splitlines())
    screen.line()
    screen.table((), [[(name, "dim"), value] for name, value in _facts(told, asset) if value])
    _section(screen, "inputs", [_input_row(read) for read in told["inputs"]])
    _section(screen, "read by", [[name] for name in told["read_by"]])
    _section(screen, "checks", [[c["name"], c["severity"], c["demands"]] for c in told["checks"]])
    _section(screen, "config", [[k, str(v)] for k, v in (told["config"] or {}).items()])
    _section(screen, "columns", _column_rows(told))
    if asset.sql:
        screen.line()
        screen.line("SQL", "dim")
        screen.lines(f"  {line}".rstrip() for line in asset.sql.strip("\n").splitlines())


def _facts(told: dict[str, Any], asset: Asset) -> list[tuple[str, str]]:
    partitions = told["partitions"]
    if told["count"] and asset.partitions.dimensions:
        partitions += f", {told['count']:,}: {told['first']} to {told['last']}"
    elif not told["count"]:
        partitions += ", none yet"
    if told["timezone"]:
        partitions += f" ({told['timezone']})"
    where = f"{shown_path(asset.location.file)}:{asset.location.line}"
    return [
        ("kind", asset.kind),
        ("made with", ", ".join(told["made_with"])),
        ("declared", where if asset.location.file else ""),
        ("owner", asset.owner),
        ("group", asset.group),
        ("tags", ", ".join(asset.tags)),
        ("partitions", partitions),
        ("kept by", told["io"]),
        ("executor", asset.executor or ""),
        ("retry", _retry(told["retry"])),
        ("freshness", _freshness(told["freshness"])),
        ("partition column", asset.partition_column or ""),
        ("max rejected", "" if asset.max_rejected is None else f"{asset.max_rejected:.2%}"),
        ("schema policy", "" if asset.kind == "source" else asset.schema),
        ("not compared", ", ".join(asset.exclude)),
        ("version", asset.version or ""),
        ("code version", told["code_version"][:12]),
    ]


def _retry(told: dict[str, Any] | None) -> str:
    if told is None:
        return ""
    return f"{told['max']} times, {told['backoff']} from {told['delay']} to {told['max_delay']}"


def _freshness(told: dict[str, Any] | None) -> str:
    if told is None:
        return ""
    warning = f", warn after {told['warn_within']}" if told["warn_within"] else ""
    return f"lands within {told['lands_within']}{warning}"


def _input_row(read: dict[str, Any]) -> list[str]:
    renamed = f"as {read['name']}" if read["name"] != read["asset"] else ""
    waits = "" if read["data"] else "followed, not read"
    return [read["asset"], read["mapping"], read["kind"], renamed or waits]


def _column_rows(told: dict[str, Any]) -> list[list[str]]:
    """The columns that were published last, and those that are only described."""
    types = {column["name"]: column["type"] for column in told["schema"]}
    names = dict.fromkeys([*types, *told["columns"]])
    return [[name, types.get(name, ""), told["columns"].get(name, "")] for name in names]


def _section(screen: Screen, title: str, rows: list[list[str]]) -> None:
    if not rows:
        return
    screen.line()
    screen.line(title, "dim")
    screen.table((), without_empty_columns([""] * len(rows[0]), rows)[1], indent=2)
