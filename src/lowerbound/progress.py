"""How far something long has got: a bar with the time left on a terminal, a line at every tenth elsewhere.

Everything goes to standard error; standard output belongs to results. Of several processes the first one speaks.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from .display import clock

_REDRAW = 0.1  # seconds between two looks of a bar
_SOON = 2.0  # seconds before a line tells the time left


class Advance(Protocol):
    """What ``progress_bar`` gives."""

    def __call__(self, done: float = 1, *, total: float | None = None, note: str | None = None) -> None:
        """Report so many units more; ``total`` may be known late, and ``note`` replaces the text beside the bar."""


@contextlib.contextmanager
def progress_bar(
    description: str,
    total: float | None,
    shown: bool | None,
    *,
    unit: str = "",
    after: float = 0.0,
    keep: bool = False,
) -> Iterator[Advance]:
    """Give a function that reports how many units more are done; it is cheap enough to be called at every step.

    Args:
        description: What is being done, in a word or two.
        total: Number of units of all of it, if it is known yet.
        shown: True shows a bar on a terminal and lines elsewhere, None a bar or nothing, False nothing.
        unit: What is counted, in the plural; without it the bar tells percentages.
        after: Seconds before anything is shown: what is over sooner needs no bar.
        keep: Leave the bar there at the end.

    Example:
        >>> with progress_bar("scoring", 20, shown=False, unit="examples") as advance:
        ...     for _ in range(20):
        ...         advance()
    """
    terminal = sys.stderr.isatty()
    if shown is False or (shown is None and not terminal) or os.environ.get("RANK", "0") != "0":
        yield lambda done=1, *, total=None, note=None: None
        return
    with contextlib.ExitStack() as stack:

        def begin():
            return stack.enter_context(_bar(description, total, unit, keep))

        show = begin() if terminal and not after else None
        began = drawn = time.monotonic()
        reached, whole, tenth, beside = 0.0, total, 0, ""

        def advance(done: float = 1, *, total: float | None = None, note: str | None = None) -> None:
            nonlocal reached, whole, tenth, drawn, beside, show
            reached, whole, now = reached + done, whole if total is None else total, time.monotonic()
            beside = beside if note is None else note
            if terminal and (now - drawn > _REDRAW or reached == whole):
                drawn = now
                if show is None and now - began >= after:
                    show = begin()
                if show is not None:
                    show(completed=reached, total=whole, note=beside)
            elif not terminal and whole and int(10 * reached / whole) > tenth and now - began >= after:
                tenth = int(10 * reached / whole)
                count = f"{reached:,.0f} of {whole:,.0f} {unit}" if unit else f"{reached / whole:.0%}"
                left = (now - began) * (whole - reached) / reached
                rest = f"{clock(left)} left" if left >= 1 and now - began >= _SOON else ""
                parts = filter(None, (f"{description}: {count}", beside, rest))
                print(" · ".join(parts), file=sys.stderr, flush=True)

        yield advance


@contextlib.contextmanager
def _bar(description: str, total: float | None, unit: str, keep: bool):
    """Draw a bar while the block runs; gives the function that changes it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Left(TimeRemainingColumn):
        def render(self, task: Task) -> Text:
            if task.finished:
                return Text("")
            return Text("· ") + super().render(task) + Text(" left")

    counts = (MofNCompleteColumn(), TextColumn(unit)) if unit else (TextColumn("{task.percentage:>3.0f}%"),)
    columns = (
        *([TextColumn("{task.description}")] if description else []),
        BarColumn(bar_width=20),
        *counts,
        TextColumn("{task.fields[note]}"),
        Left(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=not keep) as bar:
        yield functools.partial(bar.update, bar.add_task(description, total=total, note=""))
