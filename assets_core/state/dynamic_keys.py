"""Partitions that are registered at run time, by the name of their definition."""

from __future__ import annotations

from collections.abc import Sequence

from assets_core.state.part import StorePart
from assets_core.state.rows import plain
from assets_core.state.sql import Connection, inserting, scalar

_MARK = "UPDATE dynamic_partitions SET removed = ? WHERE name = ? AND key = ?"


class DynamicKeys(StorePart):
    """The registered keys. A removed one stays, marked, so that it can get its place back."""

    def dynamic_keys(self) -> dict[str, tuple[str, ...]]:
        query = """
            SELECT name, key FROM dynamic_partitions WHERE NOT removed ORDER BY name, position"""
        keys: dict[str, list[str]] = {}
        for name, key in self._rows(query):
            keys.setdefault(name, []).append(key)
        return {name: tuple(found) for name, found in keys.items()}

    def add_keys(self, name: str, keys: Sequence[str]) -> int:
        wanted = list(dict.fromkeys(plain(key, "partition") for key in keys))
        with self._database.write() as connection:
            known = _known(connection, name)
            newest = "SELECT max(position) FROM dynamic_partitions WHERE name = ?"
            first = (scalar(connection, newest, (name,)) or 0) + 1
            fresh = [key for key in wanted if key not in known]
            connection.executemany(
                inserting("dynamic_partitions", "name, key, position, removed"),
                [(name, key, position, False) for position, key in enumerate(fresh, start=first)],
            )
            back = [key for key in wanted if known.get(key)]
            connection.executemany(_MARK, [(False, name, key) for key in back])
        return len(fresh) + len(back)

    def remove_keys(self, name: str, keys: Sequence[str]) -> int:
        with self._database.write() as connection:
            known = _known(connection, name)
            there = [key for key in dict.fromkeys(keys) if known.get(key) is False]
            connection.executemany(_MARK, [(True, name, key) for key in there])
        return len(there)


def _known(connection: Connection, name: str) -> dict[str, bool]:
    """Every key that was ever registered, with whether it was removed."""
    query = "SELECT key, removed FROM dynamic_partitions WHERE name = ?"
    return {key: bool(removed) for key, removed in connection.execute(query, (name,))}
