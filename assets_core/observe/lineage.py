"""Lineage of one partition: exactly which versions it was built from, or who read it.

Pure: a `Ledger` answers what is recorded; the walk, and the proof that what it found adds up to
the recorded digests, are here. Walks are loops, not recursion: a partition that reads its own
past stands on a chain as long as its history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from assets_core.hashing import MASK64, combine_one, fold_edges_one
from assets_core.observe import svg
from assets_core.observe.format import (
    count,
    human_time,
    iso_time,
    one_line,
    range_text,
    reference,
    short,
)
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
from assets_core.staleness import input_tag, is_incomplete, rows_alone

Direction = Literal["upstream", "downstream"]
Reference = tuple[str, str, int]
"""One version of an asset partition: asset, partition, recorded id (0: nothing was there)."""

WIDE = 8
"""More partitions than this behind one input are told in text as one line."""

_DEEPEST = 20


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


@dataclass(frozen=True, slots=True)
class Node:
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
class Link:
    """What connects a node with others: an input (upstream), or one asset's readers (downstream).

    ``name`` is the input's name, ``ranges`` the partitions it maps to, ``count`` their number.
    """

    name: str
    asset: str
    ranges: tuple[tuple[str, str], ...]
    count: int
    nodes: tuple[Reference, ...]
    verified: bool | None = True


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Lineage:
    """A tree over shared nodes: `children` for a walk, `to_dict` for all of it.

    ``links`` lists, for each node that was followed, where it leads; a node that several lead to
    is stored once.
    """

    direction: Direction
    root: Reference
    nodes: Mapping[Reference, Node]
    links: Mapping[Reference, tuple[Link, ...]] = field(default_factory=dict)

    @property
    def node(self) -> Node:
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
        """See `Node`."""
        return self.node.current

    @property
    def verified(self) -> bool | None:
        """See `Node`."""
        return self.node.verified

    @property
    def inputs(self) -> tuple[Link, ...]:
        """Where this version leads, by input; empty where the walk ended."""
        return self.links.get(self.root, ())

    @property
    def children(self) -> list[Lineage]:
        """What this version was built from (downstream: what read it), each as a lineage."""
        return [self.at(child) for link in self.inputs for child in link.nodes]

    def at(self, child: Reference) -> Lineage:
        """The same lineage seen from another of its nodes."""
        return Lineage(self.direction, child, self.nodes, self.links)

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        where = reference(self.asset, self.partition)
        return f"<Lineage {self.direction} of {where}: {count(len(self), 'version')}>"

    def __str__(self) -> str:
        return "\n".join(_text_lines(self))

    def _repr_html_(self) -> str:
        return _html(self)

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

    def _node_dict(self, key: Reference, node: Node) -> dict[str, Any]:
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


def _link_dict(link: Link) -> dict[str, Any]:
    return {
        "name": link.name,
        "asset": link.asset,
        "ranges": [list(pair) for pair in link.ranges],
        "count": link.count,
        "verified": link.verified,
        "refs": [_name(child) for child in link.nodes],
    }


def _name(key: Reference) -> str:
    return f"{key[0]}@{key[1]}#{key[2]}"


# --------------------------------------------------------------------------------------------
# Walking


@dataclass(slots=True)
class _Walk:
    """Breadth first, so that a node is reached by its shortest way and ``depth`` is exact."""

    ledger: Ledger
    nodes: dict[Reference, Node] = field(default_factory=dict)
    links: dict[Reference, tuple[Link, ...]] = field(default_factory=dict)

    def run(
        self,
        start: tuple[Reference, Materialization | None],
        follow: Callable[[Reference, Materialization], Iterator[_Found]],
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


_Found = tuple[Link, list[tuple[Reference, Materialization | None]]]


def upstream_of(ledger: Ledger, asset: str, partition: str, depth: int | None = None) -> Lineage:
    """What the current version of a partition was built from, ``depth`` steps up (all without).

    Each node says whether its content still serves, and whether the versions found add up to the
    digest that was recorded when it was built.
    """
    walk = _Walk(ledger)
    fact = ledger.current(asset, partition)
    start = _key(asset, partition, fact)
    walk.nodes[start] = _upstream_node(ledger, asset, partition, fact)

    def follow(key: Reference, fact: Materialization) -> Iterator[_Found]:
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
            yield Link(read.name, read.asset, read.ranges, read.count, nodes, verdict), children
        walk.nodes[key] = replace(walk.nodes[key], verified=_verdict(fact, verdicts))

    walk.run((start, fact), follow, depth)
    return Lineage("upstream", start, walk.nodes, walk.links)


def _key(asset: str, partition: str, fact: Materialization | None) -> Reference:
    return asset, partition, fact.id if fact is not None else 0


def _upstream_node(
    ledger: Ledger, asset: str, partition: str, fact: Materialization | None
) -> Node:
    if fact is None:
        gone = ledger.served(asset, partition) is None
        return Node(asset, partition, 0, "missing", current=gone)
    return _node(fact, ledger.served(asset, partition) == fact.data_version)


def _node(fact: Materialization, current: bool) -> Node:
    observed = fact.kind == "observed"
    return Node(
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
        _node(fact, True) if fact is not None else Node(asset, partition, 0, "missing")
    )

    def follow(key: Reference, _: Materialization) -> Iterator[_Found]:
        by_asset: dict[str, list[Materialization]] = {}
        for reader, reads in ledger.readers(key[0], key[1]):
            by_asset.setdefault(reader.asset, []).append(reader)
            _add_reader(ledger, walk, reader, reads, key[1])
        for name, readers in by_asset.items():
            children = [(_key(name, r.partition, r), r) for r in readers]
            ranges = tuple((r.partition, r.partition) for r in readers)
            nodes = tuple(child for child, _ in children)
            yield Link(name, name, ranges, len(readers), nodes), list(children)

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


# --------------------------------------------------------------------------------------------
# Text


@dataclass(slots=True)
class _Line:
    """A line of the tree: how far in, what draws it in, and what it says."""

    prefix: str
    text: str


def _text_lines(lineage: Lineage) -> list[str]:
    lines = [_describe(lineage.direction, lineage.node)]
    if not lineage.node.id:
        lines[0] = f"{reference(lineage.asset, lineage.partition)}  not materialized"
    lines += [line.prefix + line.text for line in _tree(lineage)]
    if lineage.direction == "downstream" and not lineage.inputs:
        lines.append("└─ read by nothing")
    return lines


def _tree(lineage: Lineage) -> Iterator[_Line]:
    """Depth first without recursion; what was shown before is not shown again."""
    seen = {lineage.root}
    first = reversed(_branches(lineage, lineage.root))
    stack = [(item, "", 1, i == 0) for i, item in enumerate(first)]
    while stack:
        (label, child), indent, level, is_last = stack.pop()
        prefix = indent + ("└─ " if is_last else "├─ ")
        if child is None:
            yield _Line(prefix, label)
            continue
        again = child in seen and bool(lineage.links.get(child))
        seen.add(child)
        more = _branches(lineage, child) if not again else []
        cut = bool(more) and level >= _DEEPEST
        note = "  (see above)" if again else "  … deeper levels: to_dict()" if cut else ""
        yield _Line(prefix, label + _describe(lineage.direction, lineage.nodes[child]) + note)
        if more and not cut:
            inner = indent + ("   " if is_last else "│  ")
            stack += [(item, inner, level + 1, i == 0) for i, item in enumerate(reversed(more))]


def _branches(lineage: Lineage, key: Reference) -> list[tuple[str, Reference | None]]:
    """What stands under a node: its children, or one line for an input too wide for that."""
    out: list[tuple[str, Reference | None]] = []
    for link in lineage.links.get(key, ()):
        label = f"{one_line(link.name)}: " if link.name != link.asset else ""
        if len(link.nodes) > WIDE:
            out.append((label + _wide(lineage, link), None))
        elif not link.nodes:
            out.append((f"{label}{link.asset}  no partitions", None))
        else:
            out += [(label, child) for child in link.nodes]
    return out


def _wide(lineage: Lineage, link: Link) -> str:
    """``readings  2024-01-01..2024-03-31 (91 partitions, 1,234 rows)  2 replaced since``."""
    nodes = [lineage.nodes[child] for child in link.nodes]
    where = ", ".join(range_text(a, b) for a, b in _joined(link)[:3])
    where += ", …" if len(_joined(link)) > 3 else ""
    rows = sum(node.rows for node in nodes)
    text = f"{link.asset}  {where}  ({count(len(nodes), 'partition')}"
    text += f", {count(rows, 'row')})" if rows else ")"
    old = sum(not node.current for node in nodes)
    if old:
        since = "read older versions" if lineage.direction == "downstream" else "replaced since"
        text += f"  {count(old)} {since}"
    missing = sum(node.kind == "missing" for node in nodes)
    text += f"  {count(missing)} missing" if missing else ""
    return text + _doubt(link.verified)


def _joined(link: Link) -> list[tuple[str, str]]:
    """A link's ranges; many single partitions are told as the first and the last of them."""
    single = all(a == b for a, b in link.ranges)
    if single and len(link.ranges) > 3:
        return [(link.ranges[0][0], link.ranges[-1][1])]
    return list(link.ranges)


