"""Between records and rows: how a fact is laid down, and how it is read again.

Pure: a row is a tuple in the order of the columns that are named beside it, numbers stand for
interned texts. What isn't strict JSON, or isn't text that every database keeps, is refused before
anything is written.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, get_args

from assets_core.errors import StateError, bounded
from assets_core.records import (
    Attempt,
    Backfill,
    CheckOutcome,
    DataKind,
    InputRead,
    Invalidation,
    Materialization,
    MaterializationKind,
    Receipt,
    Run,
    Version,
)
from assets_core.state.sql import Row

FACTS = Struct(">qqQQQQqqq")
"""What a snapshot gives of a current materialization: id, token, data version, input digest,
number of the code, finished (µs), rows."""

_VERSION = Struct(">QQ")
_KINDS: tuple[MaterializationKind, ...] = get_args(MaterializationKind)
_DATA_KINDS: tuple[DataKind, ...] = get_args(DataKind)
_KIND_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_DATA_KIND_NUMBERS = {kind: number for number, kind in enumerate(_DATA_KINDS)}

RAN = tuple(_KIND_NUMBERS[kind] for kind in ("built", "unchanged"))
"""The numbers of the kinds of materializations that ran the asset's code in this run."""

_encoder = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def to_json(value: object, what: str) -> str:
    """Compact strict JSON. Raises StateError naming ``what`` for anything else."""
    try:
        return plain(_encoder.encode(value), what)
    except (TypeError, ValueError) as error:
        raise _not_json(what, value, error) from error


def metadata_json(value: Mapping[str, object]) -> str | None:
    """A user's metadata as strict JSON, None for none. Raises StateError."""
    if not value:
        return None
    try:
        _refuse_other_keys(value)
    except TypeError as error:
        raise _not_json("metadata", value, error) from None
    return to_json(value, "metadata")


def _not_json(what: str, value: object, error: Exception) -> StateError:
    return StateError(
        f"The {what} can't be recorded: it is not strict JSON.",
        facts={"reason": error, "value": repr(value)[:200]},
        hint="Use text, finite numbers, true/false, null, lists and objects with text keys.",
    )


def _refuse_other_keys(value: object) -> None:
    """The encoder would turn the key 1 into "1", and the fact read back would differ."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is not text")
            _refuse_other_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_other_keys(item)


def plain(text: str, what: str) -> str:
    """``text`` itself. Raises StateError for what no database keeps as it is."""
    if text.isascii() and "\x00" not in text:
        return text
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise StateError(
            f"The {what} can't be recorded: it has a character that is not text.",
            facts={what: ascii(text)[:200]},
        )
    return text


def readable(text: str) -> str | None:
    """Text from outside (an error, a traceback), bounded, what can't be stored made visible."""
    if not text:
        return None
    return bounded(text).replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def pack_version(version: Version) -> bytes:
    """16 bytes, most significant first."""
    return _VERSION.pack(*version)


def unpack_version(data: bytes) -> Version:
    """The inverse of :func:`pack_version`."""
    high, low = _VERSION.unpack(data)
    return high, low


# ---------------------------------------------------------------------------------------------
# Parts of a fact


def encode_checks(checks: Sequence[CheckOutcome]) -> str | None:
    """Check results as JSON; None for none. What is usual at the end of an entry is left out."""
    if not checks:
        return None
    return to_json([_check_entry(check) for check in checks], "check results")


def _check_entry(check: CheckOutcome) -> list[object]:
    failed = -1 if check.failed_rows is None else check.failed_rows
    return [check.name, int(check.passed), check.severity, check.message, failed]


def unremarkable(checks: Iterable[CheckOutcome]) -> bool:
    """Whether these results say only that all passed: many partitions then share their text."""
    return all(check.passed and not check.message and not check.failed_rows for check in checks)


def decode_checks(text: str | None) -> tuple[CheckOutcome, ...]:
    """The inverse of :func:`encode_checks`."""
    if text is None:
        return ()
    return tuple(
        CheckOutcome(name, bool(passed), severity, message, None if failed < 0 else failed)
        for name, passed, severity, message, failed in json.loads(text)
    )


