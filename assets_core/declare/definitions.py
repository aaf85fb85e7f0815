"""Everything a project consists of, as one value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from assets_core.errors import DefinitionError

if TYPE_CHECKING:
    from assets_core.contracts import IOManager
from assets_core.declare.asset import Asset, Declared, MultiAsset
from assets_core.declare.registry import declared_in


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource with a version that stands for it, where it has no plain form (a connection).

    Functions find ``value`` itself in ``context.resources``. Change ``version`` when what is built
    with it would change.
    """

    value: Any
    version: str


@dataclass(frozen=True)
class Definitions:
    """Everything a project consists of.

    ``assets`` are assets, multi-assets, modules or iterables of these; None in a module that the
    command loads means all that the module or package declares. ``io_managers`` by name; an asset
    that names none uses ``"default"``, which exists without being given. ``resources`` are plain
    objects that functions find in ``context.resources``. ``config`` maps an asset's name to the
    values of its config model.
    """

    assets: Iterable[Declared | ModuleType | Iterable[Declared]] | None = None
    io_managers: Mapping[str, IOManager] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def flat(self) -> list[Asset]:
        """All assets, one by one."""
        return list(_flatten(self.assets or ()))


def _flatten(items: Iterable[Any]) -> Iterator[Asset]:
    for item in items:
        if isinstance(item, Asset):
            yield item
        elif isinstance(item, MultiAsset):
            yield from item.assets
        elif isinstance(item, ModuleType):
            yield from declared_in(item.__name__)
        elif isinstance(item, Iterable) and not isinstance(item, (str, bytes)):
            yield from _flatten(item)
        else:
            raise DefinitionError(
                f"Definitions(assets=…) holds {item!r}, which is no asset.",
                hint="Decorate the function with @asset, or give the module that declares it.",
            )
