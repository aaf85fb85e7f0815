"""The laws of a state store, run on every implementation: one fact per test.

``OPENERS`` names the implementations; each entry opens a store, or opens the same one again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assets_core import static
from assets_core.contracts import (
    Acquire,
    Beat,
    Columns,
    Finish,
    Held,
    Invalidate,
    Lease,
    Note,
    Publish,
    Published,
    Refused,
    Release,
    StateStore,
    Withdraw,
)
from assets_core.errors import LeaseLostError, StateError, UsageError
from assets_core.records import (
    NO_VERSION,
    Attempt,
    CheckOutcome,
    Code,
    InputRead,
    Invalidation,
    Materialization,
    Measured,
    Receipt,
    Run,
)
from assets_core.state import open_store

Opener = Callable[[Path], StateStore]

OPENERS: dict[str, Opener] = {
    "sqlite in memory": lambda folder: open_store("sqlite://"),
    "sqlite file": lambda folder: open_store(f"sqlite:///{folder}/state.db"),
}


@pytest.fixture(params=OPENERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateStore]:
    opened = OPENERS[request.param](tmp_path)
    yield opened
    opened.close()


def begin(
    store: StateStore, run: str = "r1", seconds: float = 60, environment: str = "prod"
) -> str:
    store.begin(Run(run, environment, "running", started=1_000), seconds)
    return run


def acquire(store: StateStore, run: str, *keys: str, asset: str = "a") -> tuple[Lease | Held, ...]:
    slots = tuple((asset, key) for key in keys)
    (result,) = store.transact([Acquire(run, "prod", slots)])
    return result


def fact(lease: Lease, run: str = "r1", **changes: Any) -> Materialization:
    base = Materialization(
        environment="prod",
        asset=lease.asset,
        partition=lease.partition,
        code=Code("c0de", {"body": "11", "helper f": "22"}),
        input_digest=(2**64 - 1, 1),
        data_version=(3, 2**64 - 2),
        receipt=Receipt("lake", "table", "a/1.parquet", lease.token, rows=10, bytes=200),
        started=1_000_000,
        finished=2_000_000,
        run=run,
        token=lease.token,
    )
    return replace(base, **changes)


def build(store: StateStore, key: str, run: str = "r1", asset: str = "a", **changes: Any) -> int:
    """Acquire and publish; the id."""
    (lease,) = acquire(store, run, key, asset=asset)
    assert isinstance(lease, Lease)
    (result,) = store.transact([Publish(fact(lease, run, **changes))])
    assert isinstance(result, Published)
    return result.id


def current(store: StateStore, *assets: str, since: int = 0) -> dict[str, dict[str, int]]:
    found = store.snapshot("prod", assets, since).assets
    return {
        name: dict(zip(columns.keys, columns.id.tolist(), strict=True))
        for name, columns in found.items()
    }


# ---- leases


def test_a_free_slot_is_leased_with_token_one(store: StateStore) -> None:
    begin(store)
    assert acquire(store, "r1", "k") == (Lease("a", "k", 1, 0),)


def test_a_lease_tells_what_the_slot_points_to(store: StateStore) -> None:
    begin(store)
    made = build(store, "k")
    assert acquire(store, "r1", "k") == (Lease("a", "k", 2, made),)


def test_a_slot_that_another_live_run_holds_is_held(store: StateStore) -> None:
    begin(store)
    made = build(store, "k")
    acquire(store, "r1", "k")
    begin(store, "r2")
    assert acquire(store, "r2", "k") == (Held("a", "k", "r1", made),)


def test_one_held_slot_leaves_the_others_of_the_batch_leased(store: StateStore) -> None:
    begin(store)
    acquire(store, "r1", "k2")
    begin(store, "r2")
    kinds = [type(one) for one in acquire(store, "r2", "k1", "k2", "k3")]
    assert kinds == [Lease, Held, Lease]


def test_a_slot_whose_holder_ran_out_of_time_is_leased(store: StateStore) -> None:
    begin(store, "r1", seconds=-1)
    acquire(store, "r1", "k")
    begin(store, "r2")
    assert acquire(store, "r2", "k") == (Lease("a", "k", 2, 0),)


def test_a_slot_whose_holder_ended_is_leased(store: StateStore) -> None:
    begin(store)
    acquire(store, "r1", "k")
    begin(store, "r2")
    store.transact([Finish("r1", "failed", 5)])
    assert acquire(store, "r2", "k") == (Lease("a", "k", 2, 0),)


def test_a_released_slot_is_leased(store: StateStore) -> None:
    begin(store)
    acquire(store, "r1", "k")
    begin(store, "r2")
    store.transact([Release("r1", "prod", (("a", "k", 1),))])
    assert acquire(store, "r2", "k") == (Lease("a", "k", 2, 0),)


def test_a_release_with_an_older_token_changes_nothing(store: StateStore) -> None:
    begin(store)
    acquire(store, "r1", "k")
    acquire(store, "r1", "k")
    store.transact([Release("r1", "prod", (("a", "k", 1),))])
    assert store.held("r1") == [Lease("a", "k", 2, 0)]


def test_another_run_cannot_release_a_lease(store: StateStore) -> None:
    begin(store)
    acquire(store, "r1", "k")
    begin(store, "r2")
    store.transact([Release("r2", "prod", (("a", "k", 1),))])
    assert store.held("r1") == [Lease("a", "k", 1, 0)]


def test_releasing_what_never_was_makes_no_slot(store: StateStore) -> None:
    begin(store)
    store.transact([Release("r1", "prod", (("a", "k", 1),))])
    assert acquire(store, "r1", "k") == (Lease("a", "k", 1, 0),)


def test_a_run_that_acquires_again_fences_off_its_older_token(store: StateStore) -> None:
    begin(store)
    (old,) = acquire(store, "r1", "k")
    acquire(store, "r1", "k")
    assert isinstance(old, Lease)
    assert store.transact([Publish(fact(old))]) == [Refused(2, "r1")]


def test_environments_lease_apart(store: StateStore) -> None:
    begin(store)
    acquire(store, "r1", "k")
    begin(store, "r2")
    (result,) = store.transact([Acquire("r2", "dev", (("a", "k"),))])
    assert result == (Lease("a", "k", 1, 0),)


def test_a_run_that_was_never_begun_leases_nothing(store: StateStore) -> None:
    with pytest.raises(StateError):
        acquire(store, "nobody", "k")


def test_a_run_that_was_declared_dead_leases_nothing(store: StateStore) -> None:
    begin(store)
    store.transact([Finish("r1", "died", 5)])
    with pytest.raises(LeaseLostError):
        acquire(store, "r1", "k")


def test_held_lists_only_what_a_run_still_holds(store: StateStore) -> None:
    begin(store)
    acquire(store, "r1", "k1", "k2")
    build(store, "k1")
    assert store.held("r1") == [Lease("a", "k2", 1, 0)]


# ---- publishing


def test_a_publish_moves_the_pointer(store: StateStore) -> None:
    begin(store)
    made = build(store, "k")
    assert current(store, "a") == {"a": {"k": made}}


def test_a_publish_releases_its_lease(store: StateStore) -> None:
    begin(store)
    build(store, "k")
    assert store.held("r1") == []


def test_a_lease_publishes_once(store: StateStore) -> None:
    begin(store)
    (lease,) = acquire(store, "r1", "k")
    assert isinstance(lease, Lease)
    first, second = store.transact([Publish(fact(lease)), Publish(fact(lease))])
    assert (type(first), second) == (Published, Refused(1, ""))


def test_a_publish_with_an_older_token_is_refused(store: StateStore) -> None:
    begin(store, "r1", seconds=-1)
    (lease,) = acquire(store, "r1", "k")
    begin(store, "r2")
    acquire(store, "r2", "k")
    assert isinstance(lease, Lease)
    assert store.transact([Publish(fact(lease))]) == [Refused(2, "r2")]


def test_a_refused_publish_moves_no_pointer(store: StateStore) -> None:
    begin(store, "r1", seconds=-1)
    (lease,) = acquire(store, "r1", "k")
    begin(store, "r2")
    made = build(store, "k", "r2")
    assert isinstance(lease, Lease)
    store.transact([Publish(fact(lease))])
    assert current(store, "a") == {"a": {"k": made}}


def test_a_lease_that_ran_out_but_was_not_taken_still_publishes(store: StateStore) -> None:
    begin(store, "r1", seconds=-1)
    assert build(store, "k") > 0


def test_a_guessed_token_is_refused(store: StateStore) -> None:
    begin(store)
    begin(store, "r2")
    acquire(store, "r2", "k")
    assert store.transact([Publish(fact(Lease("a", "k", 1, 0)))]) == [Refused(1, "r2")]


def test_a_publish_without_any_lease_is_refused(store: StateStore) -> None:
    begin(store)
    assert store.transact([Publish(fact(Lease("a", "k", 0, 0)))]) == [Refused(0, "")]


def test_a_publish_after_the_run_ended_is_refused(store: StateStore) -> None:
    begin(store)
    (lease,) = acquire(store, "r1", "k")
    store.transact([Finish("r1", "died", 5)])
    assert isinstance(lease, Lease)
    assert store.transact([Publish(fact(lease))]) == [Refused(1, "")]


def test_ids_grow_over_refusals_and_batches(store: StateStore) -> None:
    begin(store)
    first = build(store, "k")
    store.transact([Publish(fact(Lease("a", "k", 9, 0)))])
    assert build(store, "k") == first + 1


def test_a_refused_publish_leaves_the_rest_of_its_batch_in_force(store: StateStore) -> None:
    begin(store)
    (lease,) = acquire(store, "r1", "k")
    assert isinstance(lease, Lease)
    lost = Publish(fact(Lease("a", "gone", 7, 0)))
    results = store.transact([lost, Publish(fact(lease)), Acquire("r1", "prod", (("a", "k"),))])
    assert results == [Refused(0, ""), Published(1), (Lease("a", "k", 2, 1),)]


def test_an_exception_leaves_nothing_of_its_batch(store: StateStore) -> None:
    begin(store)
    (lease,) = acquire(store, "r1", "k")
    assert isinstance(lease, Lease)
    with pytest.raises(StateError):
        store.transact([Publish(fact(lease)), Acquire("nobody", "prod", (("new", "k"),))])
    assert current(store, "a", "new") == {"a": {}, "new": {}}


def test_names_that_a_failed_batch_brought_are_good_afterwards(store: StateStore) -> None:
    begin(store)
    with pytest.raises(StateError):
        store.transact(
            [Acquire("r1", "prod", (("new", "k"),)), Acquire("nobody", "prod", (("new", "k"),))]
        )
    made = build(store, "k", asset="other")
    build(store, "k", asset="new")
    assert current(store, "other", "new") == {"other": {"k": made}, "new": {"k": made + 1}}


@pytest.mark.parametrize(
    "metadata", [{"x": float("nan")}, {"x": {1: 2}}, {"x": object()}, {"x": "\udc80"}]
)
def test_metadata_that_is_not_strict_json_is_refused(
    store: StateStore, metadata: dict[str, Any]
) -> None:
    begin(store)
    (lease,) = acquire(store, "r1", "k")
    assert isinstance(lease, Lease)
    with pytest.raises(StateError, match="metadata"):
        store.transact([Publish(fact(lease, metadata=metadata))])


def test_a_key_that_is_not_text_is_refused(store: StateStore) -> None:
    begin(store)
    with pytest.raises(StateError, match="partition"):
        acquire(store, "r1", "a\x00b")


@pytest.mark.parametrize("key", ["../..", "'; DROP TABLE meta;--", '["x"]', "é|ß", "k" * 300, "%_"])
def test_hostile_keys_are_kept_as_they_are(store: StateStore, key: str) -> None:
    begin(store)
    made = build(store, key)
    assert current(store, "a") == {"a": {key: made}}


# ---- sources


def test_an_observation_needs_no_lease_and_leaves_the_token(store: StateStore) -> None:
    observed = fact(Lease("a", "k", 0, 0), "", kind="observed")
    store.transact([Publish(observed, lease=False)])
    begin(store)
    assert acquire(store, "r1", "k") == (Lease("a", "k", 1, 1),)


def test_an_observation_leaves_a_lease_alone(store: StateStore) -> None:
    begin(store)
    acquire(store, "r1", "k")
    store.transact([Publish(fact(Lease("a", "k", 0, 0), ""), lease=False)])
    assert store.held("r1") == [Lease("a", "k", 1, 1)]


def test_a_fact_of_a_run_that_was_never_begun_keeps_its_run(store: StateStore) -> None:
    store.transact([Publish(fact(Lease("a", "k", 3, 0), "old-run"), lease=False)])
    (found,) = store.materializations("prod", "a")
    assert (found.run, store.run("old-run").status) == ("old-run", "done")  # type: ignore[union-attr]


def test_a_withdrawn_partition_is_gone(store: StateStore) -> None:
    begin(store)
    build(store, "k")
    store.transact([Withdraw("prod", "a", "k")])
    assert current(store, "a") == {"a": {}}


def test_a_tail_shows_a_withdrawn_partition_with_id_zero(store: StateStore) -> None:
    begin(store)
    made = build(store, "k")
    store.transact([Withdraw("prod", "a", "k")])
    assert current(store, "a", since=made) == {"a": {"k": 0}}


def test_withdrawing_what_is_not_there_changes_nothing(store: StateStore) -> None:
    store.transact([Withdraw("prod", "a", "k")])
    assert store.snapshot("prod", ["a"]).revision == 0


def test_a_withdrawn_partition_keeps_its_token(store: StateStore) -> None:
    begin(store)
    build(store, "k")
    store.transact([Withdraw("prod", "a", "k")])
    assert acquire(store, "r1", "k") == (Lease("a", "k", 2, 0),)


# ---- invalidations

KEYS = static(["k1", "k2", "k3"]).resolve(datetime(2024, 1, 1, tzinfo=UTC))


def invalidate(store: StateStore, *keys: str, asset: str = "a", reason: str = "no") -> int:
    what = Invalidation("prod", asset, tuple((k, k) for k in keys), reason, "ann", 5)
    (number,) = store.transact([Invalidate(what, KEYS)])
    return int(number)


def test_an_invalidation_takes_an_id_of_the_log(store: StateStore) -> None:
    begin(store)
    before, marked, after = build(store, "k1"), invalidate(store, "k1"), build(store, "k1")
    assert before < marked < after


def test_an_invalidation_is_read_as_it_was_written(store: StateStore) -> None:
    what = Invalidation("prod", "a", (("k1", "k2"), ("k3", "k3")), "née 'x'", "Änn", 7, "up")
    (number,) = store.transact([Invalidate(what, KEYS)])
    assert store.invalidations("prod") == [replace(what, id=number)]


def test_invalidations_come_newest_first_by_asset_and_environment(store: StateStore) -> None:
    first, second = invalidate(store, "k1"), invalidate(store, "k2")
    other = invalidate(store, asset="b")
    assert [one.id for one in store.invalidations("prod")] == [other, second, first]
    assert [one.id for one in store.invalidations("prod", "a", limit=1)] == [second]
    assert store.invalidations("dev") == []


def test_a_snapshot_has_the_invalidations_of_its_assets(store: StateStore) -> None:
    first, second = invalidate(store, "k1"), invalidate(store, "k2")
    invalidate(store, asset="b")
    whole = store.snapshot("prod", ["a"])
    assert [one.id for one in whole.invalidations] == [first, second]
    assert [one.id for one in store.snapshot("prod", ["a"], since=first).invalidations] == [second]


def test_an_invalidation_has_a_mark_of_its_own(store: StateStore) -> None:
    first, second = invalidate(store, "k1"), invalidate(store, "k2")
    assert len({store.mark(first), store.mark(second), ""}) == 3


def test_several_invalidations_are_recorded_together_or_not_at_all(store: StateStore) -> None:
    good, bad = (
        Invalidate(Invalidation("prod", asset, (), "no", "ann", 5), KEYS) for asset in ("a", "\0")
    )
    with pytest.raises(StateError):
        store.transact([good, bad])
    assert store.invalidations("prod") == []


def test_what_was_being_built_when_it_was_invalidated_stays_so(store: StateStore) -> None:
    begin(store)
    held, other = acquire(store, "r1", "k1", "k2")
    assert isinstance(held, Lease)
    assert isinstance(other, Lease)
    invalidate(store, "k1", reason="meanwhile")
    first, second = store.transact([Publish(fact(held)), Publish(fact(other))])
    again, _ = store.invalidations("prod")
    assert again.ranges == (("k1", "k1"),)
    assert (again.reason, again.by, again.at) == ("meanwhile", "ann", 5)
    assert first.id < again.id < second.id
    assert build(store, "k1") > again.id
    assert len(store.invalidations("prod")) == 2


def test_a_lease_taken_after_the_invalidation_is_free_of_it(store: StateStore) -> None:
    begin(store)
    acquire(store, "r1", "k1")
    invalidate(store, "k1")
    build(store, "k1")
    assert len(store.invalidations("prod")) == 1


def test_compaction_removes_invalidations_that_hold_for_nothing(store: StateStore) -> None:
    begin(store)
    build(store, "k1")
    build(store, "k2")
    settled, held = invalidate(store, "k1"), invalidate(store, "k2", "k3")
    build(store, "k1")
    store.transact([Finish("r1", "done", 9)])
    store.compact("prod", 10, {"a": KEYS})
    assert [one.id for one in store.invalidations("prod")] == [held]
    assert settled < held


# ---- snapshots


def test_a_snapshot_has_every_column(store: StateStore) -> None:
    begin(store)
    build(store, "k")
    found = store.snapshot("prod", ["a"])
    columns = found.assets["a"]
    assert {name: getattr(columns, name).tolist() for name in _ARRAYS} == {
        "id": [1],
        "token": [1],
        "data": [[3, 2**64 - 2]],
        "digest": [[2**64 - 1, 1]],
        "code": columns.code.tolist(),
        "finished": [2_000_000],
        "rows": [10],
    }


_ARRAYS = ("id", "token", "data", "digest", "code", "finished", "rows")


def test_a_snapshot_names_its_codes(store: StateStore) -> None:
    begin(store)
    build(store, "k1")
    build(store, "k2", code=Code("beef"))
    found = store.snapshot("prod", ["a"])
    codes = [found.codes[number] for number in found.assets["a"].code.tolist()]
    assert dict(zip(found.assets["a"].keys, codes, strict=True)) == {"k1": "c0de", "k2": "beef"}


def test_a_snapshot_has_the_column_types_of_the_contract(store: StateStore) -> None:
    def types(columns: Columns) -> dict[str, tuple[np.dtype[Any], int]]:
        return {
            name: (getattr(columns, name).dtype, getattr(columns, name).ndim) for name in _ARRAYS
        }

    begin(store)
    build(store, "k")
    found = store.snapshot("prod", ["a", "empty"]).assets
    wide, plain = (np.dtype("u8"), 2), (np.dtype("i8"), 1)
    expected = {name: wide if name in ("data", "digest") else plain for name in _ARRAYS}
    assert types(found["a"]) == types(found["empty"]) == expected


def test_an_asset_without_facts_is_there_and_empty(store: StateStore) -> None:
    assert store.snapshot("prod", ["a"]).assets["a"].keys == []


def test_a_snapshot_leaves_other_assets_and_environments_out(store: StateStore) -> None:
    begin(store)
    build(store, "k", asset="b")
    store.transact([Publish(fact(Lease("a", "k", 0, 0), "", environment="dev"), lease=False)])
    assert current(store, "a") == {"a": {}}


def test_a_leased_slot_without_facts_is_not_in_a_snapshot(store: StateStore) -> None:
    begin(store)
    acquire(store, "r1", "k")
    assert current(store, "a") == {"a": {}}


def test_a_tail_has_only_what_changed_after(store: StateStore) -> None:
    begin(store)
    build(store, "k1")
    second = build(store, "k2")
    third = build(store, "k1", asset="b")
    assert current(store, "a", "b", since=1) == {"a": {"k2": second}, "b": {"k1": third}}


def test_a_tail_names_a_partition_once(store: StateStore) -> None:
    begin(store)
    for _ in range(3):
        build(store, "k")
    assert store.snapshot("prod", ["a"], since=1).assets["a"].keys == ["k"]


def test_a_tail_of_now_is_empty_and_of_this_revision(store: StateStore) -> None:
    begin(store)
    made = build(store, "k")
    tail = store.snapshot("prod", ["a"], since=made)
    assert (tail.revision, tail.assets["a"].keys) == (made, [])


def test_many_partitions_of_many_assets_come_back_each_with_its_own(store: StateStore) -> None:
    begin(store)
    slots = tuple((f"a{i % 7}", f"k{i}") for i in range(9_000))
    (leases,) = store.transact([Acquire("r1", "prod", slots)])
    store.transact(
        [Publish(fact(lease, data_version=(lease.token, i))) for i, lease in enumerate(leases)]
    )
    found = store.snapshot("prod", [f"a{i}" for i in range(7)]).assets
    versions = {
        (name, key): number
        for name, columns in found.items()
        for key, number in zip(columns.keys, columns.data[:, 1].tolist(), strict=True)
    }
    assert versions == {slot: i for i, slot in enumerate(slots)}


# ---- the log


def test_a_materialization_comes_back_as_it_was_recorded(store: StateStore) -> None:
    begin(store)
    build(store, "u", asset="up")
    (lease,) = acquire(store, "r1", "k")
    assert isinstance(lease, Lease)
    recorded = fact(
        lease,
        receipt=Receipt("lake", "file", "x/é.parquet", 9, 4, 5, rejects="x/rejects", rejected=3),
        attempt=2,
        kind="unchanged",
        inputs=(
            InputRead("up", "up", (("u", "u"), ("v", "z")), 3, 1, (2**64 - 1, 7)),
            InputRead("other_name", "up", (), 0, 1, NO_VERSION),
        ),
        checks=(
            CheckOutcome("not_null(x)", True, "error", ""),
            CheckOutcome("row_count", False, "warn", "too few: 3 < 10", 3),
        ),
        metadata={"unit": "µ", "nested": {"list": [1, 2.5, None, True, "x"]}},
        schema="x: int64\ny: string",
        deadline=3_000_000,
    )
    (result,) = store.transact([Publish(recorded)])
    assert store.materializations("prod", "a") == [replace(recorded, id=result.id)]


@pytest.mark.parametrize(
    "checks",
    [
        (CheckOutcome("c", True, "error", ""),),
        (CheckOutcome("c", True, "error", "", 0),),
        (CheckOutcome("c", True, "warn", "fine"),),
        (CheckOutcome("c", False, "warn", "", 1), CheckOutcome("d", True, "error", "")),
    ],
)
def test_check_results_come_back(store: StateStore, checks: tuple[CheckOutcome, ...]) -> None:
    begin(store)
    build(store, "k", checks=checks)
    assert store.materializations("prod", "a")[0].checks == checks


def test_history_is_newest_first_and_limited(store: StateStore) -> None:
    begin(store)
    ids = [build(store, key) for key in ("k1", "k2", "k1", "k3")]
    assert [one.id for one in store.materializations("prod", "a", limit=3)] == ids[:0:-1]


def test_history_of_one_partition(store: StateStore) -> None:
    begin(store)
    ids = [build(store, key) for key in ("k1", "k2", "k1")]
    assert [one.id for one in store.materializations("prod", "a", "k1")] == [ids[2], ids[0]]


def test_materializations_of_a_run(store: StateStore) -> None:
    begin(store)
    begin(store, "r2")
    build(store, "k1")
    made = build(store, "k2", "r2")
    assert [one.id for one in store.materializations("prod", "a", run="r2")] == [made]


def test_materializations_of_a_run_over_all_assets(store: StateStore) -> None:
    begin(store)
    begin(store, "r2")
    ids = [build(store, "k", asset="a"), build(store, "k", asset="b")]
    build(store, "k", "r2")
    assert [one.id for one in store.materializations("prod", None, run="r1")] == ids[::-1]


def test_materializations_by_id_leave_out_other_assets(store: StateStore) -> None:
    begin(store)
    own, other = build(store, "k", asset="a"), build(store, "k", asset="b")
    assert [one.id for one in store.materializations("prod", "a", ids=[own, other, 99])] == [own]


def test_materializations_of_an_unknown_asset_or_environment_are_none(store: StateStore) -> None:
    begin(store)
    build(store, "k")
    assert store.materializations("prod", "b") == store.materializations("dev", None) == []


def test_receipts_come_in_bulk(store: StateStore) -> None:
    begin(store)
    receipts = [Receipt("lake", "table", f"p{i}", i, i, i) for i in range(3)]
    ids = [build(store, "k", receipt=receipt) for receipt in receipts]
    assert store.receipts([*ids, 99]) == dict(zip(ids, receipts, strict=True))


def test_a_promise_begins_with_the_first_build_that_has_a_deadline(store: StateStore) -> None:
    begin(store)
    assert store.promised_since("prod", "a") == 0
    build(store, "k1", started=1_000_000)
    assert store.promised_since("prod", "a") == 0
    build(store, "k2", started=7_000_000, deadline=9_000_000)
    build(store, "k3", started=6_000_000, deadline=9_000_000)
    build(store, "k3", started=8_000_000)
    assert store.promised_since("prod", "a") == 6_000_000
    assert store.promised_since("dev", "a") == 0


def test_a_promise_begins_with_a_try_after_all_builds_without_it(store: StateStore) -> None:
    begin(store)
    build(store, "k1", finished=2_000_000)
    tries = [
        Attempt("r1", "prod", "a", "k2", 1, "failed", started, started + 1, "no")
        for started in (1_500_000, 4_000_000, 3_000_000)
    ]
    store.transact([Note(tuple(tries))])
    assert store.promised_since("prod", "a") == 3_000_000
    build(store, "k3", started=5_000_000, deadline=9_000_000)
    assert store.promised_since("prod", "a") == 5_000_000


def test_the_newest_schema_is_kept_when_a_file_has_none(store: StateStore) -> None:
    begin(store)
    build(store, "k1", schema="x: int64")
    build(store, "k2", schema="")
    assert (store.schema("prod", "a"), store.schema("prod", "b")) == ("x: int64", "")


def test_a_schema_that_changes_back_is_the_newest_again(store: StateStore) -> None:
    begin(store)
    for schema in ("x: int64", "x: string", "x: int64"):
        build(store, "k", schema=schema)
    assert store.schema("prod", "a") == "x: int64"


def test_a_code_comes_back_with_its_parts(store: StateStore) -> None:
    begin(store)
    build(store, "k")
    assert store.code("c0de") == Code("c0de", {"body": "11", "helper f": "22"})
    assert store.code("other") is None


# ---- lineage


def as_of(
    store: StateStore, *keys: str, revision: int, run: str = "r9", before: int = 0
) -> list[Any]:
    found = store.version_as_of("prod", "a", keys, revision, run, before)
    return [None if one is None else one.id for one in found]


def test_versions_as_of_are_the_newest_up_to_the_revision(store: StateStore) -> None:
    begin(store)
    first, second = build(store, "k1"), build(store, "k2")
    build(store, "k1")
    assert as_of(store, "k2", "k1", "k3", revision=second) == [second, first, None]


def test_versions_as_of_count_the_own_run_up_to_the_reader(store: StateStore) -> None:
    begin(store)
    begin(store, "r2")
    build(store, "k")
    own = build(store, "k", "r2")
    build(store, "k")
    reader = build(store, "x", "r2", asset="b")
    build(store, "k", "r2")
    assert as_of(store, "k", revision=1, run="r2", before=reader) == [own]


def test_versions_as_of_keep_repeated_keys_in_place(store: StateStore) -> None:
    begin(store)
    made = build(store, "k")
    assert as_of(store, "k", "x", "k", revision=made) == [made, None, made]


def test_versions_as_of_an_unknown_asset_are_none(store: StateStore) -> None:
    assert as_of(store, "k", revision=9) == [None]


def read_of(asset: str) -> tuple[InputRead, ...]:
    return (InputRead(asset, asset, (("k", "k"),), 1, 1, (1, 1)),)


def test_readers_are_current_materializations_only(store: StateStore) -> None:
    begin(store)
    build(store, "k", asset="up")
    build(store, "k1", inputs=read_of("up"))
    newest = build(store, "k1", inputs=read_of("up"))
    build(store, "k2", inputs=read_of("up"))
    build(store, "k2", inputs=read_of("elsewhere"))
    assert [one.id for one in store.readers("prod", "up")] == [newest]


def test_an_asset_that_nobody_read_has_no_readers(store: StateStore) -> None:
    begin(store)
    build(store, "k")
    assert store.readers("prod", "a") == store.readers("prod", "unknown") == []


# ---- runs


def test_a_run_comes_back_as_it_was_begun_and_ended(store: StateStore) -> None:
    begun = Run("r1", "dev", "running", 5, command="assets x", host="h", pid=7, note="n")
    store.begin(begun, 60)
    before = store.run("r1")
    store.transact([Finish("r1", "failed", 9, {"done": 2, "failed": 1}, "why")])
    ended = replace(begun, status="failed", finished=9, counts={"done": 2, "failed": 1}, note="why")
    assert (before, store.run("r1")) == (begun, ended)


def test_an_end_without_a_note_keeps_the_first(store: StateStore) -> None:
    store.begin(Run("r1", "prod", "running", 5, note="resumes r0"), 60)
    store.transact([Finish("r1", "done", 9)])
    assert store.runs()[0].note == "resumes r0"


def test_the_first_end_of_a_run_counts(store: StateStore) -> None:
    begin(store)
    store.transact([Finish("r1", "died", 5), Finish("r1", "done", 9)])
    assert store.runs()[0].status == "died"


def test_runs_are_newest_first_by_environment_and_limited(store: StateStore) -> None:
    for number, environment in enumerate(("prod", "dev", "prod", "prod")):
        begin(store, f"r{number}", environment=environment)
    assert [run.id for run in store.runs("prod", limit=2)] == ["r3", "r2"]
    assert len(store.runs()) == 4


def test_a_run_is_found_by_the_beginning_of_its_id(store: StateStore) -> None:
    begin(store, "abc1")
    begin(store, "abd2")
    assert (store.run("abc").id, store.run("x"), store.run("%")) == ("abc1", None, None)  # type: ignore[union-attr]


def test_an_ambiguous_beginning_is_an_error_that_names_the_runs(store: StateStore) -> None:
    begin(store, "abc1")
    begin(store, "abd2")
    with pytest.raises(UsageError, match="abc1, abd2"):
        store.run("ab")


def test_a_whole_id_is_never_ambiguous(store: StateStore) -> None:
    begin(store, "ab")
    begin(store, "abc")
    assert store.run("ab").id == "ab"  # type: ignore[union-attr]


def test_an_id_begins_one_run_only(store: StateStore) -> None:
    begin(store)
    with pytest.raises(StateError):
        begin(store)


@pytest.mark.parametrize("run", ["", "../x", "a b", "é", "x" * 101, "x/y"])
def test_a_run_id_that_could_not_name_a_file_is_refused(store: StateStore, run: str) -> None:
    with pytest.raises(StateError):
        begin(store, run)


def test_a_live_run_beats(store: StateStore) -> None:
    begin(store, seconds=-1)
    assert store.transact([Beat("r1", 60)]) == [True]
    assert store.dead_runs() == []


def test_a_run_that_was_declared_dead_is_told_so(store: StateStore) -> None:
    begin(store)
    store.transact([Finish("r1", "died", 5)])
    assert store.transact([Beat("r1", 60)]) == [False]


def test_a_beat_keeps_leases_from_others(store: StateStore) -> None:
    begin(store, "r1", seconds=-1)
    acquire(store, "r1", "k")
    begin(store, "r2")
    store.transact([Beat("r1", 60)])
    assert acquire(store, "r2", "k") == (Held("a", "k", "r1", 0),)


def test_a_run_out_of_time_is_dead_and_a_live_or_ended_one_is_not(store: StateStore) -> None:
    begin(store, "late", seconds=-1)
    begin(store, "live")
    begin(store, "ended", seconds=-1)
    store.transact([Finish("ended", "done", 5)])
    assert [run.id for run in store.dead_runs()] == ["late"]


# ---- attempts


def attempt(key: str = "k", status: str = "failed", **changes: Any) -> Attempt:
    base = Attempt("r1", "prod", "a", key, 1, "failed", 1, 2, "boom", "Traceback…")
    return replace(base, status=status, **changes)


def test_an_attempt_comes_back_as_it_was_noted(store: StateStore) -> None:
    begin(store)
    noted = attempt(checks=(CheckOutcome("c", False, "error", "2 nulls", 2),))
    store.transact([Note((noted,))])
    (found,) = store.attempts()
    assert replace(found, id=0) == noted


def test_an_error_text_that_no_database_keeps_is_made_visible(store: StateStore) -> None:
    begin(store)
    store.transact([Note((attempt(error="a\x00b\udc80"),))])
    assert store.attempts()[0].error == "a\\x00b\\udc80"


def test_attempts_are_newest_first_and_narrowed_down(store: StateStore) -> None:
    begin(store)
    begin(store, "r2")
    store.transact([Note((attempt("k1"), attempt("k2", run="r2"), attempt("k1", asset="b")))])
    assert [one.partition for one in store.attempts(limit=2)] == ["k1", "k2"]
    assert [one.partition for one in store.attempts(run="r2")] == ["k2"]
    assert [one.asset for one in store.attempts(partition="k1", asset="b")] == ["b"]
    assert store.attempts(environment="dev") == []


def test_failed_has_the_newest_failure_of_each_partition(store: StateStore) -> None:
    begin(store)
    store.transact([Note((attempt("k1", error="first"), attempt("k1", error="second")))])
    store.transact([Note((attempt("k2", "retried"), attempt("k2", "blocked"), attempt("k3")))])
    found = store.failed("prod")
    errors = {key: one.error for key, one in found["a"].items()}
    assert (list(found), errors) == (["a"], {"k1": "second", "k3": "boom"})


def test_a_later_materialization_heals_a_failure(store: StateStore) -> None:
    begin(store)
    store.transact([Note((attempt("k"),))])
    build(store, "k")
    assert store.failed("prod") == {}


def test_an_earlier_materialization_heals_nothing(store: StateStore) -> None:
    begin(store)
    build(store, "k")
    store.transact([Note((attempt("k"),))])
    assert list(store.failed("prod")["a"]) == ["k"]


def test_failures_of_other_environments_are_left_out(store: StateStore) -> None:
    begin(store)
    store.transact([Note((attempt("k", environment="dev"),))])
    assert (store.failed("prod"), list(store.failed("dev"))) == ({}, ["a"])


# ---- dynamic partitions


def test_keys_are_kept_in_the_order_added(store: StateStore) -> None:
    assert store.add_keys("customers", ["z", "a", "z"]) == 2
    assert store.add_keys("customers", ["m", "a"]) == 1
    assert store.dynamic_keys() == {"customers": ("z", "a", "m")}


def test_a_removed_key_is_gone(store: StateStore) -> None:
    store.add_keys("customers", ["z", "a"])
    assert store.remove_keys("customers", ["z", "unknown", "z"]) == 1
    assert store.dynamic_keys() == {"customers": ("a",)}


def test_a_key_that_is_added_again_gets_its_old_place_back(store: StateStore) -> None:
    store.add_keys("customers", ["z", "a"])
    store.remove_keys("customers", ["z"])
    assert store.add_keys("customers", ["b", "z"]) == 2
    assert store.dynamic_keys() == {"customers": ("z", "a", "b")}


def test_keys_of_two_definitions_are_apart(store: StateStore) -> None:
    store.add_keys("x", ["k"])
    store.add_keys("y", ["k"])
    store.remove_keys("x", ["k"])
    assert store.dynamic_keys() == {"y": ("k",)}


# ---- the store


def test_a_store_in_use_has_no_problems(store: StateStore) -> None:
    begin(store)
    build(store, "k", schema="x: int64", inputs=read_of("up"))
    store.transact([Withdraw("prod", "a", "k"), Note((attempt(),))])
    assert store.check() == []


# ---- what builds took


def test_a_build_tells_what_it_took(store: StateStore) -> None:
    begin(store)
    made = build(store, "k", started=1_000, finished=3_500)
    assert store.measured([made]) == {made: Measured(2_500, 10, 200)}


def test_what_was_accepted_tells_of_the_build_before(store: StateStore) -> None:
    begin(store)
    build(store, "k", started=1_000, finished=2_000)
    build(store, "k", started=1_000, finished=4_000)
    stamped = build(store, "k", kind="accepted", started=9_000, finished=9_000)
    assert store.measured([stamped]) == {stamped: Measured(3_000, 10, 200)}


def test_a_later_build_says_nothing_of_an_earlier_one(store: StateStore) -> None:
    begin(store)
    first = build(store, "k", started=1_000, finished=2_000)
    build(store, "k", started=1_000, finished=4_000)
    assert store.measured([first])[first].micros == 1_000


def test_what_never_ran_here_is_left_out_of_what_builds_took(store: StateStore) -> None:
    begin(store)
    stamped = build(store, "k", kind="accepted")
    assert store.measured([stamped, 999]) == {}
