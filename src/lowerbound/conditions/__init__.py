"""Conditions c: what is known of an example beside it. Each kind turns its values into a context vector."""

from .base import Condition
from .image import Image, Observed
from .joint import Conditions
from .label import Label
from .map import Map
from .point_set import PointSet
from .vector import Vector

__all__ = ["Condition", "Conditions", "Image", "Label", "Map", "Observed", "PointSet", "Vector"]
