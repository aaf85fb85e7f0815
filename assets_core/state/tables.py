"""The tables of the state store, as they are in its newest version.

Only their shape: reading and writing them is elsewhere. SQLAlchemy says it in what a database
understands, once, when a new store is made; no other module imports it.

Names that repeat (assets, codes, schemas) are stored once and referred to by number, so that a
materialization stays small; times are integer microseconds since 1970 UTC, versions are 16 bytes
with the most significant first.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.schema import CreateIndex, CreateTable

metadata = MetaData()

# Only a column declared INTEGER PRIMARY KEY is the row's own address in SQLite.
_Serial = BigInteger().with_variant(Integer, "sqlite")


def _references(target: str) -> ForeignKey:
    return ForeignKey(target, ondelete="RESTRICT")


meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# One row, ``revision``: the newest id given out. It only grows, also when rows are removed, and
# whoever changes it holds the write lock, so ids are in the order of commits.
counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# Texts that many materializations share: schemas, and check results without a remark.
texts = Table(
    "texts",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("text", Text, nullable=False),
)

assets = Table(
    "assets",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("environment", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("schema", BigInteger, _references("texts.id")),
    UniqueConstraint("environment", "name"),
)

# Which assets have ever read from which, so that readers are found without reading every fact.
edges = Table(
    "edges",
    metadata,
    Column("upstream", BigInteger, _references("assets.id"), primary_key=True),
    Column("asset", BigInteger, _references("assets.id"), primary_key=True),
    sqlite_with_rowid=False,
)

codes = Table(
    "codes",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("hex", Text, nullable=False, unique=True),
    Column("parts", Text),
)

stores = Table(
    "stores",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

# ``expires`` is by the database's clock: extending a run's leases is an update of this one row.
runs = Table(
    "runs",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("run", Text, nullable=False, unique=True),
    Column("environment", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("finished", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("command", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("counts", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("priority", BigInteger),
    Column("backfill", Text),
)
Index("runs_running", runs.c.status, sqlite_where=runs.c.status == "running")

# The slot of an asset partition: its lease (token, holder) and its pointer (materialization).
# Never deleted. ``facts`` repeats what a planner needs of the materialization, packed (see
# rows.FACTS): a join would make a snapshot four times slower. ``invalidated`` is the invalidation
# that came while the lease was held: what is built under it is no newer than that.
asset_partitions = Table(
    "asset_partitions",
    metadata,
    Column("asset", BigInteger, _references("assets.id"), primary_key=True),
    Column("partition", Text, primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("holder", BigInteger, _references("runs.id")),
    Column("materialization", BigInteger),
    Column("facts", LargeBinary),
    Column("invalidated", BigInteger),
    sqlite_with_rowid=False,
)
Index(
    "asset_partitions_held",
    asset_partitions.c.holder,
    sqlite_where=asset_partitions.c.holder.is_not(None),
)

# The log. NULL is the usual value of what is usually empty: it takes no room.
materializations = Table(
    "materializations",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=False),
    Column("asset", BigInteger, _references("assets.id"), nullable=False),
    Column("partition", Text, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("code", BigInteger, _references("codes.id"), nullable=False),
    Column("input_digest", LargeBinary, nullable=False),
    Column("data_version", LargeBinary, nullable=False),
    Column("schema", BigInteger, _references("texts.id")),
    Column("run", BigInteger, _references("runs.id")),
    Column("attempt", Integer, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("store", BigInteger, _references("stores.id"), nullable=False),
    Column("data_kind", Integer, nullable=False),
    Column("location", Text, nullable=False),
    Column("receipt_token", BigInteger),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("rejects", Text),
    Column("rejected", BigInteger, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("finished", BigInteger, nullable=False),
    Column("deadline", BigInteger),
    Column("inputs", Text),
    Column("passed", BigInteger, _references("texts.id")),
    Column("checks", Text),
    Column("metadata", Text),
)
# The id ends every index by itself in SQLite, so this is also in the order of commits. Few indexes,
# on purpose: the pages that a commit touches are most of what it costs.
Index("materializations_partition", materializations.c.asset, materializations.c.partition)
Index(
    "materializations_run",
    materializations.c.run,
    sqlite_where=materializations.c.run.is_not(None),
)

# Pointers that were cleared, with an id of the same counter: with the log, all that moved them.
withdrawals = Table(
    "withdrawals",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=False),
    Column("asset", BigInteger, _references("assets.id"), nullable=False),
    Column("partition", Text, nullable=False),
)

# ``revision``: the newest id when the attempt was recorded; a pointer that moved later healed it.
attempts = Table(
    "attempts",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("run", BigInteger, _references("runs.id")),
    Column("asset", BigInteger, _references("assets.id"), nullable=False),
    Column("partition", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("finished", BigInteger, nullable=False),
    Column("error", Text),
    Column("traceback", Text),
    Column("checks", Text),
    sqlite_autoincrement=True,
)
Index("attempts_partition", attempts.c.asset, attempts.c.partition)
Index("attempts_run", attempts.c.run)

# Removed keys stay, marked: one that is added again gets its old place back.
dynamic_partitions = Table(
    "dynamic_partitions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("removed", Boolean, nullable=False),
    sqlite_with_rowid=False,
)

# Work over many partitions that outlives the runs that do it.
backfills = Table(
    "backfills",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("backfill", Text, nullable=False, unique=True),
    Column("environment", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("targets", Text, nullable=False),
    Column("codes", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("note", Text, nullable=False),
)

# Partitions declared stale by somebody, with an id of the log's counter: what was recorded before
# it is. A row for each asset, not for each partition; ``ranges`` is JSON.
invalidations = Table(
    "invalidations",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=False),
    Column("asset", BigInteger, _references("assets.id"), nullable=False),
    Column("ranges", Text, nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("origin", Text, nullable=False),
)


def definitions() -> Iterator[str]:
    """The statements that make every table and index in an empty database."""
    for table in metadata.sorted_tables:
        yield str(CreateTable(table).compile(dialect=dialect()))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield str(CreateIndex(index).compile(dialect=dialect()))
