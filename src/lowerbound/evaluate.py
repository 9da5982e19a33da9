"""``lowerbound.evaluation`` and ``comparison`` by the name in use: ``lb.evaluate.nll(model, data.test)``."""

from . import evaluation
from .comparison import Comparison, compare
from .evaluation import *  # noqa: F403

__all__ = [*evaluation.__all__, "Comparison", "compare"]  # pyright: ignore[reportUnsupportedDunderAll]
