"""A state store read without being touched: a copy of it, taken through a read-only connection."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy.engine import make_url

from assets_core.contracts import StateStore
from assets_core.state import open_store
from assets_core.state.sqlite import translated


def open_copy(url: str, folder: Path) -> StateStore | None:
    """A copy in ``folder`` of the store at ``url``, opened; None where there is no such file.

    The store itself is not written to: not migrated, not made. Raises StateError for one that
    can't be read.
    """
    path = make_url(url).database
    if not path or path == ":memory:" or not Path(path).is_file():
        return None
    target = folder / "state.db"
    with translated(path):
        source = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
        copy = sqlite3.connect(target)
        try:
            source.backup(copy)
        finally:
            copy.close()
            source.close()
    return open_store(f"sqlite:///{target}", create=False)
