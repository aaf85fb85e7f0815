"""Publishing staged versions: one commit of the table's log, fenced, made again when outrun."""
# ruff: noqa: PTH110

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from assets_core.contracts import Staged
from assets_core.errors import LeaseLostError, StorageError
from assets_core.faults import reach
from assets_core.records import Receipt
from io_managers.lake import names
from io_managers.lake.folder import OpenTable, home_of
from io_managers.lake.reading import LakeReading
from io_managers.lake.staging import current, unstaged
from io_managers.parquet import files as _files

if TYPE_CHECKING:
    import pyarrow as pa

    from io_managers.lake.fences import FenceNote
    from io_managers.lake.log import Added, Commit, TableVersion
    from io_managers.lake.settling import Settled
    from io_managers.lake.versions import VersionFile

_T = TypeVar("_T")


class LakePublishing(LakeReading):
    """Makes staged versions the ones that the table shows, unless their lease was lost."""

    def publish(self, staged: Staged, fact: str) -> Receipt:
        """One commit of the table; LeaseLostError under a newer token."""
        result = self.publish_many([staged], [fact])[0]
        if isinstance(result, LeaseLostError):
            raise result
        return result

    def publish_many(
        self, staged: Sequence[Staged], facts: Sequence[str]
    ) -> list[Receipt | LeaseLostError]:
        """One commit for all whose lease holds."""
        first = staged[0].target
        table = self._table(home_of(first.environment, first.asset))
        _files.make_folder(table.fences.path)

        def publish() -> dict[str, LeaseLostError]:
            return self._publish(table, staged, facts)

        refused = self._until_done(table, publish)
        return [refused.get(one.target.partition) or self._receipt(one) for one in staged]

    def _until_done(self, table: OpenTable, step: Callable[[], _T]) -> _T:
        """Repeat a step that looks at the table anew for as long as others commit before it."""
        from io_managers.lake.log import OutrunError

        end = time.monotonic() + self._timeout
        wait = 0.005
        while True:
            try:
                with table.turn:
                    return step()
            except OutrunError as error:
                if time.monotonic() > end:
                    raise StorageError(
                        f"Others kept committing to the table for {self._timeout:g} s.",
                        facts={"table": table.log.folder},
                        hint="Run again, with fewer writers, or raise timeout=.",
                    ) from error
            time.sleep(random.uniform(0, wait))  # so that two do not meet again and again
            wait = min(2 * wait, 0.5)

    def _publish(
        self, table: OpenTable, staged: Sequence[Staged], facts: Sequence[str]
    ) -> dict[str, LeaseLostError]:
        """Commit those whose lease holds; why the others were refused, by partition."""
        reach("publish.begin")
        coming = self._coming(staged)
        if not table.log.exists():
            table.log.create(self._first_columns(coming))
        now = table.log.newest()
        refused: dict[str, LeaseLostError] = {}
        going: list[tuple[Staged, str]] = []
        for one, fact in zip(staged, facts, strict=True):
            verdict = _verdict(table, now, one)
            if verdict is not None:
                refused[one.target.partition] = verdict
            elif not _is_published(table, now, one):
                going.append((one, fact))
        if going:
            self._commit(table, now, going, coming)
        return refused

    def _coming(self, staged: Sequence[Staged]) -> dict[str, VersionFile]:
        """The staged files by partition; MissingDataError for one that is not there."""
        found = {}
        for one in staged:
            if one.kind == "none":
                continue
            version = self._version(one.location, one.bytes)
            if not os.path.exists(version.path) and not self._is_current(one):
                raise unstaged(one)
            found[one.target.partition] = version
        return found

    def _is_current(self, staged: Staged) -> bool:
        return self._shows(
            home_of(staged.target.environment, staged.target.asset), names.stem(staged.target)
        )

    def _first_columns(self, coming: Mapping[str, VersionFile]) -> pa.Schema:
        import pyarrow as pa

        for version in coming.values():
            return self._keeps.plain(version.physical())
        return pa.schema([])

    def _commit(
        self,
        table: OpenTable,
        now: TableVersion,
        going: Sequence[tuple[Staged, str]],
        coming: Mapping[str, VersionFile],
    ) -> None:
        from io_managers.lake.log import NONE, PUBLISHED, Commit
        from io_managers.lake.settling import note_of_change

        staged = [one for one, _ in going]
        keys = [one.target.partition for one in staged]
        old = [current(table, now, key) for key in keys]
        tokens = {(PUBLISHED, one.target.partition): one.target.token for one in staged}
        for one in staged:
            if one.kind == "none":
                tokens[NONE, one.target.partition] = one.target.token
        notes = [self._note(one, fact, coming) for one, fact in going]
        settled = self._settle(table, now, added(staged), keys)
        table.fences.write(notes)
        reach("publish.fenced")
        schema = None if settled.schema.equals(now.schema) else settled.schema
        note = {**_history(notes), **note_of_change(now.schema, settled.schema)}
        self._take(
            table, now, settled, Commit(settled.replaced, settled.added, tokens, schema, note)
        )
        reach("publish.committed")
        for stem, one in zip(old, staged, strict=True):
            if stem != names.stem(one.target):
                table.fences.remove(stem)

    def _settle(
        self, table: OpenTable, now: TableVersion, coming: Sequence[Added], replaced: Sequence[str]
    ) -> Settled:
        """The table with these files in the place of others; the files that this took."""
        from io_managers.lake.settling import Settling
        from io_managers.lake.versions import VersionFile

        folder = table.log.folder

        def locate(partition: str, name: str) -> VersionFile:
            place = names.VersionPlace("", "", partition, name)
            return VersionFile(f"{folder}/{names.folder_of(partition)}/{name}", place, 0)

        settling = Settling(now, locate, self._keeps, self._layout, folder)
        try:
            return settling.settle(coming, replaced)
        except BaseException:
            _remove(folder, settling.made)
            raise

    def _take(self, table: OpenTable, now: TableVersion, settled: Settled, commit: Commit) -> None:
        """Commit. What was made for it goes when it was outrun; after any other failure nobody
        knows whether the table names it."""
        from io_managers.lake.log import OutrunError

        try:
            table.log.commit(now, commit)
        except OutrunError:
            named = table.log.newest().all_files() if settled.made else {}
            lost = [one for one in settled.made if one.name not in named.get(one.partition, [])]
            _remove(table.log.folder, lost)
            raise

    def _note(self, staged: Staged, fact: str, coming: Mapping[str, VersionFile]) -> FenceNote:
        from io_managers.lake import types
        from io_managers.lake.fences import note_of

        version = coming.get(staged.target.partition)
        columns = "" if version is None else types.note(version.schema()).decode()
        return note_of(staged, columns, fact)

    def _receipt(self, staged: Staged) -> Receipt:
        return Receipt(
            self._name,
            staged.kind,
            staged.location,
            staged.target.token,
            staged.rows,
            staged.bytes,
            staged.rejects,
            staged.rejected,
        )


