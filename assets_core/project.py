"""The facade: load definitions, gather facts, plan, execute, observe.

What notebooks and the command call. It connects the pure parts with the stores and decides
nothing that they decide.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from assets_core.asset import Asset, Definitions, Resource
from assets_core.durations import parse_duration
from assets_core.errors import (
    ConfigError,
    PartitionError,
    UsageError,
)
from assets_core.execute.result import RunResult
from assets_core.graph import Graph
from assets_core.settings import Found, Settings, find, load_settings

if TYPE_CHECKING:
    from assets_core.backfills import Backfills
    from assets_core.coding import CodePart
    from assets_core.contents import Contents
    from assets_core.contracts import IOManager, StateStore
    from assets_core.execute.capture import RunLog
    from assets_core.execute.engine import StepEvent
    from assets_core.execute.recovery import Recovered
    from assets_core.execute.step import Runtime
    from assets_core.invalidating import Invalidated
    from assets_core.observe.freshness import FreshnessReport
    from assets_core.observe.history import History
    from assets_core.observe.lineage import Lineage
    from assets_core.observe.sighting import Observation
    from assets_core.observe.status import Status
    from assets_core.partitions import KeySpace, PartitionSelection
    from assets_core.plan import Plan
    from assets_core.planfile import Replay
    from assets_core.records import Attempt, Code, Materialization, Run
    from assets_core.review.against import Against
    from assets_core.staleness import Facts, Sightings, Wiring
    from assets_core.tracing import Watch
    from assets_core.withdrawals import Withdrawn

Select = str | Sequence[str] | None
Partitions = "str | Sequence[str] | PartitionSelection | None"

_LOOKS = 8

EXECUTORS = ("thread", "process")

_NOTHING_SAID = (None, None, False, False, None)

FOLDER = ".assets"
"""The project's own folder: the state store and the runs' logs."""


@dataclass(frozen=True, slots=True)
class Origin:
    """How to make the same project again in a worker process."""

    module: str
    root: str
    environment: str
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class _Load:
    """``Project.load("definitions")`` loads a project, ``project.load("orders")`` an asset's data.

    Each is also a method of its own: `Project.from_module` and `Project.read`.
    """

    @overload
    def __get__(self, instance: None, owner: type[Project]) -> Callable[..., Project]: ...

    @overload
    def __get__(self, instance: Project, owner: type[Project]) -> Callable[..., Any]: ...

    def __get__(self, instance: Project | None, owner: type[Project]) -> Callable[..., Any]:
        return owner.from_module if instance is None else instance.read


class Project:
    """Definitions, their stores and their recorded facts, in one place.

    ``Project.load("definitions")`` is what the command does; ``Project(Definitions(...))`` is for
    notebooks and tests. Nothing is opened before it is needed; close it, or use it as a context
    manager, when done.
    """

    def __init__(
        self,
        definitions: Definitions,
        *,
        root: str | Path = ".",
        state: str | None = None,
        environment: str | None = None,
        config: Mapping[str, Mapping[str, Any]] | None = None,
        settings: Settings | None = None,
        origin: Origin | None = None,
    ) -> None:
        """``root`` is the project's folder, ``state`` the state store's URL (SQLite beside the
        data unless given), ``config`` values by asset (``"*"``: every asset that has the key).

        Raises DefinitionError with every problem of the definitions.
        """
        if not isinstance(definitions, Definitions):
            raise UsageError(
                f"Project(…) takes Definitions, not {definitions!r:.60}.",
                hint="Write Project(Definitions([orders, …])), or Project.load('definitions').",
            )
        self.root = Path(root).resolve()
        given = {"state": state, "environment": environment}
        if settings is None:
            settings = load_settings(Found(self.root, None, {}), given=given)
        else:
            settings = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
        self.settings = settings
        self.environment = settings.environment
        self.definitions = definitions
        self.origin = origin
        self._given_config = dict(config or {})
        self._recovered: list[Recovered] = []
        self._kept = ExitStack()
        self.code_warnings: dict[str, tuple[str, ...]] = {}
        self.graph = Graph.build(definitions.flat(), _io_names(definitions, settings))

    @classmethod
    def from_module(
        cls,
        module: str | None = None,
        *,
        root: str | Path | None = None,
        state: str | None = None,
        environment: str | None = None,
        config: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Project:
        """Load the definitions that the settings (or ``module``) name.

        Settings are looked for in ``root`` (the working directory unless given) and above.
        """
        from assets_core.loading import gather, parsed_queries

        found = find(_folder(root))
        given = {"module": module, "state": state, "environment": environment}
        settings = load_settings(found, given=given)
        definitions, wrong = gather(settings.module, found.root, settings.code_roots)
        origin = Origin(settings.module, str(found.root), settings.environment, dict(config or {}))
        with parsed_queries(found.root / FOLDER):
            if wrong.problems:
                raise Graph.report(definitions.flat(), _io_names(definitions, settings), wrong)
            return cls(
                definitions, root=found.root, config=config, settings=settings, origin=origin
            )

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the state store and of the IO managers' files."""
        self._kept.close()
        if "state" in self.__dict__:
            self.state.close()
            del self.__dict__["state"]
        if "io" in self.__dict__:
            for manager in self.io.values():
                manager.close()
            del self.__dict__["io"]

    def keep(self, held: AbstractContextManager[Any]) -> Any:
        """Enter a context that lasts until the project is closed; what it gives."""
        return self._kept.enter_context(held)

    def __repr__(self) -> str:
        return f"<Project {self.root.name}: {len(self.graph.assets)} assets, {self.environment}>"

    def _repr_html_(self) -> str:
        from assets_core.observe.display import graph_html

        return graph_html(self.graph)

    # ---------------------------------------------------------------------------------------
    # Parts

    @cached_property
    def state(self) -> StateStore:
        """The state store, opened (and migrated) on first use."""
        from assets_core.state import open_store

        return open_store(self.state_url)

    @property
    def state_url(self) -> str:
        """Where facts are recorded."""
        if self.settings.state:
            return self.settings.state
        return f"sqlite:///{self.root / FOLDER / 'state.db'}"

    @cached_property
    def io(self) -> Mapping[str, IOManager]:
        """The IO managers by name, bound to this project's folder."""
        managers = {name: _make_io(name, s) for name, s in self.settings.io.items()}
        managers.update(self.definitions.io_managers)
        if "default" not in managers:
            managers["default"] = _io_type("parquet", "default")("data")
        for name, manager in managers.items():
            manager.bind(name, self.root)
        return managers

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """Each asset's config model, filled in.

        Raises ConfigError for values that are missing, misspelt or of the wrong type.
        """
        from assets_core.configuring import fill_config

        layers = (self.definitions.config, self.settings.config, self._given_config)
        return fill_config(self.graph, layers)

    @cached_property
    def codes(self) -> dict[str, Code]:
        """The current code version of every asset."""
        from assets_core.coding import code_versions
        from assets_core.fingerprint import remembered, stored_parts
        from assets_core.records import Code

        with remembered(self.root / FOLDER):
            found = code_versions(
                self.graph,
                self.config,
                self.io,
                self.root,
                self.contents(),
                self.definitions.resources,
            )
        self.code_warnings = {name: c.warnings for name, c in found.items() if c.warnings}
        return {name: Code(c.hex, stored_parts(c)) for name, c in found.items()}

    def code_parts(self, asset: str | Asset) -> list[CodePart]:
        """Everything that counts as an asset's code, and why: what is seen statically, what is
        declared, and what its current builds were seen to read."""
        import numpy as np

        from assets_core.coding import code_parts
        from assets_core.fingerprint import FORM_PART

        declared = self.graph.asset(_name(asset))
        facts, name = self.facts(), declared.name
        traced: dict[str, str] = {}
        for number in np.unique(facts.assets[name].code).tolist():
            recorded = facts.codes.get(number, "")
            if recorded.startswith(f"{self.codes[name].hex}+"):
                traced.update(facts.reads_now(recorded))
        own = dict(self.codes[name].parts)
        own.pop(FORM_PART, None)
        return code_parts(declared, own, traced)

    @cached_property
    def runtime(self) -> Runtime:
        """What steps share."""
        from assets_core.execute.step import Runtime

        return Runtime(
            graph=self.graph,
            io=self.io,
            resources={
                name: one.value if isinstance(one, Resource) else one
                for name, one in self.definitions.resources.items()
            },
            config=self.config,
            environment=self.environment,
            contents=self.contents(),
        )

    @cached_property
    def watch(self) -> Watch:
        """Which files count as the project's code: those under its code roots that are neither
        data nor state."""
        from assets_core.tracing import Watch, apart_from, code_roots

        folders = [Path(f) for io in self.io.values() if (f := getattr(io, "folder", None))]
        roots = code_roots(self.root, self.settings.code_roots)
        given = tuple(os.path.realpath(self.root / one) for one in self.settings.code_roots)
        return Watch(roots, apart_from(self.root, folders), given)

    def contents(self) -> Contents:
        """What files and variables hold that code reads, as they are from now on."""
        from assets_core.contents import Contents

        return Contents(self.root, self.watch, self.root / FOLDER)

    def now(self) -> datetime:
        """The instant that decides which windows have closed: the clock, in UTC."""
        return datetime.now(UTC)

    def spaces(
        self, now: datetime | None = None, *, include_open: bool = False
    ) -> dict[str, KeySpace]:
        """Each asset's key space at ``now``; assets of one definition share one."""
        at = now or self.now()
        needs_keys = any(asset.partitions.is_dynamic for asset in self.graph.assets.values())
        dynamic = self.state.dynamic_keys() if needs_keys else {}
        made: dict[Any, KeySpace] = {}
        spaces = {}
        for name, asset in self.graph.assets.items():
            definition = asset.partitions
            if definition not in made:
                made[definition] = definition.resolve(
                    at, dynamic=dynamic, include_open=include_open
                )
            spaces[name] = made[definition]
        return spaces

    def facts(self, spaces: Mapping[str, KeySpace] | None = None) -> Facts:
        """What is recorded of every asset, laid out in key spaces."""
        from assets_core.partitions import safe_path_part
        from assets_core.recalling import StoreRecall
        from assets_core.staleness import Facts

        laid_out = spaces or self.spaces()
        recall = StoreRecall(self.state, self.environment, laid_out)
        path = self.state.beside(f"facts-{safe_path_part(self.environment)}.bin")
        if path is None:
            snapshot = self.state.snapshot(self.environment, self.graph.assets)
            facts = Facts.of(snapshot, laid_out, recall)
        else:
            from assets_core.state.packed import PackedFacts

            facts = PackedFacts(path, self.state, self.environment).facts(laid_out, recall)
        facts.contents = self.contents().now
        return facts

    # ---------------------------------------------------------------------------------------
    # Planning and running

    def plan(
        self,
        select: Select = None,
        partitions: Any = None,
        *,
        force: bool = False,
        resume: str = "",
        include_open: bool = False,
        now: datetime | None = None,
        since: int = 0,
    ) -> Plan:
        """Which asset partitions of the selection are stale, and why.

        ``select`` as for `Graph.select`; ``partitions`` a key, ``"A..B"``, a list of these, or
        ``"date=…,station=*"``. Sources of the selection are observed first, and what moved is
        recorded; what could not be looked at blocks what reads it, see `Plan.unseen`. ``force``
        plans the whole selection, whatever its state; ``resume`` leaves out of that what the run of
        this id, or one after it, has built, ``since`` what was recorded at this log position or
        after it.

        Raises UnknownAssetError, PartitionError for a selection that names nothing.
        """
        from assets_core.plan import make_plan
        from assets_core.staleness import Wiring

        self.recover()
        at = _aware(now) if now is not None else self.now()
        chosen = self.graph.select(select)
        spaces = self.spaces(at, include_open=include_open)
        selection = self._partition_selection(partitions, chosen, spaces)
        wiring = Wiring(self.graph, spaces)
        facts = self.facts(spaces)
        sightings = self._observe(chosen, selection, facts, wiring, at)
        if sightings.moved:
            facts = self.facts(spaces)
        codes = self.codes
        return make_plan(
            self.graph,
            facts,
            {name: code.hex for name, code in codes.items()},
            now=at,
            assets=None if select is None else chosen,
            partitions=selection,
            force=force,
            resume_at=self._first_record(resume) if resume else since,
            environment=self.environment,
            parts={name: code.parts for name, code in codes.items()},
            wiring=wiring,
            sightings=sightings,
        )

    def store_plan(self, plan: Plan, path: str | Path, *, jobs: int | None = None) -> str:
        """Write a plan to a file, to be reviewed and then run as it is; its id.

        Raises UsageError where it can't be written.
        """
        from assets_core.planfile import plan_file, write_plan_file

        made = plan_file(plan, self.codes, self.state, jobs or self.settings.jobs)
        write_plan_file(made, Path(path))
        return made.id

    def replay(self, path: str | Path) -> Replay:
        """The steps of a stored plan that no earlier try of it has built.

        They are for the instant that it was made for: a window that closed since is not among
        them. Hand ``replay(path).plan`` to `materialize`.

        Raises UsageError for a file that is no plan or was changed, PlanMovedError when code,
        partitions or versions that its steps depend on have moved since, naming them.
        """
        from assets_core import planfile

        stored = planfile.read_plan_file(Path(path))
        if stored.environment != self.environment:
            raise UsageError(
                f"The plan is for environment {stored.environment!r}, not {self.environment!r}.",
                hint=f"Give --environment {stored.environment}, or plan again for this one.",
            )
        self.recover()
        now = planfile.stored_time(stored)
        spaces = self.spaces(now, include_open=stored.include_open)
        world = planfile.World(
            graph=self.graph,
            state=self.state,
            codes=self.codes,
            spaces=spaces,
            facts=lambda: self.facts(spaces),
            look=lambda wanted, facts: self._look(wanted, facts, now=self.now()).sightings(),
        )
        return planfile.replay(stored, world)

    def against(
        self,
        base: str,
        select: Select = None,
        partitions: Any = None,
        *,
        now: datetime | None = None,
    ) -> Against:
        """What these definitions make stale that those of ``base`` did not.

        ``base`` is a git revision (compared with where it and ``HEAD`` parted), or a file that
        `store_code` wrote. Writes nowhere and observes no source; loading the definitions of a
        revision runs their module in a process of its own.

        Raises UsageError for a base that can't be found or does not load.
        """
        from assets_core.review.reviewing import review

        at = _aware(now) if now is not None else self.now()
        return review(self, base, select, partitions, now=at)

    def store_code(self, path: str | Path) -> None:
        """Write the code versions of now to a file, to compare with later or elsewhere.

        Raises UsageError where it can't be written.
        """
        from assets_core.review.describing import describe, write_description

        write_description(describe(self), Path(path))

    def _first_record(self, run_id: str) -> int:
        """The log position of the first thing that a run recorded; 0 when it recorded nothing."""
        return min((fact.id for fact in self.materialized_by(run_id)), default=0)

    def _partition_selection(
        self, partitions: Any, chosen: Iterable[str], spaces: Mapping[str, KeySpace]
    ) -> PartitionSelection | None:
        from assets_core.partitions import PartitionSelection, parse_selection

        if partitions is None:
            return None
        selection = (
            partitions
            if isinstance(partitions, PartitionSelection)
            else parse_selection(partitions)
        )
        selection.check([spaces[name] for name in chosen])
        return selection

    def _observe(
        self,
        chosen: Iterable[str],
        selection: PartitionSelection | None,
        facts: Facts,
        wiring: Wiring,
        now: datetime,
    ) -> Sightings:
        """Observe the source partitions that the selection reads."""
        wanted = _source_partitions(self.graph, chosen, selection, facts, wiring)
        return self._look(wanted, facts, now=now).sightings()

    def _look(
        self,
        wanted: Mapping[str, Sequence[int]],
        facts: Facts,
        *,
        now: datetime,
        everything: bool = False,
        jobs: int | None = None,
        on_look: Callable[[str, int], None] | None = None,
        lets_go: bool = True,
    ) -> Observation:
        from assets_core.execute.sources import Way, observe
        from assets_core.observe.sighting import Observation

        # Looking is mostly waiting: more at a time than there are processors, unless one by one.
        own = self.settings.jobs
        way = Way(
            now, jobs or (own if own == 1 else max(own, _LOOKS)), everything, lets_go, on_look
        )
        return Observation(
            {
                name: observe(
                    self.runtime,
                    self.state,
                    facts,
                    self.graph.assets[name],
                    ordinals,
                    way,
                    self.codes[name],
                )
                for name, ordinals in wanted.items()
            }
        )

    def observe(
        self,
        select: Select = None,
        partitions: Any = None,
        *,
        everything: bool = False,
        include_open: bool = False,
        jobs: int | None = None,
        on_look: Callable[[str, int], None] | None = None,
        on_total: Callable[[int], None] | None = None,
        now: datetime | None = None,
    ) -> Observation:
        """Look at the sources of the selection, and at those that it reads; record what moved.

        Selection as for `plan`, which does the same by itself. ``everything`` looks also at
        partitions that ``closed_after`` leaves alone. ``jobs`` looks at a time where they take
        long. ``on_total`` hears how many partitions there are to look at, ``on_look`` of every so
        many that were: the source and how many.

        What could not be looked at is told by the result, not raised.
        """
        from assets_core.staleness import Wiring

        if jobs is not None and jobs < 1:
            raise UsageError(f"jobs={jobs} can't look at anything.", hint="At least 1.")
        self.recover()
        at = _aware(now) if now is not None else self.now()
        chosen = self.graph.select(select)
        spaces = self.spaces(at, include_open=include_open)
        selection = self._partition_selection(partitions, chosen, spaces)
        facts, wiring = self.facts(spaces), Wiring(self.graph, spaces)
        wanted = _source_partitions(self.graph, chosen, selection, facts, wiring)
        if on_total is not None:
            on_total(sum(map(len, wanted.values())))
        return self._look(wanted, facts, now=at, everything=everything, jobs=jobs, on_look=on_look)

    def recover(self) -> list[Recovered]:
        """Mend what dead runs left behind; cheap when there are none."""
        dead = self.state.dead_runs()
        if not dead:
            return []
        from assets_core.execute.recovery import recover

        found = recover(self.runtime, self.state, dead)
        self._recovered += found
        return found

    def take_recovered(self) -> list[Recovered]:
        """What was recovered since this was last asked, for whoever tells the user."""
        found, self._recovered = self._recovered, []
        return found

    def materialize(
        self,
        select: Select = None,
        partitions: Any = None,
        *,
        plan: Plan | None = None,
        force: bool = False,
        resume: str = "",
        include_open: bool = False,
        jobs: int | None = None,
        fail_fast: bool = False,
        executor: str | None = None,
        allow_schema_change: bool = False,
        on_event: Callable[[StepEvent], None] | None = None,
        now: datetime | None = None,
        command: str = "",
    ) -> RunResult:
        """Build what is stale in the selection, and nothing else.

        Selection as for `plan` (or a plan made before). ``jobs`` steps run at a time; a failed
        step fails only what depends on it. Ctrl-C stops cleanly and raises KeyboardInterrupt.
        What failed is told by the result, not raised: see `RunResult.raise_for_status`.
        """
        from assets_core.execute.running import execute_plan

        if jobs is not None and jobs < 1:
            raise UsageError(f"jobs={jobs} can't run anything.", hint="At least 1.")
        if executor not in (None, *EXECUTORS):
            raise UsageError(f"executor={executor!r} is none.", hint=f"One of {EXECUTORS}.")
        if plan is not None and (select, partitions, force, include_open, now) != _NOTHING_SAID:
            raise UsageError(
                "plan= says what runs: no selection, force, include_open or now= goes with it.",
                hint="Select when the plan is made: project.plan(select, partitions)",
            )
        # An empty plan is false, and still a plan.
        made = (
            plan
            if plan is not None
            else self.plan(
                select, partitions, force=force, resume=resume, include_open=include_open, now=now
            )
        )
        return execute_plan(
            self,
            made,
            jobs=jobs,
            fail_fast=fail_fast,
            executor=executor,
            allow_schema_change=allow_schema_change,
            on_event=on_event,
            command=command or command_of(select, partitions, made.forced, include_open),
            resumes=self.run(resume).id if resume and self._first_record(resume) else "",
        )

    @property
    def backfills(self) -> Backfills:
        """Work over many partitions that outlives this process: begun, resumed, looked at."""
        from assets_core.backfills import Backfills

        return Backfills(self)

    def backfill(
        self,
        select: Select = None,
        partitions: Any = None,
        *,
        on_event: Callable[[StepEvent], None] | None = None,
        **wish: Any,
    ) -> RunResult:
        """Store a backfill of the selection and execute it. For what may be wished see `Wish`.

        When this process dies, ``project.backfills.proceed(id)`` goes on where it was.
        """
        from assets_core.backfills import Wish

        asked = Wish(_tuple(select), _tuple(partitions), **wish)
        plan = self.backfills.plan(asked)
        one = self.backfills.begin(asked, plan)
        return self.backfills.proceed(one.id, plan, on_event=on_event)

    # ---------------------------------------------------------------------------------------
    # Reading

    load = _Load()

    def read(
        self, asset: str | Asset, partition: Any = None, *, partitions: Any = None, as_: Any = None
    ) -> Any:
        """The data of an asset: one partition, a selection of them, or all, in one scan.

        ``as_`` is what it comes as: a type such as ``polars.DataFrame``, or one of the names
        ``"arrow"``, ``"polars"``, ``"pandas"``, ``"reader"``, ``"duckdb"``, ``"path"``. The data
        of a source comes as its function gives it.

        Raises MissingDataError when nothing of it is materialized.
        """
        from assets_core.reading import load

        name, wanted = _split_reference(_name(asset), partition)
        if wanted is not None and partitions is not None:
            raise UsageError(f"The partition is given twice: {wanted!r} and {partitions!r}.")
        return load(self, name, wanted if wanted is not None else partitions, as_)

    def rejects(self, asset: str | Asset, partition: str | None = None) -> Any:
        """The rows set aside, as one Arrow table with ``_partition`` and ``_reason``, or None."""
        from assets_core.reading import load_rejects

        return load_rejects(self, *_split_reference(_name(asset), partition))

    def history(
        self, asset: str | Asset, partition: str | None = None, *, limit: int | None = None
    ) -> History:
        """The recorded materializations and failed attempts, newest first.

        The partition may be part of the name: ``"orders@2024-01-01"``.
        """
        from assets_core.observe.history import History

        asset_name, wanted = _split_reference(_name(asset), partition)
        name = self.graph.asset(asset_name).name
        key = None if wanted is None else self._key(name, wanted)
        facts = self.state.materializations(self.environment, name, key, limit=limit)
        attempts = self.state.attempts(
            environment=self.environment, asset=name, partition=key, limit=limit
        )
        marks = self.state.invalidations(self.environment, name)
        if key is not None and marks:
            from assets_core.partitions import from_ranges

            space = self.spaces(include_open=True)[name]
            at = int(space.ordinals([key])[0])
            marks = [
                one
                for one in marks
                if (key, key) in (one.ranges or [(key, key)])
                or (at >= 0 and from_ranges(space, one.ranges)[at])
            ]
        return History(name, key, tuple(facts), tuple(attempts), tuple(marks[:limit]))

    def _key(self, asset: str, partition: str) -> str:
        """The canonical form of a key, or PartitionError.

        What has left the key space is known as long as something is recorded of it.
        """
        from assets_core.partitions.keys import visible

        space, key = self.spaces(include_open=True)[asset], visible(partition)
        left = int(space.ordinals([key])[0]) < 0
        if left and self.state.materializations(self.environment, asset, key, limit=1):
            return key
        return space.key(space.ordinal(key))

    def lineage(
        self,
        asset: str | Asset,
        partition: str | None = None,
        *,
        downstream: bool = False,
        depth: int | None = None,
    ) -> Lineage:
        """Exactly which upstream partitions and versions a partition was built from.

        ``downstream`` turns it around: which current partitions read it. ``"asset@partition"``
        may be given as one text.
        """
        from assets_core.observe.lineage import downstream_of, upstream_of
        from assets_core.recalling import StoreLedger

        name, key = _split_reference(_name(asset), partition)
        self.graph.asset(name)
        spaces = self.spaces(include_open=True)
        if key is None:
            if spaces[name].n != 1:
                raise PartitionError(
                    f"Lineage is asked of one partition of {name!r}.",
                    hint=f"For example: assets lineage {name}@{_newest(spaces[name])}",
                )
            key = spaces[name].key(0)
        key = self._key(name, key)
        ledger = StoreLedger(self.state, self.environment, self.graph, spaces)
        walk = downstream_of if downstream else upstream_of
        return walk(ledger, name, key, depth=depth)

    def status(
        self, select: Select = None, *, include_open: bool = False, now: datetime | None = None
    ) -> Status:
        """The state of every partition of the selection: fresh, stale, missing, failed, blocked.

        Sources are observed first, as for a plan. ``include_open`` also tells of windows that are
        open, and which of these were built all the same.
        """
        from assets_core.observe.status import make_status
        from assets_core.staleness import Digests, Wiring, assess

        self.recover()
        at = _aware(now) if now is not None else self.now()
        chosen = self.graph.select(select)
        spaces = self.spaces(at, include_open=include_open)
        facts, wiring = self.facts(spaces), Wiring(self.graph, spaces)
        sightings = self._observe(self.graph.order, None, facts, wiring, at)
        if sightings.moved:
            facts = self.facts(spaces)
        codes = {name: code.hex for name, code in self.codes.items()}
        digests = Digests(wiring, facts)
        found = assess(self.graph, facts, codes, digests=digests, sightings=sightings)
        failed = self.state.failed(self.environment)
        return make_status(
            self.graph, facts, found, failed, chosen, now=at, sightings=sightings, digests=digests
        )

    def freshness(self, select: Select = None, *, now: datetime | None = None) -> FreshnessReport:
        """How each partition under a freshness promise stands: pass, warn, late or not due."""
        from assets_core.observe.freshness import make_report

        at = _aware(now) if now is not None else self.now()
        chosen = self.graph.select(select)
        spaces = self.spaces(at)
        return make_report(self.graph, self.facts(spaces), chosen, now=at)

    def runs(self, limit: int | None = 20) -> list[Run]:
        """Recorded runs, newest first."""
        self.recover()
        return self.state.runs(self.environment, limit=limit)

    def run(self, run_id: str) -> Run:
        """One run, by its id or an unambiguous beginning of it; ``latest`` is the newest."""
        if run_id == "latest":
            newest = self.state.runs(self.environment, limit=1)
            found = newest[0] if newest else None
        else:
            found = self.state.run(run_id)
        if found is None:
            raise UsageError(f"There is no run {run_id!r}.", hint="See: assets runs")
        return found

    def attempts(self, run_id: str) -> list[Attempt]:
        """The attempts of a run that did not publish."""
        return self.state.attempts(run=self.run(run_id).id)

    def materialized_by(self, run_id: str) -> list[Materialization]:
        """What a run published."""
        run = self.run(run_id)
        return self.state.materializations(run.environment, None, run=run.id)

    def logs(
        self, run_id: str, asset: str | None = None, partition: str | None = None
    ) -> list[dict[str, Any]]:
        """What a run's steps printed and logged: asset, partition, attempt, at, stream, text.

        Raises UsageError, UnknownAssetError or PartitionError for what there is not.
        """
        return list(self.log_lines(run_id, asset, partition))

    def log_lines(
        self, run_id: str, asset: str | None = None, partition: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """The same as `logs`, one line after the other."""
        log = self.run_log(self.run(run_id).id)
        # What is gone from the definitions may still have printed; a misspelt name has not.
        if asset is not None and next(log.read(asset, partition), None) is None:
            # The outputs of one function share what it printed.
            asset = self.graph.op_of[self.graph.asset(asset).name].name
            partition = None if partition is None else self._key(asset, partition)
        return log.read(asset, partition)

    def run_log(self, run_id: str) -> RunLog:
        """The file that keeps a run's output."""
        from assets_core.execute.capture import RunLog

        return RunLog(self.root / FOLDER / "logs", run_id)

    # ---------------------------------------------------------------------------------------
    # Tending

    def partitions(self, asset: str | Asset, *, include_open: bool = False) -> list[str]:
        """The keys of an asset's partitions, in order."""
        return self.spaces(include_open=include_open)[self.graph.asset(_name(asset)).name].keys()

    def add_partitions(self, name: str, keys: Sequence[str]) -> int:
        """Register partitions of a ``dynamic(name)`` definition; how many were new."""
        from assets_core.partitions import canonical_key

        self._require_dynamic(name)
        return self.state.add_keys(name, [canonical_key(key) for key in keys])

    def remove_partitions(self, name: str, keys: Sequence[str]) -> int:
        """Remove registered partitions; how many there were. Their data and history stay."""
        from assets_core.partitions import canonical_key

        self._require_dynamic(name)
        return self.state.remove_keys(name, [canonical_key(key) for key in keys])

    def _require_dynamic(self, name: str) -> None:
        known = {n for a in self.graph.assets.values() for n in a.partitions.dynamic_names}
        if name not in known:
            shown = ", ".join(sorted(known)) or "none; declare partitions=dynamic('…')"
            raise UsageError(
                f"No asset is partitioned by dynamic({name!r}).", hint=f"There are: {shown}."
            )

    def accept(
        self,
        select: Select = None,
        partitions: Any = None,
        *,
        plan: Plan | None = None,
        upgraded: bool = False,
        now: datetime | None = None,
    ) -> list[tuple[str, str]]:
        """Re-stamp stale partitions with the current code and inputs, without running anything.

        Selection as for `plan`, or a plan that was looked at: then nothing that it does not hold
        is accepted. For a change that is known not to alter the output; with ``upgraded`` only
        what is stale for no other reason than that fingerprints of code got better. What is
        missing stays missing, what waits is left. Returns the asset partitions accepted.
        """
        from assets_core.execute.accepting import accept

        made = plan if plan is not None else self.plan(select, partitions, now=now)
        return accept(self, made, upgraded=upgraded)

    def invalidate(
        self,
        select: Select,
        partitions: Any = None,
        *,
        reason: str,
        downstream: bool = False,
        by: str = "",
        dry_run: bool = False,
        now: datetime | None = None,
    ) -> Invalidated:
        """Declare recorded partitions of the selection stale, whatever they were built from.

        With ``downstream`` also all that reads them, through any number of assets: it is built
        again even where its inputs come out equal. It holds until a build that begins afterwards,
        or `accept`. ``by`` is the user's name unless given; with ``dry_run`` nothing is recorded.

        Raises UsageError for an empty reason and for sources, UnknownAssetError, PartitionError.
        """
        from assets_core.invalidating import invalidate

        self.recover()
        at = _aware(now) if now is not None else self.now()
        return invalidate(
            self,
            self.graph.select(select),
            partitions,
            reason=reason,
            downstream=downstream,
            by=by,
            now=at,
            dry_run=dry_run,
        )

    def withdraw(
        self,
        source: str | Asset,
        partitions: Any = None,
        *,
        reason: str = "",
        undo: bool = False,
        by: str = "",
        dry_run: bool = False,
        now: datetime | None = None,
    ) -> Withdrawn:
        """Take partitions of a source out: neither there nor expected from now on.

        What read them is built again without them; where nothing is left to read, the next run
        withdraws the partition itself. They are looked at first: one that is still there is
        refused. Without ``partitions`` all that were seen and are not there any more. It holds
        until the partition is there again, or ``undo``, which brings back the version seen last.
        ``by`` is the user's name unless given; with ``dry_run`` nothing is withdrawn.

        Raises UsageError for an empty reason, what is still there, and what is no source;
        UnknownAssetError, PartitionError.
        """
        from assets_core.withdrawals import undo as undo_withdrawal
        from assets_core.withdrawals import withdraw

        self.recover()
        at = _aware(now) if now is not None else self.now()
        action = undo_withdrawal if undo else withdraw
        return action(
            self, _name(source), partitions, reason=reason, by=by, now=at, dry_run=dry_run
        )

    def repair(self, *, verify: bool = False) -> dict[str, Any]:
        """Bring the outside views in line with the pointers, and remove leftovers of ended runs.

        With ``verify`` every current version is read and its checksums compared.
        """
        from assets_core.execute.repairing import repair

        self.recover()
        return repair(self, verify=verify)

    def compact(
        self, keep: str = "90d", *, keep_last: int = 1, dry_run: bool = False
    ) -> dict[str, int]:
        """Remove records of versions that were superseded longer than ``keep`` ago.

        What is current stays, with all that its lineage leads to, the first record of each
        partition and its last ``keep_last``. Data is not touched. Counts of records removed and
        kept; with ``dry_run`` of those that would be.
        """
        self.recover()
        before = int((self.now() - parse_duration(keep)).timestamp() * 1_000_000)
        if keep_last < 1:
            raise UsageError(f"keep_last={keep_last} would remove what is current.")
        removed, kept = self.state.compact(
            self.environment, before, self.spaces(), keep_last=keep_last, dry_run=dry_run
        )
        return {"removed": removed, "kept": kept}

    def rebuild(self) -> dict[str, int]:
        """Record what lies in the stores and the state store does not know, for a lost state store.

        Data, code versions and input digests come back, lineage and runs do not. Counts of
        versions recorded, and of damaged ones left out.
        """
        from assets_core.execute.rebuilding import rebuild

        self.recover()
        return rebuild(self)

    def doctor(self) -> list[dict[str, str]]:
        """Checks of settings, versions, definitions and stores: name, status, detail, hint."""
        from assets_core.execute.repairing import doctor

        return doctor(self)


# --------------------------------------------------------------------------------------------


def _name(asset: str | Asset) -> str:
    return asset.name if isinstance(asset, Asset) else asset


def _split_reference(text: str, partition: Any) -> tuple[str, Any]:
    """``asset@partition`` → both parts."""
    name, at, key = text.partition("@")
    if at and partition is not None:
        raise UsageError(f"The partition is given twice: {text!r} and {partition!r}.")
    return name, key if at else partition


def _newest(space: KeySpace) -> str:
    return space.key(space.n - 1) if space.n else "PARTITION"


def _aware(moment: datetime) -> datetime:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise UsageError(
            "now= is no time with a zone.",
            hint="Give an aware datetime, such as datetime.now(UTC).",
        )
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise UsageError(f"now={moment.isoformat()} lies outside the calendar in UTC.") from None


def _folder(root: str | Path | None) -> Path:
    """The folder to begin at, which is there."""
    try:
        found = Path(root or ".").resolve()
    except FileNotFoundError:
        raise UsageError(
            "The working directory is not there any more.", hint="Go to the project's folder."
        ) from None
    if not found.is_dir():
        raise UsageError(
            f"There is no folder {str(root)!r}.", hint="Make it, or name the project's folder."
        )
    return found


def command_of(select: Select, partitions: Any, force: bool, include_open: bool) -> str:
    """The command that does the same again (what is done by then is skipped, unless forced)."""
    import shlex

    words = ["assets", "materialize"]
    for text in [select] if isinstance(select, str) else list(select or ()):
        words += ["--select", text]
    keys = [partitions] if isinstance(partitions, str) else list(partitions or ())
    for key in keys:
        words += ["--partitions" if ".." in str(key) else "--partition", str(key)]
    words += [*(["--force"] if force else []), *(["--include-open"] if include_open else [])]
    return " ".join(shlex.quote(word) for word in words)


def _io_names(definitions: Definitions, settings: Settings) -> set[str]:
    return {"default", *definitions.io_managers, *settings.io}


def _io_type(kind: str, name: str) -> Any:
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group="assets_core.io_managers")}
    if kind in found:
        return found[kind].load()
    bundled = {
        "parquet": ("io_managers.parquet", "ParquetFiles"),
        "duckdb": ("io_managers.duckdb", "DuckDBTables"),
        "memory": ("io_managers.memory", "Memory"),
    }
    if kind in bundled:
        # A source checkout that was never installed has no entry points.
        import importlib

        module, attribute = bundled[kind]
        return getattr(importlib.import_module(module), attribute)
    raise ConfigError(
        f"IO manager {name!r} is of an unknown type {kind!r}.",
        hint=f"Installed types: {', '.join(sorted(found | bundled))}.",
    )


