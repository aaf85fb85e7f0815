"""The validated graph of assets: who reads whom through which mapping, in order, selectable.

Pure. Building a graph finds every problem in the definitions and reports them together.
"""

from __future__ import annotations

import difflib
import fnmatch
import inspect
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from types import NoneType
from typing import Any

from assets_core.declare.asset import Asset, Reference
from assets_core.declare.signature import Signature, read_signature
from assets_core.declare.sql import tables_of
from assets_core.declare.validation import did_you_mean, problem, problems_of
from assets_core.errors import DefinitionError, UnknownAssetError, UsageError
from assets_core.partitions import (
    ALL,
    PartitionMapping,
    PartitionsDefinition,
    Require,
    default_mapping,
)
from assets_core.problems import Collected
from assets_core.tabular.forms import can_supply, describe_supported, form_of


@dataclass(frozen=True, slots=True)
class Input:
    """An edge: what is read under which name, through which mapping.

    ``name`` is the parameter or the table in the SQL; ``data`` is False for an edge that is
    followed but not handed over. ``require`` says how much of what it maps to must be there,
    ``any_order`` that the order of rows does not matter.
    """

    name: str
    asset: str
    mapping: PartitionMapping
    annotation: Any = field(default=None, compare=False)
    data: bool = True
    require: Require = ALL
    any_order: bool = False


@dataclass(frozen=True, slots=True)
class Op:
    """What runs as one: a function or query, its inputs and the assets it makes."""

    outputs: tuple[str, ...]
    inputs: tuple[Input, ...]
    partitions: PartitionsDefinition
    signature: Signature

    @property
    def name(self) -> str:
        """The first of its assets."""
        return self.outputs[0]

    @property
    def upstream(self) -> tuple[str, ...]:
        """The assets that it reads from, itself left out, each once."""
        return tuple(dict.fromkeys(i.asset for i in self.inputs if i.asset not in self.outputs))


