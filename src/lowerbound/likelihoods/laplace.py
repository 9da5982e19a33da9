r"""Laplace likelihood: the absolute error, with its constant.

.. math:: \log p(x \mid z) = -\sum_d \left[ \frac{|x_d - \mu_d(z)|}{s_d} + \log 2 s_d \right]

Reference:
    as the likelihood of images: Variational mixture-of-experts autoencoders for multi-modal deep generative models
    (Shi et al., 2019), https://arxiv.org/abs/1911.03393
"""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution
from torch.distributions import Laplace as TorchLaplace

from .location_scale import LocationScale


class Laplace(LocationScale):
    """Independent Laplace observations; arguments as ``LocationScale``'s."""

    def law(self, loc: Tensor, scale: Tensor) -> Distribution:
        """Return the Laplace distribution of each element."""
        return TorchLaplace(loc, scale, validate_args=False)
