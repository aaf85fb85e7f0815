"""The state store: what was built, from what, under which lease, and which runs did it.

SQLAlchemy describes the tables, and is imported when a new store is made of them. Statements are
SQL that runs on the driver: a command has no query compiler to wait for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assets_core.contracts import StateStore

__all__ = ["open_store"]


def open_store(url: str, *, create: bool = True) -> StateStore:
    """The state store at ``url``: ``sqlite:///`` and a path, or ``sqlite://`` for one in memory.

    An older store is migrated, in one transaction. With ``create`` False a store that is not there
    is a StateError, otherwise it is made, with its folder. Raises StoreTooNewError for a store that
    a newer release wrote, StoreBusyError when another process keeps it locked, and StateError for a
    file that is damaged, not a state store, or lies where it can't be locked or written.
    """
    from assets_core.state.store import SqlStore

    return SqlStore.open(url, create=create)
