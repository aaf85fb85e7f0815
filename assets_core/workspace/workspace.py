"""What operations are given: definitions, their graph and settings, their stores and their clock.

Nothing is opened before it is needed. What is done with it all is for `operations`; how one of the
parts is made stands in the modules beside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from assets_core.declare.definitions import Definitions, Resource
from assets_core.errors import AssetsError, StateBehindError, UsageError
from assets_core.graph import Graph
from assets_core.settings import FoundSettings, Settings, find, load_settings
from assets_core.shown import drawn
from assets_core.workspace.stores import io_names, make_io_managers

if TYPE_CHECKING:
    from assets_core.contracts import IOManager, StateStore
    from assets_core.execution.recovery import Recovered
    from assets_core.execution.task import Runtime
    from assets_core.fingerprint.contents import Contents
    from assets_core.fingerprint.versions import CodeVersion
    from assets_core.fingerprint.watch import Watch
    from assets_core.partitions import KeySpace
    from assets_core.planning.facts import Facts
    from assets_core.records import Code

FOLDER = ".assets"
"""The workspace's own folder: the state store and the runs' logs."""

ConfigValues = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Origin:
    """How to make the same workspace again in a worker process."""

    module: str
    root: str
    environment: str
    config: ConfigValues = field(default_factory=dict)


class Workspace:
    """Definitions, their stores and their recorded facts, in one place.

    Close it, or use it as a context manager, when done.
    """

    def __init__(
        self,
        definitions: Definitions,
        *,
        root: str | Path = ".",
        state: str | None = None,
        environment: str | None = None,
        config: ConfigValues | None = None,
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
            settings = load_settings(FoundSettings(self.root, None, {}), given=given)
        else:
            settings = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
        self.settings = settings
        self.environment = settings.environment
        self.definitions = definitions
        self.origin = origin
        self.recovered: list[Recovered] = []
        """What was mended of runs that died, and nobody was told of yet."""
        self.disagreement: StateBehindError | None = None
        """What the last look found in the data that the state store should know."""
        self._given_config = dict(config or {})
        self._kept = ExitStack()
        self.graph = Graph.build(definitions.flat(), io_names(definitions, settings))

    @classmethod
    def from_module(
        cls,
        module: str | None = None,
        *,
        root: str | Path | None = None,
        state: str | None = None,
        environment: str | None = None,
        config: ConfigValues | None = None,
    ) -> Self:
        """Load the definitions that the settings (or ``module``) name.

        Settings are looked for in ``root`` (the working directory unless given) and above.
        """
        from assets_core.declare.loading import gather, parsed_queries

        found = find(_folder(root))
        given = {"module": module, "state": state, "environment": environment}
        settings = load_settings(found, given=given)
        definitions, wrong = gather(settings.module, found.root, settings.code_roots)
        origin = Origin(settings.module, str(found.root), settings.environment, dict(config or {}))
        with parsed_queries(found.root / FOLDER):
            if wrong.problems:
                raise Graph.report(definitions.flat(), io_names(definitions, settings), wrong)
            return cls(
                definitions, root=found.root, config=config, settings=settings, origin=origin
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the state store and of the IO managers' files."""
        self._kept.close()
        for part in ("state", "io"):  # made anew where it is asked for again
            self.__dict__.pop(part, None)

    def keep(self, held: AbstractContextManager[Any]) -> Any:
        """Enter a context that lasts until the workspace is closed; what it gives."""
        return self._kept.enter_context(held)

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name} {self.root.name}: {len(self.graph.assets)} assets, {self.environment}>"

    def _repr_html_(self) -> str:
        return drawn(self.graph, "html")

    # ---------------------------------------------------------------------------------------
    # Stores

    @cached_property
    def state(self) -> StateStore:
        """The state store, opened (and migrated) on first use."""
        return self._opened_state(create=True)

    def state_if_there(self) -> StateStore | None:
        """The state store; None where nothing was ever recorded: it isn't made for this."""
        if "state" not in self.__dict__:
            try:
                self.state = self._opened_state(create=False)
            except AssetsError:
                return None
        return self.state

    def _opened_state(self, *, create: bool) -> StateStore:
        from assets_core.state import open_store

        store = open_store(self.state_url, create=create)
        self._kept.callback(store.close)
        return store

    @property
    def state_url(self) -> str:
        """Where facts are recorded."""
        if self.settings.state:
            return self.settings.state
        return f"sqlite:///{self.root / FOLDER / 'state.db'}"

    @cached_property
    def io(self) -> Mapping[str, IOManager]:
        """The IO managers by name, bound to this workspace's folder."""
        managers = make_io_managers(self.definitions, self.settings)
        for name, manager in managers.items():
            manager.bind(name, self.root)
            self._kept.callback(manager.close)
        return managers

    # ---------------------------------------------------------------------------------------
    # Code

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """Each asset's config model, filled in.

        Raises ConfigError for values that are missing, misspelt or of the wrong type.
        """
        from assets_core.workspace.config import fill_config

        layers = (self.definitions.config, self.settings.config, self._given_config)
        return fill_config(self.graph, layers)

    @cached_property
    def codes(self) -> dict[str, Code]:
        """The current code version of every asset."""
        from assets_core.workspace.codes import stored

        return stored(self.code_versions)

    @cached_property
    def code_versions(self) -> dict[str, CodeVersion]:
        """The same with what was warned of."""
        return self.code_versions_with({n: manager.identity() for n, manager in self.io.items()})

    def code_versions_with(
        self, io_identities: Mapping[str, tuple[object, ...]]
    ) -> dict[str, CodeVersion]:
        """The code versions of now, were the IO managers those of these identities."""
        from assets_core.fingerprint.sources.files import remembered
        from assets_core.workspace.codes import code_versions

        with remembered(self.root / FOLDER):
            return code_versions(
                self.graph,
                self.config,
                io_identities,
                self.root,
                self.contents(),
                self.definitions.resources,
            )

    @property
    def code_warnings(self) -> dict[str, tuple[str, ...]]:
        """What of each asset's code could not be followed, so that a change there goes unseen."""
        return {name: code.warnings for name, code in self.code_versions.items() if code.warnings}

    @cached_property
    def watch(self) -> Watch:
        """Which files count as the project's code: those under its code roots that are neither
        data nor state."""
        from assets_core.fingerprint.watch import Watch, apart_from, code_roots

        folders = [Path(f) for io in self.io.values() if (f := getattr(io, "folder", None))]
        roots = code_roots(self.root, self.settings.code_roots)
        given = tuple(os.path.realpath(self.root / one) for one in self.settings.code_roots)
        return Watch(roots, apart_from(self.root, folders), given)

    def contents(self) -> Contents:
        """What files and variables hold that code reads, as they are from now on."""
        from assets_core.fingerprint.contents import Contents

        return Contents(self.root, self.watch, self.root / FOLDER)

    @cached_property
    def runtime(self) -> Runtime:
        """What steps share."""
        from assets_core.execution.task import Runtime

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
            output_bytes=self.settings.output_bytes,
        )

    # ---------------------------------------------------------------------------------------
    # Facts

    def now(self) -> datetime:
        """The instant that decides which windows have closed: the clock, in UTC."""
        return datetime.now(UTC)

    def spaces(
        self, now: datetime | None = None, *, include_open: bool = False
    ) -> dict[str, KeySpace]:
        """Each asset's key space at ``now``; assets of one definition share one."""
        from assets_core.workspace.facts import has_dynamic_keys, key_spaces

        keys = self.state.dynamic_keys() if has_dynamic_keys(self.graph) else {}
        return key_spaces(self.graph, now or self.now(), keys, include_open=include_open)

    def facts(self, spaces: Mapping[str, KeySpace] | None = None) -> Facts:
        """What is recorded of every asset, laid out in key spaces."""
        from assets_core.workspace.facts import recorded_facts

        laid_out = spaces or self.spaces()
        facts = recorded_facts(self.state, self.environment, self.graph, laid_out)
        facts.contents = self.contents().now
        return facts


def worker_runtime(
    origin: Origin, allow_schema_change: bool
) -> tuple[Runtime, Callable[[], Mapping[str, Code]]]:
    """In a worker process: what steps share, loaded from the same module, and its codes."""
    from dataclasses import replace

    workspace = Workspace.from_module(
        origin.module, root=origin.root, environment=origin.environment, config=origin.config
    )
    runtime = replace(workspace.runtime, allow_schema_change=allow_schema_change)
    return runtime, lambda: workspace.codes


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
