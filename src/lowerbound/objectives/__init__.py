"""What training maximises: bounds on log p(x) or log p(x | c), and schedules for their weights."""

from .adversarial import Adversarial
from .base import Criterion, Move, Objective, ObjectiveOutput
from .capacity import Capacity
from .combined import Combined
from .deep_features import DeepFeatures
from .dip import DIP
from .elbo import ELBO
from .estimators import reparameterised_surrogate, score_function_surrogate
from .factor_vae import FactorVAE
from .importance_weighted import ImportanceWeighted
from .info_vae import InfoVAE
from .multiply_weighted import MultiplyWeighted
from .mvtcae import MVTCAE
from .perceptual import FeatureDistance, StructuralSimilarity
from .regularised import Regularised
from .renyi import Renyi
from .schedules import Constant, Cosine, Linear, Progress, Schedule
from .semi_supervised import SemiSupervised
from .subsets import Subsets
from .switch import Switch
from .total_correlation import TotalCorrelation
from .vae_gan import VAEGAN
from .wasserstein import Wasserstein

__all__ = [
    "DIP",
    "ELBO",
    "MVTCAE",
    "VAEGAN",
    "Adversarial",
    "Capacity",
    "Combined",
    "Constant",
    "Cosine",
    "Criterion",
    "DeepFeatures",
    "FactorVAE",
    "FeatureDistance",
    "ImportanceWeighted",
    "InfoVAE",
    "Linear",
    "Move",
    "MultiplyWeighted",
    "Objective",
    "ObjectiveOutput",
    "Progress",
    "Regularised",
    "Renyi",
    "Schedule",
    "SemiSupervised",
    "StructuralSimilarity",
    "Subsets",
    "Switch",
    "TotalCorrelation",
    "Wasserstein",
    "reparameterised_surrogate",
    "score_function_surrogate",
]
