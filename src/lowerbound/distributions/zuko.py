"""Normalising flows of zuko, which is not installed with the rest: ``pip install 'lowerbound[flows]'``."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import ConfigError

_START = 0.01  # of the usual weights: a flow begins near the identity, but gradients reach all layers


def zuko() -> Any:
    """Return the package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import zuko as package
    except ImportError:
        raise ConfigError("this flow needs zuko, which is missing: pip install 'lowerbound[flows]'") from None
    return package


@torch.no_grad()
def gentle(flow: nn.Module) -> nn.Module:
    """Make the last layer of each network of a flow of zuko small, so that it begins near the identity."""
    for network in (part for part in flow.modules() if isinstance(part, nn.Sequential)):
        last = [layer for layer in network if isinstance(layer, nn.Linear)][-1:]
        for parameter in (p for layer in last for p in layer.parameters()):
            parameter.mul_(_START)
    return flow
