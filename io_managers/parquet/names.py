"""How a version's file is called, and how its name is read back.

``<key>.<token>.<run>.<attempt>.<schema>-<tail size>-<tail crc><suffix>``: the name holds all
that is needed to order versions, to sweep a dead run's and to verify the bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from assets_core.contracts import Target
from assets_core.errors import MissingDataError, StorageError
from assets_core.partitions import safe_path_part

ROWS, REJECTS, FILE, PART = ".pq", ".rejects.pq", ".file", ".part"

_NAME = re.compile(
    r"(?P<key>.+)\.(?P<token>\d+)\.(?P<run>[\w-]+)\.(?P<attempt>[\w-]+)"
    r"\.(?P<schema>[0-9a-f]{8})-(?P<size>\d+)-(?P<crc>[0-9a-f]{8})"
    r"(?P<suffix>\.pq|\.rejects\.pq|\.file(?:\.[A-Za-z0-9]{1,16}){0,2})",
    re.ASCII,
)
_PLAIN = re.compile(r"[\w-]{1,80}", re.ASCII)
_SUFFIX = re.compile(r"(?:\.[A-Za-z0-9]{1,16}){1,2}\Z", re.ASCII)

__all__ = [
    "FILE",
    "PART",
    "REJECTS",
    "ROWS",
    "VersionName",
    "file_suffix",
    "parse",
    "parse_location",
    "run_of",
    "safe_path_part",
    "stem",
]


@dataclass(frozen=True, slots=True)
class VersionName:
    """A version file's name, taken apart. ``stem`` is what the files of one attempt share."""

    stem: str
    key: str
    token: int
    run: str
    attempt: str
    schema: str
    size: int
    crc: int
    suffix: str

    @property
    def extension(self) -> str:
        """How the outside view's file ends."""
        return self.suffix.removeprefix(FILE) if self.suffix.startswith(FILE) else ".parquet"


def stem(target: Target) -> str:
    """What the file names of one attempt begin with."""
    if not _PLAIN.fullmatch(target.run) or not _PLAIN.fullmatch(target.attempt):
        raise StorageError(
            "A run or attempt has a name that can't be part of a file's.",
            facts={"run": repr(target.run), "attempt": repr(target.attempt)},
        )
    return f"{safe_path_part(target.partition)}.{target.token}.{target.run}.{target.attempt}"


def parse(name: str) -> VersionName | None:
    """A file's name taken apart; None for one that is no version's."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return VersionName(
        stem=name[: found.start("schema") - 1],
        key=found["key"],
        token=int(found["token"]),
        run=found["run"],
        attempt=found["attempt"],
        schema=found["schema"],
        size=int(found["size"]),
        crc=int(found["crc"], 16),
        suffix=found["suffix"],
    )


def parse_location(location: str) -> VersionName:
    """The name in a receipt's location; MissingDataError for text that was never one."""
    folder, _, name = location.partition("/")
    found = parse(name)
    if found is None or "/" in name or folder in {"", ".", ".."}:
        raise MissingDataError(
            "A receipt does not name a version of this store.",
            facts={"location": location},
            hint="Was the asset moved to another IO manager? Build the partition again.",
        )
    return found


def run_of(name: str) -> str | None:
    """The run that wrote the file ``name``, also one half-written; None for any other file."""
    for suffix in (REJECTS + PART, ROWS + PART, FILE + PART):
        if name.endswith(suffix):
            parts = name.removesuffix(suffix).rsplit(".", 3)
            return parts[2] if len(parts) == 4 else None
    found = parse(name.removesuffix(".json"))
    return found.run if found else None


def file_suffix(name: str) -> str:
    """The last one or two suffixes of a user's file name (``.csv.gz``), none if they are odd."""
    found = _SUFFIX.search(name.lstrip("."))
    return found[0] if found else ""
