"""Named places where a test can kill the process, so that every crash is tried and none imagined.

Production code calls :func:`reach` between two steps whose order matters. It does nothing unless
the environment variable ``ASSETS_CRASH_AT`` names the place when this module is imported; with
``:stop`` at its end the process is stopped there instead, to be continued as a zombie.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading

from assets_core.errors import ConfigError

_POINTS = {
    "run.begun": "The run is recorded as running; it holds no lease.",
    "execute.loaded": "The inputs of a step are loaded; its function has not been called.",
    "execute.called": "The function has returned; nothing of its output is stored.",
    "stage.created": "The file or table of the new version exists and is empty.",
    "stage.written": "All bytes were handed to the system; nothing forces them to disk yet.",
    "stage.synced": "The bytes are on disk; the name in the folder may not be.",
    "stage.folder_synced": "The new version is durable, and nobody knows of it.",
    "audit.done": "The staged version was read back and is about to be judged.",
    "publish.begin": "A publish starts; a transactional store has opened its transaction.",
    "publish.fenced": "The fence row is updated inside the open transaction.",
    "publish.deleted": "The old rows are deleted inside the open transaction.",
    "publish.inserted": "The new rows are inserted inside the open transaction.",
    "publish.committed": "The store's transaction is committed; the fact is not recorded yet.",
    "record.begin": "The transaction that records the fact is about to start.",
    "record.committed": "The fact is recorded; the outside view still shows the old version.",
    "expose.linked": "The new version has its temporary name beside the outside view.",
    "expose.renamed": "The outside view shows the new version; its folder is not synced.",
    "conceal.begin": "A withdrawal is recorded; the outside view still shows the partition.",
    "conceal.removed": "The outside view shows nothing of it; its folder is not synced.",
    "flush.begin": "Views were swapped; their folders are about to be synced.",
    "discard.begin": "A staged version is about to be removed.",
    "discard.removed": "Its rows are removed; its rejects may not be.",
    "run.ending": "Everything is published and durable; the run is recorded as running still.",
    "recover.begin": "A dead run was found; nothing is mended yet.",
    "recover.forwarded": "What it had published is recorded; its views are as it left them.",
    "recover.exposed": "Its views are in line; what it had staged still lies there.",
    "recover.swept": "Nothing of it is left; it is recorded as running still.",
}

CRASH_POINTS: tuple[str, ...] = tuple(_POINTS)
"""Every name that :func:`reach` is called with, in the order a step passes them."""


def describe(point: str) -> str:
    """What is true when ``point`` is reached, in one sentence."""
    return _POINTS[point]


def reach(point: str) -> None:
    """Pass ``point``: nothing happens, unless it is armed; then the process gets its signal."""
    if _armed is not None and point == _armed and next(_passes) == _wanted:
        # To this thread: sent to the process, another would stop first and this one run on.
        signal.pthread_kill(threading.get_ident(), _signal)


def _parse(setting: str) -> tuple[str | None, int, signal.Signals]:
    """``name[:nth][:stop]``: the point's name, the (1-based) pass that counts, the signal."""
    if not setting:
        return None, 1, signal.SIGKILL
    bare = setting.removesuffix(":stop")
    name, _, nth = bare.partition(":")
    if name not in _POINTS or not (nth or "1").isdecimal():
        raise ConfigError(
            "ASSETS_CRASH_AT names no crash point.",
            facts={"ASSETS_CRASH_AT": setting, "known": ", ".join(CRASH_POINTS)},
            hint="Write name, name:nth or name:nth:stop, or unset it: it is for tests only.",
        )
    return name, int(nth or 1), signal.SIGSTOP if bare != setting else signal.SIGKILL


_armed, _wanted, _signal = _parse(os.environ.get("ASSETS_CRASH_AT", ""))
_passes = itertools.count(1)
