"""How far a run has come, and what is due there: a look at the device, an evaluation, a checkpoint.

Where the length is in epochs, all that a number depends on is decided by steps, so that a resumed run decides alike.
Where it is in minutes, all processes go by one clock, which they agree on at each look.
"""

from __future__ import annotations

import math

from ..objectives import Progress
from ..settings import Settings

_BETWEEN_LOOKS = 0.05  # seconds; what a look costs is far less
_MOST_STEPS = 64  # between two looks
_FEW_STEPS = 50  # between two evaluations within one epoch


class Pace:
    """The course of one run.

    Args:
        settings: The run's numbers.
        batch: Examples of a step, over all processes.
        examples: Examples of an epoch.
        validated: Examples of an evaluation.
        every_step: Look at every step, for it costs nothing: on the CPU, and with one process.
    """

    def __init__(
        self, settings: Settings, batch: int, examples: int, validated: int, every_step: bool
    ) -> None:
        self.settings = settings
        self.steps_per_epoch = math.ceil(examples / batch)
        self.total_steps = (
            None if settings.epochs is None else max(1, round(settings.epochs * self.steps_per_epoch))
        )
        # An evaluation costs about as much as training on so many examples: at most a third of the time goes there.
        self._few = max(_FEW_STEPS, math.ceil(2 * validated / batch))
        self._first = max(_FEW_STEPS, math.ceil(validated / (4 * batch)))
        self._longest = 1 if every_step else _MOST_STEPS
        self._stride, self._next_look = 1, 0
        self.seconds = 0.0  # of the run, at the last look
        self._evaluated, self._target = 0, 0.0
        self.evaluated(0, 0.0)

    # ------------------------------------------------------------------------------------------ where it is
    def fraction(self, step: int, seconds: float | None = None) -> float:
        """Return the share of the run that is done: by steps, or by the clock."""
        if self.total_steps is not None:
            return min(1.0, step / self.total_steps)
        assert self.settings.minutes is not None
        return min(1.0, (self.seconds if seconds is None else seconds) / (60 * self.settings.minutes))

    def progress(self, step: int) -> Progress:
        """Return what objectives are told."""
        return Progress(step, self.steps_per_epoch, self.total_steps, self.fraction(step))

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        share = 1 / self.total_steps if self.total_steps else 0.0
        return self.settings.learning_rate_at(self.fraction(step), share)

    # ------------------------------------------------------------------------------------------------ looks
    def look_is_due(self, step: int) -> bool:
        """Return whether to wait for the device and to agree with the other processes."""
        return step >= self._next_look

    def looked(self, step: int, seconds: float) -> None:
        """Go on from a look, at so many seconds of the run."""
        since, self.seconds = seconds - self.seconds, max(self.seconds, seconds)
        self._stride = self._stride * 2 if since < _BETWEEN_LOOKS else self._stride // 2
        self._stride = max(1, min(self._stride, self._longest))
        self._next_look = step + self._stride

    # ------------------------------------------------------------------------------------------ evaluations
    def evaluated(self, step: int, fraction: float) -> None:
        """Go on from an evaluation, or from the start of the run at step 0.

        The first of E evaluations comes after a tenth of the run's E-th part, the others after 2 / E, 3 / E, ...
        """
        interval = 1 / self.settings.evaluations
        first = step == 0 and self.settings.evaluations > 1
        number = 0.1 if first else max(2 if step else 1, math.floor(fraction / interval + 1e-9) + 1)
        self._evaluated, self._target = step, number * interval

    def evaluation_is_due(self, step: int) -> bool:
        """Return whether one is due: at an epoch's end when its time has come, inside a long one, at the end."""
        fraction = self.fraction(step)
        if fraction >= 1:
            return True
        if fraction < self._target - 1e-9 or step == self._evaluated:
            return False
        inside = step % self.steps_per_epoch
        if not inside:
            return True
        least = self._few if self._evaluated else self._first
        end = fraction * (step - inside + self.steps_per_epoch) / step  # of this epoch
        return step - self._evaluated >= least and end >= self._target + 1 / self.settings.evaluations