def added(versions: Sequence[Staged | Receipt]) -> list[Added]:
    """The files of versions, as a commit brings them in."""
    from io_managers.lake.log import Added

    places = [(names.place_of(one.location), one) for one in versions if one.kind == "table"]
    return [Added(place.partition, place.file, one.rows, one.bytes) for place, one in places]


def _is_published(table: OpenTable, now: TableVersion, staged: Staged) -> bool:
    """Whether this very attempt was published: a repeated call."""
    from io_managers.lake.log import PUBLISHED

    target = staged.target
    if now.token(PUBLISHED, target.partition) != target.token:
        return False
    stem = current(table, now, target.partition)
    if stem == names.stem(target):
        return True
    # Nothing is as good as nothing: a withdrawal that is repeated is another attempt.
    note = table.fences.read(stem) if staged.kind == "none" else None
    return note is not None and note.kind == "none"


def _verdict(table: OpenTable, now: TableVersion, staged: Staged) -> LeaseLostError | None:
    """Why a version may not be published; None when it may, or was."""
    from io_managers.lake.log import BARRED, PUBLISHED

    target = staged.target
    published = now.token(PUBLISHED, target.partition)
    if published >= target.token and not _is_published(table, now, staged):
        note = table.fences.read(current(table, now, target.partition))
        return LeaseLostError(
            f"{target.asset!r} was published by another run meanwhile; this one published nothing.",
            facts={
                "partition": target.partition,
                "token": target.token,
                "newest": published,
                "by run": note.run if note else "unknown",
            },
            hint="The newer version serves. Run again if this one should replace it.",
        )
    barred = now.token(BARRED, target.partition)
    if published < target.token <= barred:
        return LeaseLostError(
            f"The lease on {target.asset!r} was taken from this run; it published nothing.",
            facts={
                "partition": target.partition,
                "token": target.token,
                "refused up to": barred,
            },
            hint="It gave no sign of life for too long, or was stopped. Run again.",
        )
    return None


def _history(notes: Sequence[FenceNote]) -> dict[str, object]:
    """What the table's history shows of a publish."""
    first = notes[0]
    return {
        "environment": first.environment,
        "asset": first.asset,
        "run": first.run,
        "partitions": [
            {
                "partition": note.partition,
                "attempt": note.attempt,
                "token": note.token,
                "stamp": note.stamp,
                "fact": note.fact,
            }
            for note in notes
        ],
    }


def _remove(folder: str, files: Iterable[Added]) -> None:
    for one in files:
        _files.remove(f"{folder}/{names.folder_of(one.partition)}/{one.name}")
