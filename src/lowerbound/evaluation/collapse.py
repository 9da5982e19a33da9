r"""Which latent dimensions will collapse, told before training.

A linear decoder with Gaussian noise σ² has its best weights along the eigenvectors of the data's covariance, and a
dimension is used only if its eigenvalue is above the noise; then it says

.. math:: \tfrac12 \log \frac{\lambda_j}{\beta \sigma^2} \;\text{nats, and nothing if}\; \lambda_j \le \beta \sigma^2

No warm-up and no longer training changes that: it is the optimum, and the remedy is the noise. A decoder that is not
linear may find more in the data, but starts near a linear one, and a noise above the largest eigenvalue hides it.

References:
    Don't blame the ELBO! (Lucas, Tucker, Grosse and Norouzi, 2019), https://arxiv.org/abs/1911.02469, theorem 1;
    Probabilistic principal component analysis (Tipping and Bishop, 1999)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.distributions import Normal

from ..data import Split
from ..errors import ConfigError
from ..model import VAE
from ..shapes import numel
from .stream import Options, Passes

_MOST_VALUES = 4096  # numbers of an example, whose covariance is decomposed


@dataclass(frozen=True)
class CollapseForecast:
    """What the linear theory says of every latent dimension.

    Attributes:
        nats: Nats that each dimension will carry, largest first, (L,); 0 for one that collapses.
        eigenvalues: Of the data's covariance in the units of the model, largest first, (D,).
        noise: βσ² that they were compared with.
        fitted: Whether σ is fitted; then it is the mean of the eigenvalues beyond the L-th.
    """

    nats: Tensor
    eigenvalues: Tensor = field(repr=False)
    noise: float
    fitted: bool

    @property
    def kept(self) -> int:
        """How many dimensions will be used."""
        return int((self.nats > 0).sum())

    @property
    def warning(self) -> str | None:
        """What will collapse and what to do, in a sentence, or None."""
        total = len(self.nats)
        if self.kept == total:
            return None
        sigma, largest = math.sqrt(self.noise), self.eigenvalues[0].item()
        wanted = math.sqrt(self.eigenvalues[min(total, len(self.eigenvalues)) - 1].clamp(min=0).item())
        who = "all" if self.kept == 0 else f"{total - self.kept} of"
        return (
            f"{who} {total} latent dimensions will collapse: noise of standard deviation {sigma:.3g} hides what has "
            f"a variance below {self.noise:.3g}, and the data's largest is {largest:.3g}; let the noise be fitted "
            f"(scale='optimal') or set it below {wanted:.3g}, lower beta, or use fewer dimensions"
        )


def collapse_forecast(
    model: VAE, split: Split | Tensor | Any, *, beta: float = 1.0, **options: Unpack[Options]
) -> CollapseForecast:
    """Say before training which latent dimensions a Gaussian noise will hide.

    Of a conditional model this is an upper limit: what the condition explains, no code has to.

    Args:
        model: The model, trained or not.
        split: The training data, or a tensor or array (N, *event).
        beta: Weight of the KL in the objective.
        **options: See ``Options``.

    Raises:
        ConfigError: the likelihood is no Gaussian, β is not positive, or an example has too many values.
    """
    passes, size = Passes(model, split, **options), numel(model.event_shape)
    if not 0 < beta < math.inf:
        raise ConfigError(f"collapse_forecast needs a finite beta > 0; got {beta!r}")
    if size > _MOST_VALUES:
        raise ConfigError(f"collapse_forecast is for up to {_MOST_VALUES} values per example; got {size}")
    count, total, square = 0, torch.zeros(size).double(), torch.zeros(size, size).double()
    with passes.running("covariance") as advance:
        zeros = torch.zeros(1, *model.likelihood.input_shape, device=model.device, dtype=model.dtype)
        base = getattr(model.likelihood(zeros), "base_dist", None)
        if not isinstance(base, Normal):
            name = type(model.likelihood).__name__
            raise ConfigError(f"collapse is foretold for Gaussian noise; the likelihood is {name}")
        for x, c in passes.batches(1024):
            u = model.under(c).to_model(x)[0].flatten(1).cpu().double()
            count, total, square = count + len(u), total + u.sum(0), square + u.T @ u
            advance(len(u))
        scale = getattr(model.likelihood, "scale", None)
    covariance = square / count - torch.outer(total, total) / count**2
    eigenvalues = torch.linalg.eigvalsh(covariance).flip(0).clamp(min=0)
    latent = numel(model.latent_shape)
    rest = eigenvalues[latent:]
    fitted = not isinstance(scale, Real)
    variance = (rest.mean().item() if len(rest) else 0.0) if fitted else float(scale) ** 2
    top = torch.cat([eigenvalues, eigenvalues.new_zeros(latent)])[:latent]
    noise = beta * variance
    nats = 0.5 * (top.clamp(min=1e-30) / max(noise, 1e-30)).log().clamp(min=0)
    return CollapseForecast(nats, eigenvalues, noise, fitted)
