"""Which upstream partitions a partition reads: declared here, resolved to edges.

Mappings are plain values. Along time they count windows, so 23- and 25-hour days and months of
28 days need no special case; across dimensions each upstream dimension is mapped by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from assets_core.errors import DefinitionError
from assets_core.partitions.definitions import KeySpace, PartitionsDefinition
from assets_core.partitions.edges import (
    Edge,
    empty,
)
from assets_core.partitions.named_values import Static, Unpartitioned
from assets_core.partitions.time_windows import TimeSpace, TimeWindows
from assets_core.problems import deferred

if TYPE_CHECKING:
    import numpy as np
from assets_core.partitions.dimensions import (
    definition_parts,
    dimension_problem,
    is_time,
    partners_of,
)
from assets_core.partitions.space_edges import (
    by_dimensions,
    by_keys,
    everything_seen,
    seen_of,
    whole,
)

OWN_PAST = "an asset can read only its own past; use lag(n), or window(n, -1)."


class PartitionMapping:
    """The base of mappings."""

    __slots__ = ()

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        """Why the mapping does not fit the two definitions; None when it does."""
        if same_asset:
            return OWN_PAST
        return dimension_problem(down, up)

    def identity(self) -> tuple[object, ...]:
        """Plain values that tell it from another."""
        raise NotImplementedError

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        """The edge between two key spaces."""
        raise NotImplementedError

    def along(self, mine: KeySpace | None, theirs: KeySpace) -> Edge:
        """The edge of one upstream dimension; over one row where the reader has no partner."""
        return whole(theirs) if mine is None else self.resolve(mine, theirs)

    def __str__(self) -> str:
        name, *values = self.identity()
        return f"{name}({', '.join(str(value) for value in values)})"


@dataclass(frozen=True, slots=True)
class TimeShift(PartitionMapping):
    """Upstream windows relative to those that overlap the reader's own window.

    ``kind`` is overlap, lag, last or window; ``before`` and ``after`` count upstream windows.
    """

    kind: str = "overlap"
    before: int = 0
    after: int = 0

    def identity(self) -> tuple[object, ...]:
        if self.kind == "overlap":
            return ("overlap",)
        if self.kind == "window":
            return ("window", self.before, self.after)
        return (self.kind, self.before)

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        if same_asset and not self.is_past:
            return OWN_PAST
        if self.kind != "overlap" and (not (down.has_time and up.has_time)):
            which = "the reader" if not down.has_time else "the upstream"
            return f"{self} counts windows of time, and {which} has none."
        return dimension_problem(down, up)

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        return _along_time_by(self, down, up)

    def along(self, mine: KeySpace | None, theirs: KeySpace) -> Edge:
        if mine is None:
            return whole(theirs)
        if isinstance(mine, TimeSpace) and isinstance(theirs, TimeSpace):
            return self.along_time(mine, theirs)
        return by_keys(mine, theirs)

    @property
    def is_past(self) -> bool:
        """Whether it reads only windows before the reader's own."""
        return (self.kind == "lag" and self.before >= 1) or (
            self.kind == "window" and self.after < 0
        )

    def shift(self, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The interval of upstream windows out of the overlapping one."""
        if self.kind == "lag":
            return lo - self.before, hi - self.before
        if self.kind == "last":
            return hi - self.before, hi
        return lo - self.before, hi + self.after

    def along_time(self, down: TimeSpace, up: TimeSpace) -> Edge:
        """The edge between two spaces of windows."""
        import numpy as np

        if not down.n or not len(up.windows.edges):
            return empty(down.n, up.n)
        if down.definition == up.definition:
            lo = np.arange(down.n, dtype=np.int64)
            hi = lo + 1
        else:
            lo, hi = _touching(down, up)
        lo, hi = self.shift(lo, hi)
        # What lies past the last window of an upstream that has ended is not waited for.
        ever = np.minimum(hi, _final(up.definition))
        seen = seen_of(down, up)
        short = (ever > seen) & (lo < ever)
        short[down.closed :] = False  # an open window reads what there is
        return Edge(np.clip(lo, 0, seen), np.clip(hi, 0, seen), up.n, short)


def _touching(down: TimeSpace, up: TimeSpace) -> tuple[np.ndarray, np.ndarray]:
    """The upstream windows ``[lo, hi)`` that overlap each of the reader's.

    They are counted along the upstream's calendar as if it had no start and no end, so that
    shifts count right also from outside of it: ordinals below 0 and past the last are meant.
    """
    import numpy as np

    starts, ends, first = down.starts(), down.ends(), int(up.windows.edges[0])
    calendar = up.definition.windows_around(
        min(int(starts[0]), first), max(int(ends[-1]), first)
    ).edges
    base = int(np.searchsorted(calendar, first))
    lo = np.searchsorted(calendar, starts, side="right") - 1 - base
    hi = np.searchsorted(calendar, ends, side="left") - base
    return lo.astype(np.int64), hi.astype(np.int64)


def _final(definition: TimeWindows) -> int:
    """How many windows there will ever be; very many without an end."""
    if definition.end is None:
        return _ENDLESS
    return len(definition.windows_until(definition.last_instant()).labels)


_ENDLESS = 1 << 62


def _along_time_by(mapping: PartitionMapping, down: KeySpace, up: KeySpace) -> Edge:
    """The edge by a mapping of the upstream's first time dimension, the others as usual."""
    first = next((name for name, part in up.parts() if is_time(part)), "")
    return by_dimensions(
        down,
        up,
        lambda name, mine, theirs: (mapping if name == first else overlap()).along(mine, theirs),
    )


def overlap() -> TimeShift:
    """The upstream windows that overlap the reader's own: a day's 23, 24 or 25 hours."""
    return TimeShift()


def identity() -> PartitionMapping:
    """The upstream partition of the same key."""
    return Same()


@deferred(lambda: TimeShift("lag", 1))
def lag(n: int) -> TimeShift:
    """The upstream windows ``n`` before the reader's own."""
    return TimeShift("lag", _count(n, "lag", least=1))


@deferred(lambda: TimeShift("last", 1))
def last(n: int) -> TimeShift:
    """The ``n`` upstream windows that end with the reader's own."""
    return TimeShift("last", _count(n, "last", least=1))


@deferred(lambda: TimeShift("window", 1))
def window(before: int, after: int = 0) -> TimeShift:
    """Upstream windows from ``before`` before to ``after`` after the reader's own.

    A negative ``after`` leaves the newest out: ``window(7, -1)`` are the seven before.
    """
    if -after > before:
        raise DefinitionError(f"window({before}, {after}) holds no window.")
    return TimeShift("window", _count(before, "window", least=0), after)


def _count(n: int, what: str, least: int) -> int:
    if not isinstance(n, int) or isinstance(n, bool) or n < least:
        raise DefinitionError(f"{what}({n!r}): a whole number, at least {least}.")
    return n


@dataclass(frozen=True, slots=True)
class Everything(PartitionMapping):
    """Every upstream partition."""

    def identity(self) -> tuple[object, ...]:
        return ("all_partitions",)

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        del down, up
        return "an asset can't read all of itself; use lag(n)." if same_asset else None

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        return everything_seen(down, up)


@dataclass(frozen=True, slots=True)
class Latest(PartitionMapping):
    """The newest upstream window."""

    def identity(self) -> tuple[object, ...]:
        return ("latest",)

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        del down
        if same_asset:
            return "an asset can't read its own newest partition; use lag(n)."
        return None if up.has_time else "latest() is the newest window, and the upstream has none."

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        return _along_time_by(self, down, up)

    def along(self, mine: KeySpace | None, theirs: KeySpace) -> Edge:
        import numpy as np

        ends = np.full(1, theirs.closed) if mine is None else seen_of(mine, theirs)
        return Edge(np.maximum(ends - 1, 0), ends, theirs.n)


@dataclass(frozen=True, slots=True)
class Same(PartitionMapping):
    """The upstream partition of the same key."""

    def identity(self) -> tuple[object, ...]:
        return ("identity",)

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        if same_asset:
            return "an asset can't read the partition that it builds; use lag(n)."
        if down.dimensions and up.dimensions and down.kind != up.kind:
            return f"identity() needs equal keys; {down.kind} and {up.kind} differ."
        return dimension_problem(down, up)

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        return by_keys(down, up)


def all_partitions() -> Everything:
    """Every upstream partition."""
    return Everything()


def latest() -> Latest:
    """The newest upstream partition that has closed."""
    return Latest()


@dataclass(frozen=True, slots=True)
class ByDimension(PartitionMapping):
    """A mapping per upstream dimension, the default for those not named."""

    parts: tuple[tuple[str, PartitionMapping], ...]

    def identity(self) -> tuple[object, ...]:
        return ("by_dimension", *((name, m.identity()) for name, m in self.parts))

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        strange = {name for name, _ in self.parts} - set(up.dimensions)
        if strange:
            known = ", ".join(up.dimensions) or "none"
            return f"the upstream has no dimension {sorted(strange)[0]!r} (it has {known})."
        if same_asset:
            return None if self._reads_past(up) else OWN_PAST
        return next(filter(None, (self._problem(n, m, down, up) for n, m in self.parts)), None)

    def _reads_past(self, up: PartitionsDefinition) -> bool:
        """Only the first time dimension orders the partitions, so only its past is the past."""
        first = next((n for n, d in definition_parts(up).items() if is_time(d)), "")
        mapping = dict(self.parts).get(first)
        return isinstance(mapping, TimeShift) and mapping.is_past

    @staticmethod
    def _problem(
        name: str, mapping: PartitionMapping, down: PartitionsDefinition, up: PartitionsDefinition
    ) -> str | None:
        mine, theirs = definition_parts(down), definition_parts(up)
        partner = partners_of(mine, theirs).get(name)
        if isinstance(mapping, Everything | Latest):
            return mapping.check(down, theirs[name])
        if partner is None:
            return f"the reader has no dimension that {name!r} could follow by {mapping}."
        own, other = mine[partner], theirs[name]
        if isinstance(own, Static) and isinstance(other, Static):
            # They belong together whatever each is called by itself.
            own = replace(own, name=other.name)
        return mapping.check(own, other)

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        parts = dict(self.parts)
        return by_dimensions(
            down, up, lambda name, mine, theirs: parts.get(name, overlap()).along(mine, theirs)
        )


def by_dimension(**dimensions: PartitionMapping) -> ByDimension:
    """A mapping for each upstream dimension; those not named map as usual.

    As usual is: a dimension of the same name (or the other's time dimension, or where one of the
    two is no product, the one of the very same keys) by its windows or keys, any other whole.
    """
    return ByDimension(tuple(dimensions.items()))


def default_mapping(down: PartitionsDefinition, up: PartitionsDefinition) -> PartitionMapping:
    """How two assets map unless told: windows by overlap, values by key, dimension to dimension.

    Dimensions that only the upstream has are read whole, those that only the reader has do not
    matter; see `by_dimension` for which belong together.
    """
    del down
    return Everything() if isinstance(up, Unpartitioned) else TimeShift()
