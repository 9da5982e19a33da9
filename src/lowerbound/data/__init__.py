"""Sources of data, their splits, and invertible transforms."""

from .dataset import Data, Split
from .load import NAMES, load
from .spec import DataSpec
from .transforms import Standardize

__all__ = ["NAMES", "Data", "DataSpec", "Split", "Standardize", "load"]
