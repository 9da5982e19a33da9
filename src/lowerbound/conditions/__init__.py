"""Conditions c: what is known of an example beside it. Each kind turns its values into a context vector."""

from .base import Condition
from .image import Image, Observed
from .joint import Conditions
from .label import Label
from .vector import Vector

__all__ = ["Condition", "Conditions", "Image", "Label", "Observed", "Vector"]
