"""A bar on a terminal, lines elsewhere, nothing where nobody asked; always on standard error."""

import io
import sys

import pytest

from lowerbound.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def said(monkeypatch, stream, *arguments, steps=20, notes=(), **options):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(*arguments, **options) as advance:
        for _ in range(steps):
            advance()
        for note in notes:
            advance(0, note=note)
    return stream.getvalue()


def test_elsewhere_a_line_tells_of_every_tenth(monkeypatch, capsys):
    lines = said(monkeypatch, io.StringIO(), "scoring", 20, True, unit="examples").splitlines()
    assert lines[0] == "scoring: 2 of 20 examples"
    assert lines[-1] == "scoring: 20 of 20 examples"
    assert len(lines) == 10
    assert capsys.readouterr().out == ""


def test_without_a_unit_the_lines_tell_percentages(monkeypatch):
    assert said(monkeypatch, io.StringIO(), "reading", 4, True, steps=2).splitlines() == [
        "reading: 25%",
        "reading: 50%",
    ]


def test_on_a_terminal_a_bar_is_drawn_with_its_count_and_note(monkeypatch):
    text = said(
        monkeypatch, Terminal(), "scoring", 20, True, unit="examples", notes=["bound -3.5"], keep=True
    )
    for part in ("scoring", "20/20", "examples", "bound -3.5", "left"):
        assert part in text


@pytest.mark.parametrize(
    ("stream", "shown"), [(io.StringIO, None), (io.StringIO, False), (Terminal, False)], ids=str
)
def test_it_is_silent_unless_it_is_asked_for_or_seen(monkeypatch, stream, shown):
    assert said(monkeypatch, stream(), "scoring", 20, shown) == ""


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_what_is_over_soon_needs_no_bar(monkeypatch, stream):
    assert said(monkeypatch, stream(), "reading", 20, True, after=60.0) == ""


def test_of_several_processes_the_first_one_speaks(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert said(monkeypatch, Terminal(), "reading", 20, True) == ""


def test_a_total_may_be_known_late(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar("planning", None, True, unit="problems") as advance:
        advance(0)
        advance(1, total=2)
        advance()
    assert stream.getvalue() == "planning: 1 of 2 problems\nplanning: 2 of 2 problems\n"


def test_elsewhere_a_line_tells_the_time_left_once_it_is_known(monkeypatch):
    clock = iter([0.0, 1.0, 4.0, 6.0])  # the beginning, then each step
    monkeypatch.setattr("lowerbound.progress.time.monotonic", lambda: next(clock))
    lines = said(monkeypatch, io.StringIO(), "solving", 4, True, unit="problems", steps=3).splitlines()
    assert lines == [
        "solving: 1 of 4 problems",  # too early to tell
        "solving: 2 of 4 problems · 0:04 left",
        "solving: 3 of 4 problems · 0:02 left",
    ]
