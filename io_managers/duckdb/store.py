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
        if staged.together:
            result = self.publish_many([staged], [fact])[0]
            if isinstance(result, LeaseLostError):
                raise result
            return result
        with self._file.writing:
            with self._session() as session, session.transaction():
                reach("publish.begin")
                self._swap(session, staged, fact)
            reach("publish.committed")
            return self._confirmed(staged)

    def _swap(self, session: Session, staged: Staged, fact: str) -> None:
        from io_managers.duckdb import catalog

        target = staged.target
        fence = catalog.fence_of(session, target)
        if fence is not None and fence.is_of(staged):
            return  # published already: a repeated call
        if fence is not None and fence.token >= target.token:
            raise _lost(staged, fence.token, fence.run)
        barred = catalog.barred(session, target)
        if barred >= target.token:
            raise _barred(staged, barred)
        names = staging_tables(staged)
        columns = [catalog.staged_columns(session, name) or "" for name in names]
        if not all(columns):
            raise unstaged(staged)
        catalog.raise_fence(session, staged, columns, fact, known=fence is not None)
        reach("publish.fenced")
        swaps = self._swaps(target, names, columns)
        tables = [(swap, swap.make_room(session)) for swap in swaps]
        there = [(swap, table) for swap, table in tables if table is not None]
        for swap, table in there:
            swap.delete(session, table)
        reach("publish.deleted")
        for swap, table in there:
            swap.insert(session, table)
        reach("publish.inserted")

    def _swaps(self, target: Target, names: list[str], columns: list[str]) -> list[Swap]:
        from io_managers.duckdb import write as writing

        schema = self._schema_of(target.environment)
        return [
            writing.Swap(target, role, schema, name, column)
            for role, name, column in zip(
                (writing.ROWS, writing.REJECTS), [*names, "", ""], [*columns, "", ""], strict=False
            )
        ]

    def _confirmed(self, staged: Staged) -> Receipt:
        """The receipt, from the fence row as it is now: DuckDB commits a broken transaction
        without complaint."""
        from io_managers.duckdb import catalog

        with self._session() as session:
            fence = catalog.fence_of(session, staged.target)
        return self._receipt(staged, fence)

    def _receipt(self, staged: Staged, fence: FenceRow | None) -> Receipt:
        if fence is None or fence.token < staged.target.token:
            raise CorruptDataError(
                "DuckDB did not keep what it committed.",
                facts={"path": self._path, "asset": staged.target.asset},
                hint="Check the disk; the old version still serves.",
            )
        if not fence.is_of(staged):
            raise _lost(staged, fence.token, fence.run)
        return fence.receipt(self._name)

    def publish_many(
        self, staged: Sequence[Staged], facts: Sequence[str]
    ) -> list[Receipt | LeaseLostError]:
        """All fence rows, one delete and one insert in one transaction."""
        from io_managers.duckdb import catalog

        keys = [one.target.partition for one in staged]
        first = staged[0].target
        with self._file.writing:
            with self._session() as session, session.transaction():
                reach("publish.begin")
                refused = self._swap_many(session, staged, facts, keys)
            reach("publish.committed")
            with self._session() as session:
                fences = catalog.fences(session, first.environment, first.asset, keys)
        return [
            refused.get(key) or self._receipt(one, fences.get(key))
            for key, one in zip(keys, staged, strict=True)
        ]

    def _swap_many(
        self, session: Session, staged: Sequence[Staged], facts: Sequence[str], keys: list[str]
    ) -> dict[str, LeaseLostError]:
        """Swap those whose lease holds; why the others were refused, by partition."""
        from io_managers.duckdb import catalog

        first = staged[0].target
        known = catalog.fences(session, first.environment, first.asset, keys)
        barred = catalog.barred_among(session, first.environment, first.asset, keys)
        columns: dict[str, str] = {}
        refused: dict[str, LeaseLostError] = {}
        going: list[tuple[Staged, list[str], str]] = []
        for key, one, fact in zip(keys, staged, facts, strict=True):
            fence = known.get(key)
            if fence is not None and fence.is_of(one):
                continue  # published already: a repeated call
            if fence is not None and fence.token >= one.target.token:
                refused[key] = _lost(one, fence.token, fence.run)
            elif barred.get(key, 0) >= one.target.token:
                refused[key] = _barred(one, barred[key])
            else:
                for name in staging_tables(one):
                    if name not in columns:
                        columns[name] = catalog.staged_columns(session, name) or ""
                own = [columns[name] for name in staging_tables(one)]
                if not all(own):
                    raise unstaged(one)
                going.append((one, own, fact))
        if going:
            catalog.raise_fences(session, going, known)
            reach("publish.fenced")
            self._replace(session, going)
        return refused

    def _replace(self, session: Session, going: Sequence[tuple[Staged, list[str], str]]) -> None:
        """The rows of all by one delete and one insert; rejects, which are rare, one by one."""
        from io_managers.duckdb import write as writing

        first = going[0][0]
        schema = self._schema_of(first.target.environment)
        keys = tuple(one.target.partition for one, _, _ in going)
        swaps = [
            writing.Swap(first.target, writing.ROWS, schema, first.together, going[0][1][0], keys)
        ]
        swaps += [
            writing.Swap(one.target, writing.REJECTS, schema, staging_tables(one)[1], columns[1])
            for one, columns, _ in going
            if one.rejects
        ]
        tables = [swap.make_room(session) for swap in swaps]
        old_rejects = writing.Swap(first.target, writing.REJECTS, schema, together=keys)
        room = old_rejects.make_room(session)
        for swap, table in [(swaps[0], tables[0]), (old_rejects, room)]:
            if table is not None:
                swap.delete(session, table)
        reach("publish.deleted")
        for swap, table in zip(swaps, tables, strict=True):
            if table is not None:
                swap.insert(session, table)
        reach("publish.inserted")

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
        from io_managers.duckdb import catalog

        if not self._file.exists():
            return 0
        with self._file.writing, self._session() as session, session.transaction():
            names = catalog.staged_by(session, run)
            catalog.drop_staged(session, names)
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
