"""Distributions that torch lacks, or computes too slowly or too coarsely for our purpose."""

from .bernoulli import BernoulliLogits
from .continuous_bernoulli import ContinuousBernoulliLogits
from .divergence import closed_form_kl, kl_per_dimension

__all__ = ["BernoulliLogits", "ContinuousBernoulliLogits", "closed_form_kl", "kl_per_dimension"]
