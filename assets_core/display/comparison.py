"""What a change of code makes stale, for a comment on a pull request."""

from __future__ import annotations

from assets_core.planning.comparison import Comparison
from assets_core.wording import count, first_line, key_pairs, range_text


def against_markdown(found: Comparison, jobs: int) -> str:
    """The whole of it as Markdown."""
    told = found.summary()
    lines = [f"**{_escaped(found.title)}**", ""]
    lines += [f"- {_escaped(line)}" for line in told.because]
    if told.groups:
        lines += ["", "| asset | partitions | number | status | why |", "| --- " * 5 + "|"]
    for group in told.groups:
        pairs = key_pairs(group.ordinals, group.space)
        where = ", ".join(range_text(*pair) for pair in pairs[:_RANGES])
        cells = [group.asset, where, count(group.count), group.status, group.why]
        if len(pairs) > _RANGES:
            cells[1] = group.where
        lines.append(f"| {' | '.join(_escaped(cell) for cell in cells)} |")
    lines += ["", _escaped(told.more)] if told.more else []
    differing = list(found.changes.lines())
    if differing:
        lines += ["", "Definitions:", "", *(f"- {_escaped(line)}" for line in differing)]
    for text in (found.cost_text(jobs), *found.remarks()):
        lines += ["", _escaped(text)] if text else []
    return "\n".join(lines).strip() + "\n"


_RANGES = 3
_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#~"})


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is; ``@`` would call people, so it is kept from that."""
    return first_line(text).translate(_SPECIAL).replace("@", "@\u200b")
