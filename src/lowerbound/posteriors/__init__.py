"""Approximate posteriors q(z | x): what the encoder's output means."""

from .cell import CellGaussian
from .gaussian import DiagonalGaussian, FullCovarianceGaussian

__all__ = ["CellGaussian", "DiagonalGaussian", "FullCovarianceGaussian"]
