"""Distributions that torch lacks, or computes too slowly or too coarsely for our purpose."""

from .bernoulli import BernoulliLogits
from .continuous_bernoulli import ContinuousBernoulliLogits
from .counts import GivenLibrary, MultinomialLog, NegativeBinomialLog, PoissonLog, ZeroInflated
from .divergence import closed_form_kl, kl_per_dimension
from .gaussian import bounded_exp, diagonal_gaussian
from .mixture import Mixture
from .one_hot import OneHot
from .restricted import Restricted, restrict
from .uniform import from_uniform, uniforms

__all__ = [
    "BernoulliLogits",
    "ContinuousBernoulliLogits",
    "GivenLibrary",
    "Mixture",
    "MultinomialLog",
    "NegativeBinomialLog",
    "OneHot",
    "PoissonLog",
    "Restricted",
    "ZeroInflated",
    "bounded_exp",
    "closed_form_kl",
    "diagonal_gaussian",
    "from_uniform",
    "kl_per_dimension",
    "restrict",
    "uniforms",
]
