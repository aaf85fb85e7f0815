"""What was read of a source, as rows of JSON and back; what is not asked for is not made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from assets_core.fingerprint.sources.source import Source
from assets_core.fingerprint.syntax.unit import Import, Sees, Unit, Use

_Made = TypeVar("_Made")


def rows_of(source: Source) -> list[Any]:
    """A source as JSON has it: its units in one list, and what refers to them by number."""
    units: list[list[Any]] = []
    numbers: dict[Unit, int] = {}
    uses: dict[Use, int] = {}

    def used(several: Iterable[Use]) -> list[int]:
        return [uses.setdefault(one, len(uses)) for one in several]

    def number(unit: Unit | None) -> int:
        if unit is None:
            return -1
        if unit not in numbers:
            row = [
                unit.lean.hex(),
                unit.full.hex(),
                used(unit.uses),
                [[list(chain), text.hex()] for chain, text in unit.texts],
                list(unit.dynamic),
                unit.sees,
                unit.queries,
                list(unit.files),
                unit.resources,
                list(unit.words),
                [number(one) for one in unit.decorators],
                number(unit.notes),
                number(unit.returns),
                used(unit.acts),
                list(unit.methods),
                unit.name,
            ]
            numbers[unit] = len(units)
            units.append(row)
        return numbers[unit]

    rest = [
        {k: [[line, number(u)] for line, u in found] for k, found in source.functions.items()},
        {k: [number(u) for u in found] for k, found in source.classes.items()},
        {k: list(i) for k, i in source.imported.items()},
        [list(i) for i in source.modules],
        {k: number(u) for k, u in source.assigned.items()},
        sorted(source.state),
        sorted(source.unordered),
        [number(u) for u in source.effects],
    ]
    return [[_use_row(one) for one in uses], units, *rest]


def restored(rows: list[Any], text: str) -> Source:
    uses, of_units, functions, classes, imported, modules, assigned, state, sets, effects = rows
    units = _Units(of_units, [_use(*one) for one in uses])
    return Source(
        text,
        functions=_Lazy(functions, lambda found: [(line, units[i]) for line, i in found]),
        classes=_Lazy(classes, lambda found: [units[i] for i in found]),
        imported={k: _import(i) for k, i in imported.items()},
        modules=[_import(i) for i in modules],
        assigned=_Lazy(assigned, lambda i: units[i]),
        state=frozenset(state),
        unordered=frozenset(sets),
        effects=[units[i] for i in effects],
    )


class _Units:
    """Units made of their rows when they are asked for: most of a file's are not."""

    def __init__(self, rows: list[list[Any]], uses: list[Use]) -> None:
        self._rows = rows
        self._uses = uses
        self._made: dict[int, Unit] = {}

    def __getitem__(self, number: int) -> Unit:
        made = self._made.get(number)
        if made is None:
            made = self._made[number] = self._make(*self._rows[number])
        return made

    def _make(
        self,
        lean: str,
        full: str,
        uses: list[int],
        texts: list[Any],
        dynamic: list[str],
        sees: Sees,
        queries: bool,
        files: list[str],
        resources: list[str] | None,
        words: list[str],
        decorators: list[int],
        notes: int,
        returns: int,
        acts: list[int],
        methods: list[str],
        name: str,
    ) -> Unit:
        return Unit(
            lean=bytes.fromhex(lean),
            full=bytes.fromhex(full),
            uses=tuple([self._uses[i] for i in uses]),
            texts=tuple((tuple(chain), bytes.fromhex(text)) for chain, text in texts),
            dynamic=tuple(dynamic),
            sees=sees,
            queries=queries,
            files=tuple(files),
            resources=None if resources is None else tuple(resources),
            words=tuple(words),
            decorators=tuple(self[i] for i in decorators),
            notes=self[notes] if notes >= 0 else None,
            returns=self[returns] if returns >= 0 else None,
            acts=tuple([self._uses[i] for i in acts]),
            methods=tuple(methods),
            name=name,
        )


class _Lazy(Mapping[str, _Made]):
    """A mapping whose values are made of what was kept, when they are asked for."""

    def __init__(self, kept: dict[str, Any], make: Callable[[Any], _Made]) -> None:
        self._kept = kept
        self._make = make
        self._values: dict[str, _Made] = {}

    def __getitem__(self, key: str) -> _Made:
        if key not in self._values:
            self._values[key] = self._make(self._kept[key])
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def _use_row(use: Use) -> list[Any]:
    return [list(use.chain), use.how, [list(one) for one in use.imports]]


def _use(chain: list[str], how: str, imports: Iterable[list[Any]]) -> Use:
    return Use(tuple(chain), cast("Any", how), tuple(map(_import, imports)))


def _import(row: list[Any]) -> Import:
    level, module, name = row
    return level, module, name
