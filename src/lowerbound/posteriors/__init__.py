"""Approximate posteriors q(z | x): what the encoder's output means."""

from .base import Posterior
from .cell import CellGaussian
from .conv_ladder import ConvLadder
from .deterministic import Deterministic
from .flow import IAF, Coupling
from .fsq import FiniteScalar
from .gaussian import DiagonalGaussian, FullCovarianceGaussian
from .gumbel_softmax import GumbelSoftmax
from .ladder import Ladder
from .low_rank import LowRankGaussian
from .poincare import Poincare
from .student_t import StudentT
from .sylvester import Planar, Sylvester
from .von_mises_fisher import VonMisesFisher
from .vq import VectorQuantised

__all__ = [
    "IAF",
    "CellGaussian",
    "ConvLadder",
    "Coupling",
    "Deterministic",
    "DiagonalGaussian",
    "FiniteScalar",
    "FullCovarianceGaussian",
    "GumbelSoftmax",
    "Ladder",
    "LowRankGaussian",
    "Planar",
    "Poincare",
    "Posterior",
    "StudentT",
    "Sylvester",
    "VectorQuantised",
    "VonMisesFisher",
]
