"""Source files as they are now and were when they were imported, and the cache of what they say.

Parsing and normalising a file is slow, and files seldom change; what was found out about a text is
therefore kept by the text's own hash, in memory and (see `remembered`) in a cache on disk.
"""

from __future__ import annotations

import json
import linecache
import os
import sys
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from assets_core.fingerprint.sources.rows import restored, rows_of
from assets_core.fingerprint.sources.source import Source, read_source
from assets_core.fingerprint.syntax.unit import Unit

_sources: dict[str, tuple[object, list[Source]]] = {}
_known: dict[str, Source | list[Any]] = {}
"""What was found out about texts, by their hash: as it is used, or as it was kept."""
_KEPT = 5


class Files:
    """Source files as they are at one moment: each is looked at once."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Source]] = {}

    def of(self, filename: str) -> Source | None:
        """The file (or notebook cell); None without any source."""
        return next(iter(self._versions(filename)), None)

    def of_module(self, module: ModuleType | None) -> Source | None:
        """The source of a module that lies in a file."""
        file = getattr(module, "__file__", None)
        return self.of(file) if file else None

    def unit(self, code: CodeType) -> Unit | None:
        """The unit that a code object was compiled from.

        A file may have been edited since it was imported: then the text that was read before is
        the one that counts, and where nobody read that, None.
        """
        found = (source.function(code) for source in self._versions(code.co_filename))
        return next((unit for unit in found if unit is not None), None)

    def _versions(self, filename: str) -> list[Source]:
        known = self._seen.get(filename)
        if known is None:
            known = self._seen[filename] = _versions_of(filename)
        return known


def _versions_of(filename: str) -> list[Source]:
    """What the file says now, then what it said when it was read before."""
    stamp = _stamp(filename)
    known = _sources.get(filename)
    if known is not None and known[0] == stamp:
        return known[1]
    older = known[1][: _KEPT - 1] if known else []
    try:
        text = _read(filename)
        versions = [_of_text(text, filename), *older] if text else older
    except (SyntaxError, ValueError):
        versions = older
    _sources[filename] = (stamp, versions)
    return versions


def _of_text(text: str, filename: str) -> Source:
    key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    found = _known.get(key)
    if isinstance(found, list):
        with suppress(ValueError, TypeError, KeyError, IndexError):
            found = restored(found, text)
    if not isinstance(found, Source):
        found = read_source(text, filename)
        _fresh.add(key)
    _known[key] = found
    _used.add(key)
    return found


def _stamp(filename: str) -> object:
    try:
        found = os.stat(filename)  # noqa: PTH116  # asked for every file of every command
    except (OSError, ValueError):
        entry = linecache.cache.get(filename)
        return id(entry) if entry is not None else None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(filename: str) -> str:
    if filename.endswith((".pyc", ".so", ".pyd")):
        return ""
    try:
        with tokenize.open(filename) as file:
            return file.read()
    except (OSError, ValueError):
        return "".join(linecache.getlines(filename))


# --------------------------------------------------------------------------------------------
# The cache on disk

_CACHE = "code.json"
_FORM = f"10 {sys.implementation.cache_tag} {sys.flags.optimize}"
"""What a cache must have been written by: keys of code objects are the interpreter's own."""
_fresh: set[str] = set()
_used: set[str] = set()


@contextmanager
def remembered(folder: Path) -> Iterator[None]:
    """Keep what is found out about texts in ``folder``, and use what was kept there.

    A cache: it may be deleted, and where it can't be written nothing is kept.
    """
    path = folder / _CACHE
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_bytes())
        if isinstance(kept, dict) and kept.get("form") == _FORM:
            for key, rows in kept["texts"].items():
                _known.setdefault(key, rows)
    _fresh.clear()
    yield
    if not _fresh:
        return
    known = {key: _known[key] for key in _used}
    texts = {key: one if isinstance(one, list) else rows_of(one) for key, one in known.items()}
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({"form": _FORM, "texts": texts}), encoding="utf-8")
        fresh.replace(path)