def _inputs_are_lost(fact: Materialization) -> bool:
    """Whether only the data came back: a state store made out of the data knows no inputs."""
    return fact.kind == "recovered" and not fact.inputs


def _describe(direction: Direction, node: Node) -> str:
    """One version in one line."""
    name = reference(node.asset, node.partition)
    if node.kind == "missing":
        return f"{name}  nothing was there" + ("" if node.current else ", something is now")
    facts = [name, f"v:{short(node.data_version)}"]
    if node.kind == "withdrawn":
        return f"{name}  withdrawn {human_time(node.finished)}  {node.token}".rstrip()
    if node.kind == "observed":
        facts.append(f"observed {human_time(node.finished)}")
        facts.append(f"token {one_line(node.token, 40)}" if node.token else "")
    else:
        facts.append(f"code:{short(node.code)}")
        facts.append(f"{node.kind} {human_time(node.finished)}")
        if node.incomplete:
            facts.append("incomplete: its window was open")
        facts.append(count(node.rows, "row") if node.rows else "")
        facts.append(f"run {node.run}" if node.run else "")
    if not node.current:
        facts.append("READ AN OLDER VERSION" if direction == "downstream" else "REPLACED SINCE")
    lost = node.kind == "recovered" and node.verified is None
    doubt = "  (what it read is not recorded)" if lost else _doubt(node.verified)
    return "  ".join(part for part in facts if part) + doubt


