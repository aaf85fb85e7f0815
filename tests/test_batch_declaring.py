"""Declaring that one call builds several partitions: `Batch`, `Partitions`, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets_core import Batch, Group, Partition, Partitions, asset, daily, sql_asset
from assets_core.errors import DefinitionError, PartitionError
from assets_core.graph import Graph
from assets_core.workspace.codes import code_versions
from io_managers import Memory

DAYS = daily("2024-01-01")
HERE = Path(__file__).parent


def ranged(days: Partitions) -> pa.Table:
    return pa.table({"day": list(days.keys)})


def declared(**options: Any) -> Any:
    return asset(partitions=DAYS, partition_column="day", **options)(ranged)


def test_true_is_a_batch_with_its_defaults() -> None:
    assert declared(batch=True).batch == Batch(max_partitions=366, on_failure="halve")


def test_an_asset_can_refuse_the_batch_of_its_group() -> None:
    group = Group("g", partitions=DAYS, batch=Batch(7))
    with_it = group.asset(partition_column="day")(ranged)
    without = group.asset(partition_column="day", batch=False, name="other")(ranged)
    assert (with_it.batch, without.batch) == (Batch(7), None)


def test_a_call_needs_at_least_one_partition() -> None:
    with pytest.raises(DefinitionError, match="at least one"):
        Batch(0)


def test_an_unknown_answer_to_failures_is_refused() -> None:
    with pytest.raises(DefinitionError, match="is not known"):
        Batch(on_failure="ignore")  # type: ignore[arg-type]  # what is tested


def test_anything_else_is_no_batch() -> None:
    with pytest.raises(DefinitionError, match="is no Batch"):
        declared(batch=100)


def test_a_batch_without_a_partition_column_is_refused() -> None:
    with pytest.raises(DefinitionError, match="has batch= and no partition_column="):
        Graph.build([asset(partitions=DAYS, batch=True)(ranged)])


def test_a_function_of_one_partition_is_refused() -> None:
    @asset(partitions=DAYS, partition_column="day", batch=True)
    def single(partition: Partition) -> pa.Table: ...

    with pytest.raises(DefinitionError, match="asks for one Partition"):
        Graph.build([single])


def test_a_query_that_binds_one_key_is_refused() -> None:
    query = "SELECT $partition_key AS day"
    with pytest.raises(DefinitionError, match="binds \\$partition_key"):
        Graph.build([sql_asset("q", query, partitions=DAYS, partition_column="day", batch=True)])


def test_a_comment_about_the_key_is_no_matter() -> None:
    query = "SELECT $partition_start AS day -- not $partition_key"
    Graph.build([sql_asset("q", query, partitions=DAYS, partition_column="day", batch=True)])


def test_an_asset_without_partitions_takes_its_groups_batch() -> None:
    Graph.build([asset(batch=True, name="whole")(lambda: None)])


def test_the_code_version_does_not_know_of_batches() -> None:
    versions = {
        code_versions(
            Graph.build([declared(batch=batch)]), {}, {"default": Memory().identity()}, HERE
        )["ranged"].hex
        for batch in (None, True, Batch(7, on_failure="fail"))
    }
    assert len(versions) == 1


# ---- Partitions


def _day(n: int) -> Partition:
    start, end = (datetime(2024, 1, d, tzinfo=UTC) for d in (n, n + 1))
    return Partition(f"2024-01-{n:02d}", start, end)


def test_partitions_are_a_sequence() -> None:
    three = Partitions((_day(1), _day(2), _day(3)))
    assert (len(three), list(three), three[1]) == (3, [_day(1), _day(2), _day(3)], _day(2))


def test_partitions_know_their_bounds() -> None:
    three = Partitions((_day(1), _day(2), _day(3)))
    assert (three.start, three.end) == (_day(1).start, _day(3).end)
    assert (three.first, three.last) == (_day(1), _day(3))


def test_partitions_are_called_by_their_ends() -> None:
    assert str(Partitions((_day(1), _day(2), _day(3)))) == "2024-01-01..2024-01-03"
    assert str(Partitions((_day(1),))) == "2024-01-01"


def test_partitions_hold_keys_and_partitions() -> None:
    two = Partitions((_day(1), _day(2)))
    assert "2024-01-02" in two
    assert _day(2) in two
    assert "2024-01-03" not in two


def test_no_partitions_are_none() -> None:
    with pytest.raises(PartitionError, match="at least one"):
        Partitions(())
