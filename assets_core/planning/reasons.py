"""Why a partition is stale, in words: what it was built from, and what that is now.

Pure but for the lookup of records, which is asked about the partition that is told about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from assets_core.graph import Graph, Input, Op
from assets_core.planning.digests import WAS_OPEN, Digests, open_digest
from assets_core.planning.facts import Facts
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.planning.staleness import (
    CODE,
    FORCED,
    INPUT,
    INVALIDATED,
    MISSING,
    SIBLING,
    WITHDRAWN,
)
from assets_core.records import (
    NO_VERSION,
    TRACED,
    InputRead,
    Version,
    version_hex,
    withdrawn_for,
)

READS = "reads otherwise"
"""The kind of a reason: not what was read has moved, other partitions or assets are read."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One cause of staleness: what kind, told in words, what it was and what it is.

    ``asset`` and ``partition`` name the upstream partition that moved, where one did.
    """

    kind: str
    detail: str
    was: str = ""
    now: str = ""
    asset: str = ""
    partition: str = ""


def explain(
    graph: Graph,
    digests: Digests,
    codes: Mapping[str, str],
    parts: Mapping[str, Mapping[str, str]],
    asset: str,
    ordinal: int,
    bits: int,
    withdrawn: Mapping[str, np.ndarray] | None = None,
) -> tuple[Reason, ...]:
    """The reasons of one partition, in words. ``parts`` holds each asset's current code parts."""
    found: list[Reason] = []
    facts = digests.facts
    own = facts.assets[asset]
    if bits & WITHDRAWN:
        return (_nothing_left_reason(graph.op_of[asset], digests, ordinal, withdrawn or {}),)
    if bits & MISSING and not own.has(ordinal):
        again = "was withdrawn, and what it reads is there again"
        found.append(Reason("missing", again if own.id[ordinal] else "never materialized"))
    if bits & INVALIDATED and (invalidation := facts.invalidation(asset, ordinal)) is not None:
        found.append(Reason("invalidated", f"invalidated {invalidation}"))
    if bits & CODE and own.id[ordinal]:
        found += _code_reasons(facts, int(own.code[ordinal]), codes[asset], parts.get(asset, {}))
    if bits & INPUT and own.id[ordinal]:
        found += _input_reasons(graph, digests, asset, ordinal)
    if bits & FORCED:
        found.append(Reason("forced", "asked for by --force"))
    if not found and bits & SIBLING:
        others = ", ".join(n for n in graph.op_of[asset].outputs if n != asset)
        found.append(Reason("sibling", f"made together with {others}"))
    return tuple(found)


UPGRADED = "fingerprint upgraded"
"""The kind of a reason: code that was fingerprinted by an older version can't be compared."""


OLDER_FORM = "built before fingerprints of code got better; the two can't be compared"


def _is_of_another_form(known: Mapping[str, str], parts: Mapping[str, str]) -> bool:
    from assets_core.fingerprint.versions import FORM_PART

    of_a_function = any(name.startswith("function ") for name in known)
    return of_a_function and FORM_PART in parts and known.get(FORM_PART) != parts[FORM_PART]


def only_upgraded(
    facts: Facts, asset: str, ordinals: np.ndarray, parts: Mapping[str, str]
) -> np.ndarray:
    """Which of these were built by code that was fingerprinted in an older form, bool."""
    codes = facts.assets[asset].code[ordinals]
    found = np.zeros(len(ordinals), bool)
    lookup = facts.lookup
    if lookup is None:
        return found
    for code in np.unique(codes).tolist():
        known = lookup.code_parts(facts.codes.get(code, ""))
        if _is_of_another_form(known, parts):
            found |= codes == code
    return found


def _nothing_left_reason(
    op: Op, digests: Digests, ordinal: int, withdrawn: Mapping[str, np.ndarray]
) -> Reason:
    """Which input nothing is left of, and why its first partition was withdrawn."""
    facts = digests.facts
    for read in op.inputs:
        at = digests.resolved.edge(op, read).upstream(ordinal)
        gone = withdrawn.get(digests.resolved.graph.op_of[read.asset].name)
        if gone is None or read.asset in op.outputs or not len(at) or not gone[at].all():
            continue
        key = facts.spaces[read.asset].key(int(at[0]))
        told = _withdrawn_for(facts, read.asset, int(at[0]))
        place = f"{read.asset}[{key}]" + (f" to {len(at) - 1:,} more" if len(at) > 1 else "")
        detail = f"nothing is left to read: {place} withdrawn {told}".strip()
        return Reason(IS_WITHDRAWN, detail, asset=read.asset, partition=key)
    return Reason(IS_WITHDRAWN, "nothing is left to read")


IS_WITHDRAWN = "withdrawn"
"""The kind of a reason: all that a partition reads through some input is withdrawn."""


def _withdrawn_for(facts: Facts, asset: str, ordinal: int) -> str:
    """By whom and why a partition was withdrawn; empty where that is not recorded."""
    if facts.lookup is None or not facts.assets[asset].id[ordinal]:
        return ""
    fact = facts.lookup.current(asset, facts.spaces[asset].key(ordinal))
    return withdrawn_for(fact) if fact is not None else ""


