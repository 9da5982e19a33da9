"""Approximate posteriors q(z | x): what the encoder's output means."""

from .base import Posterior
from .cell import CellGaussian
from .conv_ladder import ConvLadder
from .deterministic import Deterministic
from .experts import Experts
from .flow import IAF, Coupling
from .fsq import FiniteScalar
from .gamma import Gamma
from .gaussian import DiagonalGaussian, FullCovarianceGaussian
from .gumbel_softmax import GumbelSoftmax
from .gumbel_vq import GumbelQuantised
from .hamiltonian import Hamiltonian
from .ladder import Ladder
from .low_rank import LowRankGaussian
from .poincare import Poincare
from .product import Product
from .riemannian import Riemannian
from .student_t import StudentT
from .sylvester import Planar, Sylvester
from .two_stage import TwoStage
from .von_mises_fisher import VonMisesFisher
from .vq import VectorQuantised

__all__ = [
    "IAF",
    "CellGaussian",
    "ConvLadder",
    "Coupling",
    "Deterministic",
    "DiagonalGaussian",
    "Experts",
    "FiniteScalar",
    "FullCovarianceGaussian",
    "Gamma",
    "GumbelQuantised",
    "GumbelSoftmax",
    "Hamiltonian",
    "Ladder",
    "LowRankGaussian",
    "Planar",
    "Poincare",
    "Posterior",
    "Product",
    "Riemannian",
    "StudentT",
    "Sylvester",
    "TwoStage",
    "VectorQuantised",
    "VonMisesFisher",
]
