"""What is noted of a publish, in a small file beside the table that is named for its attempt.

It is on disk before the table's commit and says nothing by itself: which attempt holds, only the
table's own log knows. So both change at once.
"""
# Strings and descriptors: this lies on the path of every publish.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from assets_core.contracts import Fence, Found, Staged
from assets_core.records import Receipt
from io_managers.lake import names
from io_managers.parquet import files as _files

_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class FenceNote:
    """All that is to be told of one publish.

    ``columns`` are the logical ones, as text; ``at`` is in ms since 1970.
    """

    environment: str
    asset: str
    partition: str
    path_parts: tuple[str, ...]
    token: int
    run: str
    attempt: str
    stamp: dict[str, str]
    kind: Any
    location: str
    rows: int
    bytes: int
    rejects: str
    rejected: int
    columns: str
    fact: str
    at: int

    @property
    def stem(self) -> str:
        """The attempt's name."""
        key = names.digest(self.partition)
        return f"{key}.{self.token}.{self.run}.{self.attempt}"

    def receipt(self, store: str) -> Receipt:
        """What reads this version."""
        return Receipt(
            store,
            self.kind,
            self.location,
            self.token,
            self.rows,
            self.bytes,
            self.rejects,
            self.rejected,
        )

    def fence(self) -> Fence:
        """For rolling forward."""
        return Fence(self.asset, self.partition, self.environment, self.token, self.run, self.fact)

    def found(self, store: str, *, visible: bool) -> Found:
        """For rebuilding the state."""
        return Found(
            self.asset,
            self.partition,
            self.path_parts,
            self.environment,
            self.run,
            self.attempt,
            self.stamp,
            self.receipt(store),
            visible=visible,
            fact=self.fact,
        )


def note_of(staged: Staged, columns: str, fact: str) -> FenceNote:
    """What is noted of the publish of a staged version."""
    target = staged.target
    return FenceNote(
        environment=target.environment,
        asset=target.asset,
        partition=target.partition,
        path_parts=target.path_parts,
        token=target.token,
        run=target.run,
        attempt=target.attempt,
        stamp=dict(target.stamp),
        kind=staged.kind,
        location=staged.location,
        rows=staged.rows,
        bytes=staged.bytes,
        rejects=staged.rejects,
        rejected=staged.rejected,
        columns=columns,
        fact=fact,
        at=time.time_ns() // 1_000_000,
    )


class FenceFolder:
    """The notes of one table's publishes, one file each."""

    def __init__(self, path: str) -> None:
        self.path = path

    def write(self, notes: list[FenceNote]) -> None:
        """Put notes on disk, the names of all at once."""
        with _files.storage_errors(self.path):
            folder = _files.open_folder(self.path)
            try:
                for note in notes:
                    data = json.dumps(asdict(note), separators=(",", ":"), ensure_ascii=False)
                    _write(note.stem + _SUFFIX, folder, data.encode())
                os.fsync(folder)
            finally:
                os.close(folder)

    def read(self, stem: str) -> FenceNote | None:
        """The note of an attempt; None where there is none."""
        try:
            with open(f"{self.path}/{stem}{_SUFFIX}", encoding="utf-8") as file:
                values = json.load(file)
        except FileNotFoundError:
            return None
        return FenceNote(**{**values, "path_parts": tuple(values["path_parts"])})

    def has(self, stem: str) -> bool:
        """Whether an attempt has come as far as its publish."""
        return os.path.exists(f"{self.path}/{stem}{_SUFFIX}")  # noqa: PTH110

    def stems(self, partition: str | None = None) -> Iterator[str]:
        """The attempts that have a note, of one partition or of all."""
        begin = "" if partition is None else f"{names.digest(partition)}."
        try:
            entries = os.listdir(self.path)
        except FileNotFoundError:
            return
        for name in entries:
            if name.endswith(_SUFFIX) and name.startswith(begin):
                yield name.removesuffix(_SUFFIX)

    def remove(self, stem: str) -> None:
        """Forget an attempt; harmless when it has no note."""
        _files.remove(f"{self.path}/{stem}{_SUFFIX}")


def _write(name: str, folder: int, data: bytes) -> None:
    part = f"{name}.part"
    file = _files.create(part, folder)
    try:
        _files.write_all(file, memoryview(data))
        os.fsync(file)
    finally:
        os.close(file)
    os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