def encode_inputs(inputs: Sequence[InputRead], numbers: Mapping[str, int]) -> str | None:
    """Inputs as JSON with the upstreams' numbers; a range of one key is that key."""
    if not inputs:
        return None
    return to_json([_input_entry(read, numbers[read.asset]) for read in inputs], "inputs")


def _input_entry(read: InputRead, number: int) -> list[object]:
    ranges = [low if low == high else [low, high] for low, high in read.ranges]
    digest = binascii.b2a_base64(pack_version(read.digest), newline=False)[:22].decode()
    name = 0 if read.name == read.asset else read.name
    return [number, name, ranges, read.count, read.revision, digest]


def decode_inputs(text: str | None, names: Mapping[int, str]) -> tuple[InputRead, ...]:
    """The inverse of :func:`encode_inputs`; ``names`` are the assets' by their numbers."""
    if text is None:
        return ()
    return tuple(_input_read(entry, names[entry[0]]) for entry in json.loads(text))


def _input_read(entry: list[Any], asset: str) -> InputRead:
    _, name, ranges, count, revision, digest = entry
    pairs = tuple((one, one) if isinstance(one, str) else (one[0], one[1]) for one in ranges)
    version = unpack_version(binascii.a2b_base64(digest + "=="))
    return InputRead(name or asset, asset, pairs, count, revision, version)


def input_numbers(text: str) -> list[int]:
    """The numbers of the upstreams in encoded inputs."""
    return [entry[0] for entry in json.loads(text)]


# ---------------------------------------------------------------------------------------------
# Whole facts


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the interned parts of one fact became."""

    asset: int
    code: int
    store: int
    run: int | None
    schema: int | None
    passed: int | None


def check_fact(fact: Materialization) -> None:
    """Raise StateError for a fact with text that can't be kept as it is."""
    plain(fact.asset, "asset")
    plain(fact.partition, "partition")
    plain(fact.receipt.location, "location")
    plain(fact.receipt.rejects, "rejects")
    plain(fact.schema, "schema")


FACT_COLUMNS = (
    "id, asset, partition, kind, code, input_digest, data_version, schema, run, attempt, token,"
    " store, data_kind, location, receipt_token, rows, bytes, rejects, rejected, started, finished,"
    " deadline, inputs, passed, checks, metadata"
)


def fact_row(
    fact: Materialization,
    identity: int,
    numbers: Numbers,
    texts: tuple[str | None, str | None, str | None],
) -> Row:
    """FACT_COLUMNS of ``materializations``; ``texts`` are inputs, checks and metadata as JSON."""
    receipt = fact.receipt
    return (
        identity,
        numbers.asset,
        fact.partition,
        _KIND_NUMBERS[fact.kind],
        numbers.code,
        pack_version(fact.input_digest),
        pack_version(fact.data_version),
        numbers.schema,
        numbers.run,
        fact.attempt,
        fact.token,
        numbers.store,
        _DATA_KIND_NUMBERS[receipt.kind],
        receipt.location,
        None if receipt.token == fact.token else receipt.token,
        receipt.rows,
        receipt.bytes,
        receipt.rejects or None,
        receipt.rejected,
        fact.started,
        fact.finished,
        fact.deadline or None,
        texts[0],
        numbers.passed,
        texts[1],
        texts[2],
    )


def pack_facts(fact: Materialization, identity: int, code: int) -> bytes:
    """See FACTS."""
    return FACTS.pack(
        identity,
        fact.token,
        *fact.data_version,
        *fact.input_digest,
        code,
        fact.finished,
        fact.receipt.rows,
    )


def read_receipt(row: Row) -> Receipt:
    """The receipt out of (store name, data kind, location, receipt token, token, rows, bytes,
    rejects, rejected)."""
    store, kind, location, own, token, rows, size, rejects, rejected = row
    return Receipt(
        store=store,
        kind=_DATA_KINDS[kind],
        location=location,
        token=token if own is None else own,
        rows=rows,
        bytes=size,
        rejects=rejects or "",
        rejected=rejected,
    )


