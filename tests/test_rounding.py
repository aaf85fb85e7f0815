"""Floats that count by their significant digits."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core import Definitions, Project, asset
from assets_core.errors import DefinitionError
from assets_core.fingerprint.row_hash.hasher import data_version
from assets_core.graph import Graph


def version(values: list[Any], kind: pa.DataType, digits: int = 9) -> Any:
    return data_version(pa.table({"v": pa.array(values, kind)}), float_digits=digits)


@settings(max_examples=300)
@given(st.floats(1e-300, 1e300) | st.floats(-1e300, -1e-300), st.integers(1, 15))
def test_a_float_is_rounded_as_its_decimal_is(value: float, digits: int) -> None:
    from assets_core.fingerprint.rounding import round_floats

    (found,) = round_floats(pa.record_batch({"v": [value]}), digits)["v"].to_pylist()
    told = float(f"{Decimal(value):.{digits - 1}e}")
    assert math.isclose(found, told, rel_tol=10.0 ** (1 - digits) * 1.001)


@pytest.mark.parametrize(
    "kind",
    [
        pa.float64(),
        pa.list_(pa.float64()),
        pa.large_list(pa.float64()),
        pa.list_(pa.float64(), 1),
        pa.struct([("a", pa.float64()), ("b", pa.string())]),
        pa.list_(pa.struct([("a", pa.float64())])),
    ],
)
def test_last_digits_do_not_count_wherever_they_are(kind: pa.DataType) -> None:
    def wrapped(value: float) -> Any:
        if pa.types.is_struct(kind):
            return {"a": value, "b": "x"}
        if pa.types.is_floating(kind):
            return value
        return [{"a": value}] if pa.types.is_struct(kind.value_type) else [value]

    one, near, far = ([wrapped(v), None, wrapped(2.5)] for v in (0.1 + 0.2, 0.3, 0.30001))
    assert version(one, kind) == version(near, kind) != version(far, kind)
    exact = [data_version(pa.table({"v": pa.array(each, kind)})) for each in (one, near)]
    assert exact[0] != exact[1]


def test_what_has_no_digits_stays_apart() -> None:
    values = [math.nan, math.inf, -math.inf, 0.0, -0.0, None, 1e-300, 1.7e308, 1.0]
    assert len({version([value], pa.float64()) for value in values}) == len(values)


def test_slices_and_chunks_make_no_difference() -> None:
    whole = pa.array([[0.1 * i] for i in range(100)], pa.list_(pa.float64()))
    cut = pa.table({"v": whole.slice(10, 50)})
    again = pa.table({"v": pa.array(whole.slice(10, 50).to_pylist(), whole.type)})
    assert data_version(cut, float_digits=5) == data_version(again, float_digits=5)


def test_a_sum_that_wobbles_runs_nothing_below(tmp_path: Path) -> None:
    turn = iter([0.1 + 0.2, 0.3])

    @asset(float_digits=12, version="1")
    def mean() -> pa.Table:
        return pa.table({"v": [next(turn)]})

    @asset
    def below(mean: pa.Table) -> pa.Table:
        return mean

    with Project(Definitions([mean, below]), root=tmp_path) as project:
        project.materialize()
        assert project.read("mean").to_pylist() == [{"v": 0.1 + 0.2}]
        project.invalidate("mean", reason="again")
        assert project.materialize().counts["released"] == 1


@pytest.mark.parametrize("digits", [0, 18, 1.5, True])
def test_a_number_of_digits_that_is_none_is_refused(digits: Any) -> None:
    odd: Any = asset(name="a", float_digits=digits)
    with pytest.raises(DefinitionError, match="no number of digits"):
        Graph.build([odd(lambda: None)])
