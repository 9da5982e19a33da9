"""Training: the loop, its settings, checkpoints and the run folder."""

from ..settings import Settings
from .checkpoint import load_module, load_tensors, save_tensors, write_atomically
from .folder import RunFolder
from .loop import Run, train

__all__ = [
    "Run",
    "RunFolder",
    "Settings",
    "load_module",
    "load_tensors",
    "save_tensors",
    "train",
    "write_atomically",
]
