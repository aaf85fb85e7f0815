"""Numbers, times and partition ranges as people read them; shared by displays and the command.

Plain text only: nothing here knows colours, widths of terminals or HTML.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from assets_core.partitions import KeySpace
from assets_core.partitions.range_sets import spans


def runs_of(ordinals: Iterable[int]) -> list[tuple[int, int]]:
    """The runs of consecutive ordinals, as inclusive pairs, in the order given.

    >>> runs_of([1, 2, 3, 7, 9, 10])
    [(1, 3), (7, 7), (9, 10)]
    """
    import numpy as np

    at = np.asarray(ordinals if isinstance(ordinals, Sequence | np.ndarray) else list(ordinals))
    if not len(at):
        return []
    breaks = np.flatnonzero(np.diff(at) != 1) + 1
    firsts, lasts = at[np.r_[0, breaks]].tolist(), at[np.r_[breaks - 1, len(at) - 1]].tolist()
    return list(zip(firsts, lasts, strict=True))


def ranges(ordinals: Iterable[int], space: KeySpace, *, most: int = 3) -> str:
    """Partitions by their keys, runs of consecutive ones as ``first..last``.

    Past ``most`` runs the rest is counted: ``2024-01-01..2024-01-05, 2024-02-01 and 3 more
    ranges``.
    """
    runs = spans(space, runs_of(ordinals))
    named = [range_text(space.key(a), space.key(b)) for a, b in runs[:most]]
    more = len(runs) - most
    tail = f" and {count(more, 'more range')}" if more > 0 else ""
    return ", ".join(named) + tail


def key_pairs(ordinals: Iterable[int], space: KeySpace) -> list[tuple[str, str]]:
    """Partitions as inclusive pairs of keys, each of which a selection takes as just these."""
    return [(space.key(a), space.key(b)) for a, b in spans(space, runs_of(ordinals))]


def range_text(first: str, last: str) -> str:
    """An inclusive range of keys, as a selection accepts it."""
    return one_line(first) if first == last else f"{one_line(first)}..{one_line(last)}"


def reference(asset: str, partition: str) -> str:
    """``asset@partition``, as the command takes it."""
    return f"{asset}@{one_line(partition)}"


def count(n: int, noun: str = "", plural: str = "") -> str:
    """A number with thousands separators, and the noun that fits it.

    >>> count(1, "partition"), count(12_345, "partition"), count(2, "entry", "entries")
    ('1 partition', '12,345 partitions', '2 entries')
    """
    if not noun:
        return f"{n:,}"
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


_STEPS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def human_duration(seconds: float | timedelta) -> str:
    """A length of time in its two largest units; negative with a minus sign.

    >>> [human_duration(s) for s in (0.0004, 0.25, 3.21, 42, 125, 7_260, 200_000, -90)]
    ['0.4 ms', '250 ms', '3.2 s', '42 s', '2 min 5 s', '2 h 1 min', '2 d 7 h', '-1 min 30 s']
    """
    value = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
    if value < 0:
        return "-" + human_duration(-value)
    if value < 0.9995:
        ms = value * 1000
        return f"{ms:.0f} ms" if ms >= 9.95 or ms == 0 else f"{ms:.1f} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    for size, unit, smaller, small_unit in _STEPS:
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"


def human_bytes(n: int) -> str:
    """A number of bytes in decimal units.

    >>> [human_bytes(n) for n in (0, 999, 1_500, 12_345_678, 5_000_000_000)]
    ['0 B', '999 B', '1.5 kB', '12 MB', '5.0 GB']
    """
    value, unit = float(n), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        # Rounding must not show "1000 kB".
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"


def human_time(micros: int) -> str:
    """Microseconds since 1970 UTC as a UTC time to the second, ``-`` for 0.

    >>> human_time(1_704_067_200_000_000)
    '2024-01-01 00:00:00Z'
    """
    if not micros:
        return "-"
    return f"{moment(micros):%Y-%m-%d %H:%M:%S}Z"


def moment(micros: int) -> datetime:
    """Microseconds since 1970 UTC as an aware datetime, exactly."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def micros_of(at: datetime) -> int:
    """An aware datetime as microseconds since 1970 UTC, exactly."""
    # In UTC, as times of one zone are subtracted by their wall clocks.
    return (at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def iso_time(micros: int) -> str | None:
    """Microseconds since 1970 UTC for JSON; None for 0."""
    return moment(micros).isoformat() if micros else None


def short(digits: str) -> str:
    """The first digits of a version; enough to tell two of them apart."""
    return digits[:8]


_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")


def one_line(text: str, width: int = 0) -> str:
    """Text without line breaks, terminal escapes or invisible directions, cut to ``width``.

    Error messages and keys come from users' data; shown raw they could repaint a terminal.
    """
    plain = " ".join(visible(text).split())
    return plain if not width or len(plain) <= width else plain[: width - 1] + "…"


def visible(text: str) -> str:
    """One line as it was written, without what could repaint a terminal; columns stay aligned."""
    plain = _ANSI.sub("", text).expandtabs()
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(c if _is_visible(c) else " " for c in plain)


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


GONE = "was observed, is not there any more; the version seen last counts"
"""What is said of a source partition that vanished."""

_SPELLED = 3


def gone_text(
    source: str,
    ordinals: Iterable[int],
    space: KeySpace,
    held_back: Mapping[str, str] | None = None,
) -> str:
    """What is said of source partitions that vanished, with the command that lets them go."""
    told = (held_back or {}).get(source, "")
    command = withdraw_command(source, ordinals, space)
    return f"{GONE}{f' ({told})' if told else ''}; to go on without: {command}"


def slow_text(partitions: int, seconds: float) -> str:
    """What is said of a source that is read whole at every look."""
    return (
        f"{count(partitions, 'partition')} read in {seconds:.1f} s to see what changed. With "
        "token= (one cheap question for a partition) or observe_range= (one for all of them) only "
        "what moved is read."
    )


def withdraw_command(source: str, ordinals: Iterable[int], space: KeySpace) -> str:
    """The command that withdraws partitions that are gone; of many ranges, all that are."""
    pairs = key_pairs(ordinals, space) if space.n > 1 else []
    words = ["assets", "withdraw", source]
    for first, last in pairs if len(pairs) <= _SPELLED else ():
        words += ["--partition", first] if first == last else ["--partitions", f"{first}..{last}"]
    return " ".join(map(shlex.quote, [*words, "--reason", "TEXT"]))


def first_line(text: str, width: int = 0) -> str:
    """The first line that says something."""
    lines = (line for line in text.splitlines() if line.strip())
    return one_line(next(lines, ""), width)


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
) -> list[str]:
    """Lines of aligned columns, two spaces apart; ``right`` are columns of numbers."""
    cells = [list(header), *map(list, rows)] if header else [list(row) for row in rows]
    if not cells:
        return []
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if i in right else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
