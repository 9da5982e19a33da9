"""Approximate posteriors q(z | x): what the encoder's output means."""

from .base import Posterior
from .cell import CellGaussian
from .gaussian import DiagonalGaussian, FullCovarianceGaussian

__all__ = ["CellGaussian", "DiagonalGaussian", "FullCovarianceGaussian", "Posterior"]
