"""Weights in the order that the fastest product wants, while they stand still."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def packed(module: nn.Module) -> Iterator[None]:
    """Within the block, where the weights of ``module`` must not change, its linear layers take oneDNN's product.

    For float32 on a CPU torch takes MKL's, from weights as they lie; oneDNN's from weights laid out for it once is
    12 % faster on an AMD processor (Zen 4). Other types and devices, other modules and layers of which a subclass
    has been made are left as they are. Meant for inference: there is no gradient through it.
    """
    layers = [layer for layer in module.modules() if type(layer) is nn.Linear and _gains(layer)]
    try:
        for layer in layers:
            layer.__dict__["forward"] = _product(layer)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


@contextlib.contextmanager
def unpacked(module: nn.Module) -> Iterator[None]:
    """Within the block ``packed`` has no effect on ``module``: there are gradients."""
    kept = {layer: layer.__dict__.pop("forward") for layer in module.modules() if "forward" in layer.__dict__}
    try:
        yield
    finally:
        for layer, forward in kept.items():
            layer.__dict__["forward"] = forward


def _gains(layer: nn.Linear) -> bool:
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and layer.weight.dtype == torch.float32
        and layer.weight.device.type == "cpu"
        and "forward" not in layer.__dict__
    )


def _product(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)

    def product(x: Tensor) -> Tensor:
        if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return nn.Linear.forward(layer, x)
        return torch.ops.mkldnn._linear_pointwise(x, weight, layer.bias, "none", [], "")

    return product
