"""Shell completion of asset names, selections and partition keys.

A Tab press loads the project quietly: what its modules print is dropped, and definitions that
don't load complete to nothing. Bash breaks words at ``:``, ``=`` and ``@``; they are put together
again here, so that ``tag:da`` and ``report@2024`` complete like in any other shell.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from assets_core.errors import AssetsError

if TYPE_CHECKING:
    from assets_core.graph import Graph
    from assets_core.partitions import KeySpace
    from assets_core.project import Project

_VARIABLE = "_ASSETS_COMPLETE"
_MOST_KEYS = 20_000
"""Of longer key spaces the newest so many keys are offered; a Tab press has a tenth of a second."""


@contextlib.contextmanager
def _quietly(ctx: typer.Context) -> Iterator[Project | None]:
    """The project that the line so far names; None when its definitions don't load."""
    from assets_core.cli.session import named_by
    from assets_core.project import Project

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            loaded = Project.from_module(**named_by(ctx))
        except AssetsError:
            yield None
            return
        with loaded:
            yield loaded


def complete_asset(ctx: typer.Context, incomplete: str) -> list[Any]:
    """Names of assets."""
    with _quietly(ctx) as project:
        return _assets(project.graph, incomplete) if project else []


def _assets(graph: Graph, incomplete: str) -> list[tuple[str, str]]:
    return [
        (name, _first_line(asset.description) or asset.kind)
        for name, asset in graph.assets.items()
        if name.startswith(incomplete)
    ]


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def complete_selection(ctx: typer.Context, incomplete: str) -> list[Any]:
    """Names of assets, tags, groups, owners and kinds, after a comma and a plus or a not, too."""
    with _quietly(ctx) as project:
        if project is None:
            return []
        match = re.fullmatch(r"((?:.*,)?!?(?:\d*\+)?)([^,]*)", incomplete)
        assert match is not None, "the second group takes whatever is left"
        before, core = match.groups()
        found = [*_assets(project.graph, core), *_attributes(project.graph, core)]
        return [(before + text, told) for text, told in found]


def _attributes(graph: Graph, core: str) -> Iterator[tuple[str, str]]:
    assets = list(graph.assets.values())
    known: dict[str, set[str]] = {
        "tag": {tag for asset in assets for tag in asset.tags},
        "group": {asset.group for asset in assets},
        "owner": {asset.owner for asset in assets},
        "kind": {asset.kind for asset in assets},
        "io": {asset.io for asset in assets},
    }
    for attribute, values in known.items():
        for value in sorted(values - {""}):
            if f"{attribute}:{value}".startswith(core):
                yield f"{attribute}:{value}", f"assets by {attribute}"


def complete_partition(ctx: typer.Context, incomplete: str) -> list[Any]:
    """Partition keys of the assets that the line names, newest first."""
    with _quietly(ctx) as project:
        return _keys(project, _named(ctx, project), incomplete) if project else []


def complete_range(ctx: typer.Context, incomplete: str) -> list[Any]:
    """Partition keys on both sides of a range."""
    first, dots, last = incomplete.partition("..")
    with _quietly(ctx) as project:
        if project is None:
            return []
        names = _named(ctx, project)
        if not dots:
            return [f"{key}.." for key in _keys(project, names, first)]
        return [f"{first}..{key}" for key in _keys(project, names, last)]


def complete_reference(ctx: typer.Context, incomplete: str) -> list[Any]:
    """Names of assets, and after ``@`` the asset's partition keys."""
    name, at, key = incomplete.partition("@")
    with _quietly(ctx) as project:
        if project is None:
            return []
        if not at:
            return _assets(project.graph, name)
        return [f"{name}@{found}" for found in _keys(project, [name], key)]


def _named(ctx: typer.Context, project: Project) -> list[str]:
    """The assets that the line names so far; all without one, none for a wrong one."""
    params = ctx.params
    one = params.get("asset") or params.get("reference")
    if one:
        return [one.partition("@")[0]]
    texts = [*(params.get("selection") or ()), *(params.get("select") or ())]
    try:
        return list(project.graph.select(texts or None))
    except AssetsError:
        return []


def _keys(project: Project, names: Iterable[str], incomplete: str) -> list[str]:
    spaces = _spaces(project, names)
    found: dict[str, None] = {}
    for space in spaces:
        newest = range(space.n - 1, max(space.n - _MOST_KEYS, 0) - 1, -1)
        found.update(dict.fromkeys(space.keys(list(newest))))
    return [key for key in found if key.startswith(incomplete)]


