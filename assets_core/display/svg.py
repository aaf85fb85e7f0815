"""Small functions that write the HTML and SVG of displays, everything escaped.

No script, no style sheet, no outside file: a fragment works in any notebook and in a saved page.
Text and lines take the page's own colour (``currentColor``), so light and dark themes both read.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

COLOURS = {
    "fresh": "#2f9e5f",
    "pass": "#2f9e5f",
    "done": "#2f9e5f",
    "built": "#2f9e5f",
    "recovered": "#2f9e5f",
    "observed": "#3f86c9",
    "withdrawn": "#9aa3ad",
    "accepted": "#3f86c9",
    "backfilled": "#3f86c9",
    "unchanged": "#63b3a0",
    "released": "#63b3a0",
    "stale": "#d9961a",
    "invalidated": "#d9961a",
    "warn": "#d9961a",
    "retried": "#d9961a",
    "may": "#d9b53a",
    "must": "#df6f2c",
    "failed": "#d5433c",
    "late": "#d5433c",
    "refused": "#d5433c",
    "died": "#d5433c",
    "blocked": "#9a62c2",
    "interrupted": "#9a62c2",
    "missing": "#9aa0a8",
    "not seen": "#9aa0a8",
    "not due": "#9aa0a8",
}
"""One colour per word, of a lightness that is seen on white and on black."""

_PLAIN = "#9aa0a8"
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FONT = "font-family:ui-sans-serif,system-ui,sans-serif;font-size:12px"


def colour(word: str) -> str:
    """The colour that stands for a state."""
    return COLOURS.get(word, _PLAIN)


def text_of(value: object) -> str:
    """Text made safe for HTML and for XML, wherever it came from."""
    return html.escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", str(value)), quote=True)


def element(tag: str, *children: str, **attributes: object) -> str:
    """An element. Attribute names write ``_`` for ``-``; children are markup already."""
    written = "".join(
        f' {name.strip("_").replace("_", "-")}="{text_of(_number(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    inside = "".join(children)
    return f"<{tag}{written}>{inside}</{tag}>" if inside else f"<{tag}{written}/>"


def _number(value: object) -> object:
    return f"{value:.1f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def drawing(width: float, height: float, *children: str, label: str) -> str:
    """An ``<svg>`` that shrinks with its page; ``label`` says what it shows."""
    return element(
        "svg",
        *children,
        xmlns="http://www.w3.org/2000/svg",
        width=float(width),
        height=float(height),
        viewBox=f"0 0 {_number(float(width))} {_number(float(height))}",
        role="img",
        aria_label=label,
        font_family="ui-sans-serif,system-ui,sans-serif",
        font_size=12,
        fill="currentColor",
        style="max-width:100%;height:auto;vertical-align:middle",
    )


def title(text: str) -> str:
    """What a shape tells under the pointer."""
    return element("title", text_of(text))


def rect(x: float, y: float, width: float, height: float, tip: str = "", **more: object) -> str:
    """A rectangle."""
    inside = (title(tip),) if tip else ()
    return element(
        "rect",
        *inside,
        x=float(x),
        y=float(y),
        width=float(width),
        height=float(height),
        **more,
    )


def text(x: float, y: float, content: str, **more: object) -> str:
    """A line of text that starts at ``x`` (unless ``text_anchor`` says otherwise)."""
    return element("text", text_of(content), x=float(x), y=float(y), **more)


def line(x1: float, y1: float, x2: float, y2: float, **more: object) -> str:
    """A straight line."""
    style = {"stroke": "currentColor", "stroke_opacity": 0.35, **more}
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **style)


def path(d: str, **more: object) -> str:
    """A curve that is not filled."""
    style = {"fill": "none", "stroke": "currentColor", "stroke_opacity": 0.45, **more}
    return element("path", d=d, **style)


def strip(runs: Sequence[tuple[str, int]], *, width: float, label: str, height: float = 12) -> str:
    """A bar of states, each as long as its number of partitions; neighbours alike are one shape."""
    total = sum(length for _, length in runs)
    shapes, at = [], 0
    for word, length in merged(runs):
        x, w = width * at / total, width * length / total
        # A hair's width more closes the seams between neighbours.
        tip = f"{word}: {length:,}"
        shapes.append(
            rect(x, 0, w + 0.3, height, tip, fill=colour(word), fill_opacity=opacity(word))
        )
        at += length
    frame = rect(
        0.5,
        0.5,
        width - 1,
        height - 1,
        fill="none",
        stroke="currentColor",
        rx=2,
        stroke_opacity=0.25,
    )
    return drawing(width, height, *shapes, frame, label=label)


def opacity(word: str) -> float:
    """What is not there is drawn faintly."""
    return 0.35 if colour(word) == _PLAIN else 1.0


def merged(runs: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Neighbours of one word as one."""
    out: list[tuple[str, int]] = []
    for word, length in runs:
        if out and out[-1][0] == word:
            out[-1] = (word, out[-1][1] + length)
        elif length:
            out.append((word, length))
    return out


# --------------------------------------------------------------------------------------------
# HTML around the drawings


def block(*parts: str) -> str:
    """A display: its parts under one another."""
    return f'<div style="{FONT};line-height:1.5">{"".join(parts)}</div>'


def heading(content: str, after: str = "") -> str:
    """A display's first line; ``after`` is markup."""
    return f'<div style="margin:4px 0"><b>{text_of(content)}</b> {after}</div>'


def note(content: str) -> str:
    """A sentence."""
    return f'<div style="{FONT};margin:4px 0">{text_of(content)}</div>'


def preformatted(content: str) -> str:
    """Lines kept as they are."""
    style = "white-space:pre;overflow-x:auto;font-family:ui-monospace,monospace;font-size:12px"
    return f'<pre style="{style};line-height:1.35;margin:4px 0">{text_of(content)}</pre>'


def badge(word: str) -> str:
    """A word with a dot of its colour."""
    dot = (
        f'<span style="display:inline-block;width:8px;height:8px;border-radius:50%;'
        f'margin-right:5px;background:{colour(word)}"></span>'
    )
    return f'<span style="white-space:nowrap">{dot}{text_of(word)}</span>'


def html_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
) -> str:
    """A table; cells are markup already, headers are text, ``right`` are columns of numbers."""
    # Notebooks style tables themselves (right-aligned, striped), so each cell says what it wants.
    cell = "padding:2px 10px 2px 0;border:0;vertical-align:top;background:none;"

    def aligned(i: int) -> str:
        return cell + ("text-align:right" if i in right else "text-align:left")

    head = "".join(
        f'<th style="{aligned(i)};font-weight:600;opacity:.7">{text_of(name)}</th>'
        for i, name in enumerate(header)
    )
    body = "".join(
        "<tr>" + "".join(f'<td style="{aligned(i)}">{c}</td>' for i, c in enumerate(row)) + "</tr>"
        for row in rows
    )
    style = f"{FONT};border-collapse:collapse;margin:4px 0;border:0"
    return f'<table style="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