def _doubt(verified: bool | None) -> str:
    if verified is None:
        return "  (not verifiable: its key space has changed)"
    return "" if verified else "  DOES NOT ADD UP to the recorded digest"


# --------------------------------------------------------------------------------------------
# HTML


def _html(lineage: Lineage) -> str:
    what = "was built from" if lineage.direction == "upstream" else "was read by"
    title = f"{reference(lineage.asset, lineage.partition)} {what}"
    return svg.block(
        svg.heading(title), _picture(lineage), svg.preformatted("\n".join(_text_lines(lineage)))
    )


def _picture(lineage: Lineage) -> str:
    """The assets of the lineage, one box each, with how many versions of each take part."""
    from assets_core.observe.layout import Box, draw

    members: dict[str, list[Node]] = {}
    for node in lineage.nodes.values():
        members.setdefault(node.asset, []).append(node)
    edges = {
        (link.asset, key[0]) if lineage.direction == "upstream" else (key[0], link.asset)
        for key, links in lineage.links.items()
        for link in links
        if link.asset != key[0] and link.asset in members
    }
    boxes = [
        Box(name, name, _members_text(nodes), _state(nodes)) for name, nodes in members.items()
    ]
    if len(boxes) < 2:
        return ""
    return draw(boxes, sorted(edges), label=f"lineage of {lineage.asset}")


def _members_text(nodes: Sequence[Node]) -> str:
    if len(nodes) == 1:
        return one_line(nodes[0].partition, 30)
    return count(len({node.partition for node in nodes}), "partition")


def _state(nodes: Sequence[Node]) -> str:
    if any(node.kind == "missing" for node in nodes):
        return "missing"
    if not all(node.current for node in nodes):
        return "stale"
    return "observed" if all(node.kind == "observed" for node in nodes) else "fresh"
