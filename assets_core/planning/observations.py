"""What looking at sources came to, as a value that is told to people and to programs.

Pure. Looking itself is `execution.observation`; what a plan makes of it is
`Observations`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assets_core.partitions import KeySpace
from assets_core.wording import count, first_line, key_pairs, ranges

OBSERVED_KINDS = ("new", "changed", "withdrawn", "gone", "failed", "unchanged", "closed", "absent")
"""What can come of a look at a source's partition, the most telling first."""

TOLD = {
    "new": "new",
    "changed": "changed",
    "withdrawn": "gone, withdrawn",
    "gone": "gone",
    "failed": "could not be looked at",
    "unchanged": "unchanged",
    "closed": "closed, not looked at",
    "absent": "not there",
}
_ERRORS = 5
_SLOW_SECONDS = 1.0
_RANGES = 3


@dataclass(frozen=True, slots=True)
class Observations:
    """What looking at sources came to, beside what was recorded; by source, then by ordinal.

    ``moved`` counts what has another version now. ``errors`` are partitions that could not be
    looked at: what reads them can't be built. ``gone`` are partitions that were seen before and
    are not there any more: the version seen last counts on. ``held_back`` says of a source why
    these were not withdrawn, though it asks for that. ``slow`` names sources that took long because
    nothing cheaper than reading them is declared: how many partitions were read, in how many
    seconds.
    """

    moved: int = 0
    errors: Mapping[str, Mapping[int, Exception]] = field(default_factory=dict)
    gone: Mapping[str, Sequence[int]] = field(default_factory=dict)
    held_back: Mapping[str, str] = field(default_factory=dict)
    slow: Mapping[str, tuple[int, float]] = field(default_factory=dict)


@dataclass(slots=True)
class SourceObservation:
    """What looking at partitions of one source came to, as ordinals of its key space.

    ``new`` were never seen before, ``changed`` have another version, ``gone`` were seen before
    and are not there any more, ``withdrawn`` those of them that the source lets go by itself (and
    ``held_back`` why it didn't), ``unchanged`` are as they were, ``closed`` were not looked at
    because their time is over (``closed_after``), ``absent`` are not there and never were.
    ``errors`` are those that could not be looked at. ``read`` were read to the end, since nothing
    cheaper is declared; all of it took ``seconds``.
    """

    space: KeySpace
    new: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    absent: list[int] = field(default_factory=list)
    errors: dict[int, Exception] = field(default_factory=dict)
    withdrawn: list[int] = field(default_factory=list)
    held_back: str = ""
    read: int = 0
    seconds: float = 0.0

    @property
    def moved(self) -> int:
        """How many have another version than before, or none any more."""
        return len(self.new) + len(self.changed) + len(self.withdrawn)

    def ordinals(self, kind: str) -> list[int]:
        """The partitions of one kind, in order."""
        return sorted(self.errors if kind == "failed" else getattr(self, kind))

    def keys(self, kind: str) -> list[str]:
        """Their keys."""
        return self.space.keys(self.ordinals(kind))

    @property
    def counts(self) -> dict[str, int]:
        """How many partitions there are of each kind."""
        return {kind: len(self.ordinals(kind)) for kind in OBSERVED_KINDS}


@dataclass(frozen=True, slots=True)
class ObservationReport:
    """What was seen, by source."""

    sources: Mapping[str, SourceObservation]

    @property
    def moved(self) -> int:
        """How many source partitions have another version than before."""
        return sum(looked.moved for looked in self.sources.values())

    @property
    def failed(self) -> int:
        """How many could not be looked at."""
        return sum(len(looked.errors) for looked in self.sources.values())

    @property
    def counts(self) -> dict[str, int]:
        """How many partitions there are of each kind, over all sources."""
        each = [looked.counts for looked in self.sources.values()]
        return {kind: sum(counts[kind] for counts in each) for kind in OBSERVED_KINDS}

    def __getitem__(self, source: str) -> SourceObservation:
        return self.sources[source]

    def errors(self) -> Iterator[tuple[str, str, Exception]]:
        """What could not be looked at: source, partition, error."""
        for name, looked in self.sources.items():
            for ordinal in looked.ordinals("failed"):
                yield name, looked.space.key(ordinal), looked.errors[ordinal]

    def observations(self) -> Observations:
        """What a plan has to know of it."""
        return Observations(
            self.moved,
            {name: looked.errors for name, looked in self.sources.items() if looked.errors},
            {name: looked.ordinals("gone") for name, looked in self.sources.items() if looked.gone},
            {name: one.held_back for name, one in self.sources.items() if one.held_back},
            {
                name: (one.read, one.seconds)
                for name, one in self.sources.items()
                if one.read and one.seconds >= _SLOW_SECONDS
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; of what did not move only the numbers."""
        return {
            "counts": self.counts,
            "sources": [_source_dict(name, looked) for name, looked in self.sources.items()],
            "errors": [
                {"source": source, "partition": key, "error": str(error)}
                for source, key, error in self.errors()
            ],
        }

    @property
    def title(self) -> str:
        """``Looked at 10,000 source partitions: 1 new, 2 changed``."""
        counts = self.counts
        looked = sum(counts.values()) - counts["closed"]
        told = [f"{counts[kind]:,} {TOLD[kind]}" for kind in OBSERVED_KINDS[:5] if counts[kind]]
        told += [f"{counts['closed']:,} {TOLD['closed']}"] if counts["closed"] else []
        what = ", ".join(told) or "nothing moved"
        return f"Looked at {count(looked, 'source partition')}: {what}"

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Source, what came of it, which partitions (ranges) and how many, for a table."""
        for name, looked in self.sources.items():
            for kind in OBSERVED_KINDS:
                at = looked.ordinals(kind)
                if at:
                    where = ranges(at, looked.space, most=_RANGES)
                    yield name, kind, where, f"({count(len(at))})"

    def troubles(self) -> Iterator[str]:
        """The errors, equal ones once with how many partitions they concern."""
        alike: dict[tuple[str, str], int] = {}
        for source, _, error in self.errors():
            where = (source, first_line(str(error), 160))
            alike[where] = alike.get(where, 0) + 1
        for (source, told), number in list(alike.items())[:_ERRORS]:
            yield f"{source}: {told} ({count(number, 'partition')})"

    def __str__(self) -> str:
        lines = [self.title]
        lines += [f"  {name}  {TOLD[kind]}  {at} {n}" for name, kind, at, n in self.rows()]
        return "\n".join([*lines, *(f"  {line}" for line in self.troubles())])

    def __repr__(self) -> str:
        return f"<Observation: {self.moved} moved of {sum(self.counts.values())}>"


def _source_dict(name: str, looked: SourceObservation) -> dict[str, Any]:
    told = ("new", "changed", "withdrawn", "gone")
    return {
        "source": name,
        "counts": looked.counts,
        **{kind: _ranges(looked, kind) for kind in told},
    }


def _ranges(looked: SourceObservation, kind: str) -> list[list[str]]:
    """Inclusive pairs of keys."""
    return [list(pair) for pair in key_pairs(looked.ordinals(kind), looked.space)]
