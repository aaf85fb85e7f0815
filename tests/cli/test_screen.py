"""Tables, colours and what may repaint a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets_core.cli.error_report import safe
from assets_core.cli.screen import Screen, cells, cut, fit


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(width: int, *args: Any, colours: bool = False, **options: Any) -> list[str]:
    stream = io.StringIO()
    Screen(stream, colours, width).table(*args, **options)
    return stream.getvalue().splitlines()


def test_columns_are_aligned() -> None:
    rows = [["a", "1"], ["long", "22"]]
    assert printed(0, ["name", "n"], rows, right=(1,)) == ["name   n", "a      1", "long  22"]


def test_a_pipe_gets_everything_however_wide() -> None:
    assert printed(0, (), [["x" * 500, "y"]]) == ["x" * 500 + "  y"]


def test_a_narrow_terminal_cuts_the_widest_column() -> None:
    lines = printed(40, (), [["orders", "x" * 100]])
    assert lines == ["orders  " + "x" * 31 + "…"]


def test_styles_do_not_count_as_width() -> None:
    lines = printed(0, (), [[("a", "red"), "b"], ["cc", "d"]], colours=True)
    assert lines == ["\x1b[31ma\x1b[0m   b", "cc  d"]


def test_wide_characters_take_two_cells() -> None:
    assert (cells("日本"), cells("é"), cut("日本語", 5)) == (4, 1, "日本…")


@given(st.lists(st.integers(1, 200), min_size=1, max_size=8), st.integers(20, 200))
def test_fitted_columns_fit_or_are_as_narrow_as_they_may(widths: list[int], room: int) -> None:
    found = fit(widths, room)
    assert all(new <= old for new, old in zip(found, widths, strict=True))
    assert sum(found) <= room or max(found) <= 12


@given(st.text(), st.integers(1, 30))
def test_cut_text_fits(text: str, width: int) -> None:
    assert cells(cut(text, width)) <= max(width, 1)


def test_a_terminal_has_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Screen.of(Terminal()).colours


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not Screen.of(Terminal()).colours


def test_a_dumb_terminal_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert not Screen.of(Terminal()).colours


def test_a_pipe_has_none_unless_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert not Screen.of(io.StringIO()).colours
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Screen.of(io.StringIO()).colours


def test_an_error_can_not_repaint_the_terminal() -> None:
    assert safe("bad \x1b[2Jkey\x07\n  second") == "bad key\n  second"
