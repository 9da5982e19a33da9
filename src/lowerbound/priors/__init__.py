"""Priors p(z) and p(z | c): the distribution that new latent codes are drawn from."""

from .conditional import ConditionalGaussian
from .normal import StandardNormal

__all__ = ["ConditionalGaussian", "StandardNormal"]
