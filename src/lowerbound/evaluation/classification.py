r"""How often the classifier is wrong.

.. math:: \frac1n \sum_i \left[\arg\max_y q(y \mid x_i) \ne y_i\right]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data import Split
from ..model import VAE
from .stream import Precision, batches, count, examples_of, frozen, tile_rows


@dataclass(frozen=True)
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


def classification_error(
    model: VAE,
    split: Split | Tensor | Any,
    *,
    c: Any = None,
    limit: int | None = None,
    memory: float = 256,
    precision: Precision | None = None,
) -> ErrorRate:
    """Compare the most probable class of q(y | x) with the label that each example has.

    Args:
        model: A model with a classifier.
        split: A part of the data, or a tensor or array (N, *event).
        c: The condition in place of the split's, with the labels.
        limit: Take only the first examples.
        memory: Cap on the arrays held at once in MiB.
        precision: "fp32" or "bf16" for the classifier; None for the model's ``compute_dtype``.

    Raises:
        ConfigError: the model has no classifier, or a label is missing.
        DataError: there are no examples.
    """
    split = examples_of(split)
    n = count(split, limit)
    name = model.label[0]
    wrong = 0
    with frozen(model, precision=precision):
        for x, c_x in batches(model, split, tile_rows(model, memory), limit, c):
            assert c_x is not None
            wrong += int(torch.sum(model.classify(x).argmax(1) != c_x[name]))
    share = wrong / n
    return ErrorRate(share, math.sqrt(share * (1 - share) / n), n)
