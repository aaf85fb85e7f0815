"""Reading runs: what was begun, by whom, what of it failed, and what it still holds."""

from __future__ import annotations

from collections.abc import Sequence

from assets_core.contracts import Lease
from assets_core.errors import UsageError
from assets_core.records import Attempt, Run
from assets_core.state.part import StorePart
from assets_core.state.rows import RUN_COLUMNS, decode_checks, read_run
from assets_core.state.sql import LISTED, NOW, Row, limited, listed

_RUNS = f"SELECT {RUN_COLUMNS} FROM runs"
_RUNNING = f"SELECT expires < {NOW}, {RUN_COLUMNS} FROM runs WHERE status = 'running' ORDER BY id"
_OUTRANKED = f"""
    SELECT run FROM runs
    WHERE status = 'running' AND coalesce(priority, 0) > ? AND expires >= {NOW}"""
_RECORDED = f"""
    SELECT assets.name, count(DISTINCT m.partition)
    FROM materializations AS m JOIN assets ON assets.id = m.asset
    WHERE m.run IN (SELECT id FROM runs WHERE run IN (SELECT value FROM {LISTED}))
    GROUP BY assets.name"""
_HELD = """
    SELECT assets.name, s.partition, s.token, s.materialization
    FROM asset_partitions AS s JOIN assets ON assets.id = s.asset
    WHERE s.holder = (SELECT id FROM runs WHERE run = ?)
    ORDER BY assets.name, s.partition"""
_ATTEMPTS = """
    SELECT runs.run, assets.environment, assets.name, a.partition, a.attempt, a.status, a.started,
        a.finished, a.error, a.traceback, a.checks, a.id
    FROM attempts AS a
    JOIN assets ON assets.id = a.asset
    LEFT JOIN runs ON runs.id = a.run"""
_FAILED = f"""{_ATTEMPTS}
    WHERE a.id IN (
        SELECT max(attempts.id) FROM attempts JOIN assets ON assets.id = attempts.asset
        WHERE assets.environment = ? AND attempts.status = 'failed'
        GROUP BY attempts.asset, attempts.partition)
    AND NOT EXISTS (
        SELECT 1 FROM asset_partitions AS s
        WHERE s.asset = a.asset AND s.partition = a.partition AND s.materialization > a.revision)
    ORDER BY a.id"""


class Runs(StorePart):
    """Runs and the attempts that published nothing."""

    def runs(self, environment: str | None = None, *, limit: int | None = None) -> list[Run]:
        narrowed = "" if environment is None else " WHERE environment = ?"
        query = f"{_RUNS}{narrowed} ORDER BY id DESC{limited(limit)}"
        values = () if environment is None else (environment,)
        return [read_run(row) for row in self._rows(query, *values)]

    def run(self, run_id: str) -> Run | None:
        found = self._rows(f"{_RUNS} WHERE run = ?", run_id)
        if not found and run_id:
            alike = f"{_RUNS} WHERE substr(run, 1, ?) = ? ORDER BY id LIMIT 10"
            found = self._rows(alike, len(run_id), run_id)
        if len(found) > 1:
            raise UsageError(
                f"More than one run begins with '{run_id}'.",
                facts={"runs": ", ".join(row[0] for row in found)},
                hint="Write more of its id.",
            )
        return read_run(found[0]) if found else None

    def runs_of(self, backfill_id: str) -> list[Run]:
        rows = self._rows(f"{_RUNS} WHERE backfill = ? ORDER BY id", backfill_id)
        return [read_run(row) for row in rows]

    def recorded_by(self, run_ids: Sequence[str]) -> dict[str, int]:
        return dict(self._rows(_RECORDED, listed(run_ids)))

    def dead_runs(self) -> list[Run]:
        running = [(read_run(row[1:]), bool(row[0])) for row in self._rows(_RUNNING)]
        liveness = self._database.liveness
        dead = [run for run, late in running if late or liveness.dead(run.id)]
        known = {run.id for run, _ in running}
        left = [self.run(run_id) for run_id in liveness.left() if run_id not in known]
        return dead + [run for run in left if run is not None and run.status != "running"]

    def outranked(self, priority: int) -> bool:
        found = self._rows(_OUTRANKED, priority)
        return any(not self._database.liveness.dead(run) for (run,) in found)

    def held(self, run_id: str) -> list[Lease]:
        return [Lease(asset, key, n, at or 0) for asset, key, n, at in self._rows(_HELD, run_id)]

    def attempts(
        self,
        *,
        run: str | None = None,
        environment: str | None = None,
        asset: str | None = None,
        partition: str | None = None,
        limit: int | None = None,
    ) -> list[Attempt]:
        given = {
            "runs.run = ?": run,
            "assets.environment = ?": environment,
            "assets.name = ?": asset,
            "a.partition = ?": partition,
        }
        conditions = {text: value for text, value in given.items() if value is not None}
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"{_ATTEMPTS}{where} ORDER BY a.id DESC{limited(limit)}"
        return [_read_attempt(row) for row in self._rows(query, *conditions.values())]

    def failed(self, environment: str) -> dict[str, dict[str, Attempt]]:
        result: dict[str, dict[str, Attempt]] = {}
        for row in self._rows(_FAILED, environment):
            attempt = _read_attempt(row)
            result.setdefault(attempt.asset, {})[attempt.partition] = attempt
        return result


def _read_attempt(row: Row) -> Attempt:
    run, environment, asset, partition, attempt, status, started, finished = row[:8]
    error, traceback, checks, identity = row[8:]
    return Attempt(
        run=run or "",
        environment=environment,
        asset=asset,
        partition=partition,
        attempt=attempt,
        status=status,
        started=started,
        finished=finished,
        error=error or "",
        traceback=traceback or "",
        checks=decode_checks(checks),
        id=identity,
    )
