"""Priors p(z) and p(z | c): the distribution that new latent codes are drawn from."""

from ..slots import Level
from .autoregressive_flow import MAF, NSF
from .base import Encode, Prior
from .categorical import Categorical
from .cell import CellPrior
from .codebook import Codebook
from .conditional import ConditionalGaussian
from .conv_ladder import ConvLadder
from .flow import Flow, FlowDistribution
from .gamma import Gamma
from .ladder import Ladder
from .lattice import Lattice
from .mixture import GaussianMixture
from .momentum import Momentum
from .normal import StandardNormal
from .poincare import Poincare
from .product import Product
from .sphere import Sphere
from .two_stage import TwoStage
from .vamp import VampPrior

__all__ = [
    "MAF",
    "NSF",
    "Categorical",
    "CellPrior",
    "Codebook",
    "ConditionalGaussian",
    "ConvLadder",
    "Encode",
    "Flow",
    "FlowDistribution",
    "Gamma",
    "GaussianMixture",
    "Ladder",
    "Lattice",
    "Level",
    "Momentum",
    "Poincare",
    "Prior",
    "Product",
    "Sphere",
    "StandardNormal",
    "TwoStage",
    "VampPrior",
]
