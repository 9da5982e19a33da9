"""What a run says on the terminal: a bar with the time left, or plain lines where there is no terminal.

Bounds are on log p(x) in nats per example, the higher the better: the sign and the unit of evaluations.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..display import clock, signed
from ..progress import Advance, progress_bar

_SILENCE = 8.0  # seconds without a line after which there is one, with or without an evaluation


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
        self._began = self._said = time.monotonic()
        self._from: float | None = None

    def step(self, fraction: float, rate: float, bound: Callable[[], float | None] = lambda: None) -> None:
        """Move the bar to a share of the run; cheap enough to be called at every step.

        Args:
            fraction: Share of the run that is done.
            rate: Examples per second.
            bound: Computes the training bound since the last evaluation, for what is said between two of them.
        """
        self._advance(fraction - self._done, note=f"{self._bound}{_short(rate)}/s")
        self._done = fraction
        now = time.monotonic()
        if self._from is None:  # a run that is resumed does not begin at 0
            self._from, self._began = fraction, now
        if self._lines and now - self._said > (60 * _SILENCE if self._bound else _SILENCE):
            mean = bound()
            self._say(["" if mean is None else f"train {_value(mean)}", f"{_short(rate)} examples/s"])

    def evaluated(self, fraction: float, train: dict[str, Any], valid: dict[str, Any], best: bool) -> None:
        """Report one evaluation."""
        bits = f" ({valid['bits_per_dim']:.2f} bits/dim)" if "bits_per_dim" in valid else ""
        mark = " best" if best else ""
        self._bound = f"valid {_value(valid['bound'])}{mark} · "
        self._advance(fraction - self._done, note=f"{self._bound}{_short(train['images_per_second'])}/s")
        self._done = fraction
        if self._lines:
            # With bits/dim beside it, both bounds would not fit into 80 columns.
            known = f"train {_value(train['bound'])} · " if "bound" in train and not bits else ""
            rate = f"{_short(train['images_per_second'])}/s"
            self._say([f"{known}valid {_value(valid['bound'])}{bits}{mark}", rate], valid["epoch"])

    def _say(self, parts: list[str], epoch: float | None = None) -> None:
        """Print a line about where the run stands."""
        self._said = now = time.monotonic()
        done = self._done - (self._from or 0.0)
        left = (now - self._began) * (1 - self._done) / done if done > 0 else None
        where = f"{self._done:4.0%}" + ("" if epoch is None else f" · epoch {epoch:.4g}")
        ends = [] if left is None or self._done >= 1 else [f"{clock(left)} left"]
        print(" · ".join([where, *filter(None, parts), *ends]), file=sys.stderr, flush=True)


@contextlib.contextmanager
def console(shown: bool, length: str, is_bound: bool = True) -> Iterator[Console]:
    """Give the console of a run while it goes on.

    Args:
        shown: Say anything at all.
        length: How the run is limited, for the first line, for example "20 epochs" or "10 minutes".
        is_bound: Whether the objective is a bound.
    """
    if shown:
        what = "log p(x) in nats, higher is better" if is_bound else "minus the loss, no bound on log p(x)"
        print(f"training for {length}; {what}", file=sys.stderr, flush=True)
    with progress_bar("", 1.0, None if shown else False, keep=True) as advance:
        yield Console(shown, advance)


def length_in_words(epochs: float | None, minutes: float | None, steps: int | None) -> str:
    """Return how long a run is: many epochs of few data say less than the steps that they are."""
    if minutes is not None:
        return f"{minutes:g} minutes"
    length = f"{epochs:g} epoch{'' if epochs == 1 else 's'}"
    return length if steps is None or (epochs or 0) <= 100 else f"{steps:,} steps ({length})"


def _value(value: float) -> str:
    return signed(value, 2 if abs(value) < 1000 else 1)


def _short(rate: float) -> str:
    return f"{rate / 1000:.3g}k" if rate >= 1000 else f"{rate:.0f}"
