"""Priors p(z) and p(z | c): the distribution that new latent codes are drawn from."""

from .base import Encode, Level, Prior
from .cell import CellPrior
from .conditional import ConditionalGaussian
from .normal import StandardNormal

__all__ = ["CellPrior", "ConditionalGaussian", "Encode", "Level", "Prior", "StandardNormal"]
