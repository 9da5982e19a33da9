"""What a run says on the terminal: a bar with the time left, or plain lines where there is no terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from ..progress import Advance, progress_bar


class Console:
    """Progress of one run.

    Args:
        shown: Say anything at all.
        advance: Moves the bar, which is a whole run long.
    """

    def __init__(self, shown: bool, advance: Advance) -> None:
        self._lines = shown and not sys.stderr.isatty()
        self._advance = advance
        self._done, self._bound = 0.0, ""

    def step(self, fraction: float, rate: float) -> None:
        """Move the bar to a share of the run; cheap enough to be called at every step."""
        self._advance(fraction - self._done, note=f"{self._bound}{rate:,.0f}/s")
        self._done = fraction

    def evaluated(self, fraction: float, train: dict[str, Any], valid: dict[str, Any], best: bool) -> None:
        """Report one evaluation."""
        self._bound = f"valid {valid['bound']:.2f}{' best' * best} · "
        if self._lines:
            left = valid["seconds"] * (1 - fraction) / fraction if fraction else 0.0
            print(
                f"epoch {valid['epoch']:7.2f}  {fraction:4.0%}  train {train['bound']:9.3f}  "
                f"valid {valid['bound']:9.3f} {'*' if best else ' '}  {train['images_per_second']:8,.0f}/s  "
                f"{_time(left)} left",
                file=sys.stderr,
                flush=True,
            )


@contextlib.contextmanager
def console(shown: bool, length: str, is_bound: bool = True) -> Iterator[Console]:
    """Give the console of a run while it goes on.

    Args:
        shown: Say anything at all.
        length: How the run is limited, for the first line, for example "20 epochs" or "10 minutes".
        is_bound: Whether the objective is a bound.
    """
    if shown:
        what = (
            "bounds on log p(x) in nats per example" if is_bound else "minus the loss, no bound on log p(x)"
        )
        print(
            f"training for {length}; {what}; *: best",
            file=sys.stderr,
            flush=True,
        )
    with progress_bar("", 1.0, None if shown else False, keep=True) as advance:
        yield Console(shown, advance)


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
