r"""A posterior with a discrete part: the cell of a partition that x lies in, and a Gaussian for the rest.

.. math:: q(k, e \mid x, c) = q(k \mid x) \, \mathcal{N}(e; \mu(x, c), \operatorname{diag} \sigma(x, c)^2)

The partition is fixed (the encoder "cells" knows it) and q(k | x) is one cell with certainty, so its part of the KL
is the cross-entropy −log p(k | c): the prior learns to classify where x lies, which no small reconstruction error can
spoil. Where a condition says much of x, a Gaussian latent alone tends to be given x's position by the encoder, and
the condition is then ignored.

All draws of q lie in one cell, so what an importance-weighted bound rises to is not log p(x | c) but

.. math:: \log p(x, k(x) \mid c) = \log p(x \mid c) + \log p(k(x) \mid x, c)

which is below it by what other cells could have given x too: little where cells are wide against the decoder's noise.

Reference:
    the nearest of several centres as a code: Neural discrete representation learning (van den Oord, Vinyals and
    Kavukcuoglu, 2017), https://arxiv.org/abs/1711.00937
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch.distributions import Distribution

from ..distributions import OneHot, diagonal_gaussian
from ..nn.cells import check_cells
from ..shapes import full_precision
from ..slots import Level
from .base import Posterior


class CellGaussian(Posterior):
    """Cell number, one-hot, and below it a factorised Gaussian.

    Args:
        event_shape: (K + L,).
        cells: Number K of cells.
    """

    partners: ClassVar = {"encoder": "cells", "prior": "cell"}
    agree: ClassVar = ("cells",)

    def __init__(self, event_shape: int | Sequence[int], cells: int = 256) -> None:
        shape = check_cells(event_shape, cells)
        super().__init__(shape, (2, *shape), (Level((cells,), "one-hot"), Level((shape[0] - cells,))))
        self.cells = cells

    def level(self, number: int, evidence: Any, state: Any, p: Distribution) -> Distribution:
        """Return q of the cell or of the Gaussian, batch (B,), from (B, 2, K + L).

        These are log-probabilities and means; nothing and log-scales. The log-probabilities must not depend on
        parameters: a draw of the cell would not train these.
        """
        if number == 0:
            logits = full_precision(evidence)[..., 0, : self.cells]
            return OneHot(logits.detach())
        return diagonal_gaussian(evidence[..., self.cells :], 1)
