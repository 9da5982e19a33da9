"""Sources of data, their splits and conditions, and invertible transforms."""

from .dataset import Condition, Data, Split
from .like import load_like
from .load import NAMES, load
from .masks import MASK_RULES, draw_masks, observe
from .several import join_parts, split_parts
from .shared import Shared
from .spec import ConditionSpec, DataSpec
from .transforms import Standardize

__all__ = [
    "MASK_RULES",
    "NAMES",
    "Condition",
    "ConditionSpec",
    "Data",
    "DataSpec",
    "Shared",
    "Split",
    "Standardize",
    "draw_masks",
    "join_parts",
    "load",
    "load_like",
    "observe",
    "split_parts",
]
