"""Values as content: plain ones by what they hold, objects by what they would be made of again.

A value that has no canonical form (a connection, an open file, something that contains itself)
raises UnhashableError; what counts in its stead is decided in ``following``.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from enum import Enum
from hashlib import blake2b
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any, TypeGuard, cast

from assets_core.fingerprint.hashing import UnhashableError, digest, is_known, object_parts
from assets_core.fingerprint.ownership import dotted, is_ours

_LOCKS = (
    type(threading.Lock()),
    type(threading.RLock()),
    threading.Condition,
    threading.Semaphore,
    threading.Event,
    threading.Barrier,
)
"""What orders work and holds nothing."""

_ADDRESS = re.compile(r"(?<!\d)\d{9,20}(?!\d)", re.ASCII)

MAX_WRAPPERS = 20


class ValueReader:
    """The digest of a value; what it refers to is handed to ``link``.

    ``link`` gets functions, classes and modules, and gives the plain value that stands in their
    place. ``is_own`` tells classes of the project. ``places`` are folders whose location must not
    count: the project may be moved, or cloned elsewhere. ``in_order``: a dict's order counts.
    ``in_code``: texts may begin with such a place, too. ``secret``: the key by which secrets
    (``SecretStr``) are digested; without one they count by their type alone.
    """

    def __init__(
        self,
        link: Callable[[Any], object],
        is_own: Callable[[type], bool],
        places: tuple[str, ...] = (),
        *,
        in_order: bool = True,
        in_code: bool = True,
        secret: bytes = b"",
    ) -> None:
        self._link = link
        self._is_own = is_own
        self._places = tuple(sorted(places, key=len, reverse=True))
        self._in_order = in_order
        self._in_code = in_code
        self._secret = secret
        self._inside: dict[int, int] = {}
        self._held: list[object] = []  # so that ids are not used again while they are known

    def digest(self, value: object) -> bytes:
        """16 bytes; UnhashableError when something in the value has no canonical form."""
        text = self._text if self._places and self._in_code else None
        return digest(value, other=self._replace, text=text, in_order=self._in_order)

    def _text(self, value: str) -> object:
        if value.startswith(self._places):
            for place in self._places:
                if value == place or value.startswith(f"{place}/"):
                    return ("text in the project", value.removeprefix(place))
        if self._inside and _ADDRESS.search(value):
            return _ADDRESS.sub(self._without_address, value)
        return value

    def _without_address(self, found: re.Match[str]) -> str:
        """Of objects that name themselves by their address (SQLAlchemy's parameters)."""
        number = self._inside.get(int(found[0]))
        return found[0] if number is None else f"object {number}"

    def _replace(self, value: object) -> object:
        if is_bound(value):
            return ("bound", value.__name__, value.__self__)
        if isinstance(value, FunctionType | type | BuiltinFunctionType | ModuleType):
            return self._link(value)
        if is_ours(value):
            return identity(value)
        if self._secret and hasattr(type(value), "get_secret_value"):
            plain = digest(cast("Any", value).get_secret_value())
            return ("secret", blake2b(plain, key=self._secret, digest_size=16).digest())
        if isinstance(value, PurePath):
            return self._replace_path(value)
        if isinstance(value, logging.Logger | logging.LoggerAdapter):
            return ("logger",)
        if isinstance(value, type(os.environ)):
            return ("environment",)
        if isinstance(value, _LOCKS):
            return ("lock", type(value).__qualname__)
        if isinstance(value, threading.local):
            return ("thread local", self._link(type(value)), sorted(_attributes(value).items()))
        return self._replace_callable(value)

    def _replace_path(self, value: PurePath) -> object:
        place = next((p for p in self._places if value.is_relative_to(p)), None)
        if place is None:
            return NotImplemented
        return ("path in the project", value.relative_to(place).as_posix())

    def _replace_callable(self, value: Any) -> object:
        if isinstance(value, MethodType):
            return ("method", value.__func__, value.__self__)
        if isinstance(value, functools.partial):
            return ("partial", value.func, value.args, value.keywords)
        if isinstance(value, staticmethod | classmethod):
            return (type(value).__name__, value.__func__)
        if isinstance(value, property):
            return ("property", value.fget, value.fset, value.fdel)
        if isinstance(value, MappingProxyType):
            return dict(value)
        if isinstance(value, defaultdict):
            return ("defaultdict", value.default_factory, dict(value))
        if hasattr(value, "__wrapped__") and callable(value) and not self._is_own(type(value)):
            return ("wrapped", self._link(value))
        return self._replace_object(value)

    def _replace_object(self, value: object) -> object:
        kind = type(value)
        own = self._is_own(kind)
        if is_known(value):
            return ("of", self._link(kind), *_known_parts(value)) if own else NotImplemented
        if id(value) in self._inside:
            return ("seen", self._inside[id(value)])
        self._inside[id(value)] = len(self._inside)
        self._held.append(value)
        if own:
            return ("object", self._link(kind), sorted(_attributes(value).items()))
        made = _made_of(value)
        self._held.append(made)
        return made


def is_bound(value: object) -> TypeGuard[BuiltinFunctionType]:
    """Whether a compiled function is a method of some object, such as ``"text".upper``."""
    return isinstance(value, BuiltinFunctionType) and not isinstance(
        value.__self__, ModuleType | type | None
    )


def _known_parts(value: object) -> tuple[object, ...]:
    """What an object of the project holds whose base is of a known kind, without its address."""
    parts = object_parts(value) or ()
    fields = set(getattr(value, "__dataclass_fields__", ()))
    fields.update(getattr(type(value), "model_fields", ()))
    more = {n: v for n, v in _attributes(value).items() if n not in fields and n[:2] != "__"}
    private = getattr(value, "__pydantic_private__", None)
    if isinstance(value, Enum):
        more = {}  # what enumerations keep of themselves
    return (*parts[:1], *parts[2:], sorted(more.items()), private)


def _made_of(value: object) -> tuple[object, ...]:
    """What a library's object would be made of again, as `pickle` asks for it."""
    try:
        made = value.__reduce_ex__(4)
    except Exception as error:  # noqa: BLE001  # a library's code may raise anything
        raise UnhashableError(
            f"{dotted(type(value))} has no plain form.", facts={"reason": error}
        ) from None
    if isinstance(made, str):
        return ("made", made)
    make, arguments, state, items, pairs = (*made, None, None, None)[:5]
    found = (list(items) if items is not None else [], list(pairs) if pairs is not None else [])
    return ("made", make, arguments, state, *found)


def identity(value: Any) -> str:
    """The opaque text for an object of this library, without where in it its class lies."""
    kind = value if isinstance(value, type | FunctionType) else type(value)
    describe = getattr(value, "identity", None)
    if describe is None or isinstance(value, type):
        return f"ours {kind.__qualname__}"
    return f"ours {kind.__qualname__} {digest(describe(), other=_unfollowed).hex()}"


def _unfollowed(value: object) -> object:
    return NotImplemented if is_known(value) else type(value).__qualname__


def _attributes(value: object) -> dict[str, object]:
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                found[name] = getattr(value, name)
    return found


def functions_of(value: object) -> Iterator[FunctionType]:
    """The functions behind an attribute of a class."""
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, staticmethod | classmethod):
        yield from functions_of(value.__func__)
    elif isinstance(value, property):
        for part in (value.fget, value.fset, value.fdel):
            yield from functions_of(part)
    elif value is not None and not isinstance(value, type):
        for name in ("func", "fget", "__wrapped__"):
            inner = getattr(value, name, None)
            if inner is not None:
                yield from functions_of(inner)
                return
