"""Names from users: hostile texts are refused or stored safely, and no two share a place."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets_core.errors import PartitionError
from assets_core.partitions import canonical_key, quote_identifier, safe_path_part, static

PORTABLE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+=%~")
hostile = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="ab.%_~/\\|'\"", max_size=12),
    st.text(alphabet="aä%~", min_size=90, max_size=400),
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " a",
        "a ",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "a\u202eb",
        "a\u200bb",
        "\ufeffa",
        "a\u2028b",
        "a\ud800",
        "\ue000",
        "\U0010ffff",
        "a|b",
        "x" * 300,
    ],
)
def test_a_text_that_can_be_misread_is_no_key(text: str) -> None:
    with pytest.raises(PartitionError):
        canonical_key(text)


def test_what_is_not_text_is_no_key() -> None:
    with pytest.raises(PartitionError):
        canonical_key(7)  # type: ignore[arg-type]  # what is tested


@given(hostile)
def test_a_canonical_key_is_its_own(text: str) -> None:
    try:
        key = canonical_key(text)
    except PartitionError:
        return
    assert canonical_key(key) == key == unicodedata.normalize("NFC", text)


@given(hostile)
def test_a_path_part_can_not_leave_its_folder(text: str) -> None:
    part = safe_path_part(text) if text else "x"
    assert set(part) <= PORTABLE
    assert 0 < len(part) <= 120
    assert part[0] not in "._"
    assert part[-1] != "."


@given(st.lists(hostile.filter(bool), min_size=2, max_size=6, unique=True))
def test_no_two_texts_share_a_path_part(texts: list[str]) -> None:
    assert len({safe_path_part(text) for text in texts}) == len(texts)


@given(st.text(alphabet="aä/.%_~", min_size=1, max_size=15))
def test_a_short_path_part_can_be_read_back(text: str) -> None:
    assert unquote(safe_path_part(text)) == text


@pytest.mark.parametrize("text", ["EWR", "2024-01-01T05", "date=2024-01-01", "a.b_c+d"])
def test_plain_texts_stay_readable(text: str) -> None:
    assert safe_path_part(text) == text


@pytest.mark.parametrize(
    "text", [".", "..", "../..", "/etc", "_hidden", ".git", "a/b", "CON", "nul.x"]
)
def test_names_that_mean_something_to_a_system_are_encoded(text: str) -> None:
    assert safe_path_part(text).upper() != text.upper()


def test_look_alikes_are_distinct() -> None:
    latin, cyrillic = "a", "\u0430"
    assert canonical_key(latin) != canonical_key(cyrillic)
    assert safe_path_part(latin) != safe_path_part(cyrillic)


def test_composed_and_decomposed_are_one_key() -> None:
    assert canonical_key("Sa\u0303o") == canonical_key("S\u00e3o")


@given(st.text(alphabet="a\"';-", min_size=1, max_size=12))
def test_an_identifier_can_not_end_its_quotes(text: str) -> None:
    quoted = quote_identifier(text)
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('""', "").count('"') == 0


@given(hostile)
def test_the_folders_of_a_key_are_safe(text: str) -> None:
    try:
        definition = static([text], name="country")
    except PartitionError:
        return
    (part,) = definition.path_parts(canonical_key(text))
    assert part.startswith("country=")
    assert set(part) <= PORTABLE
    assert len(part) < 255