def _make_io(name: str, settings: Any) -> IOManager:
    options = {k: v for k, v in settings.model_dump().items() if k != "type"}
    try:
        made: IOManager = _io_type(settings.type, name)(**options)
    except TypeError as error:
        raise ConfigError(
            f"IO manager {name!r} can't be made: {error}", facts={"options": options}
        ) from error
    return made


def _source_partitions(
    graph: Graph,
    chosen: Iterable[str],
    selection: PartitionSelection | None,
    facts: Facts,
    wiring: Wiring,
) -> dict[str, list[int]]:
    """The ordinals of each source that the chosen partitions read."""
    import numpy as np

    wanted: dict[str, Any] = {}
    names = set(chosen)
    for op in graph.ops:
        if names.isdisjoint(op.outputs):
            continue
        space = facts.spaces[op.name]
        mask = selection.mask(space) if selection is not None else np.ones(space.n, bool)
        if graph.assets[op.name].kind == "source":
            wanted[op.name] = wanted.get(op.name, False) | mask
            continue
        for read in op.inputs:
            if graph.assets[read.asset].kind == "source":
                covered = wiring.edge(op, read).cover(mask)
                wanted[read.asset] = wanted.get(read.asset, False) | covered
    return {name: np.flatnonzero(mask).tolist() for name, mask in wanted.items()}


def _tuple(names: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    return (names,) if isinstance(names, str) else tuple(names)
