"""What looking at sources came to, as a value that is told to people and to programs.

Pure. Looking itself is `execute.sources`; what a plan makes of it is `staleness.Sightings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from assets_core.observe.format import count, first_line, key_pairs, ranges
from assets_core.staleness import LOOKED as KINDS
from assets_core.staleness import Looked, Sightings

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
_RANGES = 3


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen, by source."""

    sources: Mapping[str, Looked]

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
        return {kind: sum(counts[kind] for counts in each) for kind in KINDS}

    def __getitem__(self, source: str) -> Looked:
        return self.sources[source]

    def errors(self) -> Iterator[tuple[str, str, Exception]]:
        """What could not be looked at: source, partition, error."""
        for name, looked in self.sources.items():
            for ordinal in looked.ordinals("failed"):
                yield name, looked.space.key(ordinal), looked.errors[ordinal]

    def sightings(self) -> Sightings:
        """What a plan has to know of it."""
        return Sightings(
            self.moved,
            {name: looked.errors for name, looked in self.sources.items() if looked.errors},
            {name: looked.ordinals("gone") for name, looked in self.sources.items() if looked.gone},
            {name: one.held_back for name, one in self.sources.items() if one.held_back},
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
        told = [f"{counts[kind]:,} {TOLD[kind]}" for kind in KINDS[:5] if counts[kind]]
        told += [f"{counts['closed']:,} {TOLD['closed']}"] if counts["closed"] else []
        what = ", ".join(told) or "nothing moved"
        return f"Looked at {count(looked, 'source partition')}: {what}"

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Source, what came of it, which partitions (ranges) and how many, for a table."""
        for name, looked in self.sources.items():
            for kind in KINDS:
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


def _source_dict(name: str, looked: Looked) -> dict[str, Any]:
    told = ("new", "changed", "withdrawn", "gone")
    return {
        "source": name,
        "counts": looked.counts,
        **{kind: _ranges(looked, kind) for kind in told},
    }


def _ranges(looked: Looked, kind: str) -> list[list[str]]:
    """Inclusive pairs of keys."""
    return [list(pair) for pair in key_pairs(looked.ordinals(kind), looked.space)]
