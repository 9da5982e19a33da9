r"""The log-cosh loss as what it is a likelihood of, with its constant.

.. math:: -\log p(x \mid z) = \sum_d a \log \cosh \frac{x_d - \mu_d(z)}{s_d} + \log s_d + \text{const}(a)

The published loss :math:`\frac1\alpha \log \cosh \alpha t` is a = 1/α and s = 1/α.

Reference:
    Log hyperbolic cosine loss improves variational auto-encoder (Chen, Xu and Chen, 2019),
    https://openreview.net/forum?id=rkglvsC9Ym
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.distributions import Distribution

from ..distributions import LogCosh as Law
from ..errors import ConfigError
from ..shapes import is_positive
from .location_scale import LocationScale, Scale


class LogCosh(LocationScale):
    """Independent observations with log-cosh errors.

    Args:
        event_shape: Shape of one observation.
        scale: As ``LocationScale``'s.
        power: Power a of the hyperbolic cosine; 1 is the hyperbolic secant law, 2 the logistic one.

    Raises:
        ConfigError: the power is not positive, or the scale is none.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        scale: float | Scale = "per_dimension",
        power: float = 1.0,
    ) -> None:
        if not is_positive(power):
            raise ConfigError(f"LogCosh needs a power > 0; got {power!r}")
        self.power = power
        super().__init__(event_shape, scale)

    def law(self, loc: Tensor, scale: Tensor) -> Distribution:
        """Return the log-cosh law of each element."""
        return Law(loc, scale, float(self.power))
