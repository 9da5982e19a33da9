r"""The one model class: three conditional distributions and the two networks that feed them.

.. math::
    q(z \mid x, c) \;\text{(posterior of the encoder's output)}, \qquad p(z \mid c) \;\text{(prior)}, \qquad
    p(x \mid z, c) \;\text{(likelihood of the decoder's output)}

    \log p(x \mid c) \ge \mathbb{E}_{q(z \mid x, c)}[\log p(x \mid z, c)] - KL(q(z \mid x, c) \,\|\, p(z \mid c))

The condition c is a slot like the others; without it these are q(z | x), p(z) and p(x | z). The model knows no
objective and no training loop. Axes are always samples S, batch B, then the event's own.

Reference:
    Auto-encoding variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114;
    Learning structured output representation using deep conditional generative models (Sohn, Lee and Yan, 2015)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.quasirandom import SobolEngine

from .conditions import Condition, Conditions, Label
from .distributions import CellNormal, closed_form_kl, from_uniform, kl_per_dimension, restrict, uniforms
from .errors import ConfigError, ShapeError
from .likelihoods import Likelihood
from .shapes import check_event, draws, full_precision

if TYPE_CHECKING:
    from .completion import Completion


@dataclass
class VAEOutput:
    """What one pass gives: the distributions, the draws, and their log-densities on first use.

    Attributes:
        x: Observations, (B, *event).
        q: Approximate posterior q(z | x, c), batch (B,).
        z: Latent draws from it, (S, B, *latent).
        p_z: Prior, batch (), or (B,) if it depends on c.
        log_volume: log |det du/dx| of the model's data transform u(x), nats.
        decoded: p(x | z, c) of the draws, if it is known already.
        decode: Gives p(x | z, c) of draws.
        held: Gives q(z | x) with its parameters held fixed: no gradient reaches the encoder through it.
    """

    x: Tensor
    q: Distribution
    z: Tensor
    p_z: Distribution
    u: Tensor
    log_volume: Tensor | float
    decoded: Distribution | None
    decode: Callable[[Tensor], Distribution]
    held: Callable[[], Distribution]

    @cached_property
    def p_x(self) -> Distribution:
        """Likelihood p(x | z, c), batch (S, B); of the missing elements, where the condition is the observed ones."""
        return self.decode(self.z) if self.decoded is None else self.decoded

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

    def take(self, index: Tensor) -> VAEOutput:
        """Return the same pass with some of its draws: those of number ``index``, (M, B), of each example."""
        examples = torch.arange(self.z.shape[1], device=self.z.device)
        return replace(self, z=self.z[index, examples], decoded=None)

    def kl(self, analytic: bool = True) -> Tensor:
        """Return KL(q(z | x) || p(z)) in nats, (B,): closed form if there is one, else over the draws."""
        closed = closed_form_kl(self.q, self.p_z) if analytic else None
        return (self.log_posterior - self.log_prior).mean(0) if closed is None else closed

    def kl_per_dimension(self) -> Tensor | None:
        """Return the KL of each latent dimension in nats, (B, *latent), or None if q does not factorise."""
        return kl_per_dimension(self.q, self.p_z)


@dataclass
class Given:
    """What a condition has become inside the model, for a batch of B examples or one for all.

    Attributes:
        context: Its embedding, (B, E); None without a condition.
        observed: Observed elements of x, zero elsewhere, (B, *event); None if the condition holds none.
        scored: 1 where an element of x is not observed, else 0, (B, *event).
    """

    context: Tensor | None = None
    observed: Tensor | None = None
    scored: Tensor | None = None

    def paste(self, x: Tensor) -> Tensor:
        """Return ``x`` (..., B, *event) with the observed elements in their place."""
        if self.observed is None or self.scored is None:
            return x
        return torch.where(self.scored > 0, x, self.observed.to(x.dtype))


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
        condition: What is known beside x, for example ``Label(10)``, or ``Conditions`` of several; encoder, prior
            and decoder each take its embedding if they have an attribute ``context``, the embedding's size.
        classifier: Network from the likelihood's features of x to the logits of q(y | x), for labels y that may
            be missing.

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
        condition: Conditions | Condition | None = None,
        classifier: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.posterior = posterior
        self.prior = prior
        self.decoder = decoder
        self.likelihood = likelihood
        self.transform = transform
        if isinstance(condition, Condition):
            condition = Conditions({type(condition).__name__.lower(): condition})
        self.condition = condition
        self.classifier = classifier
        self.compute_dtype: torch.dtype | None = None
        self.data_spec: Any = None
        self._check_slots()

    def _check_slots(self) -> None:
        latent = self.posterior.event_shape
        if self.prior.event_shape != latent:
            raise ShapeError(f"posterior has latent shape {latent} but prior has {self.prior.event_shape}")
        size = 0 if self.condition is None else self.condition.context
        taken = {slot: getattr(getattr(self, slot), "context", 0) for slot in ("encoder", "prior", "decoder")}
        for slot, came in taken.items():
            if came not in (0, size):
                raise ShapeError(f"{slot} takes a context of size {came} but the condition gives {size}")
        if size and not any(taken.values()):
            raise ConfigError(
                f"the condition reaches nothing: build the encoder, the decoder or the prior with context={size}"
            )
        joints = [
            ("encoder", "in_shape", "likelihood", self.likelihood.feature_shape),
            ("encoder", "out_shape", "posterior", self.posterior.input_shape),
            ("decoder", "in_shape", "posterior", latent),
            ("decoder", "out_shape", "likelihood", self.likelihood.input_shape),
        ]
        if self.classifier is not None:
            joints += [
                ("classifier", "out_shape", "condition", (len(self.label[1].classes),)),
                ("classifier", "in_shape", "likelihood", self.likelihood.feature_shape),
            ]
        for network, side, slot, wanted in joints:
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
                ``likelihood``, ``transform``, ``classifier``: a registered name, a dict with a ``type`` and
                options, or a module; ``condition``: such a dict, or a module, for each entry of the data's.

        Raises:
            ConfigError: unknown names or options, or an impossible combination.
        """
        from .defaults import model_for_data

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

    def _network(self, network: nn.Module, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Evaluate one network, with the context if it takes one; the one place where 16 bits are allowed."""
        arguments = (x.to(self.dtype),)
        if context is not None and getattr(network, "context", 0):
            arguments += (context,)
        if self.compute_dtype is None:
            return network(*arguments)
        with torch.autocast(x.device.type, dtype=self.compute_dtype):
            return network(*arguments)

    def _for_slot(self, h: Tensor, slot: nn.Module) -> Tensor:
        """Return a network's output if it is what the slot reads."""
        # A missing axis would not fail further down: the slot would take another axis for it.
        if tuple(h.shape[1:]) != slot.input_shape:
            raise ShapeError(
                f"{type(slot).__name__} needs {slot.input_shape} per example from its network but got "
                f"{tuple(h.shape[1:])}; let the network end in nn.Unflatten or a reshape"
            )
        return h

    def _given(self, c: Mapping[str, Tensor] | None) -> Given:
        """Embed a condition, once for everything that is asked under it."""
        if self.condition is None:
            if c is not None:
                raise ConfigError("the model takes no condition; leave c out")
            return Given()
        if c is not None and not isinstance(c, Mapping):
            raise ConfigError(f"a pass needs the condition as tensors by name; got {type(c).__name__}")
        c = self.condition.filled(c)
        name = self.condition.observed
        if name is None:
            return Given(self._context(c))
        values, mask = c[name].unbind(1)
        # Not a product: what stands at the other places may be NaN.
        observed = torch.where(mask > 0, values, 0.0)
        u = observed if self.transform is None else self.transform(observed) * mask
        c[name] = torch.cat([self.likelihood.features(u), mask], 1)
        return Given(self._context(c), observed, 1 - mask)

    def _context(self, c: Mapping[str, Tensor]) -> Tensor:
        assert self.condition is not None
        floating = {k: v.to(self.dtype) if v.is_floating_point() else v for k, v in c.items()}
        if self.compute_dtype is None:
            return self.condition(floating)
        with torch.autocast(self.device.type, dtype=self.compute_dtype):
            return full_precision(self.condition(floating))

    def _encode(self, u: Tensor, given: Given) -> Tensor:
        """Return the encoder's output for the transformed observations, (B, *posterior.input_shape)."""
        h = self._network(self.encoder, self.likelihood.features(u), given.context)
        return self._for_slot(h, self.posterior)

    def _decode(self, z: Tensor, given: Given) -> Distribution:
        """p(x | z, c) for any leading axes; the one place where S and B are flattened for the network."""
        lead = z.shape[: z.ndim - len(self.latent_shape)]
        h = self._network(self.decoder, z.reshape(-1, *self.latent_shape), given.context)
        p_x = self.likelihood(self._for_slot(h, self.likelihood).reshape(*lead, *h.shape[1:]))
        return p_x if given.scored is None else restrict(p_x, given.scored)

    def _prior(self, given: Given) -> Distribution:
        """p(z | c), batch () if it does not depend on c."""
        return self.prior(given.context) if getattr(self.prior, "context", 0) else self.prior()

    def _to_model(self, x: Tensor, given: Given) -> tuple[Tensor, Tensor | float]:
        """Return the transformed observations and log |det du/dx|, of the scored elements."""
        check_event(x, self.event_shape, f"x for likelihood {type(self.likelihood).__name__}")
        if self.transform is None:
            return x, 0.0
        if given.scored is None:
            return self.transform(x), self.transform.log_det  # pyright: ignore[reportReturnType]
        return self.transform(x), (given.scored * self.transform.log_slope).flatten(1).sum(1)  # pyright: ignore

    def _to_data(self, u: Tensor, given: Given) -> Tensor:
        return given.paste(u if self.transform is None else self.transform.inverse(u))  # pyright: ignore

    @property
    def label(self) -> tuple[str, Label]:
        """Name and entry of the condition's only label: the y of semi-supervision.

        Raises:
            ConfigError: there is none, or there are several.
        """
        labels = [] if self.condition is None else self.condition.labels
        if len(labels) != 1:
            raise ConfigError(f"this needs a condition with exactly one label; the model has {len(labels)}")
        return labels[0]

    # ------------------------------------------------------------------ the pass that objectives read
    def forward(
        self, x: Tensor, c: Mapping[str, Tensor] | None = None, samples: int = 1, *, decode: bool = True
    ) -> VAEOutput:
        """Encode, draw ``samples`` latent codes each by reparameterisation, and decode them.

        Args:
            x: Observations, (B, *event).
            c: Entries of the condition by name, (B, ...) each, as the data's splits give them.
            samples: Number S of draws per example.
            decode: Decode at once; if False, when the output is first asked for what needs it.

        Raises:
            ShapeError: x is not a batch of events, or an entry of c has another shape.
            ConfigError: samples is less than 1, or c is not what the model takes.
        """
        if samples < 1:
            raise ConfigError(f"a pass needs samples >= 1; got {samples}")
        given = self._given(c)
        u, log_volume = self._to_model(x, given)
        # With several draws, a context of another batch size could pass for one of fewer examples.
        if given.context is not None and len(given.context) not in (1, len(x)):
            raise ShapeError(f"x is a batch of {len(x)} but the condition one of {len(given.context)}")
        h = self._encode(u, given)
        q = self.posterior(h)
        z = q.rsample((samples,))
        return VAEOutput(
            x,
            q,
            z,
            self._prior(given),
            u,
            log_volume,
            self._decode(z, given) if decode else None,
            lambda z: self._decode(z, given),
            lambda: self.posterior(h.detach()),
        )

    def infer(self, x: Tensor, c: Any = None) -> Distribution:
        """Return the approximate posterior q(z | x, c), batch (B,)."""
        given = self._given(self._read(c, len(x)))
        u, _ = self._to_model(x, given)
        return self.posterior(self._encode(u, given))

    def prior_at(self, c: Any = None) -> Distribution:
        """Return p(z | c): batch (B,) for B conditions, or () where the prior does not depend on c."""
        return self._prior(self._given(self._read(c)))

    def likelihood_at(self, z: Tensor, c: Any = None) -> Distribution:
        """Return p(x | z, c) for codes (..., *latent), in the units that the model's transform gives."""
        return self._decode(z, self._given(self._read_for(z, c)))

    def classify(self, x: Tensor) -> Tensor:
        """Return log q(y | x) in nats, (B, K), by the classifier.

        Raises:
            ConfigError: the model has no classifier.
        """
        if self.classifier is None:
            raise ConfigError(
                "the model has no classifier; build it with VAE.for_data(..., classifier='mlp')"
            )
        u, _ = self._to_model(x, Given())
        return full_precision(self._network(self.classifier, self.likelihood.features(u))).log_softmax(-1)

    # ------------------------------------------------------------------ what users call
    def check(self, x: Tensor, c: Any = None) -> None:
        """Raise unless ``x`` is a batch that the likelihood can score, under a condition that the model knows.

        Raises:
            ShapeError: x or an entry of c has another shape.
            SupportError: x lies outside the likelihood's support.
            ConfigError: c is not what the model takes, or was never seen in training.
        """
        self._check_x(x)
        self._read(c, len(x))

    @torch.no_grad()
    def encode(
        self,
        x: Tensor,
        c: Any = None,
        *,
        sample: bool = False,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the latent codes of ``x``, (B, *latent): the posterior's mean, or a draw from it.

        Args:
            x: Observations, (B, *event).
            c: The condition: a value for all or one each, by name if there are several entries.
            sample: Draw instead of taking the mean; ``seed`` or ``generator`` make the draw repeatable.
            seed: Seed of the draw.
            generator: Generator of the draw, on the model's device.
        """
        x = self._accept(x)
        with self._evaluating(), draws(self.device, seed, generator):
            q = self.infer(x, c)
            return q.sample() if sample else q.mean

    @torch.no_grad()
    def decode(
        self,
        z: Tensor,
        c: Any = None,
        *,
        sample: bool = False,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return observations for the codes ``z`` (..., *latent): the mean of p(x | z, c), or a draw from it.

        Categorical observations have no mean; their most probable class is given. What ``c`` says was observed
        is in its place.
        """
        z = torch.as_tensor(z, dtype=self.dtype, device=self.device)
        with self._evaluating(), draws(self.device, seed, generator):
            given = self._given(self._read_for(z, c))
            p_x = self._decode(z, given)
            return self._to_data(p_x.sample() if sample else self.likelihood.point(p_x), given)

    def reconstruct(
        self,
        x: Tensor,
        c: Any = None,
        *,
        sample: bool = False,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Encode and decode: by the means (deterministic), or with ``sample`` through a draw of z and of x."""
        generator = self._one_stream(seed, generator)
        z = self.encode(x, c, sample=sample, generator=generator)
        return self.decode(z, c, sample=sample, generator=generator)

    @torch.no_grad()
    def convert(self, x: Tensor, c_from: Any, c_to: Any) -> Tensor:
        r"""Return what ``x`` would be under another condition: encoded under one, decoded under the other.

        The mean code keeps its place in the prior: where this depends on c,

        .. math:: z' = \mu(c') + \sigma(c') \frac{z - \mu(c)}{\sigma(c)}

        Args:
            x: Observations, (B, *event).
            c_from: The condition that x was seen under, for all or one each.
            c_to: The condition that is wanted, for all or one each.

        Raises:
            ConfigError: the model takes no condition, one of these was never seen in training, or the latent has
                cells.
        """
        if self.condition is None:
            raise ConfigError("convert needs a model with a condition, like load(..., condition='label')")
        z = self.encode(x, c_from)
        with self._evaluating():
            p_from = self._prior(self._given(self._read(c_from, len(z))))
            p_to = self._prior(self._given(self._read(c_to, len(z))))
            if p_from.batch_shape:
                if isinstance(p_from, CellNormal):
                    raise ConfigError("convert keeps a code's place in the prior, and a cell has none")
                z = p_to.mean + p_to.stddev * (z - p_from.mean) / p_from.stddev
        return self.decode(z, c_to)

    def complete(self, x: Tensor, mask: Tensor, n: int = 1, **options: Any) -> Completion:
        """Draw the missing elements of ``x`` given the observed ones; see ``lowerbound.completion.complete``.

        Args:
            x: Observations, (B, *event); what stands at the missing places is not read.
            mask: True where x is observed, (B, *event) or (*event).
            n: Draws per example.
            **options: Of ``lowerbound.completion.complete``.

        Returns:
            The completed observations ``.x`` (n, B, *event), and how far to trust them.
        """
        from .completion import complete

        return complete(self, x, mask, n, **options)

    @torch.no_grad()
    def predict_proba(
        self, x: Tensor, samples: int = 100, *, c: Mapping[str, Any] | None = None, seed: int | None = 0
    ) -> Tensor:
        r"""Return the probabilities of the classes, (B, K): by the classifier q(y | x), or else by Bayes's rule.

        .. math:: p(y \mid x) \propto p(y)\, p(x \mid y)

        with p(y) the training frequencies and p(x | y) estimated with ``samples`` importance samples.

        Args:
            x: Observations, (B, *event).
            samples: Importance samples per class, where there is no classifier.
            c: The other entries of the condition, which Bayes's rule goes by; a classifier sees x alone.
            seed: Seed of their draws.

        Raises:
            ConfigError: the condition has no label, or several.
        """
        name, label = self.label
        x = self._accept(x)
        self._check_x(x)
        if self.classifier is not None:
            with self._evaluating():
                return self.classify(x).exp()
        joint = torch.full(
            (len(x), len(label.classes)), -torch.inf, dtype=full_precision(x).dtype, device=self.device
        )
        for k in label.seen:
            of_class = {**(c or {}), name: torch.tensor([k])}
            joint[:, k] = self.log_prob(x, of_class, samples, seed=seed) + label.frequency[k].log()
        return joint.softmax(1)

    @torch.no_grad()
    def sample(
        self,
        n: int = 1,
        c: Any = None,
        *,
        mean: bool = True,
        temperature: float = 1.0,
        spread: bool = False,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``n`` new observations (n, *event): z from the prior, then x from p(x | z, c).

        Args:
            n: Number of observations.
            c: The condition: one for all of them, which is embedded once, or ``n``, one each.
            mean: Give the mean of p(x | z), as published pictures do; False draws x as well, which is a
                sample from the model's distribution of the data.
            temperature: Factor on the prior draw's distance from the prior's mean; 1 is the model itself.
            spread: Spread the codes evenly, by a scrambled Sobol sequence (Owen, 1998) carried through the prior's
                inverse distribution functions: each code alone has the prior's law, and together they leave no
                gaps. For one condition, not one each.
            seed: Seed of the draws.
            generator: Generator of the draws, on the model's device.

        Raises:
            ConfigError: n is less than 1, or the prior cannot be spread, or has no temperature.

        Reference:
            Scrambling Sobol' and Niederreiter-Xing points (Owen, 1998), Journal of Complexity 14, 466-489
        """
        if n < 1:
            raise ConfigError(f"sample needs n >= 1; got {n}")
        with self._evaluating(), draws(self.device, seed, generator):
            given = self._given(self._read(c, n))
            p_z = self._prior(given)
            if spread:
                z = self._spread(p_z, n)
            elif p_z.batch_shape == (n,):
                z = p_z.sample()
            else:
                z = p_z.sample((n,)).reshape(n, *self.latent_shape)
            if temperature != 1.0:
                if isinstance(p_z, CellNormal):
                    raise ConfigError("a prior of cells has no temperature; leave it at 1")
                z = p_z.mean + temperature * (z - p_z.mean)
            p_x = self._decode(z, given)
            return self._to_data(self.likelihood.point(p_x) if mean else p_x.sample(), given)

    def _spread(self, p_z: Distribution, n: int) -> Tensor:
        """Return ``n`` evenly spread codes (n, *latent)."""
        size = uniforms(p_z)
        if size is None or p_z.batch_shape.numel() != 1:
            raise ConfigError(
                "spread=True needs a prior over vectors that factorises, under one condition for all draws"
            )
        seed = int(torch.randint(2**31, (), device=self.device))
        u = SobolEngine(size, scramble=True, seed=seed).draw(n, dtype=torch.float64)
        if isinstance(p_z, CellNormal):
            # Systematic in the cells, to whose choice few draws are most sensitive: equal steps from a random start,
            # round and round, so that each code alone has the prior's law whatever its rank.
            u[:, 0] = (u[:, 0].argsort().argsort() / n + torch.rand((), dtype=u.dtype)) % 1
        # The sequence is on a lattice that holds 0, where a Gaussian has no finite value.
        return from_uniform(p_z, u.clamp(2.0**-31, 1 - 2.0**-31).to(self.device))

    @torch.no_grad()
    def interpolate(
        self,
        a: Tensor,
        b: Tensor,
        steps: int = 8,
        method: Literal["spherical", "linear"] = "spherical",
        *,
        c: Any = None,
    ) -> Tensor:
        """Return observations on the way from each ``a`` to each ``b``, both included: (steps, B, *event).

        Args:
            a: Observations to start from, (B, *event).
            b: Observations to end at, (B, *event).
            steps: Number of points, at least 2.
            method: "spherical" turns and stretches the code and so stays at radii where a Gaussian prior
                has its mass; "linear" takes the chord, which passes nearer to the origin.
            c: The condition of both ends and of the way: one for all, or one for each pair.
        """
        if steps < 2:
            raise ConfigError(f"interpolate needs steps >= 2; got {steps}")
        if method not in ("spherical", "linear"):
            raise ConfigError(f"interpolate knows the methods 'spherical' and 'linear'; got {method!r}")
        path = slerp if method == "spherical" else torch.lerp
        start, end = self.encode(a, c), self.encode(b, c)
        if start.shape != end.shape:
            raise ShapeError(
                f"interpolate needs as many ends as starts; got {len(start)} starts and {len(end)} ends"
            )
        weights = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)
        return self.decode(torch.stack([path(start, end, w) for w in weights]), c)

    @torch.no_grad()
    def log_prob(
        self,
        x: Tensor,
        c: Any = None,
        samples: int = 100,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Estimate log p(x | c) in nats, (B,), by importance sampling with q(z | x, c) as the proposal.

        .. math::
            \log \frac1K \sum_k \frac{p(x \mid z_k, c)\, p(z_k \mid c)}{q(z_k \mid x, c)},
            \quad z_k \sim q(z \mid x, c)

        It is a lower bound in expectation that rises to log p(x | c) with ``samples`` (Burda et al., 2016).
        All samples of a batch are held at once; for a data set use ``lowerbound.evaluate.nll``, which streams
        them and gives the standard error. Where c holds the observed elements, those of x that it marks as
        missing are scored.
        """
        x = self._accept(x)
        self.check(x, c)
        with self._evaluating(), draws(self.device, seed, generator):
            return self(x, self._read(c, len(x), each=True), samples).log_weight.logsumexp(0) - math.log(
                samples
            )

    # ------------------------------------------------------------------ helpers
    def _accept(self, x: Tensor) -> Tensor:
        return torch.as_tensor(x).to(self.device, self.dtype)

    def _read(self, c: Any, n: int | None = None, *, each: bool = False) -> dict[str, Tensor] | None:
        """Return a user's condition as tensors by name, for one or ``n`` examples; see ``Conditions.read``."""
        if self.condition is not None:
            return self.condition.read(c, n, each=each)
        if c is not None:
            raise ConfigError("the model takes no condition; leave c out")
        return None

    def _read_for(self, z: Tensor, c: Any) -> dict[str, Tensor] | None:
        """Return a user's condition for codes (..., B, *latent)."""
        self._check_latent(z)
        lead = z.shape[: z.ndim - len(self.latent_shape)]
        return self._read(c, lead[-1] if lead else 1)

    def _one_stream(self, seed: int | None, generator: torch.Generator | None) -> torch.Generator | None:
        """Return one generator for several draws, or the noise of z and of x would be the same numbers."""
        if seed is not None and generator is not None:
            raise ConfigError("give either seed= or generator=, not both")
        if seed is None:
            return generator
        return torch.Generator(self.device).manual_seed(seed)

    def _check_x(self, x: Tensor) -> None:
        u, _ = self._to_model(x, Given())
        self.likelihood.check(u)

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
