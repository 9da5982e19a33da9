"""Likelihoods p(x | z): what the decoder's output means. Each is normalised and checks its support."""

from .base import Likelihood
from .bernoulli import Bernoulli, ContinuousBernoulli
from .beta import Beta
from .categorical import Categorical
from .censored_gaussian import CensoredGaussian
from .columns import Columns, ColumnsDistribution, SelfMasking
from .counts import NegativeBinomial, Poisson
from .discretised_logistic import DiscretisedLogistic
from .gaussian import Gaussian
from .laplace import Laplace
from .log_cosh import LogCosh
from .multinomial import Multinomial
from .ordinal import Ordinal
from .parts import Parts, PartsDistribution
from .positive import Gamma, LogNormal
from .student_t import StudentT
from .von_mises import VonMises

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "CensoredGaussian",
    "Columns",
    "ColumnsDistribution",
    "ContinuousBernoulli",
    "DiscretisedLogistic",
    "Gamma",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "LogCosh",
    "LogNormal",
    "Multinomial",
    "NegativeBinomial",
    "Ordinal",
    "Parts",
    "PartsDistribution",
    "Poisson",
    "SelfMasking",
    "StudentT",
    "VonMises",
]
