"""Walks through the recorded facts: what a partition was built from, and who read it.

Pure: a `Ledger` answers what is recorded; the walk, and the proof that what it found adds up to
the recorded digests, are here. Walks are loops, not recursion: a partition that reads its own
past stands on a chain as long as its history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from assets_core.fingerprint.sums import MASK64, combine_one, fold_edges_one
from assets_core.lineage.lineage import Lineage, LineageLink, LineageNode, VersionReference
from assets_core.planning.digests import input_tag, is_incomplete, rows_alone
from assets_core.records import (
    NO_VERSION,
    Code,
    InputRead,
    Materialization,
    Receipt,
    Version,
    is_withdrawn,
    version_hex,
    withdrawn_for,
)
from assets_core.wording import (
    one_line,
)


class Ledger(Protocol):
    """What a walk asks of the recorded facts."""

    def current(self, asset: str, partition: str) -> Materialization | None:
        """The materialization that serves now."""

    def served(self, asset: str, partition: str) -> Version | None:
        """Its data version alone; cheaper, and asked often."""

    def salts(self, asset: str, partitions: Sequence[str]) -> list[int | None]:
        """The salts that partitions carry in digests; None for one no longer in the key space."""

    def versions_read(
        self, fact: Materialization, read: InputRead
    ) -> list[tuple[str, Materialization | None]]:
        """The partitions behind an input of a build, with the versions that it read."""

    def version_read(
        self, fact: Materialization, read: InputRead, partition: str
    ) -> Materialization | None:
        """The version of one of those partitions."""

    def readers(
        self, asset: str, partition: str
    ) -> list[tuple[Materialization, tuple[InputRead, ...]]]:
        """Current materializations that read the partition, each with the inputs that did."""


@dataclass(slots=True)
class _Walk:
    """Breadth first, so that a node is reached by its shortest way and ``depth`` is exact."""

    ledger: Ledger
    nodes: dict[VersionReference, LineageNode] = field(default_factory=dict)
    links: dict[VersionReference, tuple[LineageLink, ...]] = field(default_factory=dict)

    def run(
        self,
        start: tuple[VersionReference, Materialization | None],
        follow: Callable[[VersionReference, Materialization], Iterator[_Found]],
        depth: int | None,
    ) -> None:
        queue = deque([(*start, 0)])
        while queue:
            key, fact, far = queue.popleft()
            if key in self.links or fact is None or (depth is not None and far >= depth):
                continue
            links = []
            for link, children in follow(key, fact):
                links.append(link)
                queue.extend((k, f, far + 1) for k, f in children if k not in self.links)
            self.links[key] = tuple(links)


_Found = tuple[LineageLink, list[tuple[VersionReference, Materialization | None]]]


def upstream_of(ledger: Ledger, asset: str, partition: str, depth: int | None = None) -> Lineage:
    """What the current version of a partition was built from, ``depth`` steps up (all without).

    Each node says whether its content still serves, and whether the versions found add up to the
    digest that was recorded when it was built.
    """
    walk = _Walk(ledger)
    fact = ledger.current(asset, partition)
    start = _key(asset, partition, fact)
    walk.nodes[start] = _upstream_node(ledger, asset, partition, fact)

    def follow(key: VersionReference, fact: Materialization) -> Iterator[_Found]:
        verdicts: list[bool | None] = []
        for read in fact.inputs:
            found = ledger.versions_read(fact, read)
            verdict = _adds_up(ledger, read, found)
            verdicts.append(verdict)
            children = []
            for partition, version in found:
                child = _key(read.asset, partition, version)
                if child not in walk.nodes:
                    walk.nodes[child] = _upstream_node(ledger, read.asset, partition, version)
                children.append((child, version))
            nodes = tuple(child for child, _ in children)
            yield (
                LineageLink(read.name, read.asset, read.ranges, read.count, nodes, verdict),
                children,
            )
        walk.nodes[key] = replace(walk.nodes[key], verified=_verdict(fact, verdicts))

    walk.run((start, fact), follow, depth)
    return Lineage("upstream", start, walk.nodes, walk.links)


def _key(asset: str, partition: str, fact: Materialization | None) -> VersionReference:
    return asset, partition, fact.id if fact is not None else 0


def _upstream_node(
    ledger: Ledger, asset: str, partition: str, fact: Materialization | None
) -> LineageNode:
    if fact is None:
        gone = ledger.served(asset, partition) is None
        return LineageNode(asset, partition, 0, "missing", current=gone)
    return _node(fact, ledger.served(asset, partition) == fact.data_version)


def _node(fact: Materialization, current: bool) -> LineageNode:
    observed = fact.kind == "observed"
    return LineageNode(
        asset=fact.asset,
        partition=fact.partition,
        id=fact.id,
        kind=fact.kind,
        data_version=version_hex(fact.data_version),
        code="" if observed else fact.code.hex,
        run=fact.run,
        finished=fact.finished,
        rows=fact.receipt.rows,
        token=fact.receipt.location if observed else one_line(withdrawn_for(fact)),
        current=current,
        incomplete=is_incomplete(fact),
    )


def _adds_up(
    ledger: Ledger, read: InputRead, found: Sequence[tuple[str, Materialization | None]]
) -> bool | None:
    """Whether versions sum to an input's recorded digest; None when a salt is not known."""
    salts = ledger.salts(read.asset, [partition for partition, _ in found])
    if len(found) != read.count or None in salts:
        return None
    versions = [NO_VERSION if one is None else one.data_version for _, one in found]
    # An input may count by its rows alone, whatever their order.
    return read.digest in (
        _summed(versions, salts),
        _summed([rows_alone(version) for version in versions], salts),
    )


