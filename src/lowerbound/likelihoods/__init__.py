"""Likelihoods p(x | z): what the decoder's output means. Each is normalised and checks its support."""

from .base import Likelihood
from .bernoulli import Bernoulli, ContinuousBernoulli
from .categorical import Categorical
from .columns import Columns, ColumnsDistribution
from .counts import NegativeBinomial, Poisson
from .gaussian import Gaussian
from .multinomial import Multinomial

__all__ = [
    "Bernoulli",
    "Categorical",
    "Columns",
    "ColumnsDistribution",
    "ContinuousBernoulli",
    "Gaussian",
    "Likelihood",
    "Multinomial",
    "NegativeBinomial",
    "Poisson",
]
