"""A small package on disk that tests write, import and fingerprint, one version after the other."""

from __future__ import annotations

import importlib
import sys
import textwrap
from pathlib import Path

from assets_core.fingerprint.versions import CodeVersion, code_version

PACKAGE = "tracked_project"


class Project:
    """A small package on disk, written and imported anew for each version of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0

    def version(self, files: str | dict[str, str], name: str = "build", **options) -> CodeVersion:
        """Import the package with these files; the code version of ``main.<name>``."""
        module = self.load(files)
        return code_version(getattr(module, name), project_roots=[self.folder], **options)

    def load(self, files: str | dict[str, str]):
        files = {"main": files} if isinstance(files, str) else files
        self.forget()
        self.count += 1
        self.folder = self.root / str(self.count)
        package = self.folder / PACKAGE
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(files.get("__init__", ""))
        for name, text in files.items():
            if "." in name:  # a file of data
                (package / name).write_text(text)
            else:
                (package / f"{name}.py").write_text(textwrap.dedent(text))
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()
        self.module = importlib.import_module(f"{PACKAGE}.main")
        return self.module

    def forget(self) -> None:
        for name in [n for n in sys.modules if n.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        sys.path[:] = [p for p in sys.path if not p.startswith(str(self.root))]