def _summed(versions: Sequence[Version], salts: Sequence[int | None]) -> Version:
    high = low = 0
    for version, salt in zip(versions, salts, strict=True):
        one = combine_one(*version, salt or 0)
        high, low = (high + one[0]) & MASK64, (low + one[1]) & MASK64
    return high, low


def _verdict(fact: Materialization, verdicts: Sequence[bool | None]) -> bool | None:
    """Whether the inputs add up, each by itself and together."""
    if fact.kind == "observed" or (is_withdrawn(fact) and not fact.run):
        return True
    tags = ((input_tag(read), read.digest) for read in fact.inputs)
    whole = fold_edges_one(tags) == fact.input_digest or is_incomplete(fact)
    if not whole and _inputs_are_lost(fact):
        return None
    if False in verdicts or not whole:
        return False
    return None if None in verdicts else True


def downstream_of(ledger: Ledger, asset: str, partition: str, depth: int | None = None) -> Lineage:
    """Which current partitions read a partition, directly and through others.

    A node is ``current`` when the content that it read is what its upstream serves now; one that
    is not was built from an older version, and is stale.
    """
    walk = _Walk(ledger)
    fact = ledger.current(asset, partition)
    start = _key(asset, partition, fact)
    walk.nodes[start] = (
        _node(fact, True) if fact is not None else LineageNode(asset, partition, 0, "missing")
    )

    def follow(key: VersionReference, _: Materialization) -> Iterator[_Found]:
        by_asset: dict[str, list[Materialization]] = {}
        for reader, reads in ledger.readers(key[0], key[1]):
            by_asset.setdefault(reader.asset, []).append(reader)
            _add_reader(ledger, walk, reader, reads, key[1])
        for name, readers in by_asset.items():
            children = [(_key(name, r.partition, r), r) for r in readers]
            ranges = tuple((r.partition, r.partition) for r in readers)
            nodes = tuple(child for child, _ in children)
            yield LineageLink(name, name, ranges, len(readers), nodes), list(children)

    walk.run((start, fact or _nothing(asset, partition)), follow, depth)
    return Lineage("downstream", start, walk.nodes, walk.links)


def _nothing(asset: str, partition: str) -> Materialization:
    """Stands in for a partition with no version: what read an older one is still found."""
    empty = Receipt("", "none", "", 0)
    return Materialization("", asset, partition, Code(""), NO_VERSION, NO_VERSION, empty, 0, 0)


def _add_reader(
    ledger: Ledger,
    walk: _Walk,
    reader: Materialization,
    reads: Sequence[InputRead],
    partition: str,
) -> None:
    """Note a reader; by several ways it is current only when all of them are."""
    served = ledger.served(reads[0].asset, partition)
    found = (ledger.version_read(reader, read, partition) for read in reads)
    up_to_date = all(served == (v.data_version if v is not None else None) for v in found)
    key = _key(reader.asset, reader.partition, reader)
    known = walk.nodes.get(key)
    if known is None or (known.current and not up_to_date):
        walk.nodes[key] = _node(reader, up_to_date)


def _inputs_are_lost(fact: Materialization) -> bool:
    """Whether only the data came back: a state store made out of the data knows no inputs."""
    return fact.kind == "recovered" and not fact.inputs
