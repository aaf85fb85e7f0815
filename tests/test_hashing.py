"""The framed hash tells every two values apart, and sums of versions don't depend on the way."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
import os
import re
import subprocess
import sys
import zoneinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from uuid import UUID

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets_core.fingerprint.hashing import UnhashableError, digest, hash64, hexdigest
from assets_core.fingerprint.sums import (
    MASK64,
    combine,
    combine_one,
    fold_edges,
    fold_edges_one,
    mix64,
)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


@dataclasses.dataclass
class Other:
    x: int
    y: object = None


class Model(pydantic.BaseModel):
    x: int = 1
    secret: pydantic.SecretStr = pydantic.SecretStr("a")


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NOON = dt.datetime(2024, 1, 1, 12)
DISTINCT = [
    None, ..., True, False, 0, 1, -1, 255, 256, -256, 2**64, 2**200, 0.0, -0.0, 1.0, math.inf,
    -math.inf, math.nan, 1j, "", "1", "a", "ab", "True", b"", b"a", bytearray(b"a"), (), (1,),
    (1, 2), (2, 1), ((1,), 2), (1, (2,)), [], [1], [1, 2], {}, {1: 2}, {2: 1},
    {1: {2: 3}}, {"1": 2},
    set(), {1}, {1, 2}, frozenset(), frozenset({1}), Colour.RED, Colour.BLUE, Level.LOW,
    dt.date(2024, 1, 1), NOON, NOON.replace(fold=1), NOON.replace(tzinfo=dt.UTC),
    NOON.replace(tzinfo=BERLIN), dt.time(12), dt.timedelta(1), dt.timedelta(0, 1), BERLIN,
    Decimal("1"), Decimal("1.0"), Fraction(1, 2), UUID(int=1), PurePosixPath("a"), re.compile("a"),
    re.compile("a", re.IGNORECASE), range(3), range(0, 3, 2), Point(1), Point(2), Other(1),
    Model(), Model(x=2), np.array([1, 2]), np.array([[1, 2]]), np.array([1, 2], "i4"),
    np.int64(1), np.float32(1), np.float64(1), np.dtype("i4"), np.dtype("i8"),
    np.dtype([("a", "i4")]), np.datetime64("2024-01-01"), np.datetime64("2024-01-01", "s"),
    np.array(["a", None], object), np.array([(1, 2)], [("a", "i4"), ("b", "i4")]),
]  # fmt: skip


def test_values_of_every_kind_differ() -> None:
    digests = [digest(value) for value in DISTINCT]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        ((("a",), "b"), ("a", ("b",))),
        (("a", "b"), (("a", "b"),)),
        (("", "a"), ("a", "")),
        (([], []), ([[]],)),
        (({"a": "b"},), ({"a": "b", "": ""},)),
    ],
)
def test_frames_keep_neighbours_apart(one: tuple, other: tuple) -> None:
    assert digest(*one) != digest(*other)


def test_the_order_of_dicts_and_sets_does_not_matter() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({3, 1, 2}) == digest({2, 3, 1})


def test_nan_equals_nan() -> None:
    assert digest(math.nan) == digest(-math.nan) == digest(float("nan"))


def test_a_secret_does_not_count() -> None:
    assert digest(Model()) == digest(Model(secret=pydantic.SecretStr("b")))


def test_windows_and_posix_paths_agree_with_their_text_form() -> None:
    assert digest(Path("a/b")) == digest(PurePosixPath("a/b"))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UnhashableError, match="can't be hashed"):
        digest(object())


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(UnhashableError, match="contain itself"):
        digest(loop)


def test_objects_can_be_replaced() -> None:
    def name(value: object) -> object:
        return type(value).__name__ if isinstance(value, Point) else NotImplemented

    assert digest(Point(1), other=name) == digest(Point(2), other=name)
    assert digest(Other(1), other=name) == digest(Other(1))


def test_digests_stay_what_they_were() -> None:
    assert hexdigest() == "e0951e1ced8f82ebae406852d6974eaa"
    assert hexdigest("a", 1, None, (1.5, b"x"), {"k": {1, 2}}) == "e431e7c20c93612aa9768af33c8239c2"
    assert f"{hash64('orders'):016x}" == "3df1abe8ecee415d"


def test_hash_seeds_do_not_matter() -> None:
    code = (
        "from assets_core.fingerprint.hashing import hexdigest;"
        "print(hexdigest({'a', 'b', 'c'}, {'x': frozenset('pqr'), 'y': 1}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent.parent,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(found) == 1


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.binary(max_size=3)
)  # fmt: skip
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2) | st.integers(0, 3), inner, max_size=3)
    ),
    max_leaves=8,
)


def shape(value: object) -> object:
    """A value as text that tells kinds apart, as ``==`` does not."""
    if isinstance(value, list | tuple):
        return (type(value).__name__, [shape(item) for item in value])
    if isinstance(value, dict):
        return ("dict", sorted(repr((shape(k), shape(v))) for k, v in value.items()))
    return (type(value).__name__, "nan" if value != value else repr(value))


@given(NESTED, NESTED)
def test_digests_agree_exactly_where_values_do(one: object, other: object) -> None:
    assert (digest(one) == digest(other)) == (shape(one) == shape(other))


@given(st.lists(NESTED, max_size=4), st.lists(NESTED, max_size=4))
def test_several_parts_are_framed(one: list, other: list) -> None:
    assert (digest(*one) == digest(*other)) == (shape(one) == shape(other))


# --------------------------------------------------------------------------------------------
# Arithmetic of input digests

WORD = st.integers(0, MASK64)
PAIR = st.tuples(WORD, WORD)


def words(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pairs, np.uint64).reshape(-1, 2)


def pairs(array: np.ndarray) -> list[tuple[int, int]]:
    return [(int(hi), int(lo)) for hi, lo in array]


def test_mix64_is_the_published_finalizer() -> None:
    # The first outputs of splitmix64 for the seed 0, from the reference implementation.
    gamma = 0x9E3779B97F4A7C15
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [mix64(gamma * i & MASK64) for i in (1, 2, 3)] == expected


@given(st.lists(WORD, max_size=20))
def test_mix64_of_columns_and_of_words_agree(values: list[int]) -> None:
    column = np.array(values, np.uint64)
    assert [int(x) for x in mix64(column)] == [mix64(value) for value in values]
    assert [int(x) for x in column] == values


@given(st.lists(st.tuples(WORD | st.just(0), WORD | st.just(0), WORD), max_size=20))
def test_combine_of_columns_and_of_words_agree(rows: list[tuple[int, int, int]]) -> None:
    versions, salts = words([row[:2] for row in rows]), np.array([r[2] for r in rows], np.uint64)
    assert pairs(combine(versions, salts)) == [combine_one(*row) for row in rows]


@given(st.lists(st.tuples(WORD, st.lists(PAIR, min_size=3, max_size=3)), max_size=4))
def test_fold_edges_of_columns_and_of_words_agree(
    edges: list[tuple[int, list[tuple[int, int]]]],
) -> None:
    folded = fold_edges([(tag, words(sums)) for tag, sums in edges], count=3)
    assert pairs(folded) == [
        fold_edges_one([(tag, sums[row]) for tag, sums in edges]) for row in range(3)
    ]


def test_large_columns_are_combined_in_chunks() -> None:
    rng = np.random.default_rng(3)
    versions = rng.integers(0, 2**64, (50_000, 2), np.uint64)
    versions[::7] = 0
    salts = np.arange(50_000, dtype=np.uint64)
    combined = combine(versions, salts)
    folded = fold_edges([(1, combined), (2, versions)])
    for row in (0, 1, 8_191, 8_192, 49_999):
        one = combine_one(int(versions[row, 0]), int(versions[row, 1]), row)
        assert pairs(combined[row : row + 1]) == [one]
        edge = (2, (int(versions[row, 0]), int(versions[row, 1])))
        assert pairs(folded[row : row + 1]) == [fold_edges_one([(1, one), edge])]


@given(WORD)
def test_a_missing_version_adds_nothing(salt: int) -> None:
    assert combine_one(0, 0, salt) == (0, 0)


@given(PAIR, WORD, WORD)
def test_the_same_version_elsewhere_adds_something_else(
    version: tuple[int, int], one: int, other: int
) -> None:
    if version != (0, 0) and one != other:
        assert combine_one(*version, one) != combine_one(*version, other)


@given(st.lists(st.tuples(PAIR.filter(any), st.integers(0, 50)), min_size=2, max_size=6))
def test_versions_that_exchange_places_are_noticed(
    placed: list[tuple[tuple[int, int], int]],
) -> None:
    (first, at), (second, there) = placed[:2]
    if first != second and at != there:
        rest = [combine_one(*version, salt) for version, salt in placed[2:]]
        before = [combine_one(*first, at), combine_one(*second, there), *rest]
        after = [combine_one(*second, at), combine_one(*first, there), *rest]
        assert _total(before) != _total(after)


def _total(items: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(hi for hi, _ in items) & MASK64, sum(lo for _, lo in items) & MASK64


@given(PAIR, PAIR)
def test_inputs_that_exchange_their_data_are_noticed(
    one: tuple[int, int], other: tuple[int, int]
) -> None:
    a, b = hash64("a"), hash64("b")
    same = fold_edges_one([(a, one), (b, other)]) == fold_edges_one([(a, other), (b, one)])
    assert same == (one == other)


def test_the_order_in_which_inputs_are_listed_does_not_matter() -> None:
    edges = [(hash64("a"), (1, 2)), (hash64("b"), (3, 4))]
    assert fold_edges_one(edges) == fold_edges_one(edges[::-1])


def test_no_inputs_give_a_constant_that_is_not_zero() -> None:
    constant = fold_edges_one([])
    assert constant != (0, 0)
    assert pairs(fold_edges([], count=2)) == [constant, constant]


def test_an_input_with_nothing_in_it_differs_from_no_input() -> None:
    assert fold_edges_one([(hash64("a"), (0, 0))]) != fold_edges_one([])


def test_equal_versions_do_not_cancel() -> None:
    twice = [combine_one(5, 7, 1), combine_one(5, 7, 1)]
    assert _total(twice) != (0, 0)


def test_input_digests_stay_what_they_were() -> None:
    folded = fold_edges_one([(hash64("orders"), combine_one(1, 2, 3))])
    assert f"{folded[0]:016x}{folded[1]:016x}" == "1e90fb27edfe70d3ee930a7e71d3e775"
