r"""Which of K weighted draws to go on with: M distinct ones, so that the expectation of any weighted sum stays.

.. math::
    \sum_{k=1}^{K} \tilde w_k f_k
        = \mathbb{E}\left[\sum_{k \in \text{chosen}} \frac{\tilde w_k}{p_k} f_k\right], \qquad
    p_k = \min(1, \tilde w_k / c), \quad \sum_k p_k = M

A weight above c is kept as it is, one below becomes c with a probability in proportion to it. Of all unbiased
choices of M draws this one moves the weights least, in the mean of the sum of squares.

Reference:
    On-line inference for hidden Markov models via particle filters (Fearnhead and Clifford, 2003), section 3
"""

from __future__ import annotations

import torch
from torch import Tensor

# Added to every weight when the chances are shared out, so that M draws can be found where fewer have any weight.
_SMALLEST = 1e-6


def inclusion(weights: Tensor, kept: int) -> Tensor:
    """Return the probabilities p with which each draw is chosen, (K, B); they add up to ``kept``.

    Args:
        weights: Normalised weights, (K, B).
        kept: Number M of draws to choose, between 1 and K.
    """
    weights = weights + _SMALLEST
    ascending = weights.sort(0).values
    # If the j smallest are drawn and all others kept, c = (their sum) / (M − (K − j)). It is the largest such j whose
    # weights are all below its c.
    drawn = torch.arange(kept - len(weights) + 1, kept + 1, device=weights.device).unsqueeze(1)
    c = ascending.cumsum(0) / drawn.clamp(min=1)
    consistent = (drawn > 0) & (ascending <= c)
    last = torch.where(consistent, drawn, 0).argmax(0, keepdim=True)
    return (weights / c.gather(0, last)).clamp(max=1)


def choose(weights: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Draw which to keep.

    Args:
        weights: Normalised weights of K draws, (K, B).
        kept: Number M of draws to choose, between 1 and K.

    Returns:
        Their numbers, (M, B), distinct in each column, and the probabilities p with which they were chosen, (M, B).
    """
    p = inclusion(weights, kept)
    # Systematic: marks one apart, of which an interval of length p ≤ 1 never holds two.
    ends = p.cumsum(0)
    ends[-1] = kept
    marks = torch.arange(kept, device=p.device).unsqueeze(1) + torch.rand_like(p[0])
    index = torch.searchsorted(ends.t().contiguous(), marks.t().contiguous(), right=True).t()
    index = index.clamp(max=len(p) - 1)  # a mark may be rounded up to the end
    return index, p.gather(0, index)
