"""What a run's steps printed and logged, in one file per run: written by whole lines, read back.

How a step's output is caught is in ``capture``.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from assets_core.execution.capture import OutputLine

_calls = itertools.count(time.time_ns())
"""Names of calls: a run that is resumed by another process writes to no log of this one's."""


def _lines(head: Mapping[str, Any], entries: Sequence[OutputLine]) -> str:
    return "".join(
        json.dumps({**head, "at": at, "stream": stream, "text": line}, ensure_ascii=False) + "\n"
        for at, stream, line in entries
    )


def _entry(line: str) -> dict[str, Any] | None:
    """A line that was kept; None for one that a crash of the machine left damaged."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "asset" in entry else None


def _shared_by(entry: dict[str, Any], attempts: dict[str, int], partition: str | None) -> bool:
    """Fill in whose line of a shared call it is; False when the partition was not in the call."""
    keys = list(attempts)
    if partition is not None and partition not in attempts:
        return False
    entry["partition"] = partition or f"{keys[0]}..{keys[-1]}"
    entry["attempt"] = attempts[partition or keys[0]]
    return True


class RunLog:
    """One append-only file per run, a JSON object per line; written by whole lines, read back."""

    def __init__(self, folder: Path, run: str) -> None:
        self.path = folder / f"{run}.jsonl"
        self._lock = threading.Lock()
        self._fd = -1

    def append(
        self, asset: str, partition: str, number: int, entries: Sequence[OutputLine]
    ) -> None:
        """Keep an attempt's lines; nothing is written when there are none."""
        if entries:
            head = {"asset": asset, "partition": partition, "attempt": number}
            self._write(_lines(head, entries))

    def append_shared(
        self, asset: str, attempts: Mapping[str, int], entries: Sequence[OutputLine]
    ) -> None:
        """Keep the lines of a call for several partitions once; ``attempts`` by partition."""
        if entries:
            # The lines refer to the one before them that names the partitions.
            head = {"asset": asset, "call": str(next(_calls))}
            told = json.dumps({**head, "attempts": dict(attempts)}, ensure_ascii=False)
            self._write(f"{told}\n{_lines(head, entries)}")

    def _write(self, text: str) -> None:
        with self._lock:
            if self._fd < 0:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                self._fd = os.open(self.path, flags, 0o644)
            os.write(self._fd, text.encode("utf-8", "replace"))

    def read(
        self, asset: str | None = None, partition: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """The kept lines of a run, an asset or an asset partition, in order."""
        try:
            stream = self.path.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        calls: dict[str, dict[str, int]] = {}
        with stream:
            for line in stream:
                if not line.endswith("\n"):
                    return  # cut off by a crash
                entry = _entry(line)
                if entry is None or asset not in (None, entry["asset"]):
                    continue
                if "attempts" in entry:
                    calls[entry["call"]] = entry["attempts"]
                    continue
                shared = calls.get(entry.pop("call", ""))
                if shared is not None and not _shared_by(entry, shared, partition):
                    continue
                if partition in (None, entry["partition"]):
                    yield entry

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
