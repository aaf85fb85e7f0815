"""What this library consists of, told by where it lies: said once, for all that tells it apart.

What is the project's own and what was installed is told in ``fingerprint.ownership``.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGES = ("assets_core", "io_managers")
"""The top packages that this library is shipped as."""

HOME = Path(__file__).resolve().parent.parent
"""The folder that they lie in: site-packages, or a checkout."""

FOLDERS = tuple(f"{HOME / name}{os.sep}" for name in PACKAGES)


def is_our_file(filename: str) -> bool:
    """Whether a source file, as a code object names it, is one of this library's."""
    return filename.startswith(FOLDERS)


def is_our_module(name: str) -> bool:
    """Whether a module's dotted name is one of this library's."""
    return name.partition(".")[0] in PACKAGES