def _code_reasons(facts: Facts, code: int, current: str, parts: Mapping[str, str]) -> list[Reason]:
    from assets_core.fingerprint.versions import changed_parts

    was = facts.codes.get(code, "")
    if was == current:
        return []
    known = facts.lookup.code_parts(was) if facts.lookup is not None else {}
    if _is_of_another_form(known, parts):
        return [Reason(UPGRADED, OLDER_FORM, was[:12], current[:12])]
    if was.startswith(f"{current}+"):
        return [_reads_moved(known, facts.reads_now(was))]
    static = {name: part for name, part in known.items() if not name.startswith(TRACED)}
    changes = changed_parts(static, parts) if static and parts else []
    about_config = bool(changes) and all(change.startswith("config") for change in changes)
    kind = "config changed" if about_config else "code changed"
    return [Reason(kind, "; ".join(changes) or "another code version", was[:12], current[:12])]


def _reads_moved(known: Mapping[str, str], now: Mapping[str, str]) -> Reason:
    """Which of the things that a build read besides its inputs hold something else now."""
    moved = (name for name, digest in sorted(now.items()) if known[name] != digest)
    names = [name.removeprefix(TRACED) for name in moved]
    shown = [f"{name} changed" for name in names[:_SHOWN]]
    shown += [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    told = "; ".join(shown) or "what it read besides its inputs is not known"
    return Reason("code changed", told)


def _input_reasons(graph: Graph, digests: Digests, asset: str, ordinal: int) -> list[Reason]:
    op, facts = graph.op_of[asset], digests.facts
    current, sums = digests.one(op, ordinal)
    own = facts.assets[asset]
    if (int(own.digest[ordinal][0]), int(own.digest[ordinal][1])) == current:
        return []
    partition = facts.spaces[asset].key(ordinal)
    reads = {r.name: r for r in facts.lookup.reads(asset, partition)} if facts.lookup else {}
    found: list[Reason] = []
    closed = ordinal < facts.spaces[asset].closed
    if closed and _was_open(op, reads, (int(own.digest[ordinal][0]), int(own.digest[ordinal][1]))):
        found.append(Reason("closed", WAS_OPEN))
    for read, total in zip(op.inputs, sums, strict=True):
        before = reads.pop(read.name, None)
        if before is not None and before.asset == read.asset and before.digest == total:
            continue
        kind = "late data" if graph.assets[read.asset].kind == "source" else "input changed"
        found += _moved(facts, digests.resolved, op, read, ordinal, before, kind)
    for gone in reads.values():
        found.append(Reason(READS, f"no longer reads {gone.asset}", was=gone.asset))
    return found or [Reason("input changed", "another input digest")]


def _was_open(op: Op, reads: Mapping[str, InputRead], digest: Version) -> bool:
    if len(reads) < len(op.inputs):
        return False
    return digest == open_digest(reads.values())


def _moved(
    facts: Facts,
    resolved: ResolvedGraph,
    op: Op,
    read: Input,
    ordinal: int,
    before: InputRead | None,
    kind: str,
) -> list[Reason]:
    """Which of an input's partitions moved, one reason each (a summary past a few)."""
    if before is None:
        return [Reason(READS, f"reads {read.asset} since its last build", now=read.asset)]
    assert facts.lookup is not None
    own_key = facts.spaces[op.name].key(ordinal)
    was = facts.lookup.versions_read(op.name, own_key, before)
    space, data = facts.spaces[read.asset], facts.assets[read.asset]
    at = resolved.edge(op, read).upstream(ordinal)
    ordinals = {key: int(i) for key, i in zip(space.keys(at), at, strict=True)}
    now = {key: data.version(i) for key, i in ordinals.items()}
    # Of a range whose ends have left the key space only the ends are known.
    known = was.keys() | now.keys() if len(was) == before.count else was.keys()
    changed = [
        (key, was.get(key, NO_VERSION), now.get(key, NO_VERSION))
        for key in sorted(known)
        if was.get(key, NO_VERSION) != now.get(key, NO_VERSION)
    ]
    label = "late data in" if kind == "late data" else "input"
    reasons = []
    for key, old, new in changed[:_SHOWN]:
        place = f"{read.asset}[{key}]"
        if key not in now:  # `latest()` has gone on, or a window's calendar was cut
            reason = Reason(READS, f"no longer reads {place}", was=_short(old))
        elif key not in was and not read.require.is_all:
            reason = Reason(kind, f"{label} {place}, which was not there", now=_short(new))
        elif new == NO_VERSION and data.id[ordinals[key]]:
            told = f"{place} was withdrawn {_withdrawn_for(facts, read.asset, ordinals[key])}"
            reason = Reason(kind, told.strip(), _short(old), _short(new))
        elif was and key not in was:
            reason = Reason(READS, f"now reads {place}", now=_short(new))
        else:
            reason = Reason(kind, f"{label} {place}", _short(old), _short(new))
        reasons.append(replace(reason, asset=read.asset, partition=key))
    if len(changed) > _SHOWN:
        more = len(changed) - _SHOWN
        rest = f"and {more} more partitions of {read.asset}"
        reasons.append(Reason(kind, rest, asset=read.asset))
    return reasons or [Reason(kind, f"{label} {read.asset}", asset=read.asset)]


_SHOWN = 5


def _short(version: Version) -> str:
    return version_hex(version)[:12] if version != NO_VERSION else "nothing"