def kind_of(number: int) -> MaterializationKind:
    """The kind of a materialization by its number."""
    return _KINDS[number]


ATTEMPT_COLUMNS = (
    "revision, run, asset, partition, attempt, status, started, finished, error, traceback, checks"
)


def attempt_row(attempt: Attempt, revision: int, run: int | None, asset: int) -> Row:
    """ATTEMPT_COLUMNS of ``attempts``: all but its id."""
    return (
        revision,
        run,
        asset,
        plain(attempt.partition, "partition"),
        attempt.attempt,
        attempt.status,
        attempt.started,
        attempt.finished,
        readable(attempt.error),
        readable(attempt.traceback),
        encode_checks(attempt.checks),
    )


RUN_COLUMNS = (
    "run, environment, status, started, finished, command, host, pid, counts, note, priority,"
    " backfill"
)


def run_row(run: Run) -> Row:
    """RUN_COLUMNS of ``runs``: all but its number and expiry."""
    return (
        run.id,
        plain(run.environment, "environment"),
        run.status,
        run.started,
        run.finished,
        readable(run.command) or "",
        readable(run.host) or "",
        run.pid,
        to_json(dict(run.counts), "counts of the run"),
        readable(run.note) or "",
        run.priority or None,
        run.backfill or None,
    )


def read_run(row: Row) -> Run:
    """The inverse of :func:`run_row`."""
    run, environment, status, started, finished, command, host, pid, counts, note = row[:10]
    priority, backfill = row[10:]
    return Run(
        id=run,
        environment=environment,
        status=status,
        started=started,
        finished=finished,
        command=command,
        host=host,
        pid=pid,
        counts=json.loads(counts),
        note=note,
        priority=priority or 0,
        backfill=backfill or "",
    )


BACKFILL_COLUMNS = (
    "backfill, environment, status, created, made_by, revision, total, targets, codes, options,"
    " note"
)


def backfill_row(one: Backfill) -> Row:
    """BACKFILL_COLUMNS of ``backfills``: all but its number."""
    return (
        one.id,
        plain(one.environment, "environment"),
        one.status,
        one.created,
        readable(one.by) or "",
        one.revision,
        one.total,
        to_json({k: [list(r) for r in v] for k, v in one.targets.items()}, "targets"),
        to_json(dict(one.codes), "codes"),
        to_json(dict(one.options), "options of the backfill"),
        readable(one.note) or "",
    )


def read_backfill(row: Row) -> Backfill:
    """The inverse of :func:`backfill_row`."""
    backfill, environment, status, created, by, revision, total, targets = row[:8]
    codes, options, note = row[8:]
    ranges = {name: [(a, b) for a, b in own] for name, own in json.loads(targets).items()}
    return Backfill(
        id=backfill,
        environment=environment,
        status=status,
        created=created,
        by=by,
        revision=revision,
        total=total,
        targets=ranges,
        codes=json.loads(codes),
        options=json.loads(options),
        note=note,
    )


def encode_ranges(ranges: Sequence[tuple[str, str]]) -> str:
    """Ranges as JSON; a range of one key is that key."""
    entries = [first if first == last else [first, last] for first, last in ranges]
    return to_json(entries, "partitions")


INVALIDATION_COLUMNS = "id, asset, ranges, made, made_by, reason, origin"


def invalidation_row(what: Invalidation, number: int, asset: int) -> Row:
    """INVALIDATION_COLUMNS of ``invalidations``: all of them."""
    return (
        number,
        asset,
        encode_ranges(what.ranges),
        what.at,
        readable(what.by) or "",
        readable(what.reason) or "",
        plain(what.origin, "asset"),
    )


def read_invalidation(row: Row, environment: str, asset: str) -> Invalidation:
    """The inverse of :func:`invalidation_row`."""
    number, _, encoded, made, by, reason, origin = row
    ranges = tuple((r, r) if isinstance(r, str) else (r[0], r[1]) for r in json.loads(encoded))
    return Invalidation(environment, asset, ranges, reason, by, made, origin, number)
