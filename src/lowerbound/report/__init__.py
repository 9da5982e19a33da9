"""What a run looks like: its pictures, and one self-contained page with its numbers."""

from .grids import image_grid, value_range
from .page import read_numbers, write_report
from .pictures import write_pictures

__all__ = ["image_grid", "read_numbers", "value_range", "write_pictures", "write_report"]
