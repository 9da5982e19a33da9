"""Priors p(z): the distribution that new latent codes are drawn from."""

from .normal import StandardNormal

__all__ = ["StandardNormal"]
