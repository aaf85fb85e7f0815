"""Importing users' definitions: a module, a package with all its modules, or a path to one."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from assets_core.declare.asset import Asset, MultiAsset
from assets_core.declare.definitions import Definitions
from assets_core.declare.places import Location
from assets_core.declare.registry import declared_in, forget
from assets_core.declare.sql import known_tables, remember_tables
from assets_core.errors import AssetsError, DefinitionError, UsageError
from assets_core.fingerprint.tracing import forget_reads, loading
from assets_core.fingerprint.watch import Watch, apart_from, code_roots
from assets_core.ours import is_our_file
from assets_core.problems import Collected, as_definition, collecting


def load_definitions(module: str, root: Path) -> Definitions:
    """The definitions of a module, package or path; ``root`` is put on the import path.

    A module-level `Definitions` gives IO managers, resources and config; where it lists no assets
    (or there is none), they are all that the module, or any module of the package, declares.

    Raises UsageError when there is no such module, DefinitionError with everything that is wrong
    in what the modules declare, or in importing them.
    """
    definitions, found = gather(module, root)
    if found.problems:
        raise DefinitionError.report(found.problems)
    return definitions


def gather(
    module: str, root: Path, more_roots: Sequence[str] = ()
) -> tuple[Definitions, Collected]:
    """As `load_definitions`, with the problems put down instead of raised.

    A module that fails to import does not keep the others of its package from being loaded. What
    modules under ``root`` (and ``more_roots``) read while they are imported is noted.
    """
    found, before = Collected(), set(sys.modules)
    watch = Watch(code_roots(root, more_roots), apart_from(root, ()))
    with collecting(found), loading(watch):
        modules = list(_import(module, root, found))
    own = [value for m in modules for value in vars(m).values() if isinstance(value, Definitions)]
    given = list({id(value): value for value in own}.values())
    if len(given) > 1:
        held = f"{module!r} holds {len(given)} Definitions objects."
        found.add(DefinitionError(held, hint="Keep one of them."))
    definitions = given[0] if given else Definitions()
    if definitions.assets is None:
        definitions = replace(definitions, assets=_assets_of(modules))
    if found.problems:
        _unload(sys.modules.keys() - before, root)
    return definitions, found


_PARSED = "parsed-sql.json"


@contextmanager
def parsed_queries(folder: Path) -> Iterator[None]:
    """Keep what parsing found out about queries in ``folder``: the parser is slow to import.

    A cache: it may be deleted, and where it can't be written nothing is kept.
    """
    path = folder / _PARSED
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        items = kept.items() if isinstance(kept, dict) else ()
        remember_tables({key: tables for key, tables in items if isinstance(tables, list)})
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


def _import(module: str, root: Path, found: Collected) -> Iterator[ModuleType]:
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    top = _import_or_note(_dotted(module, root), module, root, found)
    if top is None:
        return
    yield top
    # A subpackage that fails is imported, and its failure noted, here: not by the walk.
    walk = pkgutil.walk_packages(
        getattr(top, "__path__", ()), prefix=f"{top.__name__}.", onerror=lambda _: None
    )
    for info in walk:
        if info.name.rpartition(".")[2] != "__main__":
            one = _import_or_note(info.name, module, root, found)
            if one is not None:
                yield one


def _import_or_note(name: str, module: str, root: Path, found: Collected) -> ModuleType | None:
    try:
        return _import_one(name, module, root)
    except DefinitionError as error:
        place = error.facts.get("at")
        # A module that imports a broken one breaks at the same place: told once.
        if place is None or all(known.facts.get("at") != place for known in found.problems):
            found.add(error)
    found.incomplete = True
    return None


def _unload(names: Iterable[str], root: Path) -> None:
    """Forget the project's own modules of these: stand-ins in them must not outlive the report."""
    for name in names:
        file = Path(getattr(sys.modules[name], "__file__", None) or "/")
        installed = {"site-packages", "dist-packages"} & set(file.parts)
        if file.resolve().is_relative_to(root.resolve()) and not installed:
            del sys.modules[name]
            forget(name)
            forget_reads(name)


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
    if name not in sys.modules:
        forget_reads(name)
    try:
        found = importlib.import_module(name)
    except AssetsError as error:
        _say_where(error)
        if isinstance(error, DefinitionError):
            raise
        raise as_definition(error) from error.__cause__
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise _not_found(module, root) from None
        raise _broken(name, error) from error
    except (Exception, SystemExit) as error:
        # An exit at import would end the command as if it had done its work.
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


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Where the user's own code stood when importing it failed."""
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and not is_our_file(frame.filename)
    ]


def _say_where(error: AssetsError) -> None:
    """Give an error of a declaration its place, which the declaration itself doesn't know."""
    frames = _frames(error)
    if frames and not {"declared", "at"} & error.facts.keys():
        place = Location(frames[-1].filename, frames[-1].lineno or 0)
        error.facts = {"declared": f"{place}: {frames[-1].line}", **error.facts}


def _broken(name: str, error: BaseException) -> DefinitionError:
    frames = _frames(error)
    facts: dict[str, object] = {"module": name}
    if isinstance(error, SyntaxError) and error.filename:
        facts["at"] = f"{error.filename}:{error.lineno}: {(error.text or '').strip()}"
    elif frames:
        facts["at"] = f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}"
    return DefinitionError(
        f"Importing {name!r} failed: {type(error).__name__}: {error}", facts=facts
    )