@dataclass(frozen=True, slots=True)
class Graph:
    """Assets by name, the ops that make them in topological order, and the edges both ways."""

    assets: Mapping[str, Asset]
    ops: tuple[Op, ...]
    op_of: Mapping[str, Op]
    downstream: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def build(cls, assets: Iterable[Asset], io_managers: Collection[str] = ("default",)) -> Graph:
        """Validate and order.

        Raises DefinitionError holding every problem found.
        """
        return _Builder(list(assets), io_managers).build()

    @staticmethod
    def report(
        assets: Iterable[Asset], io_managers: Collection[str], found: Collected
    ) -> DefinitionError:
        """What was found while loading, with what the graph finds, as one error.

        What does not fit only because a stand-in or a missing module is in its way is left out.
        """
        builder = _Builder(list(assets), io_managers, found=found)
        builder.examine()
        return DefinitionError.report([*found.problems, *builder.problems])

    @property
    def order(self) -> tuple[str, ...]:
        """Asset names, upstream first."""
        return tuple(name for op in self.ops for name in op.outputs)

    def asset(self, name: str) -> Asset:
        """The asset of that name, or UnknownAssetError with a suggestion."""
        try:
            return self.assets[name]
        except KeyError:
            raise UnknownAssetError(
                f"There is no asset {name!r}.", hint=did_you_mean(name, self.assets)
            ) from None

    def upstream_of(self, name: str, depth: int | None = None) -> set[str]:
        """The assets it is built from, ``depth`` steps up (all without one)."""
        return _reach(name, lambda n: self.op_of[n].upstream, depth)

    def downstream_of(self, name: str, depth: int | None = None) -> set[str]:
        """The assets built from it, ``depth`` steps down (all without one)."""
        return _reach(name, lambda n: self.downstream.get(n, ()), depth)

    def select(self, expressions: str | Sequence[str] | None) -> tuple[str, ...]:
        """Asset names by expressions, upstream first.

        A comma or a further expression adds; ``!x`` takes away. ``orders``, ``raw_*``, ``*``,
        ``tag:daily``, ``group:iot``, ``owner:…``, ``kind:sql``; ``+x`` with all upstream, ``x+``
        with all downstream, ``2+x`` two steps up.

        Raises UnknownAssetError when an expression names nothing, UsageError when none is one.
        """
        if expressions is None:
            return self.order
        texts = _texts(expressions)
        terms = [term.strip() for text in texts for term in text.split(",") if term.strip()]
        if texts and not terms:
            raise UsageError(
                "An empty selection of assets.",
                hint="Name some, or leave it out for all of them.",
            )
        wanted: set[str] = set()
        if terms and all(term.startswith("!") for term in terms):
            wanted.update(self.assets)
        for term in terms:
            if not term.startswith("!"):
                wanted |= self._term(term)
        for term in terms:
            if term.startswith("!"):
                wanted -= self._term(term[1:])
        return tuple(name for name in self.order if name in wanted)

    def _term(self, term: str) -> set[str]:
        match = re.fullmatch(r"(?:(\d*)(\+))?([^+]+?)(?:(\+)(\d*))?", term)
        if match is None:
            raise UsageError(
                f"{term!r} is not a selection.", hint="Write 'orders', '+orders', 'tag:daily', …"
            )
        up, plus_up, core, plus_down, down = match.groups()
        names = self._matching(core)
        found = set(names)
        for name in names:
            if plus_up:
                found |= self.upstream_of(name, int(up) if up else None)
            if plus_down:
                found |= self.downstream_of(name, int(down) if down else None)
        return found

    def _matching(self, core: str) -> set[str]:
        attribute, colon, value = core.partition(":")
        if colon:
            return self._by_attribute(attribute, value)
        if any(sign in core for sign in "*?["):
            names = set(fnmatch.filter(self.assets, core))
        else:
            names = {core} & self.assets.keys()
        if not names:
            raise UnknownAssetError(
                f"No asset matches {core!r}.", hint=did_you_mean(core, self.assets)
            )
        return names

    def _by_attribute(self, attribute: str, value: str) -> set[str]:
        readers: dict[str, Callable[[Asset], Iterable[str]]] = {
            "tag": lambda asset: asset.tags,
            "group": lambda asset: (asset.group,),
            "owner": lambda asset: (asset.owner,),
            "kind": lambda asset: (asset.kind,),
            "io": lambda asset: (asset.io,),
        }
        if attribute not in readers:
            raise UsageError(
                f"Assets can't be selected by {attribute!r}.",
                hint=f"By {', '.join(readers)}, or by name.",
            )
        read = readers[attribute]
        names = {n for n, asset in self.assets.items() if fnmatch.filter(read(asset), value)}
        if not names:
            known = {text for asset in self.assets.values() for text in read(asset) if text}
            raise UnknownAssetError(
                f"No asset has {attribute} {value!r}.", hint=did_you_mean(value, known)
            )
        return names


def _texts(expressions: str | Iterable[str]) -> list[str]:
    found = [expressions] if isinstance(expressions, str) else expressions
    if isinstance(found, Iterable):
        texts = list(found)
        if all(isinstance(text, str) for text in texts):
            return texts
    raise UsageError(
        f"{expressions!r:.60} selects no assets.", hint="Name them: 'orders', ['a', 'b+']."
    )


def _reach(start: str, step: Callable[[str], Iterable[str]], depth: int | None) -> set[str]:
    found: set[str] = set()
    queue = deque([(start, 0)])
    while queue:
        name, far = queue.popleft()
        if depth is not None and far >= depth:
            continue
        for other in step(name):
            if other not in found:
                found.add(other)
                queue.append((other, far + 1))
    return found


