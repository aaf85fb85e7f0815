"""Values as components: constants, defaults, attributes, resources, by what they hold.

What has no canonical form makes the module count that it is in, with what that imports.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from assets_core.fingerprint.following.items import DECLARES, Component, Item, Items
from assets_core.fingerprint.following.scopes import places_of
from assets_core.fingerprint.following.targets import Targets
from assets_core.fingerprint.hashing import UnhashableError, is_known
from assets_core.fingerprint.ownership import dotted, is_ours
from assets_core.fingerprint.values import ValueReader, identity

_as_loaded: WeakKeyDictionary[Any, dict[object, tuple[object, Component]]] = WeakKeyDictionary()
"""Components of values that may change while the process runs, as they were when first seen."""


class HeldValues:
    """Expands what names hold."""

    def __init__(self, found: Items, targets: Targets) -> None:
        self._items = found
        self._targets = targets

    def expand_attribute(self, item: Item, into: Component) -> None:
        kind, value = item.value
        self._read(item, value, item.holder, into, keep_for=kind)

    def expand_constant(self, item: Item, into: Component) -> None:
        source, holder = self._items.files.of_module(item.holder), item.holder
        name = item.name.rpartition(".")[2]
        in_order = source is None or name not in source.unordered
        keep_for = holder if holder is not None and holder.__name__ != "__main__" else None
        self._read(item, item.value, holder, into, keep_for=keep_for, in_order=in_order)

    def expand_value(self, item: Item, into: Component) -> None:
        self._read(item, item.value, item.holder, into)

    def _read(
        self,
        item: Item,
        value: Any,
        holder: ModuleType | None,
        into: Component,
        *,
        keep_for: Any = None,
        in_order: bool = True,
    ) -> None:
        """A value by its content; what may change while the process runs, as it was at first.

        ``keep_for``: the object that it belongs to, where a later session finds it again.
        """
        simple = is_known(value) and not isinstance(value, dict | list | set)
        if keep_for is None or (simple and not self._is_state(item)):
            self._read_now(item, value, holder, into, in_order=in_order)
            return
        kept = _as_loaded.setdefault(keep_for, {})
        loaded = getattr(holder, "__spec__", None)
        where = (item.name, id(loaded)) if self._is_state(item) else (item.key, id(loaded))
        if where not in kept:
            self._read_now(item, value, holder, into, in_order=in_order)
            kept[where] = (value, into)
            return
        known = kept[where][1]
        into.content, into.warnings, into.marks = known.content, known.warnings, known.marks
        into.links = [
            (n, self._again(to) if isinstance(to, Item) else to, t) for n, to, t in known.links
        ]

    def _again(self, item: Item) -> Item:
        return self._items.item(item.kind, item.name, item.key, item.value, item.holder)

    def _is_state(self, item: Item) -> bool:
        source = self._items.files.of_module(item.holder)
        return source is not None and item.name.rpartition(".")[2] in source.state

    def _read_now(
        self,
        item: Item,
        value: Any,
        holder: ModuleType | None,
        into: Component,
        *,
        in_order: bool,
    ) -> None:
        places = (*self._items.own.roots, *places_of(holder))
        found = Component()
        reader = ValueReader(
            lambda one: self.referred(one, found), self._items.own.type, places, in_order=in_order
        )
        try:
            into.content.append(reader.digest(value))
        except UnhashableError as error:
            # What it holds of the project counts all the same, as far as it was seen.
            self.fall_back(f"{item.kind} {item.name}", error, holder, into)
        # In the order of names: that of a set is another in each process.
        into.links += sorted(found.links, key=lambda link: (link[0], _label(link[1])))
        into.warnings += found.warnings
        into.marks |= found.marks

    def referred(self, value: Any, into: Component) -> object:
        """The plain stand-in for a function, class or module inside a value, and a link to it."""
        if isinstance(value, ModuleType):
            if self._items.own.module(value.__name__):
                into.links += self._items.whole_module(value, "a value holds the module", into)
            return ("module", value.__name__)
        if is_ours(value):
            into.marks.add(DECLARES)
            return identity(value)
        links = self._targets.links_to("value", value, (), "value")
        if isinstance(links[0][1], str):
            return links[0][1]
        into.links += links
        return ("reference", getattr(value, "__qualname__", type(value).__qualname__))

    def fall_back(
        self, what: str, error: UnhashableError, holder: ModuleType | None, into: Component
    ) -> None:
        """Count all that could have made a value which has no canonical form."""
        into.content.append("no plain form")
        if holder is None or not self._items.own.module(holder.__name__):
            into.warnings.append(f"{what} has no plain form; only its type counts.")
            return
        into.warnings.append(
            f"{what} has no plain form ({_without_form(error)}): all of {holder.__name__} counts, "
            "with what it imports. Make it of plain values, or inside the function."
        )
        into.links.append(self._items.floor(holder.__name__))

    def expand_resource(self, item: Item, into: Component) -> None:
        """A resource by its config; secrets by a keyed digest. A version stands for all of it."""
        version = getattr(item.value, "version", None) if is_ours(item.value) else None
        if version is not None:
            into.content.append(("version", version))
            return
        found = Component()
        reader = ValueReader(
            lambda one: self.referred(one, found),
            self._items.own.type,
            self._items.own.roots,
            secret=self._items.about.secret,
        )
        try:
            into.content.append(reader.digest(item.value))
        except UnhashableError as error:
            self._resource_by_its_makers(item, error, into)
        into.links += found.links

    def _resource_by_its_makers(self, item: Item, error: UnhashableError, into: Component) -> None:
        """Count the modules of the project that hold a resource, and that of its class."""
        kind = type(item.value)
        into.content.append(("type", dotted(kind)))
        makers = [
            name
            for name, module in sorted(sys.modules.items())
            if self._items.own.module(name) and _holds_resource(module, item.value)
        ]
        if self._items.own.module(kind.__module__):
            makers.append(kind.__module__)
        into.links += [self._items.floor(name) for name in dict.fromkeys(makers)]
        what = f"all of {', '.join(makers)} counts" if makers else "only its type counts"
        into.warnings.append(
            f"resource {item.name} has no plain form ({_without_form(error)}): {what}. Give its "
            f'version: resources={{"{item.name}": Resource(…, version="1")}}.'
        )


def _without_form(error: UnhashableError) -> str:
    """What it is that has no canonical form, in few words."""
    return error.message.removesuffix(" has no plain form.").rstrip(".")


def _holds_resource(module: ModuleType, value: object) -> bool:
    """Whether a module has a resource as a global, or definitions that give it."""
    for one in vars(module).values():
        if one is value:
            return True
        resources = getattr(one, "resources", None) if is_ours(one) else None
        if isinstance(resources, dict) and any(given is value for given in resources.values()):
            return True
    return False


def _label(target: Item | str) -> str:
    return target if isinstance(target, str) else f"{target.kind} {target.name}"
