"""What files, folders and variables hold now, as short digests that can be recorded and compared.

Values of variables are secrets: their digests are made with a key of the project's own, kept in its
state folder. With another key they look changed, never the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from assets_core.fingerprint import tracing
from assets_core.fingerprint.trace import ReadKind, Trace
from assets_core.fingerprint.tracing import variable_now
from assets_core.fingerprint.watch import Stamp, Watch, names_in, stamp_of

_KEY = "secret.key"
_CACHE = "contents.json"
_SETTLED_NS = 2_000_000_000
"""A file that was written this long ago is not written again at the same instant."""
_BYTES = 8

ABSENT = "absent"


class Contents:
    """Digests of what the project's code reads besides code, at one moment.

    ``root`` is the project's folder, ``folder`` its state folder. Names of files are relative to
    the root, or to the code root that they lie in.
    """

    def __init__(self, root: Path, watch: Watch, folder: Path) -> None:
        self.watch = watch
        self._root = os.path.realpath(root)
        self._folder = folder
        self._files: dict[str, tuple[Stamp, str]] | None = None
        self._known: dict[tuple[str, str], str] = {}
        self._key: bytes | None = None
        self._fresh = False

    # -- by name ----------------------------------------------------------------------------

    def now(self, kind: str, name: str) -> str:
        """The digest of a file, folder, module or variable by its recorded name, as it is now."""
        known = self._known.get((kind, name))
        if known is None:
            known = self._known[kind, name] = self._now(kind, name)
        return known

    def _now(self, kind: str, name: str) -> str:
        if kind == "variable":
            return self.variable(variable_now(name))
        path = self._place(name)
        if kind == "module":
            return self._module(path)
        if kind == "folder":
            return _short(json.dumps(names_in(path, self.watch)).encode())
        return self.file(path)

    def name(self, path: str) -> str:
        """How a path is recorded, so that the project may be moved."""
        for root in (self._root, *self.watch.roots):
            if path == root or path.startswith(root + os.sep):
                return os.path.relpath(path, root)
        return path

    def _place(self, name: str) -> str:
        if name.startswith(os.sep):
            return name
        places = [f"{root}{os.sep}{name}" for root in (self._root, *self.watch.roots)]
        return next((place for place in places if os.path.lexists(place)), places[0])

    def _module(self, path: str) -> str:
        """What a module says, without its comments and layout; `ABSENT` where there is none."""
        from assets_core.fingerprint.sources.files import Files

        source = Files().of(path) if Path(path).is_file() else None
        return source.whole.lean.hex()[: 2 * _BYTES] if source is not None else self.file(path)

    def read_at_import(self, module: str) -> list[tuple[str, str, str]]:
        """Kind, name and digest of what a module read while it was imported."""
        trace = tracing.read_at_import(module)
        if trace is None:
            return []
        # A module that is loaded holds what it read then: that counts, not what is there now.
        return [one for one in self.of(trace, settled=True) if one[0] != "module"]

    def named_files(self, path: str) -> list[tuple[str, str]]:
        """Name and digest of each file of a path or pattern that counts and is there."""
        path = os.path.normpath(path)
        found = map(str, _matching(path)) if _is_pattern(path) else [path]
        # Code counts by what is reached of it.
        return [
            (self.name(one), self.file(one))
            for one in found
            if not one.endswith(".py") and self.watch.counts(one) and Path(one).is_file()
        ]

    @property
    def secret(self) -> bytes:
        """The key that digests of secrets are made with."""
        return self._secret()

    # -- what was traced ----------------------------------------------------------------------

    def of(self, trace: Trace, *, settled: bool = False) -> Iterator[tuple[ReadKind, str, str]]:
        """Kind, name and digest of each thing that was read, as it was when it was read.

        What has changed since gets a digest of its own, and so is never taken for the same: by its
        stamp where this is ``settled``, else one like no other.
        """
        for (kind, name), seen in list(trace.notes.items()):
            then: Any = seen.value
            if kind == "variable":
                yield kind, name, self.variable(then)
            elif kind == "folder":
                yield kind, self.name(name), _short(json.dumps(then).encode())
            elif kind == "module":
                yield kind, self.name(name), _then(self._module(name), name, then, settled=settled)
            elif self._is_read_file(name, trace):
                yield kind, self.name(name), _then(self.file(name), name, then, settled=settled)

    def _is_read_file(self, path: str, trace: Trace) -> bool:
        return (
            self.watch.counts(path)
            and ("folder", path) not in trace.notes
            and not Path(path).is_dir()
            and not trace.wrote(path)
        )

    # -- digests ------------------------------------------------------------------------------

    def file(self, path: str) -> str:
        """A file's digest; `ABSENT` where there is none."""
        stamp = stamp_of(path)
        if stamp is None:
            return ABSENT
        known = self._cache().get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            with Path(path).open("rb") as file:
                digest = hashlib.file_digest(file, lambda: blake2b(digest_size=_BYTES)).hexdigest()
        except OSError as error:
            return f"unreadable: {error.strerror}"
        if stamp_of(path) == stamp and time.time_ns() - stamp[0] > _SETTLED_NS:
            self._cache()[path] = (stamp, digest)
            self._fresh = True
        return digest

    def variable(self, value: str | None) -> str:
        """A variable's keyed digest; `ABSENT` where it is not set."""
        if value is None:
            return ABSENT
        return blake2b(os.fsencode(value), key=self._secret(), digest_size=_BYTES).hexdigest()

    def _secret(self) -> bytes:
        if self._key is None:
            path = self._folder / _KEY
            try:
                self._key = path.read_bytes()[:32]
            except OSError:
                self._key = b""
            if len(self._key) < 32:
                self._key = self._new_key(path)
        return self._key

    def _new_key(self, path: Path) -> bytes:
        key = secrets.token_bytes(32)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(number, "wb") as file:
                file.write(key)
            return key
        # Somebody else was faster; or it can't be kept, and everything looks changed next time.
        with contextlib.suppress(OSError):
            return path.read_bytes()[:32] or key
        return key

    # -- the cache of files -------------------------------------------------------------------

    def _cache(self) -> dict[str, tuple[Stamp, str]]:
        if self._files is None:
            self._files = {}
            with contextlib.suppress(OSError, ValueError, TypeError):
                kept = json.loads((self._folder / _CACHE).read_bytes())
                self._files = {p: ((s[0], s[1], s[2]), d) for p, (s, d) in kept.items()}
        return self._files

    def keep(self) -> None:
        """Keep digests of files for the next command; where that can't be, nothing is kept."""
        if not self._fresh:
            return
        self._fresh = False
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            fresh = self._folder / f"{_CACHE}.{os.getpid()}"
            fresh.write_text(json.dumps(self._files), encoding="utf-8")
            fresh.replace(self._folder / _CACHE)


