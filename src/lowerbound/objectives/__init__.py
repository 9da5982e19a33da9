"""What training maximises: bounds on log p(x) or log p(x | c), and schedules for their weights."""

from .base import Move, Objective, ObjectiveOutput
from .elbo import ELBO
from .estimators import reparameterised_surrogate, score_function_surrogate
from .importance_weighted import ImportanceWeighted
from .schedules import Constant, Cosine, Linear, Progress, Schedule
from .semi_supervised import SemiSupervised
from .switch import Switch

__all__ = [
    "ELBO",
    "Constant",
    "Cosine",
    "ImportanceWeighted",
    "Linear",
    "Move",
    "Objective",
    "ObjectiveOutput",
    "Progress",
    "Schedule",
    "SemiSupervised",
    "Switch",
    "reparameterised_surrogate",
    "score_function_surrogate",
]
