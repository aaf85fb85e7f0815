"""Lineage of one partition: exactly which versions it was built from, or who read it.

Pure values; `walks` finds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from assets_core.shown import Shown
from assets_core.wording import (
    count,
    iso_time,
    reference,
)

Direction = Literal["upstream", "downstream"]

VersionReference = tuple[str, str, int]
"""One version of an asset partition: asset, partition, recorded id (0: nothing was there)."""


@dataclass(frozen=True, slots=True)
class LineageNode:
    """One version of an asset partition.

    ``kind`` is that of the materialization, or ``missing``. ``current`` says whether this content
    is what is served now (downstream: whether it was built from what is served now). ``token``
    is what a source's observation was recognised by. ``verified`` says whether the versions found
    add up to the recorded digests; None when that can't be told any more, because partitions have
    left the key space, or because only the data came back when the state store was lost.
    ``incomplete`` says that it was built while its window was still open.
    """

    asset: str
    partition: str
    id: int
    kind: str
    data_version: str = ""
    code: str = ""
    run: str = ""
    finished: int = 0
    rows: int = 0
    token: str = ""
    current: bool = False
    verified: bool | None = True
    incomplete: bool = False


@dataclass(frozen=True, slots=True)
class LineageLink:
    """What connects a node with others: an input (upstream), or one asset's readers (downstream).

    ``name`` is the input's name, ``ranges`` the partitions it maps to, ``count`` their number.
    """

    name: str
    asset: str
    ranges: tuple[tuple[str, str], ...]
    count: int
    nodes: tuple[VersionReference, ...]
    verified: bool | None = True


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Lineage(Shown):
    """A tree over shared nodes: `children` for a walk, `to_dict` for all of it.

    ``links`` lists, for each node that was followed, where it leads; a node that several lead to
    is stored once.
    """

    direction: Direction
    root: VersionReference
    nodes: Mapping[VersionReference, LineageNode]
    links: Mapping[VersionReference, tuple[LineageLink, ...]] = field(default_factory=dict)

    @property
    def node(self) -> LineageNode:
        """The facts of this version."""
        return self.nodes[self.root]

    @property
    def asset(self) -> str:
        """The asset's name."""
        return self.root[0]

    @property
    def partition(self) -> str:
        """The partition's key."""
        return self.root[1]

    @property
    def current(self) -> bool:
        """See `LineageNode`."""
        return self.node.current

    @property
    def verified(self) -> bool | None:
        """See `LineageNode`."""
        return self.node.verified

    @property
    def inputs(self) -> tuple[LineageLink, ...]:
        """Where this version leads, by input; empty where the walk ended."""
        return self.links.get(self.root, ())

    @property
    def children(self) -> list[Lineage]:
        """What this version was built from (downstream: what read it), each as a lineage."""
        return [self.at(child) for link in self.inputs for child in link.nodes]

    def at(self, child: VersionReference) -> Lineage:
        """The same lineage seen from another of its nodes."""
        return Lineage(self.direction, child, self.nodes, self.links)

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        where = reference(self.asset, self.partition)
        return f"<Lineage {self.direction} of {where}: {count(len(self), 'version')}>"

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values: all nodes, and how they are linked, by references.

        Flat, because a chain of versions may be deeper than JSON readers can nest.
        """
        return {
            "asset": self.asset,
            "partition": self.partition,
            "direction": self.direction,
            "root": _name(self.root),
            "nodes": [self._node_dict(key, node) for key, node in self.nodes.items()],
        }

    def _node_dict(self, key: VersionReference, node: LineageNode) -> dict[str, Any]:
        return {
            "ref": _name(key),
            "asset": node.asset,
            "partition": node.partition,
            "kind": node.kind,
            "data_version": node.data_version,
            "code_version": node.code,
            "run": node.run,
            "finished": iso_time(node.finished),
            "rows": node.rows,
            "token": node.token,
            "current": node.current,
            "verified": node.verified,
            "incomplete": node.incomplete,
            "followed": key in self.links,
            "links": [_link_dict(link) for link in self.links.get(key, ())],
        }


def _link_dict(link: LineageLink) -> dict[str, Any]:
    return {
        "name": link.name,
        "asset": link.asset,
        "ranges": [list(pair) for pair in link.ranges],
        "count": link.count,
        "verified": link.verified,
        "refs": [_name(child) for child in link.nodes],
    }


def _name(key: VersionReference) -> str:
    return f"{key[0]}@{key[1]}#{key[2]}"
