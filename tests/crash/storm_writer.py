"""Per line of input: fork a process that materializes, kill it at the moment the line says.

Prints how it ended: 0 when it was done before, -9 when it was killed.

Everything is imported once and nothing opened, so that a kill hits work and not imports.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from pathlib import Path

import shop

import assets_core.checks
import assets_core.fingerprint.row_hash.hasher
import assets_core.operations.run_plan
import assets_core.state
import assets_core.tabular.outputs
import assets_core.workspace.ledger
import io_managers.duckdb
import io_managers.parquet
import io_managers.parquet.scan
import io_managers.parquet.versions
from assets_core.project import Project

_ = (assets_core, io_managers)


def work(root: Path, store: str, days: int) -> None:
    with Project(shop.make(root, store, days), root=root) as project:
        project.materialize(jobs=2)


def killed_after(pid: int, calls: int, seconds: float, log: Path) -> int:
    """Kill the process so many seconds after its so-manieth call of a function; how it ended."""
    size = log.stat().st_size
    began: float | None = None
    while began is None or time.monotonic() < began + seconds:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if began is None and log.read_bytes()[size:].count(b"\n") >= calls:
            began = time.monotonic()
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    root, store, days = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                work(root, store, days)
            except BaseException:  # noqa: BLE001 - a forked child must end here, whatever happens
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        calls, seconds = line.split()
        print(killed_after(pid, int(calls), float(seconds), root / "calls"), flush=True)


if __name__ == "__main__":
    main()