def _then(digest: str, path: str, stamp: Stamp, *, settled: bool) -> str:
    """A file's digest, if it is still what it was when it was opened."""
    if stamp_of(path) == stamp:
        return digest
    return f"changed {stamp if settled else secrets.token_hex(8)}"


def _short(content: bytes) -> str:
    return blake2b(content, digest_size=_BYTES).hexdigest()


def declared(
    contents: Contents, root: Path, files: Sequence[str], variables: Iterable[str]
) -> dict[str, str]:
    """The parts of declared reads, by name: paths and patterns relative to the root."""
    parts: dict[str, str] = {}
    for pattern in files:
        for path in _matching(str(root / pattern)):
            name = contents.name(str(path))
            if path.is_dir():
                parts[f"folder {name}"] = contents.now("folder", name)
            else:
                parts[f"file {name}"] = contents.file(str(path))
    for name in variables:
        parts[f"variable {name}"] = contents.now("variable", name)
    return parts


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def _matching(path: str) -> list[Path]:
    """The files of a path, of a folder (all below it), or of a pattern; one that is not there."""
    full = Path(path)
    if full.is_dir():
        return sorted(path for path in full.rglob("*") if path.is_file())
    if _is_pattern(path):
        base = Path(full.anchor)
        return sorted(base.glob(str(full.relative_to(base)))) or [full]
    return [full]
