"""A small world for tests of what reads the recorded facts: real graph, real state store, no data.

`World.build` records what an engine would record, with versions and times chosen by the test.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from assets_core.contracts import Acquire, Finish, Note, Publish
from assets_core.declare.asset import Asset
from assets_core.durations import parse_duration
from assets_core.fingerprint.hashing import hash64, hexdigest
from assets_core.graph import Graph
from assets_core.lineage.lineage import Lineage
from assets_core.lineage.status import Status
from assets_core.lineage.status_rows import make_status
from assets_core.lineage.walks import downstream_of, upstream_of
from assets_core.partitions.range_sets import keys_to_ranges
from assets_core.planning.digests import Digests
from assets_core.planning.facts import Facts
from assets_core.planning.plan import Plan, make_plan
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.planning.staleness import assess
from assets_core.records import Attempt, Code, InputRead, Materialization, Receipt, Run, Version
from assets_core.state import open_store
from assets_core.workspace.ledger import StoreLedger, StoreLookup


def micros(text: str) -> int:
    """A UTC time as the records keep it."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


class World:
    """Assets, their key spaces at ``now``, and a store."""

    def __init__(self, folder: Path, assets: Iterable[Asset], now: str, env: str = "prod") -> None:
        self.now = datetime.fromisoformat(now).replace(tzinfo=UTC)
        self.env = env
        self.graph = Graph.build(assets)
        self.spaces = self.spaces_at(self.now)
        self.state = open_store(f"sqlite:///{folder / 'state.db'}")
        self.codes = {name: hexdigest("code", name) for name in self.graph.assets}
        self.parts: dict[str, dict[str, str]] = {name: {} for name in self.graph.assets}
        self._numbers = itertools.count(1)

    def spaces_at(self, now: datetime) -> dict[str, Any]:
        """Key spaces at another instant; assets of one definition share one."""
        made = {a.partitions: a.partitions.resolve(now) for a in self.graph.assets.values()}
        return {name: made[a.partitions] for name, a in self.graph.assets.items()}

    def facts(self) -> Facts:
        snapshot = self.state.snapshot(self.env, self.graph.assets)
        lookup = StoreLookup(self.state, self.env, self.spaces)
        return Facts.of(snapshot, self.spaces, lookup)

    def begin(self) -> str:
        run = f"run{next(self._numbers):04d}"
        now = time.time_ns() // 1000
        self.state.begin(Run(run, self.env, "running", now), 60.0)
        return run

    def finish(self, run: str) -> None:
        self.state.transact([Finish(run, "done", time.time_ns() // 1000)])

    def build(
        self,
        asset: str,
        *keys: str,
        version: int = 1,
        at: str = "2024-01-10T06:00:00",
        run: str | None = None,
        **more: Any,
    ) -> None:
        """Record partitions of an asset (all without keys), built from what is recorded now."""
        own = run or self.begin()
        for key in keys or self.spaces[asset].keys():
            fact = self.fact(asset, key, version=version, at=micros(at), run=own, **more)
            lease = self.state.transact([Acquire(own, self.env, ((asset, key),))])[0][0]
            fact_with_token = replace(fact, token=lease.token)
            self.state.transact([Publish(fact_with_token)])
        if run is None:
            self.finish(own)

    def build_at_once(self, asset: str, at: str = "2024-01-10T06:00:00") -> None:
        """Record all partitions in one commit of one run, as if they were built in order."""
        run, keys = self.begin(), self.spaces[asset].keys()
        facts, resolved = self.facts(), ResolvedGraph(self.graph, self.spaces)
        slots = tuple((asset, key) for key in keys)
        leases = self.state.transact([Acquire(run, self.env, slots)])[0]
        publishes = []
        for key, lease in zip(keys, leases, strict=True):
            fact = self.fact(
                asset, key, version=1, at=micros(at), run=run, facts=facts, resolved=resolved
            )
            publishes.append(Publish(replace(fact, token=lease.token)))
        self.state.transact(publishes)
        self.finish(run)

    def build_all_at_once(self, assets: Iterable[str]) -> None:
        """`build_at_once` for several assets of one partition each, in one commit."""
        run, facts, resolved = self.begin(), self.facts(), ResolvedGraph(self.graph, self.spaces)
        slots = tuple((name, self.spaces[name].key(0)) for name in assets)
        leases = self.state.transact([Acquire(run, self.env, slots)])[0]
        made = [
            self.fact(name, key, version=1, at=1, run=run, facts=facts, resolved=resolved)
            for name, key in slots
        ]
        self.state.transact(
            [Publish(replace(f, token=lease.token)) for f, lease in zip(made, leases, strict=True)]
        )
        self.finish(run)

    def observe_at_once(self, source: str, version: int = 1) -> None:
        """Observe all partitions of a source in one commit."""
        facts, resolved = self.facts(), ResolvedGraph(self.graph, self.spaces)
        publishes = []
        for key in self.spaces[source].keys(None):
            fact = self.fact(
                source,
                key,
                version=version,
                at=micros("2024-01-10T01:00:00"),
                run="",
                facts=facts,
                resolved=resolved,
            )
            receipt = Receipt("", "none", "t", 0)
            seen = replace(fact, kind="observed", receipt=receipt, input_digest=(0, 0))
            publishes.append(Publish(seen, lease=False))
        self.state.transact(publishes)

    def again(self, now: str) -> World:
        """The same store at another instant."""
        self.now = datetime.fromisoformat(now).replace(tzinfo=UTC)
        self.spaces = self.spaces_at(self.now)
        return self

    def observe(self, source: str, *keys: str, version: int = 1, token: str = "t", at: str) -> None:
        """Record observations of a source."""
        for key in keys or self.spaces[source].keys():
            fact = self.fact(source, key, version=version, at=micros(at), run="")
            receipt = Receipt("", "none", token, 0)
            fact = replace(fact, kind="observed", receipt=receipt, input_digest=(0, 0), inputs=())
            self.state.transact([Publish(fact, lease=False)])

    def fact(
        self,
        asset: str,
        key: str,
        *,
        version: int,
        at: int,
        run: str,
        facts: Facts | None = None,
        resolved: ResolvedGraph | None = None,
        **more: Any,
    ) -> Materialization:
        facts = facts or self.facts()
        resolved = resolved or ResolvedGraph(self.graph, self.spaces)
        op, ordinal = self.graph.op_of[asset], self.spaces[asset].ordinal(key)
        digest, sums = Digests(resolved, facts).one(op, ordinal)
        reads = []
        for read, total in zip(op.inputs, sums, strict=True):
            at_up = resolved.edge(op, read).upstream(ordinal).tolist()
            ranges = keys_to_ranges(self.spaces[read.asset], at_up)
            reads.append(
                InputRead(read.name, read.asset, ranges, len(at_up), facts.revision, total)
            )
        end, promise = self.spaces[asset].ends(), self.graph.assets[asset].freshness
        deadline = 0
        if end is not None and promise is not None:
            within = parse_duration(promise.lands_within) // timedelta(microseconds=1)
            deadline = int(end[ordinal]) * 1_000_000 + within
        fields: dict[str, Any] = {
            "deadline": deadline,
            "environment": self.env,
            "asset": asset,
            "partition": key,
            "code": Code(self.codes[asset], self.parts[asset]),
            "input_digest": digest,
            "data_version": data_version(asset, key, version),
            "receipt": Receipt("default", "table", f"{asset}/{key}", 1, rows=100, bytes=5000),
            "started": at - 1_500_000,
            "finished": at,
            "run": run,
            "inputs": tuple(reads),
        }
        return Materialization(**{**fields, **more})

    def fail(self, asset: str, key: str, error: str = "ValueError: no", at: str = "") -> Attempt:
        run = self.begin()
        when = micros(at or "2024-01-11T06:00:00")
        attempt = Attempt(run, self.env, asset, key, 1, "failed", when - 500_000, when, error)
        self.state.transact([Note((attempt,))])
        self.finish(run)
        return attempt

    def plan(self, **options: Any) -> Plan:
        return make_plan(
            self.graph,
            self.facts(),
            self.codes,
            now=self.now,
            parts=self.parts,
            environment=self.env,
            **options,
        )

    def status(self, observed: bool = True) -> Status:
        facts = self.facts()
        found = assess(self.graph, facts, self.codes)
        failed = self.state.failed(self.env)
        return make_status(
            self.graph, facts, found, failed, self.graph.order, now=self.now, observed=observed
        )

    def ledger(self) -> StoreLedger:
        return StoreLedger(self.state, self.env, self.graph, self.spaces)

    def upstream(self, asset: str, key: str, depth: int | None = None) -> Lineage:
        return upstream_of(self.ledger(), asset, key, depth)

    def downstream(self, asset: str, key: str, depth: int | None = None) -> Lineage:
        return downstream_of(self.ledger(), asset, key, depth)


def data_version(asset: str, key: str, version: int) -> Version:
    """A data version that is the same for the same arguments."""
    return hash64("data", asset, key, version), hash64("more", asset, key, version)
