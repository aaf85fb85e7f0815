"""What is the project's own code, and what is this library's: told by where it lies."""

from __future__ import annotations

import importlib.util
import site
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

from assets_core.ours import PACKAGES


def _installed_prefixes() -> tuple[str, ...]:
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    packages = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    found = [*paths, *packages, *site.getsitepackages(), site.getusersitepackages()]
    return tuple({str(Path(path).resolve()) + "/" for path in found if path})


_INSTALLED = _installed_prefixes()


def is_installed(path: str) -> bool:
    """Whether an absolute path lies in the standard library, or among installed packages."""
    return path.startswith(_INSTALLED) or is_among_packages(path)


def is_among_packages(path: str) -> bool:
    """Whether an absolute path lies in a folder of installed packages, of any interpreter."""
    return "/site-packages/" in path or "/dist-packages/" in path


@dataclass(frozen=True, slots=True)
class Own:
    """Tells the project's own modules and files from everybody else's.

    Own is what lies neither in the standard library nor among installed packages; ``folders`` are
    own wherever they lie. ``roots`` are where the project is, which does not count in values.
    """

    roots: tuple[str, ...]
    folders: tuple[str, ...] = ()
    packages: frozenset[str] = frozenset({"__main__"})
    files: dict[str, bool] = field(default_factory=dict)
    modules: dict[str, bool] = field(default_factory=dict)

    def module(self, name: str) -> bool:
        """Whether a module, loaded or not, is the project's own."""
        known = self.modules.get(name)
        if known is None:
            known = self.modules[name] = self._is_own_module(name)
        return known

    def _is_own_module(self, name: str) -> bool:
        top = name.partition(".")[0]
        if top in self.packages:
            return True
        if top in PACKAGES or top in sys.stdlib_module_names or top in sys.builtin_module_names:
            return False
        module = sys.modules.get(name)
        if module is None:
            return self._unloaded(top)
        file = getattr(module, "__file__", None)
        if file is None:
            return any(self.file(path + "/x") for path in getattr(module, "__path__", ()))
        return self.file(file)

    def _unloaded(self, top: str) -> bool:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return False
        if spec is None:
            return False
        places = [spec.origin] if spec.origin else []
        places += [path + "/x" for path in spec.submodule_search_locations or ()]
        return any(self.file(place) for place in places)

    def file(self, filename: str) -> bool:
        """Whether a file is the project's own."""
        known = self.files.get(filename)
        if known is None:
            known = self.files[filename] = self._is_own(filename)
        return known

    def _is_own(self, filename: str) -> bool:
        if filename.startswith("<"):
            return filename.startswith(("<ipython", "<stdin", "<string", "<doctest"))
        path = str(Path(filename).resolve())
        if any(path.startswith(f"{folder}/") for folder in self.folders):
            return True
        return not is_installed(path)

    def function(self, fn: FunctionType) -> bool:
        """Whether a function was written in the project."""
        top = module_name(fn).partition(".")[0]
        if top in self.packages:
            return True
        return top not in PACKAGES and self.file(fn.__code__.co_filename)

    def type(self, kind: type) -> bool:
        """Whether a class was written in the project."""
        return self.module(kind.__module__)


def is_ours(value: object) -> bool:
    """Whether an object is of this library: such objects count by their identity alone."""
    kind = value if isinstance(value, type) else type(value)
    if isinstance(value, FunctionType):
        return value.__module__ is not None and value.__module__.partition(".")[0] in PACKAGES
    return kind.__module__.partition(".")[0] in PACKAGES


def module_name(fn: FunctionType) -> str:
    """The module that a function's names are looked up in."""
    return str(fn.__globals__.get("__name__", "__main__"))


def dotted(value: Any) -> str:
    """Module and qualified name of a function, a class, or an object's class."""
    module = getattr(value, "__module__", None) or ""
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    return f"{module}.{name}".lstrip(".")
