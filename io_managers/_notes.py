"""Small texts beside the data: which run wrote last, which definitions the outside view follows.

Losing one is harmless (what it would have told is found out again, or not noticed), so nothing is
forced to disk; each is replaced whole, so that a torn one is never read.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from assets_core.partitions import safe_path_part


def read(folder: Path, environment: str, name: str) -> str:
    """The text that was written last, empty before the first."""
    try:
        return _path(folder, environment, name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def write(folder: Path, environment: str, name: str, text: str) -> None:
    """Put ``text`` in the place of what was there. Raises StorageError, and then left it there."""
    # Here, since a store's package imports this module.
    from io_managers.parquet.files import storage_errors

    path = _path(folder, environment, name)
    with storage_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        made, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(made, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink()
            raise


def _path(folder: Path, environment: str, name: str) -> Path:
    return folder / safe_path_part(environment) / name
