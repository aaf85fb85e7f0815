"""Data versions: fingerprints of what was built, out of rows or out of a file's bytes.

The row hash itself lives in ``rowhash``, which needs numpy and pyarrow; it is imported when
``RowHasher`` or ``data_version`` is first used, so that naming a version stays cheap.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from assets_core.rowhash import RowHasher

__all__ = [
    "ALGORITHM",
    "DataVersion",
    "RowHasher",
    "data_version",
    "file_version",
    "unique_version",
]

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


def data_version(
    data: pa.Table | pa.RecordBatch | pa.RecordBatchReader,
    exclude: Iterable[str] = (),
    *,
    ordered: bool = False,
    float_digits: int | None = None,
) -> DataVersion:
    """The version of these rows; a reader is read to its end, batch by batch.

    ``ordered``: the order of the rows counts, too. ``float_digits``: floats count by that many
    significant digits.

    Raises UnhashableError for a column type that has no canonical bytes.
    """
    from assets_core.rowhash import RowHasher

    hasher = RowHasher(data.schema, exclude, ordered=ordered, float_digits=float_digits)
    if hasattr(data, "read_next_batch"):
        for batch in data:
            hasher.update(batch)
    else:
        hasher.update(data)
    return hasher.result()


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


def __getattr__(name: str) -> Any:
    if name == "RowHasher":
        from assets_core.rowhash import RowHasher

        return RowHasher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
