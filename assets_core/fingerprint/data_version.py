"""Data versions: fingerprints of what was built, out of rows or out of a file's bytes.

Rows are hashed in ``row_hash``, which needs numpy and pyarrow: naming a version stays cheap.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

ALGORITHM = "rows1"
"""Names the row hash. It is part of every version; another algorithm would get another name."""

_FILE_ALGORITHM = b"assets file1"


class DataVersion(NamedTuple):
    """Two unsigned 64-bit words; never both zero, which means that nothing is there."""

    hi: int
    lo: int

    @property
    def hex(self) -> str:
        """The 32 hexadecimal digits."""
        return f"{self.hi:016x}{self.lo:016x}"

    def __str__(self) -> str:
        return self.hex


def version_of_bytes(digest: bytes) -> DataVersion:
    """The version that a 16-byte digest stands for; never both words zero."""
    hi, lo = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")
    return DataVersion(hi, lo if hi or lo else 1)


def file_version(path: Path) -> DataVersion:
    """The version of a file's content, whatever its name and times; streams.

    Raises OSError when the file can't be read.
    """
    with Path(path).open("rb") as file:
        digest = hashlib.file_digest(
            file,
            lambda: hashlib.blake2b(digest_size=16, person=_FILE_ALGORITHM),
        )
    return version_of_bytes(digest.digest())


def unique_version() -> DataVersion:
    """A fresh version that equals no other: for data whose content can't be hashed."""
    return version_of_bytes(os.urandom(16))
