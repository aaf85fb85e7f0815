"""What came of a run, and how a run is named and introduced to the state store."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from assets_core.errors import AssetsError
from assets_core.records import Run
from assets_core.shown import Shown

if TYPE_CHECKING:
    from assets_core.execution.events import Failure
    from assets_core.execution.recovery import Recovered


@dataclass(frozen=True)
class RunResult(Shown):
    """What came of a run. ``counts`` maps done, unchanged, released, failed, blocked to numbers."""

    run_id: str
    status: str
    counts: Mapping[str, int]
    by_asset: Mapping[str, Mapping[str, int]]
    failures: tuple[Failure, ...]
    blocked: tuple[tuple[str, str, str], ...]
    seconds: float
    rows: int
    rejected: int
    warnings: int
    resume: str = ""
    recovered: tuple[Recovered, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing failed, nothing is blocked."""
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 done, 1 some step failed, 3 refused, 4 blocked by missing upstream, 130 interrupted."""
        if self.status == "interrupted":
            return 130
        if self.failures:
            codes = {failure.exit_code for failure in self.failures}
            return 3 if codes == {3} else 1
        return 4 if self.blocked else 0

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values."""
        return {
            "run": self.run_id,
            "status": self.status,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "counts": dict(self.counts),
            "by_asset": {name: dict(counts) for name, counts in self.by_asset.items()},
            "rows": self.rows,
            "rejected": self.rejected,
            "warnings": self.warnings,
            "failures": [
                {"asset": f.asset, "partition": f.partition, "error": f.error, "details": f.details}
                for f in self.failures
            ],
            "blocked": [{"asset": a, "partition": p, "reason": r} for a, p, r in self.blocked],
            "resume": self.resume,
        }

    def raise_for_status(self) -> RunResult:
        """This result, or an AssetsError that tells what failed first."""
        if self.ok:
            return self
        if self.failures:
            first = self.failures[0]
            raise AssetsError(
                f"{len(self.failures)} steps failed; the first: {first.asset}@{first.partition}",
                facts={"error": first.error, "run": self.run_id},
                hint=f"Resume with: {self.resume}",
            )
        raise AssetsError(f"Run {self.run_id} is {self.status}.", hint=self.resume)

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {name}" for name, n in self.counts.items() if n)
        return f"<RunResult {self.run_id or 'no run'}: {self.status}; {counts or 'nothing to do'}>"


def new_run_id(now: datetime) -> str:
    """Sortable by time, unique, safe in file names: ``20240101t060000-1a2b3c``."""
    return f"{now:%Y%m%dt%H%M%S}{secrets.token_hex(4)}"


def this_run(run_id: str, environment: str, command: str) -> Run:
    """A run that starts now, in this process."""
    return Run(
        id=run_id,
        environment=environment,
        status="running",
        started=time.time_ns() // 1000,
        command=command,
        host=socket.gethostname(),
        pid=os.getpid(),
    )
