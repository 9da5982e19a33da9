"""Variational autoencoders with true likelihoods: one composable model, honest numbers.

    import lowerbound as lb

    data = lb.data.load("digits")
    model = lb.VAE.for_data(data, latent=8)
    run = lb.fit(model, data, epochs=50)
    print(lb.evaluate.nll(model, data.test, samples=1000))

Importing this package loads neither torch nor any of the parts; they come on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import (
        cluster,
        conditions,
        data,
        errors,
        estimator,
        evaluate,
        likelihoods,
        nn,
        objectives,
        posteriors,
        priors,
        report,
        testing,
    )
    from .model import VAE
    from .persistence import fit, load, save
    from .refit import ex_post
    from .registry import register
    from .training import Run

_HOME = {
    "VAE": "model",
    "ex_post": "refit",
    "fit": "persistence",
    "load": "persistence",
    "register": "registry",
    "save": "persistence",
    "Run": "training",
}
_MODULES = (
    "cluster",
    "conditions",
    "data",
    "errors",
    "estimator",
    "evaluate",
    "likelihoods",
    "nn",
    "objectives",
    "posteriors",
    "priors",
    "report",
    "testing",
)
__all__ = [
    "VAE",
    "Run",
    "__version__",
    "cluster",
    "conditions",
    "data",
    "errors",
    "estimator",
    "evaluate",
    "ex_post",
    "fit",
    "likelihoods",
    "load",
    "nn",
    "objectives",
    "posteriors",
    "priors",
    "register",
    "report",
    "save",
    "testing",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name in _MODULES:
        value = importlib.import_module(f".{name}", __name__)
    elif name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    else:
        raise AttributeError(f"module 'lowerbound' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
