"""Names from users: one canonical form, and one safe way each into paths and SQL identifiers."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

from assets_core.errors import PartitionError

SEPARATOR = "|"
"""Between the dimensions of a product's key."""

_LONGEST_KEY = 300
_LONGEST_PART = 120
# Names that stand for devices on some systems, with any suffix.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|\Z)", re.IGNORECASE | re.ASCII)
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+=")
# Cc control, Cf format (bidirectional marks, zero width), Cs surrogates, Co private, Zl/Zp breaks.
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def canonical_key(text: str) -> str:
    """The one form of a value that names a partition: as `visible`, and without ``|``.

    Raises PartitionError for text that can't be one; look-alike letters stay distinct.
    """
    key = visible(text)
    if SEPARATOR in key:
        raise PartitionError(
            f"{key!r} can't be a partition key: {SEPARATOR!r} separates dimensions."
        )
    return key


def visible(text: str) -> str:
    """The one form of a name from a user: NFC, visible, bounded, without surrounding space.

    Raises PartitionError for text that has none.
    """
    if not isinstance(text, str):
        raise PartitionError(f"{text!r} is not a partition key: it is not text.")
    key = unicodedata.normalize("NFC", text)
    problem = _problem(key)
    if problem:
        shown = key if len(key) <= 60 else key[:57] + "…"
        raise PartitionError(
            f"{shown!r} can't be a partition key: {problem}.",
            hint="Keys are short visible text, such as 'EWR' or '2024-01-01'.",
        )
    return key


def _problem(key: str) -> str:
    if not key:
        return "it is empty"
    if len(key) > _LONGEST_KEY - 1:
        return f"it has {len(key)} characters (at most {_LONGEST_KEY - 1})"
    if key != key.strip():
        return "it begins or ends with a space"
    bad = next((sign for sign in key if unicodedata.category(sign) in _REFUSED), None)
    if bad is not None:
        return f"it holds an invisible character (U+{ord(bad):04X})"
    return ""


@lru_cache(maxsize=8192)
def safe_path_part(text: str) -> str:
    """Text as one component of a path: readable, bounded, and no two texts alike.

    Letters, digits and ``-_.+=`` stay, the rest is percent-encoded; a leading dot or underscore
    is encoded too, so nothing is hidden or skipped by a scan. Long text is cut and told apart by
    a hash.
    """
    encoded = "".join(c if c in _PLAIN else _percent(c) for c in text)
    if encoded[:1] in ("", ".", "_"):
        encoded = _percent(encoded[:1]) + encoded[1:] if encoded else "%"
    if encoded[-1:] == ".":
        encoded = encoded[:-1] + _percent(".")
    if _DEVICE.match(encoded):
        encoded = _percent(encoded[0]) + encoded[1:]
    if len(encoded) > _LONGEST_PART:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        encoded = f"{encoded[: _LONGEST_PART - 34]}%~{digest}"
    return encoded


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def quote_identifier(text: str) -> str:
    """Text as a quoted SQL identifier.

    >>> quote_identifier('a"b')
    '"a""b"'
    """
    return '"' + visible(text).replace('"', '""') + '"'
