"""Approximate posteriors q(z | x): what the encoder's output means."""

from .gaussian import DiagonalGaussian, FullCovarianceGaussian

__all__ = ["DiagonalGaussian", "FullCovarianceGaussian"]
