"""Importing users' definitions: a module, a package with all its modules, or a path to one."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from assets_core.asset import Asset, Definitions, Location, MultiAsset, declared_in
from assets_core.errors import AssetsError, DefinitionError, UsageError
from assets_core.sql import known_tables, remember_tables


def load_definitions(module: str, root: Path) -> Definitions:
    """The definitions of a module, package or path; ``root`` is put on the import path.

    A module-level `Definitions` gives IO managers, resources and config; where it lists no assets
    (or there is none), they are all that the module, or any module of the package, declares.

    Raises UsageError when there is no such module, DefinitionError when importing it fails.
    """
    modules = list(_import(module, root))
    own = [value for m in modules for value in vars(m).values() if isinstance(value, Definitions)]
    given = list({id(value): value for value in own}.values())
    if len(given) > 1:
        raise DefinitionError(
            f"{module!r} holds {len(given)} Definitions objects.", hint="Keep one of them."
        )
    definitions = given[0] if given else Definitions()
    if definitions.assets is not None:
        return definitions
    return replace(definitions, assets=_assets_of(modules))


_PARSED = "parsed-sql.json"
_OURS = f"{Path(__file__).parent}{os.sep}"


@contextmanager
def parsed_queries(folder: Path) -> Iterator[None]:
    """Keep what parsing found out about queries in ``folder``: the parser is slow to import.

    A cache: it may be deleted, and where it can't be written nothing is kept.
    """
    path = folder / _PARSED
    with suppress(OSError, ValueError):
        remember_tables(json.loads(path.read_text(encoding="utf-8")))
    before = known_tables()
    yield
    after = known_tables()
    if after.keys() == before.keys():
        return
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(after), encoding="utf-8")
        fresh.replace(path)


def _assets_of(modules: list[ModuleType]) -> list[Asset]:
    found: dict[int, Asset] = {}
    for module in modules:
        for asset in declared_in(module.__name__):
            found[id(asset)] = asset
        for value in vars(module).values():
            if isinstance(value, Asset):
                found[id(value)] = value
            elif isinstance(value, MultiAsset):
                found.update({id(asset): asset for asset in value.assets})
    return list(found.values())


def _import(module: str, root: Path) -> Iterator[ModuleType]:
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    top = _import_one(_dotted(module, root), module, root)
    yield top
    for info in pkgutil.walk_packages(getattr(top, "__path__", ()), prefix=f"{top.__name__}."):
        if info.name.rpartition(".")[2] != "__main__":
            yield _import_one(info.name, module, root)


def _dotted(module: str, root: Path) -> str:
    """A path to a file or folder → an importable name; a dotted name stays."""
    path = Path(module)
    if not (module.endswith(".py") or "/" in module or "\\" in module):
        return module
    full = (root / path).resolve()
    if not full.exists():
        raise _not_found(module, root)
    folder = str(full.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return full.stem


def _not_found(module: str, root: Path) -> UsageError:
    return UsageError(
        f"There are no definitions {module!r} here.",
        facts={"looked in": root},
        hint="Run the command in the project's folder, name them with --module (or ASSETS_MODULE, "
        "or module in [tool.assets]), or start a project with: assets init",
    )


def _import_one(name: str, module: str, root: Path) -> ModuleType:
    try:
        found = importlib.import_module(name)
    except AssetsError as error:
        _say_where(error)
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise _not_found(module, root) from None
        raise _broken(name, error) from error
    except Exception as error:
        raise _broken(name, error) from error
    _refuse_strangers(found, name)
    return found


def _refuse_strangers(found: ModuleType, name: str) -> None:
    """`definitions` of another project, imported earlier, must not pass for this one's."""
    spec = importlib.util.find_spec(name) if "." not in name else None
    here, there = getattr(spec, "origin", None), getattr(found, "__file__", None)
    if here and there and Path(here).resolve() != Path(there).resolve():
        raise UsageError(
            f"A module {name!r} from another folder is already imported.",
            facts={"imported": there, "wanted": here},
            hint="Start a new Python process for another project.",
        )


def _frames(error: Exception) -> list[traceback.FrameSummary]:
    """Where the user's own code stood when importing it failed."""
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and not frame.filename.startswith(_OURS)
    ]


def _say_where(error: AssetsError) -> None:
    """Give an error of a declaration its place, which the declaration itself doesn't know."""
    frames = _frames(error)
    if frames and not {"declared", "at"} & error.facts.keys():
        place = Location(frames[-1].filename, frames[-1].lineno or 0)
        error.facts = {"declared": f"{place}: {frames[-1].line}", **error.facts}


def _broken(name: str, error: Exception) -> DefinitionError:
    frames = _frames(error)
    facts: dict[str, object] = {"module": name}
    if isinstance(error, SyntaxError) and error.filename:
        facts["at"] = f"{error.filename}:{error.lineno}: {(error.text or '').strip()}"
    elif frames:
        facts["at"] = f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}"
    return DefinitionError(
        f"Importing {name!r} failed: {type(error).__name__}: {error}", facts=facts
    )
