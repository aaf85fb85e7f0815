"""What every partitions definition and every key space offers, and the partition itself.

A definition is the key space as declared; it resolves to a `KeySpace`: what it holds at one
instant, each partition an ordinal. Each kind of them is a module: ``time_windows``,
``named_values``, ``products``. Pure: the instant and registered keys are arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from assets_core.errors import PartitionError
from assets_core.partitions.keys import safe_path_part, visible

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Partition:
    """One key of a key space, as a function receives it.

    ``start`` and ``end`` bound its window, in the definition's zone (None without time);
    ``dimensions`` hold the key of each dimension, also as ``partition["station"]``.
    """

    key: str
    start: datetime | None = None
    end: datetime | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return self.key

    def __getitem__(self, dimension: str) -> str:
        try:
            return self.dimensions[dimension]
        except KeyError:
            known = ", ".join(self.dimensions) or "none"
            raise KeyError(
                f"no dimension {dimension!r} in {self.key!r} (there are: {known})"
            ) from None

    def __getattr__(self, name: str) -> str:
        if not name.startswith("_") and name in self.dimensions:
            return self.dimensions[name]
        raise AttributeError(f"partition {self.key!r} has no {name!r}")

    def __reduce__(self) -> tuple[object, ...]:
        # Slots with __getattr__ would otherwise look themselves up before they are set.
        return Partition, (self.key, self.start, self.end, dict(self.dimensions))


class KeySpace:
    """The partitions of a definition at one instant; ordinals run from 0 to ``n - 1``."""

    definition: PartitionsDefinition
    n: int

    @property
    def closed(self) -> int:
        """How many partitions have closed: those from this ordinal on are windows still open."""
        return self.n

    def key(self, ordinal: int) -> str:
        """The key of one partition."""
        raise NotImplementedError

    def keys(self, ordinals: Any = None) -> list[str]:
        """The keys of these ordinals (all without)."""
        chosen = range(self.n) if ordinals is None else [int(i) for i in ordinals]
        return [self.key(i) for i in chosen]

    def ordinals(self, keys: Sequence[str]) -> np.ndarray:
        """The ordinals of keys, int64; -1 for one that is not in the space."""
        raise NotImplementedError

    def salts(self) -> np.ndarray:
        """A number per partition that follows from what it is, uint64: not from its ordinal."""
        return self._salts

    @cached_property
    def _salts(self) -> np.ndarray:
        raise NotImplementedError

    def starts(self) -> np.ndarray | None:
        """Where windows begin, int64 epoch seconds; None for a space without time."""
        return None

    def ends(self) -> np.ndarray | None:
        """Where windows end, int64 epoch seconds; None for a space without time."""
        return None

    def partition(self, ordinal: int) -> Partition:
        """The partition, with its window and dimensions."""
        raise NotImplementedError

    def parts(self) -> tuple[tuple[str, KeySpace], ...]:
        """Its dimensions with their spaces; a space of one dimension holds itself."""
        raise NotImplementedError

    def ordinal(self, key: str) -> int:
        """The ordinal of a key.

        Raises PartitionError, saying what the nearest keys are.
        """
        found = self.find(visible(key))
        if found < 0:
            raise self.unknown(key)
        return found

    def find(self, key: str) -> int:
        """The ordinal of a key; -1 for one that is not in the space."""
        return int(self.ordinals([key])[0])

    def unknown(self, key: str) -> PartitionError:
        """The error that says why a key is not in the space."""
        if not self.n:
            return PartitionError(
                f"There is no partition {key!r}: there are none yet.",
                facts={"kind": self.definition.kind},
                hint="A window that has not ended needs --include-open; names must be registered.",
            )
        facts = {"first": self.key(0), "last": self.key(self.n - 1), "kind": self.definition.kind}
        close = difflib.get_close_matches(key, self.keys(range(min(self.n, 2000))), n=1, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}?" if close else ""
        return PartitionError(f"There is no partition {key!r}.", facts=facts, hint=hint)


class PartitionsDefinition:
    """The key space of an asset, as declared."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        """What sort of key space it is, in a word."""
        raise NotImplementedError

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of its dimensions."""
        raise NotImplementedError

    @property
    def dynamic_names(self) -> tuple[str, ...]:
        """The names under which keys are registered at run time."""
        return ()

    @property
    def is_dynamic(self) -> bool:
        """Whether it needs keys that were registered at run time."""
        return bool(self.dynamic_names)

    @property
    def zone_name(self) -> str:
        """The zone of its windows."""
        return "UTC"

    @property
    def has_time(self) -> bool:
        """Whether one of its dimensions is time."""
        return False

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> KeySpace:
        """Its partitions at ``now``: windows that have closed, and the open one if asked."""
        raise NotImplementedError

    def partition(self, key: str) -> Partition:
        """The partition of a key, whatever the time is now; for tests of one's functions."""
        raise NotImplementedError

    def key_parts(self, key: str) -> tuple[str, ...]:
        """The key of each dimension."""
        return (key,)

    def path_parts(self, key: str) -> tuple[str, ...]:
        """The folders of a partition in hive style, such as ``("date=2024-01-01",)``."""
        return tuple(
            f"{safe_path_part(name)}={safe_path_part(part)}"
            for name, part in zip(self.dimensions, self.key_parts(key), strict=True)
        )

    def identity(self) -> tuple[object, ...]:
        """Plain values that tell it from another."""
        raise NotImplementedError
