"""What a run says on the terminal: a bar with the time left, or plain lines where there is no terminal.

Everything goes to standard error; standard output belongs to results.
"""

from __future__ import annotations

import sys
import time
from typing import Any


class Console:
    """Progress of one run.

    Args:
        shown: Say anything at all.
        length: How the run is limited, for the first line, for example "20 epochs" or "10 minutes".
    """

    def __init__(self, shown: bool, length: str) -> None:
        self.shown = shown
        self._bar = None
        self._drawn = 0.0
        if shown:
            print(
                f"training for {length}; train and valid: bound on log p(x), nats per example; *: the best so far",
                file=sys.stderr,
                flush=True,
            )
        if shown and sys.stderr.isatty():
            from rich.console import Console as RichConsole
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._bar = Progress(
                BarColumn(bar_width=20),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[rate]}"),
                TextColumn("{task.fields[bound]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=RichConsole(stderr=True),
            )
            self._task = self._bar.add_task("train", total=1.0, rate="", bound="")
            self._bar.start()

    def step(self, fraction: float, rate: float) -> None:
        """Move the bar; cheap enough to be called at every step."""
        if self._bar is not None and (now := time.monotonic()) - self._drawn > 0.1:
            self._drawn = now
            self._bar.update(self._task, completed=fraction, rate=f"{rate:,.0f}/s")

    def evaluated(self, fraction: float, train: dict[str, Any], valid: dict[str, Any], best: bool) -> None:
        """Report one evaluation."""
        if self._bar is not None:
            self._bar.update(self._task, completed=fraction, bound=f"valid {valid['bound']:.2f}{' *' * best}")
        elif self.shown:
            left = valid["seconds"] * (1 - fraction) / fraction if fraction else 0.0
            print(
                f"epoch {valid['epoch']:7.2f}  {fraction:4.0%}  train {train['bound']:9.3f}  "
                f"valid {valid['bound']:9.3f} {'*' if best else ' '}  {train['images_per_second']:8,.0f}/s  "
                f"{_time(left)} left",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Stop the bar."""
        if self._bar is not None:
            self._bar.stop()


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
