r"""The one model class: three conditional distributions and the two networks that feed them.

.. math::
    q(z \mid x) \;\text{(posterior of the encoder's output)}, \qquad p(z) \;\text{(prior)}, \qquad
    p(x \mid z) \;\text{(likelihood of the decoder's output)}

    \log p(x) \ge \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - KL(q(z \mid x) \,\|\, p(z))

The model knows no objective and no training loop. Axes are always samples S, batch B, then the event's own.

Reference:
    Auto-encoding variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .distributions import closed_form_kl, kl_per_dimension
from .errors import ConfigError, ShapeError
from .likelihoods import Likelihood
from .shapes import check_event, draws


@dataclass
class VAEOutput:
    """What one pass gives: the distributions, the draws, and their log-densities on first use.

    Attributes:
        x: Observations, (B, *event).
        q: Approximate posterior q(z | x), batch (B,).
        z: Latent draws from it, (S, B, *latent).
        p_x: Likelihood p(x | z), batch (S, B).
        p_z: Prior, batch ().
        log_volume: log |det du/dx| of the model's data transform u(x), nats.
        held: Gives q(z | x) with its parameters held fixed: no gradient reaches the encoder through it.
    """

    x: Tensor
    q: Distribution
    z: Tensor
    p_x: Distribution
    p_z: Distribution
    u: Tensor
    log_volume: Tensor | float
    held: Callable[[], Distribution]

    @cached_property
    def log_likelihood(self) -> Tensor:
        """log p(x | z) in nats, (S, B); a density in the units of x."""
        return self.p_x.log_prob(self.u) + self.log_volume

    @cached_property
    def log_prior(self) -> Tensor:
        """log p(z) in nats, (S, B)."""
        return self.p_z.log_prob(self.z)

    @cached_property
    def log_posterior(self) -> Tensor:
        """log q(z | x) in nats, (S, B)."""
        return self.q.log_prob(self.z)

    @cached_property
    def log_weight(self) -> Tensor:
        """log p(x | z) + log p(z) − log q(z | x), the log importance weight in nats, (S, B)."""
        return self.log_likelihood + self.log_prior - self.log_posterior

    def kl(self, analytic: bool = True) -> Tensor:
        """Return KL(q(z | x) || p(z)) in nats, (B,): closed form if there is one, else over the draws."""
        closed = closed_form_kl(self.q, self.p_z) if analytic else None
        return (self.log_posterior - self.log_prior).mean(0) if closed is None else closed

    def kl_per_dimension(self) -> Tensor | None:
        """Return the KL of each latent dimension in nats, (B, *latent), or None if q does not factorise."""
        return kl_per_dimension(self.q, self.p_z)


class VAE(nn.Module):
    """Variational autoencoder, composed of slots.

    Args:
        encoder: Network from the likelihood's features of x to ``posterior.input_shape``.
        posterior: Family of q(z | x), for example ``DiagonalGaussian``.
        prior: p(z), for example ``StandardNormal``.
        decoder: Network from z to ``likelihood.input_shape``.
        likelihood: Family of p(x | z), for example ``Bernoulli``.
        transform: Invertible map of the data that the model sees, for example ``Standardize``; inputs,
            outputs and log-densities stay in the units of x.

    Attributes:
        compute_dtype: Type the networks are evaluated in under autocast, for example ``torch.bfloat16``;
            None for the parameters' own. Log-densities never are in fewer than 32 bits.
        data_spec: What the model was made for (a ``DataSpec``), set by ``for_data``; None otherwise.

    Raises:
        ShapeError: two slots do not fit together.
    """

    def __init__(
        self,
        encoder: nn.Module,
        posterior: nn.Module,
        prior: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        transform: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.posterior = posterior
        self.prior = prior
        self.decoder = decoder
        self.likelihood = likelihood
        self.transform = transform
        self.compute_dtype: torch.dtype | None = None
        self.data_spec: Any = None
        self._check_slots()

    def _check_slots(self) -> None:
        latent = self.posterior.event_shape
        if self.prior.event_shape != latent:
            raise ShapeError(f"posterior has latent shape {latent} but prior has {self.prior.event_shape}")
        for network, side, slot, wanted in (
            ("encoder", "in_shape", "likelihood", self.likelihood.feature_shape),
            ("encoder", "out_shape", "posterior", self.posterior.input_shape),
            ("decoder", "in_shape", "posterior", latent),
            ("decoder", "out_shape", "likelihood", self.likelihood.input_shape),
        ):
            # A network of the user's own need not state its shapes; then the first batch tells.
            came = getattr(getattr(self, network), side, None)
            if came is not None and tuple(came) != wanted:
                raise ShapeError(
                    f"{network} has {side} {tuple(came)} but {slot} {type(getattr(self, slot)).__name__} "
                    f"needs {wanted}"
                )

    @classmethod
    def for_data(cls, data: Any, latent: int | None = None, **slots: Any) -> VAE:
        """Choose every slot from the data's schema; any of them can be given by name, options or object.

        Args:
            data: What ``lowerbound.data.load`` returns.
            latent: Number of latent dimensions.
            **slots: ``encoder``, ``decoder``, ``network`` (both at once), ``posterior``, ``prior``,
                ``likelihood``, ``transform``: a registered name, a dict with a ``type`` and options, or a
                module.

        Raises:
            ConfigError: unknown names or options, or an impossible combination.
        """
        from .config import model_for_data

        return model_for_data(data, latent=latent, **slots)

    # ------------------------------------------------------------------ inside: embedded and transformed
    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent code."""
        return self.posterior.event_shape  # pyright: ignore[reportReturnType]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.likelihood.event_shape

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the model's parameters."""
        return next(self.parameters()).dtype

    def _network(self, network: nn.Module, x: Tensor, slot: nn.Module) -> Tensor:
        """Evaluate one network for the slot that reads it; the one place where 16 bits are allowed."""
        x = x.to(self.dtype)
        if self.compute_dtype is None:
            h = network(x)
        else:
            with torch.autocast(x.device.type, dtype=self.compute_dtype):
                h = network(x)
        # A missing axis would not fail further down: the slot would take another axis for it.
        if tuple(h.shape[1:]) != slot.input_shape:
            raise ShapeError(
                f"{type(slot).__name__} needs {slot.input_shape} per example from its network but got "
                f"{tuple(h.shape[1:])}; let the network end in nn.Unflatten or a reshape"
            )
        return h

    def _encode(self, u: Tensor) -> Tensor:
        """Return the encoder's output for the transformed observations, (B, *posterior.input_shape)."""
        return self._network(self.encoder, self.likelihood.features(u), self.posterior)

    def _decode(self, z: Tensor) -> Distribution:
        """p(x | z) for any leading axes; the one place where S and B are flattened for the network."""
        lead = z.shape[: z.ndim - len(self.latent_shape)]
        h = self._network(self.decoder, z.reshape(-1, *self.latent_shape), self.likelihood)
        return self.likelihood(h.reshape(*lead, *h.shape[1:]))

    def _to_model(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return the transformed observations and log |det du/dx|."""
        check_event(x, self.event_shape, f"x for likelihood {type(self.likelihood).__name__}")
        if self.transform is None:
            return x, 0.0
        return self.transform(x), self.transform.log_det  # pyright: ignore[reportReturnType]

    def _to_data(self, u: Tensor) -> Tensor:
        return u if self.transform is None else self.transform.inverse(u)  # pyright: ignore[reportCallIssue]

    # ------------------------------------------------------------------ the pass that objectives read
    def forward(self, x: Tensor, samples: int = 1) -> VAEOutput:
        """Encode, draw ``samples`` latent codes each by reparameterisation, and decode them.

        Args:
            x: Observations, (B, *event).
            samples: Number S of draws per example.

        Raises:
            ShapeError: x is not a batch of events.
            ConfigError: samples is less than 1.
        """
        if samples < 1:
            raise ConfigError(f"a pass needs samples >= 1; got {samples}")
        u, log_volume = self._to_model(x)
        h = self._encode(u)
        q = self.posterior(h)
        z = q.rsample((samples,))
        return VAEOutput(
            x, q, z, self._decode(z), self.prior(), u, log_volume, lambda: self.posterior(h.detach())
        )

    def infer(self, x: Tensor) -> Distribution:
        """Return the approximate posterior q(z | x), batch (B,)."""
        u, _ = self._to_model(x)
        return self.posterior(self._encode(u))

    def likelihood_at(self, z: Tensor) -> Distribution:
        """Return p(x | z) for codes (..., *latent), in the units that the model's transform gives."""
        self._check_latent(z)
        return self._decode(z)

    # ------------------------------------------------------------------ what users call
    def check(self, x: Tensor) -> None:
        """Raise ShapeError or SupportError unless ``x`` is a batch that the likelihood can score."""
        u, _ = self._to_model(x)
        self.likelihood.check(u)

    @torch.no_grad()
    def encode(
        self,
        x: Tensor,
        sample: bool = False,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the latent codes of ``x``, (B, *latent): the posterior's mean, or a draw from it.

        Args:
            x: Observations, (B, *event).
            sample: Draw instead of taking the mean; ``seed`` or ``generator`` make the draw repeatable.
            seed: Seed of the draw.
            generator: Generator of the draw, on the model's device.
        """
        x = self._accept(x)
        with self._evaluating(), draws(self.device, seed, generator):
            q = self.infer(x)
            return q.sample() if sample else q.mean

    @torch.no_grad()
    def decode(
        self,
        z: Tensor,
        sample: bool = False,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return observations for the codes ``z`` (..., *latent): the mean of p(x | z), or a draw from it.

        Categorical observations have no mean; their most probable class is given.
        """
        z = torch.as_tensor(z, dtype=self.dtype, device=self.device)
        with self._evaluating(), draws(self.device, seed, generator):
            p_x = self.likelihood_at(z)
            return self._to_data(p_x.sample() if sample else self.likelihood.point(p_x))

    def reconstruct(
        self,
        x: Tensor,
        sample: bool = False,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Encode and decode: by the means (deterministic), or with ``sample`` through a draw of z and of x."""
        if seed is not None and generator is None:
            # One stream for both draws, or the noise of z and of x would be the same numbers.
            seed, generator = None, torch.Generator(self.device).manual_seed(seed)
        z = self.encode(x, sample, seed=seed, generator=generator)
        return self.decode(z, sample, seed=seed, generator=generator)

    @torch.no_grad()
    def sample(
        self,
        n: int = 1,
        *,
        mean: bool = True,
        temperature: float = 1.0,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``n`` new observations (n, *event): z from the prior, then x from p(x | z).

        Args:
            n: Number of observations.
            mean: Give the mean of p(x | z), as published pictures do; False draws x as well, which is a
                sample from the model's distribution of the data.
            temperature: Factor on the prior draw's distance from the prior's mean; 1 is the model itself.
            seed: Seed of the draws.
            generator: Generator of the draws, on the model's device.
        """
        if n < 1:
            raise ConfigError(f"sample needs n >= 1; got {n}")
        with self._evaluating(), draws(self.device, seed, generator):
            p_z = self.prior()
            z = p_z.sample((n,))
            if temperature != 1.0:
                z = p_z.mean + temperature * (z - p_z.mean)
            p_x = self._decode(z)
            return self._to_data(self.likelihood.point(p_x) if mean else p_x.sample())

    @torch.no_grad()
    def interpolate(
        self, a: Tensor, b: Tensor, steps: int = 8, method: Literal["spherical", "linear"] = "spherical"
    ) -> Tensor:
        """Return observations on the way from each ``a`` to each ``b``, both included: (steps, B, *event).

        Args:
            a: Observations to start from, (B, *event).
            b: Observations to end at, (B, *event).
            steps: Number of points, at least 2.
            method: "spherical" turns and stretches the code and so stays at radii where a Gaussian prior
                has its mass; "linear" takes the chord, which passes nearer to the origin.
        """
        if steps < 2:
            raise ConfigError(f"interpolate needs steps >= 2; got {steps}")
        if method not in ("spherical", "linear"):
            raise ConfigError(f"interpolate knows the methods 'spherical' and 'linear'; got {method!r}")
        path = slerp if method == "spherical" else torch.lerp
        start, end = self.encode(a), self.encode(b)
        if start.shape != end.shape:
            raise ShapeError(
                f"interpolate needs as many ends as starts; got {len(start)} starts and {len(end)} ends"
            )
        weights = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)
        return self.decode(torch.stack([path(start, end, w) for w in weights]))

    @torch.no_grad()
    def log_prob(
        self,
        x: Tensor,
        samples: int = 100,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Estimate log p(x) in nats, (B,), by importance sampling with q(z | x) as the proposal.

        .. math:: \log \frac1K \sum_k \frac{p(x \mid z_k)\, p(z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

        It is a lower bound in expectation that rises to log p(x) with ``samples`` (Burda et al., 2016).
        All samples of a batch are held at once; for a data set use ``lowerbound.evaluate.nll``, which streams
        them and gives the standard error.
        """
        x = self._accept(x)
        self.check(x)
        with self._evaluating(), draws(self.device, seed, generator):
            return self(x, samples).log_weight.logsumexp(0) - math.log(samples)

    # ------------------------------------------------------------------ helpers
    def _accept(self, x: Tensor) -> Tensor:
        return torch.as_tensor(x).to(self.device, self.dtype)

    def _check_latent(self, z: Tensor) -> None:
        k = len(self.latent_shape)
        if z.ndim < k or tuple(z.shape[z.ndim - k :]) != self.latent_shape:
            raise ShapeError(
                f"codes have shape (..., {', '.join(map(str, self.latent_shape))}); got {tuple(z.shape)}"
            )

    def _evaluating(self) -> _EvalMode:
        return _EvalMode(self)


class _EvalMode:
    """Switch dropout and running averages off for a block, and back to what they were after it."""

    def __init__(self, module: nn.Module) -> None:
        # One by one: a part that the user has frozen in evaluation mode stays so.
        self.module, self.training = module, [part for part in module.modules() if part.training]

    def __enter__(self) -> None:
        if self.training:
            self.module.eval()

    def __exit__(self, *error: object) -> None:
        for part in self.training:
            part.training = True


def slerp(a: Tensor, b: Tensor, weight: Tensor | float) -> Tensor:
    """Interpolate on the great circle between the directions of ``a`` and ``b``, and linearly in length.

    Args:
        a: Codes, (B, *latent).
        b: Codes, (B, *latent).
        weight: 0 gives a, 1 gives b.
    """
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    length_a, length_b = flat_a.norm(dim=1, keepdim=True), flat_b.norm(dim=1, keepdim=True)
    unit_a, unit_b = flat_a / length_a.clamp(min=1e-12), flat_b / length_b.clamp(min=1e-12)
    # atan2 of the two chords keeps its digits for nearly parallel codes, where arccos of the cosine loses them.
    angle = 2 * torch.atan2(
        (unit_a - unit_b).norm(dim=1, keepdim=True), (unit_a + unit_b).norm(dim=1, keepdim=True)
    )
    sine = torch.sin(angle)
    # Parallel codes need no turning, and opposite ones have no one great circle: both go along the chord.
    straight = sine.abs() < 1e-6
    safe = torch.where(straight, torch.ones_like(sine), sine)
    turned = (torch.sin((1 - weight) * angle) * unit_a + torch.sin(weight * angle) * unit_b) / safe
    length = torch.lerp(length_a, length_b, torch.as_tensor(weight, dtype=a.dtype, device=a.device))
    flat = torch.where(
        straight,
        torch.lerp(flat_a, flat_b, torch.as_tensor(weight, dtype=a.dtype, device=a.device)),
        turned * length,
    )
    return flat.reshape(a.shape)
