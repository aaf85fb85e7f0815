"""What code was seen to read: notes of one step, and those that later steps take over.

Whatever is kept in memory was read once and is not read again. So places that changed while a step
ran (see ``memory``) hold its notes, and a step that reaches such a place takes them over.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, Literal

from assets_core.fingerprint import memory
from assets_core.fingerprint.ownership import Own, module_name
from assets_core.fingerprint.watch import Watch, holds, names_in, stamp_of

ReadKind = Literal["file", "folder", "module", "variable"]
ReadName = tuple[ReadKind, str]
"""What was read: a path, or the name of a variable."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Noted:
    """What a note stood for when it was made: the stamp of a file or module, the names in a folder,
    the value of a variable. ``codes`` are the project's own that ran then, the innermost first;
    none where that is not known."""

    value: object
    codes: tuple[CodeType, ...] = ()


@dataclass(slots=True)
class Trace:
    """What was read while it was open.

    ``given`` are paths that the code was handed. ``roots`` are the functions and objects that the
    code begins with. ``environment``: all variables were read at once.
    """

    watch: Watch
    given: tuple[str, ...] = ()
    roots: tuple[object, ...] = ()
    notes: dict[ReadName, Noted] = field(default_factory=dict)
    environment: bool = False
    is_open: bool = True
    number: int = field(default_factory=lambda: next(_numbers))
    _made: set[str] = field(default_factory=set)
    _updated: set[str] = field(default_factory=set)
    _before: memory.Holders | None = None

    def __post_init__(self) -> None:
        if _kept or _kept_elsewhere:
            self.look()

    def note(self, kind: ReadKind, name: str, codes: Sequence[CodeType] = ()) -> None:
        """Note what is about to be read."""
        if (kind, name) in self.notes or (kind != "variable" and not self._counts(name)):
            return
        self.look()
        self.notes[kind, name] = Noted(_now(kind, name, self.watch), tuple(codes))

    def makes(self, path: str) -> None:
        """What the code writes, removes or renames is its own."""
        self._made.add(path)

    def updates(self, path: str) -> None:
        """Note a file that is opened for reading and writing: what was only read of it counts."""
        self.note("file", path)
        self._updated.add(path)

    def wrote(self, path: str) -> bool:
        """Whether a file that was read is another now because the code wrote it."""
        seen = self.notes.get(("file", path))
        return path in self._updated and seen is not None and stamp_of(path) != seen.value

    def _counts(self, path: str) -> bool:
        return (
            path not in self._made
            and self.watch.counts(path)
            and not any(holds(one, path) for one in self.given)
        )

    # -- what is kept in memory ---------------------------------------------------------------

    def look(self) -> None:
        """Before anything is read: look at all that could keep it."""
        if self._before is None and self.roots:
            self._before = self._places()
            _reading[self.number] = self

    def _places(self) -> memory.Holders:
        return memory.places(self.roots, _own_of(self.watch.more, _package(self.roots)))

    def recall(self) -> memory.Holders | None:
        """Take over the notes of what the code finds in memory, also of steps that still run."""
        for other in list(_reading.values()):
            if other is not self:
                other.keep()
        if not self.roots or not (_kept or _kept_by_caches or _kept_elsewhere):
            return None
        places = self._places()
        for place in places.keys() & _kept.keys():
            self._take_over(_kept[place].notes)
        for held, _ in places.values() if _kept_by_caches else ():
            self._take_over(_kept_by_caches.get(cached_code(held), {}))
        self._take_over(_kept_elsewhere)
        return places

    def _take_over(self, notes: Mapping[ReadName, Noted]) -> None:
        for note, seen in list(notes.items()):
            mine = self.notes.get(note)
            # What the same code has read again it did not have in memory.
            if mine is None or (mine.value != seen.value and mine.codes[:1] != seen.codes[:1]):
                self.notes[note] = Noted(seen.value)

    def close(self) -> None:
        """The code is done: what may be in memory now holds what was noted."""
        self.is_open = False
        places = self.recall()
        if self._before is not None:
            self.keep(places)
            del _reading[self.number]

    def keep(self, places: memory.Holders | None = None) -> None:
        """What has changed may hold what was noted. ``places``: as they are now, where known."""
        if not self.notes or self._before is None:
            return
        after = places if places is not None else self._places()
        with _lock:
            for place, held in memory.changed(self._before, after).items():
                _kept.setdefault(place, _Kept(held)).notes.update(self._notes_in(held))

    def _notes_in(self, held: object) -> dict[ReadName, Noted]:
        """What a place may hold: a cache, what its function read; any other, all that was read."""
        if type(held) is not memory.CACHE:
            return dict(self.notes)
        code, notes = cached_code(held), dict(self.notes)
        return {note: seen for note, seen in notes.items() if not seen.codes or code in seen.codes}


@dataclass(slots=True)
class _Kept:
    """A place, held so that it stays that place, and the notes of what it may hold."""

    held: object
    notes: dict[ReadName, Noted] = field(default_factory=dict)


_kept: dict[memory.Holder, _Kept] = {}
_kept_by_caches: dict[CodeType | None, dict[ReadName, Noted]] = {}
"""What cached functions read while modules were imported, by their code."""
_kept_elsewhere: dict[ReadName, Noted] = {}
"""What processes that live on have read: they work for any step."""
_reading: dict[int, Trace] = {}
"""Traces that are open and have notes, by their numbers."""
_lock = threading.Lock()


def keep_for_caches(codes: Iterable[CodeType], note: ReadName, seen: Noted) -> None:
    """These functions ran while a module was imported, and read something."""
    for code in codes:
        _kept_by_caches.setdefault(code, {})[note] = seen


def keep_for_all(note: ReadName, seen: Noted) -> None:
    """A process that lives on has read something."""
    _kept_elsewhere[note] = seen


def cached_code(held: Any) -> CodeType | None:
    """The code of the function that a cache is wrapped around."""
    if type(held) in (FunctionType, memory.CACHE):
        inner = held.__dict__.get("__wrapped__")
        return inner.__code__ if isinstance(inner, FunctionType) else None
    return None


def _now(kind: ReadKind, name: str, watch: Watch) -> object:
    if kind == "variable":
        return plain_environment().get(name)
    return names_in(name, watch) if kind == "folder" else stamp_of(name)


def plain_environment() -> dict[str, str]:
    """All variables, without anybody hearing of it."""
    # Past the watch, which answers for the environment itself.
    data: dict[Any, Any] = os.environ._data  # type: ignore[attr-defined]  # noqa: SLF001
    return {os.fsdecode(name): os.fsdecode(value) for name, value in data.items()}


def _package(roots: Iterable[object]) -> str:
    for root in roots:
        if isinstance(root, FunctionType):
            return module_name(root).partition(".")[0]
    return "__main__"


_KEEPING = ("linecache", "gettext")
"""Modules of libraries that keep what they read: what they hold is looked at as well."""


@functools.lru_cache(maxsize=64)
def _own_of(folders: tuple[str, ...], package: str) -> Own:
    return Own((), folders, frozenset({"__main__", package, *_KEEPING}))
