"""DuckDB tables: one table per asset with the partition of each row, only the newest version.

A transactional store: fence row, delete and insert are one transaction of the file. What the
store notes about itself is ``catalog``'s business, how processes take turns with the
file ``file``'s."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from assets_core.contracts import Fence, Found, InView, Staged, Target
from assets_core.errors import (
    CorruptDataError,
    LeaseLostError,
)
from assets_core.faults import reach
from assets_core.records import Receipt

if TYPE_CHECKING:
    from io_managers.duckdb.catalog import FenceRow
    from io_managers.duckdb.file import Session
    from io_managers.duckdb.write import Swap
from io_managers.duckdb.receipts import TableReading
from io_managers.duckdb.staging import Staging, staging_tables, unstaged

Going = tuple[Staged, list[str], str]
"""What is going to be published: the version, its (rejects') columns' ids, its fact."""


class DuckDBTables(Staging, TableReading):
    """Partitions as rows of DuckDB tables in the file ``path`` (relative to the project's folder).

    ``schema`` holds the tables of ``prod``; environment ``dev`` has ``<schema>__dev``. ``timeout``
    is how many seconds to wait for a file that another process has open. ``config`` is passed to
    DuckDB (``{"memory_limit": "4GB"}``).
    """

    transactional = True

    def __repr__(self) -> str:
        return f"DuckDBTables({self._given!r})"

    def publish(self, staged: Staged, fact: str) -> Receipt:
        """Fence row, delete and insert in one transaction; LeaseLostError under a newer token."""
        result = self.publish_many([staged], [fact])[0]
        if isinstance(result, LeaseLostError):
            raise result
        return result

    def publish_many(
        self, staged: Sequence[Staged], facts: Sequence[str]
    ) -> list[Receipt | LeaseLostError]:
        """All fence rows, and a delete and an insert for each asset, in one transaction."""
        from io_managers.duckdb import catalog, held

        targets = [one.target for one in staged]
        with self._file.writing:
            with self._session() as session, session.transaction():
                reach("publish.begin")
                refused = self._swap(session, staged, facts)
            reach("publish.committed")
            # Read again: DuckDB commits a broken transaction without complaint.
            with self._session() as session:
                fences = catalog.fences_of(session, targets)
                gone = (one for at, one in enumerate(staged) if at not in refused)
                held.let_go(session, (name for one in gone for name in staging_tables(one)))
                receipts = [
                    refused.get(at) or self._receipt(one, fences.get(_slot(one.target)))
                    for at, one in enumerate(staged)
                ]
                session.known.counted |= {r.location for r in receipts if isinstance(r, Receipt)}
        return receipts

    def _receipt(self, staged: Staged, fence: FenceRow | None) -> Receipt | LeaseLostError:
        if fence is None or fence.token < staged.target.token:
            raise CorruptDataError(
                "DuckDB did not keep what it committed.",
                facts={"path": self._path, "asset": staged.target.asset},
                hint="Check the disk; the old version still serves.",
            )
        if not fence.is_of(staged):
            return _lost(staged, fence.token, fence.run)
        return fence.receipt(self._name)

    def _swap(
        self, session: Session, staged: Sequence[Staged], facts: Sequence[str]
    ) -> dict[int, LeaseLostError]:
        """Swap those whose lease holds; why the others were refused, by their place."""
        from io_managers.duckdb import catalog

        targets = [one.target for one in staged]
        known = catalog.fences_of(session, targets)
        barred = catalog.barred(session, targets)
        refused: dict[int, LeaseLostError] = {}
        going: list[Going] = []
        columns: dict[str, str] = {}
        for at, (one, fact) in enumerate(zip(staged, facts, strict=True)):
            fence, bar = known.get(_slot(one.target)), barred.get(_slot(one.target), 0)
            if fence is not None and fence.is_of(one):
                continue  # published already: a repeated call
            if fence is not None and fence.token >= one.target.token:
                refused[at] = _lost(one, fence.token, fence.run)
            elif bar >= one.target.token:
                refused[at] = _barred(one, bar)
            else:
                going.append((one, self._columns(session, one, columns), fact))
        if going:
            catalog.raise_fences(session, going, known)
            reach("publish.fenced")
            self._replace(session, going)
        return refused

    def _columns(self, session: Session, staged: Staged, known: dict[str, str]) -> list[str]:
        """The ids of the columns of a version's rows and rejects, kept in the file."""
        from io_managers.duckdb import held

        names = staging_tables(staged)
        for name in names:
            if name not in known:
                known[name] = held.keep_columns(session, name) or ""
        own = [known[name] for name in names]
        if not all(own):
            raise unstaged(staged)
        return own

    def _replace(self, session: Session, going: Sequence[Going]) -> None:
        """The rows of all, asset by asset; room is made for all of them before."""
        from io_managers.duckdb import held

        assets: dict[tuple[str, str], list[Going]] = {}
        for one in going:
            assets.setdefault((one[0].target.environment, one[0].target.asset), []).append(one)
        swaps = [swap for group in assets.values() for swap in self._swaps(session, group)]
        tables = [(swap, swap.make_room(session)) for swap in swaps]
        there = [(swap, table) for swap, table in tables if table is not None]
        for swap, table in there:
            swap.delete(session, table)
        reach("publish.deleted")
        for swap, table in there:
            swap.insert(session, table)
        held.drop(session, dict.fromkeys(n for one, *_ in going for n in staging_tables(one)))
        reach("publish.inserted")

    def _swaps(self, session: Session, going: Sequence[Going]) -> list[Swap]:
        """What is to become of the two tables of one asset."""
        from io_managers.duckdb import held, write

        target = going[0][0].target
        schema = self._schema_of(target.environment)
        keys = tuple(one.target.partition for one, *_ in going)
        swaps = []
        for at, role in enumerate((write.ROWS, write.REJECTS)):
            named = {
                names[at]: columns[at]
                for one, columns, _ in going
                if len(names := staging_tables(one)) > at
            }
            sources = (write.NewRows(held.place(session, n), c) for n, c in named.items())
            swaps.append(
                write.Swap(target.environment, target.asset, role, schema, keys, tuple(sources))
            )
        return swaps

    def expose(
        self, environment: str, asset: str, path_parts: tuple[str, ...], receipt: Receipt
    ) -> None:
        """Nothing: the table itself is what everybody sees."""

    def restrict(self, environment: str, asset: str, wanted: Sequence[InView]) -> int:
        """Leave exactly these partitions in the asset's table."""
        from io_managers.duckdb import hiding

        if not self._file.exists():
            return 0
        with self._file.writing, self._session() as session:
            schema = self._schema_of(environment)
            return hiding.restrict(session, environment, asset, schema, wanted)

    def flush(self) -> None:
        """Nothing: a commit is durable."""

    def fences(self, environment: str, asset: str, partitions: Sequence[str]) -> list[Fence]:
        """The fence rows of these partitions, in their order."""
        from io_managers.duckdb import catalog

        if not self._file.exists():
            return []
        with self._session() as session:
            found = catalog.fences(session, environment, asset, partitions)
        return [found[key].fence() for key in partitions if key in found]

    def fence_off(self, environment: str, asset: str, tokens: Mapping[str, int]) -> None:
        """Refuse publishes under these tokens and older ones, by rows of their own: the fence
        rows tell what is published."""
        from io_managers.duckdb import catalog

        with self._file.writing, self._session() as session, session.transaction():
            catalog.fence_off(session, environment, asset, tokens)

    def sweep(self, run: str, keep: Collection[str]) -> int:  # noqa: ARG002 -- a published version has no staging table
        """Remove the staging tables that a dead run left; the number of versions removed."""
        from io_managers.duckdb import held

        if not self._file.exists():
            return 0
        with self._file.writing, self._session() as session, session.transaction():
            names = held.staged_by(session, run)
            held.drop(session, names)
        return sum(name.startswith("s_") for name in names)

    def scan(self) -> Iterator[Found]:
        """The newest version of every partition."""
        from io_managers.duckdb import catalog

        if not self._file.exists():
            return
        with self._session() as session:
            rows = list(catalog.all_fences(session))
        for row in rows:
            yield row.found(self._name)

    def close(self) -> None:
        """Close the file unless a reader is still open."""
        # A file that was never asked for need not load DuckDB to be closed.
        if "_file" in self.__dict__:
            self._file.close()


def _slot(target: Target) -> tuple[str, str, str]:
    return target.environment, target.asset, target.partition


def _lost(staged: Staged, token: int, run: str) -> LeaseLostError:
    target = staged.target
    return LeaseLostError(
        f"{target.asset!r} was published by another run meanwhile; this one published nothing.",
        facts={
            "partition": target.partition,
            "token": target.token,
            "newest": token,
            "by run": run,
        },
        hint="The newer version serves. Run again if this one should replace it.",
    )


def _barred(staged: Staged, token: int) -> LeaseLostError:
    target = staged.target
    return LeaseLostError(
        f"The lease on {target.asset!r} was taken from this run; it published nothing.",
        facts={"partition": target.partition, "token": target.token, "refused up to": token},
        hint="It gave no sign of life for too long, or was stopped. Run again.",
    )
