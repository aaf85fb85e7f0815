"""What is done after a crash, and among threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from assets_core.contracts import (
    IOManager,
)
from assets_core.errors import (
    AssetsError,
    VersionReplacedError,
)
from assets_core.records import Receipt
from assets_core.testing.making import publish, release, rows, target


def _uniform(token: int) -> pa.Table:
    """A version whose every row says which version it is."""
    return pa.table({"token": pa.array([token] * 500, pa.int64())})


def _read_whole(manager: IOManager, receipts: Sequence[Receipt]) -> int | None:
    """The one version that was read; None when it was replaced before the read began."""
    try:
        found = manager.read(receipts).column("token").to_pylist()
    except VersionReplacedError:
        return None
    except AssetsError as error:
        raise AssertionError(f"a reader met {error}") from error
    assert len(found) == 500
    assert len(set(found)) == 1
    return int(found[0])


class RecoveryLaws:
    """What is left of a run can be found, kept apart and swept; threads do not tear."""

    def test_sweep_removes_what_a_run_left_staged(self, manager: IOManager) -> None:
        publish(manager, target("done", run="otherrun01"), rows(1))
        manager.stage(target("a", run="deadrun0001"), rows(2))
        staged = manager.stage(target("b", run="deadrun0001"), rows(3))
        manager.stage_rejects(staged, rows(9))
        assert manager.sweep("deadrun0001", []) == 2
        assert {found.partition for found in manager.scan()} == {"done"}

    def test_sweep_leaves_what_was_published(self, manager: IOManager) -> None:
        staged = manager.stage_rejects(manager.stage(target(run="deadrun0001"), rows(1)), rows(9))
        receipt = release(manager, staged)
        assert manager.sweep("deadrun0001", [receipt.location, receipt.rejects]) == 0
        assert manager.read([receipt]).equals(rows(1))
        assert manager.open_rejects(receipt) is not None

    def test_sweep_leaves_runs_of_a_similar_name(self, manager: IOManager) -> None:
        staged = manager.stage(target(run="run000000012"), rows(1))
        assert manager.sweep("run00000001", []) == 0
        assert manager.audit(staged).read_all().equals(rows(1))

    def test_scan_tells_what_state_is_rebuilt_from(self, manager: IOManager) -> None:
        where = target("k|ü", token=4)
        staged = manager.stage_rejects(manager.stage(where, rows(1, 2)), rows(9))
        receipt = release(manager, staged)
        (found,) = manager.scan()
        assert found.receipt == receipt
        assert (found.asset, found.partition, found.run) == ("orders", "k|ü", "run00000001")
        assert (found.environment, found.path_parts) == ("prod", where.path_parts)
        assert dict(found.stamp) == {"code": "c0de", "digest": "d1ge57"}
        assert found.visible

    def test_threads_publish_side_by_side(self, manager: IOManager) -> None:
        def work(number: int) -> Receipt:
            return publish(manager, target(f"p{number}"), rows(number, number + 100))

        with ThreadPoolExecutor(8) as pool:
            receipts = list(pool.map(work, range(32)))
        expected = [value for i in range(32) for value in (i, i + 100)]
        assert manager.read(receipts).column("id").to_pylist() == expected

    def test_readers_see_whole_versions_while_others_publish(self, manager: IOManager) -> None:
        newest = [publish(manager, target(token=1), _uniform(1))]

        def write() -> None:
            for token in range(2, 12):
                receipt = publish(manager, target(token=token), _uniform(token))
                newest.append(receipt)

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            while not writing.done():
                _read_whole(manager, newest[-1:])
            writing.result()
        assert _read_whole(manager, newest[-1:]) == 11
