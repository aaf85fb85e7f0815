"""Lineages: a tree of versions, and a drawing of the assets that take part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assets_core.display import svg
from assets_core.display.layout import Box, draw
from assets_core.lineage.lineage import (
    Direction,
    Lineage,
    LineageLink,
    LineageNode,
    VersionReference,
)
from assets_core.wording import count, human_time, one_line, range_text, reference, short

WIDE = 8
"""More partitions than this behind one input are told in text as one line."""

_DEEPEST = 20


@dataclass(slots=True)
class _Line:
    """A line of the tree: how far in, what draws it in, and what it says."""

    prefix: str
    text: str


def lineage_lines(lineage: Lineage) -> list[str]:
    """The tree: a line for each version, or for each input too wide for that."""
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


def _branches(lineage: Lineage, key: VersionReference) -> list[tuple[str, VersionReference | None]]:
    """What stands under a node: its children, or one line for an input too wide for that."""
    out: list[tuple[str, VersionReference | None]] = []
    for link in lineage.links.get(key, ()):
        label = f"{one_line(link.name)}: " if link.name != link.asset else ""
        if len(link.nodes) > WIDE:
            out.append((label + _wide(lineage, link), None))
        elif not link.nodes:
            out.append((f"{label}{link.asset}  no partitions", None))
        else:
            out += [(label, child) for child in link.nodes]
    return out


def _wide(lineage: Lineage, link: LineageLink) -> str:
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


def _joined(link: LineageLink) -> list[tuple[str, str]]:
    """A link's ranges; many single partitions are told as the first and the last of them."""
    single = all(a == b for a, b in link.ranges)
    if single and len(link.ranges) > 3:
        return [(link.ranges[0][0], link.ranges[-1][1])]
    return list(link.ranges)


def _describe(direction: Direction, node: LineageNode) -> str:
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


def lineage_text(lineage: Lineage) -> str:
    """The tree, whole."""
    return "\n".join(lineage_lines(lineage))


def lineage_html(lineage: Lineage) -> str:
    """The tree under a drawing of its assets."""
    what = "was built from" if lineage.direction == "upstream" else "was read by"
    title = f"{reference(lineage.asset, lineage.partition)} {what}"
    return svg.block(
        svg.heading(title), _picture(lineage), svg.preformatted("\n".join(lineage_lines(lineage)))
    )


def _picture(lineage: Lineage) -> str:
    """The assets of the lineage, one box each, with how many versions of each take part."""
    members: dict[str, list[LineageNode]] = {}
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


def _members_text(nodes: Sequence[LineageNode]) -> str:
    if len(nodes) == 1:
        return one_line(nodes[0].partition, 30)
    return count(len({node.partition for node in nodes}), "partition")


def _state(nodes: Sequence[LineageNode]) -> str:
    if any(node.kind == "missing" for node in nodes):
        return "missing"
    if not all(node.current for node in nodes):
        return "stale"
    return "observed" if all(node.kind == "observed" for node in nodes) else "fresh"
