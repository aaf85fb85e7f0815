"""A range of partitions as one value: what a function or a query that builds several receives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast, overload

from assets_core.errors import PartitionError
from assets_core.partitions.definitions import Partition

if TYPE_CHECKING:
    from assets_core.partitions.definitions import KeySpace


@dataclass(frozen=True, slots=True)
class Partitions:
    """Neighbouring partitions in their order, at least one: a sequence of `Partition`.

    ``start`` and ``end`` bound them all, in the definition's zone (None without time). A test
    makes one from what it likes: ``Partitions((Partition("a"), Partition("b")))``.
    """

    items: tuple[Partition, ...]

    def __post_init__(self) -> None:
        if not self.items:
            raise PartitionError("Partitions() needs at least one partition.")

    @property
    def keys(self) -> tuple[str, ...]:
        """The key of each."""
        return tuple(partition.key for partition in self.items)

    @property
    def key(self) -> str:
        """What to call them: ``2024-01-01..2024-01-31``, or the key of the only one."""
        if len(self.items) == 1:
            return self.first.key
        return f"{self.first.key}..{self.last.key}"

    @property
    def first(self) -> Partition:
        """The first one."""
        return self.items[0]

    @property
    def last(self) -> Partition:
        """The last one."""
        return self.items[-1]

    @property
    def start(self) -> datetime | None:
        """Where the first one's window begins."""
        return self.first.start

    @property
    def end(self) -> datetime | None:
        """Where the last one's window ends (exclusive)."""
        return self.last.end

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Partition]:
        return iter(self.items)

    @overload
    def __getitem__(self, at: int) -> Partition: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Partition, ...]: ...

    def __getitem__(self, at: int | slice) -> Partition | tuple[Partition, ...]:
        return self.items[at]

    def __contains__(self, partition: object) -> bool:
        """Whether a partition, or the one of that key, is among them."""
        return partition in self.items or partition in self.keys

    def __str__(self) -> str:
        return self.key


class _Made(Sequence[Partition]):
    """Partitions of a key space, each made when somebody looks at it."""

    def __init__(self, space: KeySpace, first: int, after: int) -> None:
        self._space = space
        self._ordinals = range(first, after)

    def __len__(self) -> int:
        return len(self._ordinals)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return tuple(self._space.partition(i) for i in self._ordinals[at])
        return self._space.partition(self._ordinals[at])

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self._space.keys(self._ordinals))


class _Span(Partitions):
    """A range of a key space; a range of ten thousand costs what is asked of it."""

    __slots__ = ()

    @property
    def keys(self) -> tuple[str, ...]:
        return cast("_Made", self.items).keys


def span(space: KeySpace, first: int, after: int) -> Partitions:
    """The partitions ``[first, after)`` of a key space."""
    return _Span(cast("tuple[Partition, ...]", _Made(space, first, after)))
