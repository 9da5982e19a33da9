r"""Student-t likelihood: a Gaussian whose variance is uncertain, so that outliers do not drag its mean.

.. math:: \log p(x \mid z) = \sum_d \log \Gamma(\tfrac{\nu + 1}{2}) - \log \Gamma(\tfrac{\nu}{2})
    - \tfrac12 \log \nu \pi s_d^2 - \tfrac{\nu + 1}{2} \log\left(1 + \frac{(x_d - \mu_d(z))^2}{\nu s_d^2}\right)

Reference:
    Student-t variational autoencoder for robust density estimation (Takahashi et al., 2018),
    https://www.ijcai.org/proceedings/2018/374
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions import StudentT as TorchStudentT

from ..distributions import bounded_exp
from ..errors import ConfigError
from ..shapes import is_positive
from .location_scale import LocationScale, Scale

_START = 10.0  # where ν begins if it is learned


class StudentT(LocationScale):
    """Independent Student-t observations.

    Args:
        event_shape: Shape of one observation.
        scale: As ``LocationScale``'s.
        df: Degrees of freedom ν, or "learned" (one for all elements, a parameter).

    Raises:
        ConfigError: ν is not positive, or the scale is none.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        scale: float | Scale = "per_dimension",
        df: float | Literal["learned"] = "learned",
    ) -> None:
        if not is_positive(df) and df != "learned":
            raise ConfigError(
                f"StudentT needs a positive number of degrees of freedom, or 'learned'; got {df!r}"
            )
        super().__init__(event_shape, scale)
        self.df = df
        self.log_df = nn.Parameter(torch.tensor(math.log(_START))) if df == "learned" else None

    def law(self, loc: Tensor, scale: Tensor) -> Distribution:
        """Return the Student-t distribution of each element."""
        df = torch.full_like(loc, float(self.df)) if self.log_df is None else bounded_exp(self.log_df).to(loc)
        return TorchStudentT(df, loc, scale, validate_args=False)

    def point(self, p: Distribution) -> Tensor:
        """Return the location, which is there for every ν."""
        return p.base_dist.loc  # pyright: ignore[reportAttributeAccessIssue]
