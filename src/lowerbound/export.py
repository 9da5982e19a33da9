"""A model for programs without torch: its encoder, its decoder or its sampler as an ONNX graph.

    encoder   x (n, *event), condition  ->  z (n, *latent), and sd where q(z | x, c) is one Gaussian
    decoder   z (n, *latent), condition ->  x (n, *event), and sd where a Gaussian likelihood predicts it
    sampler   u (n, U) in (0, 1), one condition -> x, and sd: z by the inverse distribution functions of the prior

x is in the units of the data throughout: the transform is part of the graph. What is random comes from outside.

Reference:
    the Gaussian's inverse distribution function, as ONNX has none: Algorithm AS 241, the percentage points of the
    normal distribution (Wichura, 1988), routine PPND7, relative error about 1e-7
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from . import __version__
from .data import Standardize
from .distributions import OneHot
from .errors import ConfigError, suggest
from .likelihoods import Gaussian
from .model import VAE
from .posteriors import DiagonalGaussian, FullCovarianceGaussian

PARTS = ("encoder", "decoder", "sampler")
# Rows of the batch that is traced, a number that no layer has: where two sizes are equal, the exporter takes them for
# one. And rows of the batch that is compared.
_TRACED, _TRIED = 1013, 5
_AGREE = 1e-3  # float32, summed in another order

# Numerators and denominators of AS 241, rising powers: in q² for |q| = |u - 1/2| <= 0.425, else in r.
_MIDDLE = (
    (3.3871327179, 50.434271938, 159.29113202, 59.10937472),
    (1.0, 17.895169469, 78.757757664, 67.1875636),
)
_TAIL = (1.4234372777, 2.75681539, 1.3067284816, 0.17023821103), (1.0, 0.7370016425, 0.12021132975)
_FAR = (6.657905115, 3.081226386, 0.42868294337, 0.017337203997), (1.0, 0.24197894225, 0.012258202635)


@dataclass(frozen=True)
class Exported:
    """What ``export_onnx`` wrote.

    Attributes:
        path: The file.
        inputs: Shapes by name; "n" is any number of rows.
        outputs: The same of what it gives.
        error: Largest difference between onnxruntime and torch on one batch, relative to the largest value above 1;
            None where onnxruntime is not installed.
    """

    path: Path
    inputs: dict[str, tuple[str | int, ...]]
    outputs: dict[str, tuple[str | int, ...]]
    error: float | None


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


def by_operations(p: Distribution, u: Tensor) -> Tensor:
    """Return what ``distributions.from_uniform`` computes, of operations that ONNX has."""
    u = u.double()
    if not isinstance(p, OneHot):
        return p.mean + p.stddev * inverse_normal(u).to(p.mean)
    edges = p.probs.reshape(-1, p.probs.shape[-1])[0].double().cumsum(-1)
    # Class k has the numbers above edge k - 1, up to edge k.
    above = (u > edges / edges[-1]).to(p.probs.dtype)
    below = torch.cat([torch.ones_like(above[:, :1]), above[:, :-1]], 1)
    return below - above


class _Graph(nn.Module):
    """What a graph computes, with tensors as arguments only."""

    def __init__(self, model: VAE, part: str, output: str) -> None:
        super().__init__()
        self.model, self.part = model, part
        self.names = [] if model.condition is None else list(model.condition.names)
        self.input = {"encoder": "x", "decoder": "z", "sampler": "u"}[part]
        self.linear = isinstance(model.transform, Standardize | None)
        fixed = isinstance(getattr(model.likelihood, "scale", None), float)
        has_sd = (
            len(model.prior.levels) == 1
            and isinstance(model.posterior, DiagonalGaussian | FullCovarianceGaussian)
            if part == "encoder"
            else isinstance(model.likelihood, Gaussian) and self.linear and not fixed
        )
        self.outputs = ["z" if part == "encoder" else output, *(["sd"] if has_sd else [])]

    def forward(self, first: Tensor, values: list[Tensor]) -> tuple[Tensor, ...]:
        model = self.model
        view = model.under(dict(zip(self.names, values, strict=True)) if self.names else None)
        if self.part == "encoder":
            draw = view.middle(view.evidence(view.to_model(first)[0]), first.shape[0])
            return (model.prior.join(draw.z)[0], *[q.stddev for q in draw.q[: len(self.outputs) - 1]])
        if self.part == "decoder":
            p_x = view.decoded(first)
        else:
            p_x = view.likelihood(view.carried(first, by_operations).code.squeeze(1))
        x = view.to_data(model.likelihood.point(p_x))
        if len(self.outputs) == 1:
            return (x,)
        scale = model.transform.std if isinstance(model.transform, Standardize) else 1.0
        return x, p_x.stddev * scale


def export_onnx(
    model: VAE, path: str | os.PathLike[str], part: str = "decoder", *, output: str = "x"
) -> Exported:
    """Write a part of a model as an ONNX graph, and compare it with torch where onnxruntime is installed.

    The condition's entries are inputs of their own names: classes as int64 (n,), -1 where unknown; all else float32
    (n, ...), NaN where unknown, images scaled to [0, 1]. Of a sampler they have a leading axis of 1. The metadata say
    what a consumer has to know: ``part``, ``condition`` (shapes), ``classes`` (names), ``columns`` of a table,
    ``outputs``, ``uniforms`` (U) and the version, as JSON.

    Args:
        model: The model.
        path: The .onnx file.
        part: "encoder", "decoder" or "sampler".
        output: Name of the output that holds observations.

    Raises:
        ConfigError: there is no such part, the packages for ONNX are missing, or the part cannot be written: a
            sampler needs a prior that factorises, and all need operations that ONNX has.
    """
    path = Path(path)
    if part not in PARTS:
        raise ConfigError(f"there is no part {part!r}; {suggest(str(part), PARTS)}")
    if path.suffix != ".onnx":
        raise ConfigError(f"a graph is written as .onnx; got {path}")
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError:
        raise ConfigError("an ONNX graph needs the packages of pip install 'lowerbound[export]'") from None
    draft = path.with_name(f".{path.stem}.draft.onnx")
    try:
        with model.evaluating(), torch.no_grad():
            graph = _Graph(model, part, output).eval()
            _write(graph, _example(graph, _TRACED), draft)
            # Another number of rows: what holds for one number alone would show.
            first, values = _example(graph, _TRIED)
            found = graph(first, values)
        written = onnx.load(str(draft))
        for key, value in _told(graph, first, values).items():
            written.metadata_props.add(key=key, value=value)
        onnx.save(written, str(draft))
        given = dict(zip([graph.input, *graph.names], [first, *values], strict=True))
        rows = {entry.name for entry in written.graph.input if entry.type.tensor_type.shape.dim[0].dim_param}
        if rows < ({graph.input} if part == "sampler" else {entry.name for entry in written.graph.input}):
            raise ConfigError(f"the {part} of this model becomes a graph for batches of one size only")
        error = _difference(draft, given, found)
        if error is not None and not error < _AGREE:
            raise ConfigError(
                f"the graph of the {part} differs from the model, by {error:.2g}; it is not kept"
            )
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    shapes = {
        name: ("n" if name == graph.input or part != "sampler" else 1, *value.shape[1:])
        for name, value in given.items()
    }
    gave: dict[str, tuple[str | int, ...]] = {
        name: ("n", *value.shape[1:]) for name, value in zip(graph.outputs, found, strict=True)
    }
    return Exported(path, shapes, gave, error)


def _told(graph: _Graph, first: Tensor, values: list[Tensor]) -> dict[str, str]:
    """Return the metadata: what a consumer has to know."""
    model = graph.model
    told = {
        "lowerbound": __version__,
        "part": graph.part,
        "condition": json.dumps({k: list(v.shape) for k, v in zip(graph.names, values, strict=True)}),
        "outputs": json.dumps(graph.outputs),
    }
    if graph.part == "sampler":
        told["uniforms"] = str(first.shape[1])
    conditions = [] if model.condition is None else model.condition.items()
    classes = {name: list(entry.classes) for name, entry in conditions if getattr(entry, "classes", None)}
    if classes:
        told["classes"] = json.dumps(classes)
    if model.data_spec is not None and model.data_spec.table is not None:
        told["columns"] = json.dumps(model.data_spec.to_dict()["table"])
    return told


def _example(graph: _Graph, rows: int) -> tuple[Tensor, list[Tensor]]:
    """Return a batch of what the graph takes."""
    model = graph.model
    n = 1 if graph.part == "sampler" else rows
    items = [] if model.condition is None else model.condition.items()
    values = [torch.zeros_like(entry.absent(n)) for _, entry in items]
    generator = torch.Generator().manual_seed(0)
    if graph.part == "sampler":
        try:
            size = model.under(dict(zip(graph.names, values, strict=True)) if values else None).uniforms()
        except ConfigError as error:
            raise ConfigError(f"{error}; export the decoder, and draw z outside") from None
        return torch.rand((rows, size), generator=generator).clamp(1e-3, 1 - 1e-3), values
    z = torch.randn((rows, *model.latent_shape), generator=generator, dtype=model.dtype)
    view = model.under(dict(zip(graph.names, values, strict=True)) if values else None)
    return z if graph.part == "decoder" else view.to_data(model.likelihood.point(view.decoded(z))), values


def _write(graph: _Graph, example: tuple[Tensor, list[Tensor]], path: Path) -> None:
    """Write the graph, without what the exporter says on its way."""
    n = {0: torch.export.Dim("n")}
    each = None if graph.part == "sampler" else n
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what torch's exporter itself uses
            torch.onnx.export(
                graph,
                example,
                str(path),
                input_names=[graph.input, *graph.names],
                output_names=graph.outputs,
                dynamic_shapes=(n, [each] * len(example[1])),
                custom_translation_table={torch.ops.aten.searchsorted.Tensor: _searchsorted()},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ConfigError(
            f"the {graph.part} of this model cannot be written as a graph: "
            f"{' '.join(str(cause).split()):.200}"
        ) from error
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _searchsorted() -> Callable[..., Any]:
    """Return torch.searchsorted for the exporter, which has none: how many of the sorted values lie below."""
    from onnxscript import opset18

    op: Any = opset18  # its types are those of ONNX, which lists and None are no part of

    def searchsorted(
        sorted_sequence: Any,
        self: Any,
        out_int32: bool = False,
        right: bool = False,
        side: str | None = None,
        sorter: Any = None,
    ) -> Any:
        values, edges = op.Unsqueeze(self, [-1]), op.Unsqueeze(sorted_sequence, [-2])
        below = op.LessOrEqual(edges, values) if right or side == "right" else op.Less(edges, values)
        return op.ReduceSum(op.Cast(below, to=7), [-1], keepdims=False)  # 7: int64

    return searchsorted


def _difference(path: Path, given: dict[str, Tensor], found: tuple[Tensor, ...]) -> float | None:
    """Return how far onnxruntime is from torch, relative to the largest value above 1; None without it."""
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = {entry.name for entry in session.get_inputs()}
    feed = {name: value.numpy() for name, value in given.items() if name in wanted}
    came = [torch.from_numpy(value) for value in session.run(None, feed)]
    return max(
        float((a.double() - b.double()).abs().max() / b.abs().max().clamp(min=1))
        for a, b in zip(came, found, strict=True)
    )
