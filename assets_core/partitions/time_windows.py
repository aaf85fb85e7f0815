"""Time windows: the definition, and the key space that it resolves to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from assets_core.errors import PartitionError
from assets_core.fingerprint.sums import mix64
from assets_core.partitions import labels as columns
from assets_core.partitions.calendars import CALENDARS
from assets_core.partitions.times import instant_of, instants_named
from assets_core.partitions.windows import Windows, hour_text, offset_text, windows_around
from assets_core.partitions.zones import offset_at, zone

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
from assets_core.partitions.definitions import KeySpace, Partition, PartitionsDefinition

_DAY = 86_400

_YEAR = 366 * _DAY
_FOREVER = 1 << 60


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
    def has_time(self) -> bool:
        return True

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
            space = _year_around(self, named[0] // _YEAR)
            ordinal = space.holding(named[0], key)
            if ordinal >= 0:
                return space.partition(ordinal)
        raise PartitionError(
            f"{key!r} is no key of {self.kind} partitions.",
            facts={"timezone": self.timezone},
            hint=f"Their keys look like {self.example!r}.",
        )


@lru_cache(maxsize=32)
def _year_around(definition: TimeWindows, index: int) -> TimeSpace:
    """Its windows in one of the stretches of 366 days since 1970, as if without start and end."""
    low, high = index * _YEAR - _DAY, (index + 1) * _YEAR + _DAY
    windows = definition.windows_around(low, high)
    return TimeSpace(definition, windows, len(windows.labels), high)


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


class TimeSpace(KeySpace):
    """Time windows; ``now`` (epoch seconds) is when it was resolved."""

    definition: TimeWindows

    def __init__(self, definition: TimeWindows, windows: Windows, n: int, now: float) -> None:
        self.definition = definition
        self.windows = windows
        self.n = n
        self.now = now

    @cached_property
    def closed(self) -> int:
        return int(self.ends().searchsorted(self.now, "right"))

    def key(self, ordinal: int) -> str:
        if not 0 <= ordinal < self.n:
            raise IndexError(f"no partition {ordinal} among {self.n}")
        return self.definition.text(self.windows, ordinal)

    def keys(self, ordinals: Any = None) -> list[str]:
        import numpy as np

        chosen = np.arange(self.n) if ordinals is None else np.asarray(ordinals, np.int64)
        return self.definition.texts(self.windows, chosen)

    def ordinals(self, keys: Sequence[str]) -> Ints:
        import numpy as np

        if self.definition.cron or not self.n:
            known = self._by_key if self.n else {}
            return np.fromiter((known.get(key, -1) for key in keys), np.int64, len(keys))
        labels = columns.labels_of(self.definition.granularity, keys)
        found = self._labelled(labels)
        if self._doubled:
            for i in np.flatnonzero(labels == columns.NO_LABEL).tolist():
                found[i] = self._doubled.get(keys[i], -1)
        return found

    def find(self, key: str) -> int:
        # Without numpy's fixed costs: many ask for one key at a time.
        own = self.definition
        named = instants_named(key, own.granularity, own.timezone, own.offset)
        return -1 if named is None else self.holding(named[0], key)

    def holding(self, instant: int, key: str) -> int:
        """The ordinal of the window that holds an instant, if that is its key; else -1."""
        at = int(self.windows.edges.searchsorted(instant, "right")) - 1
        return at if 0 <= at < self.n and self.key(at) == key else -1

    def _labelled(self, labels: Ints) -> Ints:
        """The ordinals of labels that come once, -1 for others."""
        import numpy as np

        own, twice = self.windows.labels[: self.n], self.windows.twice
        first, last = int(own[0]), int(own[-1])
        if twice is None and last - first == self.n - 1:
            return np.where((labels >= first) & (labels <= last), labels - first, -1)
        # Labels rise but among the hours that come twice, which are not looked for here.
        at = np.minimum(own.searchsorted(labels), self.n - 1)
        hit = own[at] == labels
        if twice is not None:
            hit &= ~twice[at]
        return np.where(hit, at, -1)

    @cached_property
    def _by_key(self) -> dict[str, int]:
        return {key: i for i, key in enumerate(self.keys())}

    @cached_property
    def _doubled(self) -> dict[str, int]:
        """The ordinals of the hours that come twice, by key."""
        twice = self.windows.twice
        if twice is None:
            return {}
        return {self.key(i): i for i in twice[: self.n].nonzero()[0].tolist()}

    def unknown(self, key: str) -> PartitionError:
        found = instants_named(
            key, self.definition.granularity, self.definition.timezone, self.definition.offset
        )
        why, hint = self._why_not(key, found) if found else (": it is not a time", "")
        facts: dict[str, object] = {"kind": self.definition.kind}
        if self.n:
            facts = {"first": self.key(0), "last": self.key(self.n - 1), **facts}
        example = self.key(0) if self.n else self.definition.example
        hint = hint or f"Its keys look like {example!r}."
        return PartitionError(f"There is no partition {key!r}{why}.", facts=facts, hint=hint)

    def _why_not(self, key: str, named: tuple[int, int]) -> tuple[str, str]:
        start, end = named
        first, last = self.definition.first_instant(), self.definition.last_instant()
        doubled = [known for known in self._doubled if known.startswith(key)]
        if len(key) >= 13 and doubled:
            return ": the clock shows that time twice", f"Write {' or '.join(doubled)}."
        if end <= first:
            return ": it lies before the first", f"They start at {self.definition.example}."
        if start >= last:
            return ": it lies after the last", ""
        if start > self.now:
            return ": its window has not begun yet", "Future windows can't be built."
        if not self.n or start >= int(self.windows.edges[self.n]):
            return ": its window is not closed yet", "Wait, or use --include-open."
        return "", ""

    @cached_property
    def _salts(self) -> np.ndarray:
        import numpy as np

        return mix64(self.starts().astype(np.uint64) + np.uint64(_TIME_SALT))

    def starts(self) -> np.ndarray:
        return self.windows.edges[: self.n]

    def ends(self) -> np.ndarray:
        return self.windows.edges[1 : self.n + 1]

    def partition(self, ordinal: int) -> Partition:
        key, at = self.key(ordinal), zone(self.definition.zone_name)
        low, high = self.windows.edges[ordinal : ordinal + 2].tolist()
        return Partition(
            key,
            datetime.fromtimestamp(low, at),
            datetime.fromtimestamp(high, at),
            {self.definition.dimensions[0]: key},
        )

    def parts(self) -> tuple[tuple[str, KeySpace], ...]:
        return ((self.definition.dimensions[0], self),)


_TIME_SALT = 0x5DEECE66D
