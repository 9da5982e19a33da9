"""``lowerbound.evaluation`` by the name that it has in use: ``lb.evaluate.nll(model, data.test)``."""

from .evaluation import *  # noqa: F403
from .evaluation import __all__ as __all__
