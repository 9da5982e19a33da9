"""Samplers for planners in other languages: states as files, or the sampler itself as an ONNX graph.

The graph takes the condition of a problem and numbers between 0 and 1, evenly spread or random, and gives states: it
holds the condition's networks, the prior's inverse distribution functions, the decoder and the limits' scaling.

Reference:
    the Gaussian's inverse distribution function, as ONNX has none: Algorithm AS 241, the percentage points of the
    normal distribution (Wichura, 1988), routine PPND7, relative error about 1e-7
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .. import __version__
from ..data import Standardize
from ..distributions import OneHot
from ..errors import ConfigError
from ..likelihoods import Gaussian
from ..model import VAE
from .problem import Array, Problem

# Numerators and denominators of AS 241, rising powers: in q² for |q| = |u - 1/2| <= 0.425, else in r.
_MIDDLE = (
    (3.3871327179, 50.434271938, 159.29113202, 59.10937472),
    (1.0, 17.895169469, 78.757757664, 67.1875636),
)
_TAIL = (1.4234372777, 2.75681539, 1.3067284816, 0.17023821103), (1.0, 0.7370016425, 0.12021132975)
_FAR = (6.657905115, 3.081226386, 0.42868294337, 0.017337203997), (1.0, 0.24197894225, 0.012258202635)


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


def inverse_normal(u: Tensor) -> Tensor:
    """Return the values that a standard normal number stays below with probability ``u``, in (0, 1)."""
    q = u - 0.5
    middle = q * _ratio(*_MIDDLE, 0.180625 - q * q)
    # Clamped, as both branches are computed everywhere and a NaN in one would be in the result.
    r = (-torch.minimum(u, 1 - u).clamp(min=1e-300).log()).clamp(min=0.0).sqrt()
    tail = torch.where(r <= 5, _ratio(*_TAIL, r - 1.6), _ratio(*_FAR, r - 5))
    return torch.where(q.abs() <= 0.425, middle, torch.where(q < 0, -tail, tail))


def _ratio(above: tuple[float, ...], below: tuple[float, ...], x: Tensor) -> Tensor:
    """Return the ratio of two polynomials, coefficients in rising powers."""
    top, bottom = torch.full_like(x, above[-1]), torch.full_like(x, below[-1])
    for a in above[-2::-1]:
        top = top * x + a
    for b in below[-2::-1]:
        bottom = bottom * x + b
    return top / bottom


def _from_uniform(p: Distribution, u: Tensor) -> Tensor:
    """What ``distributions.from_uniform`` computes, of operations that ONNX has."""
    u = u.double()
    if not isinstance(p, OneHot):
        return p.mean + p.stddev * inverse_normal(u).to(p.mean)
    edges = p.probs.reshape(-1, p.probs.shape[-1])[0].double().cumsum(-1)
    # Class k has the numbers above edge k - 1, up to edge k.
    above = (u > edges / edges[-1]).to(p.probs.dtype)
    below = torch.cat([torch.ones_like(above[:, :1]), above[:, :-1]], 1)
    return below - above


class _Graph(nn.Module):
    """What the graph computes, with tensors as arguments only."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model
        assert model.condition is not None
        self.names = model.condition.names
        self.outputs = ["states"] if isinstance(model.likelihood.scale, float) else ["states", "sd"]

    def forward(self, u: Tensor, values: list[Tensor]) -> tuple[Tensor, ...]:
        view = self.model.under(dict(zip(self.names, values, strict=True)))
        p_x = view.likelihood(view.carried(u, _from_uniform).code.squeeze(1))
        states = view.to_data(p_x.mean)
        if len(self.outputs) == 1:
            return (states,)
        linear = self.model.transform
        return states, p_x.stddev * linear.std if isinstance(linear, Standardize) else p_x.stddev


def export_onnx(model: VAE, path: str | os.PathLike[str]) -> None:
    """Write a sampler as an ONNX graph.

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
    path = Path(path)
    if path.suffix != ".onnx":
        raise ConfigError(f"a graph is written as .onnx; got {path}")
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError:
        raise ConfigError("an ONNX graph needs the packages of pip install 'lowerbound[export]'") from None
    if model.condition is None:
        raise ConfigError("only a conditional model is a sampler")
    if not (isinstance(model.likelihood, Gaussian) and isinstance(model.transform, Standardize | None)):
        raise ConfigError("export needs a Gaussian likelihood, and no transform or Standardize")
    graph = _Graph(model).eval()
    values = [torch.zeros((1, *entry.value_shape), dtype=model.dtype) for _, entry in model.condition.items()]
    with torch.no_grad():
        size = model.under(dict(zip(graph.names, values, strict=True))).uniforms()
    u = torch.full((4, size), 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torch's exporter itself uses
        torch.onnx.export(
            graph,
            (u, values),
            str(path),
            input_names=["u", *graph.names],
            output_names=graph.outputs,
            dynamic_shapes=({0: torch.export.Dim("n")}, [None] * len(values)),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    written = onnx.load(str(path))
    entries = {name: list(value.shape) for name, value in zip(graph.names, values, strict=True)}
    told = {
        "lowerbound": __version__,
        "uniforms": str(size),
        "condition": json.dumps(entries),
        "outputs": json.dumps(graph.outputs),
    }
    for key, value in told.items():
        written.metadata_props.add(key=key, value=value)
    onnx.save(written, str(path))
