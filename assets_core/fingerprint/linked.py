"""Digests of things that refer to one another, also in circles, whatever they are called.

Each node has content of its own and links to others, in order. A node's digest stands for all that
can be reached from it: what it holds and how it hangs together, not where it lies or what it is
named. Equal structures have equal digests.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from assets_core.fingerprint.hashing import digest

Node = Hashable
Link = tuple[object, Node | None]
"""What a link says by itself (plain values), and the node it leads to, if any."""


@dataclass(slots=True)
class Rooted:
    """Digests of nodes, each made once. ``look`` gives a node's content, links and marks.

    ``marks`` of a node are those of all that it reaches.
    """

    look: Callable[[Node], tuple[object, Sequence[Link], frozenset[str]]]
    _digests: dict[Node, bytes] = field(default_factory=dict)
    _circles: dict[Node, frozenset[Node]] = field(default_factory=dict)
    _marks: dict[Node, frozenset[str]] = field(default_factory=dict)

    def digest(self, node: Node) -> bytes:
        """16 bytes for a node and everything that it reaches."""
        self._visit(node)
        return self._of(node)

    def marks(self, node: Node) -> frozenset[str]:
        """The marks of a node and of everything that it reaches."""
        self._visit(node)
        return self._marks[node]

    def _of(self, node: Node) -> bytes:
        found = self._digests.get(node)
        if found is None:
            found = self._digests[node] = self._walk(node, self._circles[node])
        return found

    def _walk(self, node: Node, circle: frozenset[Node]) -> bytes:
        """The digest of a node that is part of a circle: the circle, in the order seen from it."""
        numbers: dict[Node, int] = {node: 0}
        queue, parts = [node], []
        for one in queue:  # grows while it is walked
            content, links, _ = self.look(one)
            told: list[object] = []
            for says, to in links:
                if to is None:
                    told.append((says,))
                elif to in circle:
                    if to not in numbers:
                        numbers[to] = len(numbers)
                        queue.append(to)
                    told.append((says, numbers[to]))
                else:
                    told.append((says, self._of(to)))
            parts.append((content, told))
        return digest("node", parts)

    def _visit(self, root: Node) -> None:
        """Find the circles (strongly connected components) below a node, deepest first.

        Source: Tarjan, "Depth-first search and linear graph algorithms", 1972; without recursion.
        """
        if root in self._circles:
            return
        index: dict[Node, int] = {root: 0}
        low: dict[Node, int] = {root: 0}
        open_nodes: list[Node] = [root]
        is_open = {root}
        path = [(root, iter(self._targets(root)))]
        while path:
            node, targets = path[-1]
            for to in targets:
                if to in self._circles:
                    continue
                if to not in index:
                    index[to] = low[to] = len(index)
                    open_nodes.append(to)
                    is_open.add(to)
                    path.append((to, iter(self._targets(to))))
                    break
                if to in is_open:
                    low[node] = min(low[node], index[to])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == index[node]:
                    members = [open_nodes.pop()]
                    while members[-1] != node:
                        members.append(open_nodes.pop())
                    is_open.difference_update(members)
                    self._close(members[::-1])

    def _targets(self, node: Node) -> list[Node]:
        return [to for _, to in self.look(node)[1] if to is not None]

    def _close(self, members: Sequence[Node]) -> None:
        circle = frozenset(members)
        marks: set[str] = set()
        for node in members:
            marks |= self.look(node)[2]
            for to in self._targets(node):
                if to not in circle:
                    marks |= self._marks[to]
        for node in members:
            self._circles[node] = circle
            self._marks[node] = frozenset(marks)
        self._of(members[0])
