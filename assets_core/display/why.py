"""Why a partition is in a plan: itself, the way up, and each root cause."""

from __future__ import annotations

from collections.abc import Iterator

from assets_core.display import svg
from assets_core.planning.why import STATUSES, Hop, Root, Why
from assets_core.wording import count, human_time, one_line, reference, table

_ROOTS = 8
_HOPS = 14


def why_text(why: Why) -> str:
    """What is told, whole."""
    return "\n".join(why_lines(why))


def why_html(why: Why) -> str:
    """The same lines, the first as a heading."""
    title, *rest = why_lines(why)
    return svg.block(svg.heading(title), svg.preformatted("\n".join(rest)))


def why_lines(why: Why) -> list[str]:
    """What is told, line by line; bounded, however wide or deep the graph is."""
    lines = [f"{reference(why.asset, why.partition)} {STATUSES[why.status]}"]
    if why.built_at:
        by = f" by run {why.run}" if why.run else ""
        verb = "observed" if why.status == "source" else "built"
        verb = verb if why.version else "withdrawn"
        version = f", version {why.version[:12]}" if why.version else ""
        lines.append(f"  {verb} {human_time(why.built_at)}{by}{version}")
    lines += [f"  {line}" for change in why.changes for line in change.lines()]
    lines += _hop_lines(why.hops)
    for root in why.roots[:_ROOTS]:
        lines += _root_lines(root)
    if len(why.roots) > _ROOTS:
        lines.append(f"and {count(len(why.roots) - _ROOTS, 'more root cause')}; all with --json")
    return lines


def _hop_lines(hops: tuple[Hop, ...]) -> list[str]:
    """The way up: its beginning and its end, when it is long."""
    shown = list(hops)
    cut = len(hops) - _HOPS
    if cut > 0:
        shown = [*hops[: _HOPS // 2], *hops[-(_HOPS // 2) :]]
    rows = [["←", hop.asset, f"{hop.where} ({count(hop.count)})", hop.status] for hop in shown]
    lines = [f"  {line}" for line in table((), rows)]
    if cut > 0:
        lines.insert(_HOPS // 2, f"  … {count(cut, 'more asset')} between")
    return lines


def _root_lines(root: Root) -> Iterator[str]:
    many = f" ({count(root.count)}, told of {root.partition})" if root.count > 1 else ""
    word = {"must": "must run", "blocked": "waits", "failed": "could not be looked at"}[root.status]
    yield one_line(f"root cause: {root.asset}@{root.where}{many} {word}")
    for change in root.changes:
        yield from (f"  {line}" for line in change.lines())