def _spaces(project: Project, names: Iterable[str]) -> list[KeySpace]:
    assets = project.graph.assets
    definitions = {assets[name].partitions for name in names if name in assets}
    store = project.state_if_there() if any(each.is_dynamic for each in definitions) else None
    keys = store.dynamic_keys() if store is not None else {}
    now = project.now()
    return [each.resolve(now, dynamic=keys, include_open=True) for each in definitions]


def complete_dynamic(ctx: typer.Context, incomplete: str) -> list[Any]:
    """Names of dynamic partitions definitions."""
    with _quietly(ctx) as project:
        if project is None:
            return []
        assets = project.graph.assets.values()
        names = {name for asset in assets for name in asset.partitions.dynamic_names}
        return sorted(name for name in names if name.startswith(incomplete))


def complete_dynamic_key(ctx: typer.Context, incomplete: str) -> list[Any]:
    """Registered keys of the dynamic definition that the line names."""
    with _quietly(ctx) as project:
        store = project.state_if_there() if project else None
        if store is None:
            return []
        keys = store.dynamic_keys().get(ctx.params.get("name") or "", ())
        return [key for key in keys if key.startswith(incomplete)]


def complete_run(ctx: typer.Context, incomplete: str) -> list[Any]:
    """Ids of runs, newest first."""
    with _quietly(ctx) as project:
        store = project.state_if_there() if project else None
        if project is None or store is None:
            return []
        runs = store.runs(project.environment, limit=200)
        found = [(run.id, f"{run.status}: {run.command}") for run in runs]
        return [("latest", "the newest run"), *found] if not incomplete else found


def complete_environment(ctx: typer.Context, incomplete: str) -> list[Any]:
    """Environments that something ran in."""
    with _quietly(ctx) as project:
        store = project.state_if_there() if project else None
        found = {run.environment for run in store.runs(limit=1_000)} if store else set()
        return sorted(name for name in found if name.startswith(incomplete))


def complete_module(incomplete: str) -> list[Any]:
    """Modules and packages in the working directory."""
    found = []
    with os.scandir() as entries:
        for entry in entries:
            name, dot, ending = entry.name.partition(".")
            is_package = entry.is_dir() and os.path.exists(f"{entry.name}/__init__.py")  # noqa: PTH110 - pathlib alone is 5 ms of a Tab press
            if (is_package and not dot) or (ending == "py" and entry.is_file()):
                found.append(name)
    return sorted(name for name in found if name.startswith(incomplete))


# --------------------------------------------------------------------------------------------
# What the shells ask


def completes(environ: Mapping[str, str]) -> bool:
    """Whether this process was started by a shell's completion."""
    return _VARIABLE in environ


def print_completions(command: Any) -> int:
    """Answer the shell out of the whole command; the exit code."""
    is_bash = os.environ[_VARIABLE] == "complete_bash"
    prefix = ""
    if is_bash:
        words = os.environ.get("COMP_WORDS", "").split("\n")
        words, prefix = join_words(words[: int(os.environ.get("COMP_CWORD", len(words))) + 1])
        os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(words), str(len(words) - 1)
    answer, code = io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(answer):
            command.main([], prog_name="assets", complete_var=_VARIABLE)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    text = answer.getvalue()
    sys.stdout.write(for_bash(text, prefix) if is_bash else text)
    return code


def join_words(words: list[str]) -> tuple[list[str], str]:
    """The line's words as the user wrote them, and how much of the last one bash keeps.

    >>> join_words(["assets", "plan", "-s", "tag", ":", "da"])
    (['assets', 'plan', '-s', 'tag:da'], 'tag:')
    >>> join_words(["assets", "lineage", "report", "@", "2024"])
    (['assets', 'lineage', 'report@2024'], 'report')
    """
    joined: list[str] = []
    kept, glue = "", False
    for word in words:
        breaks = bool(word) and not word.strip(":=@")
        if len(joined) > 1 and word and (glue or breaks):
            whole = joined[-1] + word
            # Bash replaces from a ":" or "=" on, but from before an "@".
            kept = whole if breaks else joined[-1]
            kept = kept.removesuffix("@")
            joined[-1] = whole
        else:
            joined.append(word)
            kept = ""
        glue = breaks
    return joined, kept


_SPECIAL = re.compile(r"([\s\"'\\$`|&;<>()*?\[\]#~!{}])")


def for_bash(text: str, prefix: str) -> str:
    """Completions as bash takes them: without what it keeps, special characters escaped."""
    lines = text.split("\n")
    return "\n".join(_SPECIAL.sub(r"\\\1", line.removeprefix(prefix)) for line in lines)
