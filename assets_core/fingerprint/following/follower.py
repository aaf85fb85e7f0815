"""Follows code to all of the project's own that it reaches.

Every function, class, constant or module that is reached is an item. What an item says by itself
and which others it names is its component; how components make a version is in ``versions``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from assets_core.fingerprint.following.classes import Classes
from assets_core.fingerprint.following.functions import Functions
from assets_core.fingerprint.following.held import HeldValues
from assets_core.fingerprint.following.items import About, Component, Item, Items
from assets_core.fingerprint.following.modules import Modules
from assets_core.fingerprint.following.names import Resolver
from assets_core.fingerprint.following.targets import Targets
from assets_core.fingerprint.following.units import Binder
from assets_core.fingerprint.ownership import Own


class Follower:
    """Items and their components: what several assets share is looked at once.

    Use one for one moment: it does not notice what changes while it lives.
    """

    def __init__(self, own: Own, about: About) -> None:
        self.own = own
        self._items = Items(own, about)
        self._targets = Targets(self._items)
        resolver = Resolver(self._items, self._targets)
        binder = Binder(self._items, resolver)
        functions = Functions(self._items, self._targets, resolver, binder)
        self.held = HeldValues(self._items, self._targets)
        self.modules = Modules(self._items, self._targets, resolver, binder)
        classes = Classes(self._items, self._targets, binder, functions)
        self._components: dict[object, Component] = {}
        self._expand: dict[str, Callable[[Item, Component], None]] = {
            "function": functions.expand_function,
            "helper": functions.expand_function,
            "signature": functions.expand_signature,
            "class": classes.expand_class,
            "attribute": self.held.expand_attribute,
            "constant": self.held.expand_constant,
            "closure": self.held.expand_value,
            "default": self.held.expand_value,
            "callable": self.held.expand_value,
            "resource": self.held.expand_resource,
            "text": self.modules.expand_text,
            "binary": self.modules.expand_binary,
            "module": self.modules.expand_module,
            "with imports": self.modules.expand_with_imports,
            "unloaded": self.modules.expand_file,
            "file": self.modules.expand_read,
            "folder": self.modules.expand_read,
            "variable": self.modules.expand_read,
            "effect": self.modules.expand_unit,
            "made": self.modules.expand_unit,
        }

    def component(self, item: Item) -> Component:
        """What an item says and names."""
        known = self._components.get(item.key)
        if known is None:
            # Kept before it is filled, as what it reaches may reach it.
            known = self._components[item.key] = Component()
            self._expand[item.kind](item, known)
        return known

    def root(self, fn: Callable[..., Any]) -> Item | str:
        """The item of a function that makes an asset: its parameters' names and types count."""
        found = self._targets.target(fn)
        if isinstance(found, str) or found.kind != "helper":
            return found
        name = found.name.rpartition(".")[2]
        return self._items.item("function", name, ("root", found.key), found.value)
