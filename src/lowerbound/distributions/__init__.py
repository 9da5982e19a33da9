"""Distributions that torch lacks, or computes too slowly or too coarsely for our purpose."""

from .bernoulli import BernoulliLogits
from .bessel import log_bessel_i
from .censored import CensoredNormal
from .continuous_bernoulli import ContinuousBernoulliLogits
from .counts import GivenLibrary, MultinomialLog, NegativeBinomialLog, PoissonLog, ZeroInflated
from .divergence import closed_form_kl, kl_per_dimension
from .gaussian import bounded_exp, diagonal_gaussian, factorised_gaussian
from .log_cosh import LogCosh
from .logistic import DiscretisedLogistic, log_between
from .mixture import Mixture
from .one_hot import OneHot
from .poincare import WrappedNormal, from_middle, within_reach
from .point import NO_DENSITY, Point, through
from .pushforward import Pushforward
from .relaxed import GumbelOneHot, with_gumbel_noise
from .restricted import Restricted, restrict
from .rows import ChosenRows, Rows
from .selection import SelectedGaussian
from .sphere import UniformSphere, VonMisesFisher
from .uniform import from_uniform, uniforms
from .von_mises import VonMises
from .zuko import gentle, zuko

__all__ = [
    "NO_DENSITY",
    "BernoulliLogits",
    "CensoredNormal",
    "ChosenRows",
    "ContinuousBernoulliLogits",
    "DiscretisedLogistic",
    "GivenLibrary",
    "GumbelOneHot",
    "LogCosh",
    "Mixture",
    "MultinomialLog",
    "NegativeBinomialLog",
    "OneHot",
    "Point",
    "PoissonLog",
    "Pushforward",
    "Restricted",
    "Rows",
    "SelectedGaussian",
    "UniformSphere",
    "VonMises",
    "VonMisesFisher",
    "WrappedNormal",
    "ZeroInflated",
    "bounded_exp",
    "closed_form_kl",
    "diagonal_gaussian",
    "factorised_gaussian",
    "from_middle",
    "from_uniform",
    "gentle",
    "kl_per_dimension",
    "log_bessel_i",
    "log_between",
    "restrict",
    "through",
    "uniforms",
    "with_gumbel_noise",
    "within_reach",
    "zuko",
]
