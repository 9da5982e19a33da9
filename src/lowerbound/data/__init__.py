"""Sources of data, their splits, and invertible transforms."""

from lowerbound.data.dataset import Data, Split
from lowerbound.data.load import NAMES, load
from lowerbound.data.spec import DataSpec
from lowerbound.data.transforms import Standardize

__all__ = ["NAMES", "Data", "DataSpec", "Split", "Standardize", "load"]
