"""Partitions definitions: the key space of an asset as it is declared.

Pure: the instant and the keys registered at run time are arguments of `resolve`. How users write
definitions is in ``declaring``; what they resolve to, in ``spaces``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from assets_core.errors import PartitionError
from assets_core.partitions import labels as columns
from assets_core.partitions.keys import SEPARATOR, canonical_key, safe_path_part
from assets_core.partitions.spaces import KeySpace, Partition, ProductSpace, TimeSpace, ValueSpace
from assets_core.partitions.windows import (
    CALENDARS,
    Windows,
    hour_text,
    instant_of,
    instants_named,
    offset_text,
    windows_around,
    zone,
)
from assets_core.partitions.zones import offset_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

_DAY = 86_400
_FOREVER = 1 << 60


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
    def time(self) -> TimeWindows | None:
        """The definition of its time dimension; the first where there are several."""
        return None

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


@dataclass(frozen=True, slots=True)
class TimeWindows(PartitionsDefinition):
    """Consecutive windows of logical time; see `daily` and its siblings."""

    granularity: str
    start: datetime
    end: datetime | None
    timezone: str
    offset: int
    cron: str = ""

    @property
    def kind(self) -> str:
        return self.granularity

    @property
    def dimensions(self) -> tuple[str, ...]:
        calendar = CALENDARS.get(self.granularity)
        return (
            calendar.dimension if calendar else {"hourly": "hour"}.get(self.granularity, "time"),
        )

    @property
    def zone_name(self) -> str:
        return self.timezone

    @property
    def time(self) -> TimeWindows:
        return self

    def identity(self) -> tuple[object, ...]:
        ends = self.end.isoformat() if self.end else None
        return (
            self.granularity,
            self.start.isoformat(),
            ends,
            self.timezone,
            self.offset,
            self.cron,
        )

    def first_instant(self) -> int:
        """Where its first window begins (for cron: not before), in epoch seconds."""
        return instant_of(self.start, self.timezone)

    def last_instant(self) -> int:
        """Where its windows end for good, in epoch seconds; very far without an end."""
        return _FOREVER if self.end is None else instant_of(self.end, self.timezone)

    @property
    def example(self) -> str:
        """A key of it, or what comes near."""
        windows = self.windows_until(self.first_instant() + 1)
        return self.text(windows, 0) if len(windows.labels) else self.start.isoformat()

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> TimeSpace:
        del dynamic
        if now.tzinfo is None:
            raise ValueError("now must be an aware datetime")
        instant = now.timestamp()
        windows = self.windows_until(int(instant // 1))
        # The open window is the one that has begun and not ended.
        bounds = windows.edges[:-1] if include_open else windows.edges[1:]
        return TimeSpace(self, windows, int(bounds.searchsorted(instant, "right")), instant)

    def windows_until(self, instant: int) -> Windows:
        """All windows from the first that begin by ``instant``, before the end; and some more."""
        # Rounded up, so that calls within a day share one result.
        return _windows(self, (min(instant, self.last_instant()) // _DAY + 2) * _DAY)

    def windows_around(self, low: int, high: int) -> Windows:
        """The windows that touch ``[low, high]`` and some around, as if without start and end."""
        return windows_around(self.granularity, self.cron, self.timezone, self.offset, low, high)

    def text(self, windows: Windows, ordinal: int) -> str:
        """The key of one window."""
        label = int(windows.labels[ordinal])
        calendar = CALENDARS.get(self.granularity)
        if calendar is not None:
            return calendar.text(label)
        plain = hour_text(label) if self.granularity == "hourly" else self._cron_text(label)
        if windows.twice is None or not windows.twice[ordinal]:
            return plain
        return plain + offset_text(offset_at(self.timezone, int(windows.edges[ordinal])))

    def _cron_text(self, instant: int) -> str:
        local = datetime.fromtimestamp(instant, zone(self.timezone)).replace(tzinfo=None)
        seconds = local.second or len(self.cron.split()) == 6
        return local.isoformat(timespec="seconds" if seconds else "minutes")

    def texts(self, windows: Windows, ordinals: Ints) -> list[str]:
        """The keys of these windows, by columns where there can be many."""
        quick = None
        if len(ordinals) >= 16:
            quick = columns.keys_of(self.granularity, windows.labels[ordinals])
        if quick is None:
            return [self.text(windows, i) for i in ordinals.tolist()]
        if windows.twice is not None:
            for at in windows.twice[ordinals].nonzero()[0].tolist():
                quick[at] = self.text(windows, int(ordinals[at]))
        return quick

    def partition(self, key: str) -> Partition:
        named = instants_named(key, self.granularity, self.timezone, self.offset)
        if named is not None:
            around = self.windows_around(named[0] - _DAY, named[1] + _DAY)
            space = TimeSpace(self, around, len(around.labels), named[1])
            ordinal = int(space.ordinals([key])[0])
            if ordinal >= 0:
                return space.partition(ordinal)
        raise PartitionError(
            f"{key!r} is no key of {self.kind} partitions.",
            facts={"timezone": self.timezone},
            hint=f"Their keys look like {self.example!r}.",
        )


@lru_cache(maxsize=64)
def _windows(definition: TimeWindows, horizon: int) -> Windows:
    """All windows of a definition that begin before ``horizon``."""
    first, stop = definition.first_instant(), definition.last_instant()
    found = definition.windows_around(first, max(first, min(horizon, stop)))
    starts, ends = found.edges[:-1], found.edges[1:]
    if definition.cron:
        lo, last = int(starts.searchsorted(first)), int(starts.searchsorted(stop))
    else:
        lo = int(starts.searchsorted(first, "right")) - 1
        last = int(ends.searchsorted(stop, "right"))
    hi = min(int(starts.searchsorted(horizon)), last)
    return found.part(lo, max(lo, hi))


@dataclass(frozen=True, slots=True)
class Static(PartitionsDefinition):
    """Named values; see `static`."""

    values: tuple[str, ...]
    name: str = "partition"

    def __hash__(self) -> int:
        # Spaces are looked up by definition: ten thousand names are not walked each time.
        return hash((self.name, len(self.values), self.values[:2], self.values[-1:]))

    @property
    def kind(self) -> str:
        return "static"

    @property
    def dimensions(self) -> tuple[str, ...]:
        return (self.name,)

    def identity(self) -> tuple[object, ...]:
        return ("static", self.name, *self.values)

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> ValueSpace:
        del now, dynamic, include_open
        return _static_space(self)

    def partition(self, key: str) -> Partition:
        space = _static_space(self)
        return space.partition(space.ordinal(key))


@lru_cache(maxsize=256)
def _static_space(definition: Static) -> ValueSpace:
    return ValueSpace(definition, definition.values)


@dataclass(frozen=True, slots=True)
class Dynamic(PartitionsDefinition):
    """Values registered at run time; see `dynamic`."""

    name: str

    @property
    def kind(self) -> str:
        return "dynamic"

    @property
    def dimensions(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def dynamic_names(self) -> tuple[str, ...]:
        return (self.name,)

    def identity(self) -> tuple[object, ...]:
        return ("dynamic", self.name)

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> ValueSpace:
        del now, include_open
        return ValueSpace(self, dynamic.get(self.name, ()))

    def partition(self, key: str) -> Partition:
        key = canonical_key(key)
        return Partition(key, dimensions={self.name: key})


@dataclass(frozen=True, slots=True)
class Unpartitioned(PartitionsDefinition):
    """One partition, named ``all``."""

    @property
    def kind(self) -> str:
        return "unpartitioned"

    @property
    def dimensions(self) -> tuple[str, ...]:
        return ()

    def identity(self) -> tuple[object, ...]:
        return ("unpartitioned",)

    def key_parts(self, key: str) -> tuple[str, ...]:
        del key
        return ()

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> ValueSpace:
        del now, dynamic, include_open
        return _whole_space()

    def partition(self, key: str = "all") -> Partition:
        return _whole_space().partition(_whole_space().ordinal(key))


UNPARTITIONED = Unpartitioned()
"""The definition of an asset without partitions."""


@lru_cache(maxsize=1)
def _whole_space() -> ValueSpace:
    return ValueSpace(UNPARTITIONED, ("all",))


@dataclass(frozen=True, slots=True)
class Product(PartitionsDefinition):
    """Every combination of several dimensions; see `product`."""

    parts: tuple[tuple[str, PartitionsDefinition], ...]

    @property
    def kind(self) -> str:
        return " × ".join(definition.kind for _, definition in self.parts)

    @property
    def dimensions(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.parts)

    @property
    def dynamic_names(self) -> tuple[str, ...]:
        return tuple(name for _, d in self.parts for name in d.dynamic_names)

    @property
    def time(self) -> TimeWindows | None:
        return next((d for _, d in self.parts if isinstance(d, TimeWindows)), None)

    @property
    def zone_name(self) -> str:
        return self.time.zone_name if self.time else "UTC"

    def identity(self) -> tuple[object, ...]:
        return ("product", *((name, d.identity()) for name, d in self.parts))

    def key_parts(self, key: str) -> tuple[str, ...]:
        found = tuple(key.split(SEPARATOR))
        if len(found) != len(self.parts):
            raise PartitionError(
                f"{key!r} has {len(found)} parts; partitions are {SEPARATOR.join(self.dimensions)}."
            )
        return found

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> ProductSpace:
        # Only along the first time dimension: what is open comes last, so that it can be told.
        first = next((name for name, d in self.parts if isinstance(d, TimeWindows)), "")
        spaces = [
            d.resolve(now, dynamic=dynamic, include_open=include_open and name == first)
            for name, d in self.parts
        ]
        return ProductSpace(self, spaces)

    def partition(self, key: str) -> Partition:
        each = [
            d.partition(part) for part, (_, d) in zip(self.key_parts(key), self.parts, strict=True)
        ]
        timed = next((p for p in each if p.start is not None), None)
        keys = dict(zip(self.dimensions, (p.key for p in each), strict=True))
        return Partition(
            SEPARATOR.join(keys.values()),
            timed.start if timed else None,
            timed.end if timed else None,
            keys,
        )
