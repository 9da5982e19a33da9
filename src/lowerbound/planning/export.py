"""Samplers for planners in other languages: states as files, or the sampler itself as an ONNX graph.

The graph takes the condition of a problem and numbers between 0 and 1, evenly spread or random, and gives states; see
``lowerbound.export``.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .. import export
from ..data import Standardize
from ..errors import ConfigError
from ..likelihoods import Gaussian
from ..model import VAE
from .problem import Array, Problem


def write_states(states: Array, problem: Problem, path: str | os.PathLike[str]) -> None:
    """Write states (n, D) as .csv, one row each under a header q0, q1, ..., or as .npz with start, goal and limits.

    Raises:
        ConfigError: the file's ending is neither.
    """
    path = Path(path)
    if path.suffix == ".csv":
        header = ",".join(f"q{i}" for i in range(states.shape[1]))
        np.savetxt(path, states, delimiter=",", header=header, comments="", fmt="%.9g")
    elif path.suffix == ".npz":
        np.savez(
            path,
            states=states,
            start=problem.start,
            goal=problem.goal,
            lower=problem.lower,
            upper=problem.upper,
        )
    else:
        raise ConfigError(f"states are written as .csv or .npz; got {path}")


def export_onnx(model: VAE, path: str | os.PathLike[str]) -> export.Exported:
    """Write a sampler as an ONNX graph: ``lowerbound.export.export_onnx`` with the output ``states``.

    Inputs are ``u`` (n, U), strictly between 0 and 1, and the condition's entries with a leading axis of 1, float32
    (images scaled to [0, 1]); the output ``states`` (n, D) is the mean of p(x | z, c) for each row of ``u``. Unless σ
    is a fixed number there is a second output, ``sd`` (n, D), the standard deviation of each coordinate:
    ``states + sd * e`` with standard normal e are then draws as ``Learned`` makes them with ``candidates=1``. Neither
    is cut to the limits. The metadata say U, the entries of the condition, the outputs and the version.

    Args:
        model: With a Gaussian likelihood, a condition, and states that are at most standardised.
        path: The .onnx file.

    Raises:
        ConfigError: the model is no sampler, or the packages for ONNX are missing.
    """
    if model.condition is None:
        raise ConfigError("only a conditional model is a sampler")
    if not (isinstance(model.likelihood, Gaussian) and isinstance(model.transform, Standardize | None)):
        raise ConfigError("export needs a Gaussian likelihood, and no transform or Standardize")
    return export.export_onnx(model, path, "sampler", output="states")
