"""A project on disk, built and planned by processes of its own as a person would."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

HEAD = """
import pyarrow as pa
from pathlib import Path
from assets_core import *
HERE = Path(__file__).parent
"""


class Sandbox:
    """A project on disk that is built and planned by processes of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "definitions").mkdir()
        (root / "assets.toml").touch()
        self.environment = dict(os.environ)

    def write(self, body: str, **files: str) -> None:
        text = HEAD + textwrap.dedent(body)
        (self.root / "definitions" / "__init__.py").write_text(text)
        for name, content in files.items():
            self.put(name.replace("__", "."), content)

    def put(self, name: str, content: str) -> None:
        path = self.root / "definitions" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        # Written a while ago, as far as caches can tell.
        os.utime(path, ns=(10**18 + len(content), 10**18 + hash(content) % 10**9))

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "assets_core", *words],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode in (0, 1), done.stderr
        return done.stdout + done.stderr

    def build(self, *words: str) -> None:
        out = self.run("materialize", "--yes", *words)
        assert "failed" not in out, out

    @property
    def fresh(self) -> bool:
        return "everything selected is fresh" in self.run("plan")