@dataclass
class _Builder:
    """One pass over the definitions, collecting problems instead of stopping at the first."""

    declared: list[Asset]
    io_managers: Collection[str]
    problems: list[DefinitionError] = field(default_factory=list)
    folded: dict[str, str] = field(default_factory=dict)
    found: Collected = field(default_factory=Collected)

    def build(self) -> Graph:
        assets, order = self.examine()
        if self.problems:
            raise DefinitionError.report(self.problems)
        return Graph(assets, order, {n: op for op in order for n in op.outputs}, _readers(order))

    def examine(self) -> tuple[dict[str, Asset], tuple[Op, ...]]:
        """Everything in order, as far as it goes; `problems` says how far."""
        assets = self._unique()
        # One walk over an op serves all the assets that it makes.
        ops = [self._op(a, assets) for a in assets.values() if self._is_first(a, assets)]
        for asset in assets.values():
            self.problems += problems_of(asset, self.io_managers, self.found)
        found = [op for op in ops if op is not None]
        return assets, self._ordered(found)

    def problem(self, asset: Asset, message: str, hint: str = "", **facts: object) -> None:
        self.problems.append(problem(asset, message, hint, **facts))

    def _unique(self) -> dict[str, Asset]:
        assets: dict[str, Asset] = {}
        folded: dict[str, Asset] = {}
        for asset in self.declared:
            if assets.get(asset.name) is asset:
                continue
            first = assets.get(asset.name) or folded.get(asset.name.casefold())
            if first is not None:
                what = "is declared twice" if first.name == asset.name else "differs only in case"
                self.problem(
                    asset,
                    f"Asset name {asset.name!r} {what}.",
                    "Rename one of them, or give it name='…'.",
                    first=f"{first.name}  ({first.location})",
                )
                continue
            assets[asset.name] = folded[asset.name.casefold()] = asset
        return assets

    @staticmethod
    def _is_first(asset: Asset, assets: Mapping[str, Asset]) -> bool:
        present = [name for name in asset.siblings if name in assets]
        return not present or present[0] == asset.name

    def _op(self, asset: Asset, assets: Mapping[str, Asset]) -> Op | None:
        try:
            signature = read_signature(asset)
            inputs = self._inputs(asset, signature, assets)
        except DefinitionError as error:
            if "asset" not in error.facts:
                error.facts = {"asset": f"{asset.name}  ({asset.location})", **error.facts}
            self.problems.append(error)
            return None
        if asset.batch is not None and signature.partition:
            self.problem(
                asset,
                f"Parameter {signature.partition!r} of asset {asset.name!r} asks for one "
                "Partition, and batch= calls the function for several at a time.",
                f"Annotate it {signature.partition}: Partitions, or drop batch=.",
            )
        if asset.kind == "python" and asset.demands and _is_rowless(signature.returns):
            self.problem(
                asset,
                f"Asset {asset.name!r} has {asset.demands[0]}=, and its function returns no rows.",
                f"Return the rows, or drop {asset.demands[0]}=.",
            )
        outputs = tuple(n for n in asset.siblings if n in assets) or (asset.name,)
        return Op(outputs, inputs, asset.partitions, signature)

    def _inputs(
        self, asset: Asset, signature: Signature, assets: Mapping[str, Asset]
    ) -> tuple[Input, ...]:
        if self.found.stands_in(asset.sql):
            return ()
        wanted: list[tuple[str, Reference, Any, bool]] = []
        if asset.kind == "sql":
            # DuckDB does not tell upper from lower case, and neither may two names of assets.
            inputs = {name.lower(): reference for name, reference in asset.inputs.items()}
            for table in tables_of(asset.sql):
                given = inputs.get(table.lower())
                reads = given or Reference(self._spelled(table, assets))
                wanted.append((table, reads, inspect.Parameter.empty, True))
        wanted += [(p.name, p.reference, p.annotation, True) for p in signature.inputs]
        wanted += [(r.asset, r, None, False) for r in asset.depends_on]
        if asset.kind == "source" and wanted:
            self.problem(
                asset,
                f"Source {asset.name!r} reads {wanted[0][1].asset!r}, but a source is not built.",
                "Make it an asset, or take only the partition and the context.",
            )
            return ()
        self._check_named(asset, {name for name, *_ in wanted})
        found = (self._input(asset, item, assets) for item in wanted)
        return tuple(edge for edge in found if edge is not None)

    def _spelled(self, table: str, assets: Mapping[str, Asset]) -> str:
        """A table's name as its asset's is written."""
        if table in assets:
            return table
        if not self.folded:
            self.folded.update((name.lower(), name) for name in assets)
        return self.folded.get(table.lower(), table)

    def _check_named(self, asset: Asset, names: set[str]) -> None:
        if asset.kind == "sql":
            names |= {name for name in asset.inputs if name.lower() in {n.lower() for n in names}}
        for name in asset.inputs.keys() - names:
            self.problem(
                asset,
                f"inputs= of asset {asset.name!r} names {name!r}, which it does not read.",
                did_you_mean(name, names) if names else "It reads nothing.",
            )

    def _input(
        self,
        asset: Asset,
        item: tuple[str, Reference, Any, bool],
        assets: Mapping[str, Asset],
    ) -> Input | None:
        name, reference, annotation, data = item
        upstream_name, mapping = reference.asset, reference.mapping
        upstream = assets.get(upstream_name)
        if upstream is None and self.found.incomplete:
            return None
        if upstream is None:
            close = difflib.get_close_matches(upstream_name, list(assets), n=1, cutoff=0.6)
            meant = f"Did you mean {close[0]!r}? Name" if close else "Name"
            where = "in the query" if asset.kind == "sql" else "in the signature"
            self.problem(
                asset,
                f"Asset {asset.name!r} depends on an unknown asset.",
                f"{meant} it {where}, or import the module that declares it.",
                missing=upstream_name,
            )
            return None
        same = upstream_name == asset.name or upstream_name in asset.siblings
        chosen = mapping or default_mapping(asset.partitions, upstream.partitions)
        misfit = chosen.check(asset.partitions, upstream.partitions, same_asset=same)
        if misfit and self._excused(mapping, asset.partitions, upstream.partitions):
            return None
        if misfit:
            self.problem(
                asset,
                f"Asset {asset.name!r} can't read {upstream_name!r} that way: {misfit}",
                reads=f"{upstream_name}  ({upstream.location})",
                through=chosen,
            )
            return None
        if data and asset.kind == "python" and upstream.kind != "source":
            self._check_annotation(asset, name, annotation)
        policy = reference.required or asset.required or ALL
        any_order = reference.any_row_order and upstream.is_ordered
        return Input(name, upstream_name, chosen, annotation, data, policy, any_order)

    def _excused(self, mapping: object, *definitions: PartitionsDefinition) -> bool:
        """Whether what does not fit is, or holds, only a stand-in."""
        parts = [part for d in definitions for _, part in getattr(d, "parts", ())]
        return self.found.stands_in(mapping, *definitions, *parts)

    def _check_annotation(self, asset: Asset, name: str, annotation: Any) -> None:
        if not can_supply(annotation):
            shown = getattr(annotation, "__qualname__", None) or str(annotation)
            self.problem(
                asset,
                f"Parameter {name!r} of asset {asset.name!r} asks for {shown}, "
                "which no IO manager can supply.",
                f"Ask for {describe_supported()}.",
            )

    def _ordered(self, ops: list[Op]) -> tuple[Op, ...]:
        by_name = {name: op for op in ops for name in op.outputs}
        edges = {
            op.name: {by_name[u].name for u in op.upstream if u in by_name} - {op.name}
            for op in ops
        }
        while True:
            try:
                return tuple(by_name[n] for n in TopologicalSorter(edges).static_order())
            except CycleError as error:
                # graphlib lists a cycle against the direction of the edges, first name repeated.
                path = list(error.args[1])
                self._cycle(path)
                edges[path[1]] = edges[path[1]] - {path[0]}

    def _cycle(self, path: Sequence[str]) -> None:
        self.problems.append(
            DefinitionError(
                f"Assets depend on each other in a circle: {' → '.join(path)}",
                facts={"cycle": f"{len(path) - 1} assets"},
                hint="Break it. An asset may read its own past only, by lag(n) or window(n, -1).",
            )
        )


def _is_rowless(returns: Any) -> bool:
    """Whether a function that is annotated so returns a file, or nothing."""
    form = form_of(returns)
    return returns in (None, NoneType) or (form is not None and form.kind == "path")


def _readers(ops: Iterable[Op]) -> dict[str, tuple[str, ...]]:
    readers: dict[str, list[str]] = {}
    for op in ops:
        for upstream in op.upstream:
            readers.setdefault(upstream, []).extend(op.outputs)
    return {name: tuple(found) for name, found in readers.items()}
