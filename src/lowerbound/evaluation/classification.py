r"""How often the classifier is wrong.

.. math:: \frac1n \sum_i \left[\arg\max_y q(y \mid x_i) \ne y_i\right]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor

from ..data import Split
from ..model import VAE
from .stream import Options, Passes


@dataclass(frozen=True, repr=False)
class ErrorRate:
    """Share of the examples that a classifier gets wrong.

    Attributes:
        value: The share, between 0 and 1.
        stderr: Its standard error over the examples, √(value (1 − value) / n).
        n: Number of examples.
    """

    value: float
    stderr: float
    n: int

    def __repr__(self) -> str:
        """A line: ``error 0.031 ± 0.004 (n = 1800)``."""
        return f"error {self.value:.3f} ± {self.stderr:.3f} (n = {self.n})"


def classification_error(model: VAE, split: Split | Tensor | Any, **options: Unpack[Options]) -> ErrorRate:
    """Compare the most probable class of q(y | x) with the label that each example has.

    Args:
        model: A model with a classifier.
        split: A part of the data, or a tensor or array (N, *event).
        **options: See ``Options``; a condition ``c`` brings the labels.

    Raises:
        ConfigError: the model has no classifier, or a label is missing.
        DataError: there are no examples.
    """
    passes = Passes(model, split, **options)
    name = model.label[0]
    wrong = 0
    with passes.running("classification error") as advance:
        for x, c in passes.batches(passes.rows):
            assert c is not None
            wrong += int(torch.sum(model.classify(x).argmax(1) != c[name]))
            advance(len(x))
    share = wrong / passes.n
    return ErrorRate(share, math.sqrt(share * (1 - share) / passes.n), passes.n)
