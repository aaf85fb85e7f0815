"""Mappings by key: one's own table, or one's own function of the partition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from assets_core.partitions.definitions import KeySpace, Partition, PartitionsDefinition
from assets_core.partitions.edges import (
    Edge,
)
from assets_core.partitions.mappings import OWN_PAST, PartitionMapping
from assets_core.partitions.space_edges import (
    edge_of_keys,
)


@dataclass(frozen=True, slots=True)
class Table(PartitionMapping):
    """Upstream keys by key: a static table."""

    rows: tuple[tuple[str, tuple[str, ...]], ...]

    def identity(self) -> tuple[object, ...]:
        return ("table", *self.rows)

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        if same_asset:
            return OWN_PAST
        for definition, keys in (
            (down, [key for key, _ in self.rows]),
            (up, [key for _, values in self.rows for key in values]),
        ):
            values = getattr(definition, "values", None)
            strange = sorted(set(keys) - set(values)) if values is not None else []
            if strange:
                return f"its table names {strange[0]!r}, which is no partition there."
        return None

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        rows = dict(self.rows)
        return edge_of_keys([rows.get(key, ()) for key in down.keys(None)], down, up)


@dataclass(frozen=True, slots=True)
class Through(PartitionMapping):
    """A user's own function of the partition, giving upstream keys."""

    function: Callable[[Partition], Iterable[str]]

    def identity(self) -> tuple[object, ...]:
        return ("mapped", getattr(self.function, "__qualname__", repr(self.function)))

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        del down, up
        return "an asset can read only its own past; use lag(n)." if same_asset else None

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        return edge_of_keys([self._keys(down.partition(i)) for i in range(down.n)], down, up)

    def _keys(self, partition: Partition) -> Sequence[str]:
        given = self.function(partition)
        return [str(given)] if isinstance(given, str | Partition) else [str(key) for key in given]


def table(rows: Mapping[str, str | Iterable[str]]) -> Table:
    """A static table: the reader's key → upstream key or keys."""
    return Table(
        tuple(
            (key, (value,) if isinstance(value, str) else tuple(value))
            for key, value in rows.items()
        )
    )


def mapped(
    through: Callable[[Partition], Iterable[str]] | Mapping[str, str | Iterable[str]],
) -> Table | Through:
    """One's own mapping: a table, or a function of the partition that gives upstream keys.

    A key that the function gives and that is no partition (yet) is waited for.
    """
    return table(through) if isinstance(through, Mapping) else Through(through)
