r"""The one model class: three conditional distributions and the two networks that feed them.

.. math::
    \log p(x \mid c) \ge \mathbb{E}_{q(z \mid x, c)}[\log p(x \mid z, c)] - KL(q(z \mid x, c) \,\|\, p(z \mid c))

The posterior q(z | x, c) is made of the encoder's output, the likelihood p(x | z, c) of the decoder's; p(z | c) is
the prior. The condition c is a part like the others; without it these are q(z | x), p(z) and p(x | z). The model
knows no objective and no training loop. Axes are always samples S, batch B, then the event's own.

Reference:
    Auto-encoding variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114;
    Learning structured output representation using deep conditional generative models (Sohn, Lee and Yan, 2015)
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .conditions import Condition, Conditions, Label
from .data.like import read_examples
from .display import html_table
from .errors import ConfigError, ShapeError, SupportError
from .likelihoods import Likelihood
from .nn.network import context_size
from .nn.packing import unpacked
from .posteriors import Posterior
from .priors import Prior
from .shapes import draws, full_precision, numel
from .slots import Level
from .view import VAEOutput, View

if TYPE_CHECKING:
    from .completion import Completion

__all__ = ["VAE", "VAEOutput", "View"]

_FAR = 1.5  # from grey: further out is what no draw of x reaches, but other units are
_AT_ONCE = 2**24  # numbers of the decoder's output that log_prob holds


class VAE(nn.Module):
    """Variational autoencoder, composed of parts.

    Args:
        encoder: Network from the features of x (``feature_shape``) to ``posterior.input_shape``.
        posterior: Family of q(z | x), for example ``DiagonalGaussian``.
        prior: p(z), for example ``StandardNormal``.
        decoder: Network from z to ``likelihood.input_shape``.
        likelihood: Family of p(x | z), for example ``Bernoulli``.
        transform: Invertible map of the data that the model sees, for example ``Standardize``; inputs,
            outputs and log-densities stay in the units of x.
        condition: What is known in addition to x, for example ``Label(10)``, or ``Conditions`` of several; encoder,
            prior and decoder each take its embedding if they have an attribute ``context``, the embedding's size.
        classifier: Network from the features of x to the logits of q(y | x), for labels y that may be missing.
        missing: Whether values of x may be missing, which NaN marks. They are not scored, and encoder and classifier
            see 0 in their place next to a mask, 1 where a value is given.

    Attributes:
        compute_dtype: Type the networks are evaluated in under autocast, for example ``torch.bfloat16``;
            None for the parameters' own. Log-densities never are in fewer than 32 bits.
        data_spec: What the model was made for (a ``DataSpec``), set by ``for_data``; None otherwise.

    Raises:
        ShapeError: two parts do not fit together.
    """

    def __init__(
        self,
        encoder: nn.Module,
        posterior: Posterior,
        prior: Prior,
        decoder: nn.Module,
        likelihood: Likelihood,
        transform: nn.Module | None = None,
        condition: Conditions | Condition | None = None,
        classifier: nn.Module | None = None,
        missing: bool = False,
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
        self.missing = missing
        self.compute_dtype: torch.dtype | None = None
        self.data_spec: Any = None
        self._check_slots()

    def _check_slots(self) -> None:
        for kind, part, base in (("posterior", self.posterior, Posterior), ("prior", self.prior, Prior)):
            if not isinstance(part, base):
                raise ConfigError(
                    f"a {kind} inherits from lowerbound.{kind}s.{base.__name__}; got {type(part).__name__}"
                )
        latent, posterior = self.prior.event_shape, self.posterior.event_shape
        if posterior != latent:
            raise ShapeError(f"posterior has latent shape {posterior} but prior has {latent}")
        if self.posterior.levels != self.prior.levels:
            raise ShapeError(
                f"the levels of posterior {type(self.posterior).__name__} are {_words(self.posterior.levels)}, but "
                f"those of prior {type(self.prior).__name__} are {_words(self.prior.levels)}"
            )
        size = 0 if self.condition is None else self.condition.context
        taken = {
            "encoder": context_size(self.encoder),
            "prior": self.prior.context,
            "decoder": context_size(self.decoder),
            "likelihood": self.likelihood.context_size,
        }
        for slot, came in taken.items():
            if came not in (0, size):
                raise ShapeError(f"{slot} takes a context of size {came} but the condition gives {size}")
        if size and not any(taken.values()):
            raise ConfigError(
                f"the condition reaches nothing: build the encoder, the decoder or the prior with context={size}"
            )
        joints = [
            ("encoder", "in_shape", "likelihood", self.feature_shape),
            ("encoder", "out_shape", "posterior", self.posterior.input_shape),
            ("decoder", "in_shape", "prior", self.prior.code_shape),
            ("decoder", "out_shape", "likelihood", self.likelihood.input_shape),
        ]
        if self.classifier is not None:
            joints += [
                ("classifier", "out_shape", "condition", (len(self.label[1].classes),)),
                ("classifier", "in_shape", "likelihood", self.feature_shape),
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
        """Choose every part from the data's schema; any of them can be given by name, options or object.

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

    # ------------------------------------------------------------------ what it is
    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent code; of several levels, these flattened side by side."""
        return self.prior.event_shape

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.likelihood.event_shape

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one observation as encoder and classifier see it: with a mask below, if values may be missing."""
        return self.likelihood.shape_beside_mask() if self.missing else self.likelihood.feature_shape

    def features(self, u: Tensor) -> Tensor:
        """Return transformed observations (B, *event) as encoder and classifier see them, (B, *feature_shape)."""
        if not self.missing:
            return self.likelihood.features(u)
        seen = (~u.isnan()).to(u.dtype)
        features = self.likelihood.features(self.filled(u)) * self.likelihood.per_feature(seen)
        return torch.cat([features, seen], 1)

    def filled(self, u: Tensor) -> Tensor:
        """Return ``u`` with a value of the support wherever one is missing."""
        return torch.where(u.isnan(), self.likelihood.inside, u) if self.missing else u

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the model's parameters."""
        return next(self.parameters()).dtype

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

    @torch.no_grad()
    def kl_factorises(self) -> bool:
        """Whether KL(q || p) is known in closed form for each latent dimension."""
        zeros = {"device": self.device, "dtype": self.dtype}
        h = torch.zeros((1, *self.posterior.input_shape), **zeros)
        view = View(self, None if self.condition is None else torch.zeros(1, self.condition.context, **zeros))
        with self.evaluating():
            return view.middle(self.posterior.read(h, view.context), 1).kl_per_dimension() is not None

    # ------------------------------------------------------------------ under a condition
    def at(self, c: Any = None, n: int | None = None, *, each: bool = False) -> View:
        """Return the model under a condition as a user gives it: a value for all or one each, by name if several.

        Args:
            c: The condition; None if there is none, or all of it is missing.
            n: Number of examples; if not given, any number will do.
            each: Give every example a row of its own, also where one value is for all.

        Raises:
            ConfigError: c is not what the model takes, or was never seen in training.
            ShapeError: an entry of c has another shape, or is neither one nor n.
        """
        return self.under(self.read(c, n, each=each))

    def under(self, c: Mapping[str, Tensor] | None) -> View:
        """Return the model under a condition as the data's splits give it: tensors (B, ...) by name, embedded once.

        Raises:
            ConfigError: c is not what the model takes.
            ShapeError: an entry has another shape.
        """
        if self.condition is None:
            if c is not None:
                raise ConfigError("the model takes no condition; leave c out")
            return View(self)
        if c is not None and not isinstance(c, Mapping):
            raise ConfigError(f"a pass needs the condition as tensors by name; got {type(c).__name__}")
        c = self.condition.filled(c)
        name = self.condition.observed
        if name is None:
            return View(self, self._context(c))
        values, mask = c[name].unbind(1)
        # Not a product: what stands at the other places may be NaN.
        observed = torch.where(mask > 0, values, 0.0)
        u = observed if self.transform is None else self.transform(observed) * mask
        c[name] = torch.cat([self.likelihood.features(u), mask], 1)
        return View(self, self._context(c), observed, 1 - mask)

    def read(self, c: Any, n: int | None = None, *, each: bool = False) -> dict[str, Tensor] | None:
        """Return a user's condition as tensors by name, for one or ``n`` examples; see ``Conditions.read``."""
        if self.condition is not None:
            return self.condition.read(c, n, each=each)
        if c is not None:
            raise ConfigError("the model takes no condition; leave c out")
        return None

    def _context(self, c: Mapping[str, Tensor]) -> Tensor:
        assert self.condition is not None
        floating = {k: v.to(self.dtype) if v.is_floating_point() else v for k, v in c.items()}
        if self.compute_dtype is None:
            return self.condition(floating)
        with torch.autocast(self.device.type, dtype=self.compute_dtype):
            return full_precision(self.condition(floating))

    def run(self, network: nn.Module, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Evaluate one of the networks, with the context if it takes one; the one place where 16 bits are allowed."""
        arguments = (x.to(self.dtype),)
        if context is not None and context_size(network):
            arguments += (context,)
        if self.compute_dtype is None:
            return network(*arguments)
        with torch.autocast(x.device.type, dtype=self.compute_dtype):
            return network(*arguments)

    # ------------------------------------------------------------------ the pass that objectives read
    def _repr_html_(self) -> str:
        slots = [(name, repr(part)) for name, part in self.named_children()]
        latent = " x ".join(map(str, self.latent_shape))
        return html_table(slots, f"VAE of {tuple(self.event_shape)} with a latent of {latent}", heads=False)

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
        _check_samples(samples)
        view = self.under(c)
        u, log_volume = view.to_model(x)
        # With several draws, a context of another batch size could pass for one of fewer examples.
        if view.context is not None and len(view.context) not in (1, len(x)):
            raise ShapeError(f"x is a batch of {len(x)} but the condition one of {len(view.context)}")
        draw = view.infer(view.evidence(u), len(x), samples)
        return VAEOutput(view, x, u, log_volume, draw, view.likelihood(draw.code) if decode else None)

    def infer(self, x: Tensor, c: Any = None) -> Distribution:
        """Return the approximate posterior q(z | x, c), batch (B,); of several levels, the first one's."""
        return self.at(c, len(x)).posterior(x)

    def prior_at(self, c: Any = None) -> Distribution:
        """Return p(z | c): batch (B,) for B conditions, or () where the prior does not depend on c."""
        return self.at(c).prior()

    def likelihood_at(self, z: Tensor, c: Any = None) -> Distribution:
        """Return p(x | z, c) for codes (..., *latent), in the units that the model's transform gives."""
        return self._at_codes(z, c).decoded(z)

    def classify(self, x: Tensor) -> Tensor:
        """Return log q(y | x) in nats, (B, K), by the classifier.

        Raises:
            ConfigError: the model has no classifier.
        """
        if self.classifier is None:
            raise ConfigError(
                "the model has no classifier; build it with VAE.for_data(..., classifier='mlp')"
            )
        u, _ = View(self).to_model(x)
        return full_precision(self.run(self.classifier, self.features(u))).log_softmax(-1)

    # ------------------------------------------------------------------ what users call
    def accept(self, x: Any) -> Tensor:
        """Return observations as a tensor on the model's device, in its type.

        Floats are x itself. What else has a known meaning in the data that the model was made for is read as they
        were: bytes and other whole numbers as grey levels, a table by the names and the schema of its columns. Of
        objects that hold x, like a DataLoader, see ``lowerbound.data.objects``.

        Raises:
            DataError: x has no such meaning.
        """
        x = read_examples(x, self.data_spec)
        return x.to(self.device, self.dtype)

    def check(self, x: Tensor, c: Any = None) -> None:
        """Raise unless ``x`` is a batch that the likelihood can score, under a condition that the model knows.

        Raises:
            ShapeError: x or an entry of c has another shape.
            SupportError: x lies outside the likelihood's support.
            ConfigError: c is not what the model takes, or was never seen in training.
        """
        self.check_x(x)
        self.read(c, len(x))

    def check_x(self, x: Tensor) -> None:
        """Raise unless ``x`` is a batch that the likelihood can score.

        Raises:
            ShapeError: x has another shape.
            SupportError: x lies outside the likelihood's support.
        """
        spec = self.data_spec
        if spec is not None and not self.missing and bool(x.isnan().any()):
            raise SupportError(
                f"x has {int(x.isnan().sum())} missing values (NaN), but the model was trained on data without any: "
                "fill them with `lowerbound complete` or model.complete(x, ~x.isnan()), or train on data with gaps"
            )
        self.likelihood.check(self.filled(View(self).to_model(x)[0]))
        for i, column in enumerate(c for c in (spec and spec.table) or () if c.is_modelled):
            low, high = column.low, column.high
            if column.offset and low is not None and high is not None and high - column.offset < low:
                if bool(((x[:, i] >= low) & (x[:, i] <= high)).any()):
                    raise SupportError(
                        f"column {column.name!r} of x lacks the offset {column.offset:.12g} of its schema; pass a "
                        "DataFrame, or read the data with lowerbound.data.load_like(source, model.data_spec)"
                    )
        if spec is not None and spec.values == "unit" and bool((x.nan_to_num() - 0.5).abs().max() > _FAR):
            raise SupportError(
                f"the model was trained on grey levels in [0, 1]; got values in [{x.min():g}, {x.max():g}]: divide "
                "them by the value of white, or pass bytes (uint8), which are read as levels"
            )

    @torch.no_grad()
    def encode(
        self,
        x: Tensor,
        c: Any = None,
        *,
        sample: bool = False,
        levels: int | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the latent codes of ``x``, (B, *latent): the posterior's mean, or a draw from it.

        Args:
            x: Observations, (B, *event).
            c: The condition: a value for all or one each, by name if there are several entries.
            sample: Draw instead of taking the mean; ``seed`` or ``generator`` make the draw repeatable.
            levels: How many levels know of x, from the coarsest; those below are the prior's. None for all.
            seed: Seed of the draw.
            generator: Generator of the draw, on the model's device.

        Raises:
            SupportError: x lies outside the likelihood's support.
            ConfigError: there are not so many levels.
        """
        most = len(self.prior.levels)
        if levels is not None and not 1 <= levels <= most:
            raise ConfigError(f"of {most} levels 1 to {most} can know of x; got levels={levels!r}")
        x = self.accept(x)
        self.check_x(x)
        with self.evaluating(), draws(self.device, seed, generator):
            view = self.at(c, len(x))
            evidence = view.evidence(view.to_model(x)[0])
            if not sample:
                return view.points(evidence, len(x), levels)
            return self.prior.join(view.infer(evidence, len(x), levels=levels).z)[0]

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
        with self.evaluating(), draws(self.device, seed, generator):
            view = self._at_codes(z, c)
            p_x = view.decoded(z)
            return view.to_data(p_x.sample() if sample else self.likelihood.point(p_x))

    def _at_codes(self, z: Tensor, c: Any) -> View:
        """Return the model under a user's condition for codes (..., B, *latent)."""
        k = len(self.latent_shape)
        if z.ndim < k or tuple(z.shape[z.ndim - k :]) != self.latent_shape:
            raise ShapeError(
                f"codes have shape (..., {', '.join(map(str, self.latent_shape))}); got {tuple(z.shape)}"
            )
        lead = z.shape[: z.ndim - k]
        return self.at(c, lead[-1] if lead else 1)

    def reconstruct(
        self,
        x: Tensor,
        c: Any = None,
        *,
        sample: bool = False,
        levels: int | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Encode and decode: by the means (deterministic), or with ``sample`` through a draw of z and of x.

        ``levels`` is as of ``encode``: what the coarsest ones hold of x.
        """
        generator = self._one_stream(seed, generator)
        z = self.encode(x, c, sample=sample, levels=levels, generator=generator)
        return self.decode(z, c, sample=sample, generator=generator)

    @torch.no_grad()
    def sample(
        self,
        n: int = 1,
        c: Any = None,
        *,
        mean: bool = True,
        temperature: float | Sequence[float] = 1.0,
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
            temperature: Factor on the prior draw's distance from the prior's mean, or one for each level, coarse to
                fine; 1 is the model itself.
            spread: Spread the codes evenly, by a scrambled Sobol sequence (Owen, 1998) carried through the prior's
                inverse distribution functions: each code alone has the prior's law, and together they leave no
                gaps. For one condition, not one each.
            seed: Seed of the draws.
            generator: Generator of the draws, on the model's device.

        Raises:
            ConfigError: n is less than 1, the temperature is no finite number >= 0, or the prior cannot be spread, or
                has no temperature.

        Reference:
            Scrambling Sobol' and Niederreiter-Xing points (Owen, 1998), Journal of Complexity 14, 466-489
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ConfigError(f"sample needs a whole number n >= 1; got {n!r}")
        with self.evaluating(), draws(self.device, seed, generator):
            view = self.at(c, n)
            plain = set(view.temperatures(temperature)) == {1.0}
            each = view.context is not None and len(view.context) == n > 1
            samples, batch = (1, n) if each else (n, 1)
            if spread:
                draw = view.spread(n, temperature)
            elif not plain:
                draw = view.tempered(samples, batch, temperature)
            else:
                draw = view.generate(samples, batch)
            p_x = view.likelihood(draw.code)
            x = view.to_data(self.likelihood.point(p_x) if mean else p_x.sample())
            return x.reshape(n, *self.event_shape)

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
        All samples of an example are held at once, and as many examples as go with them into little memory; for a
        data set use ``lowerbound.evaluate.nll``, which streams samples too and gives the standard error. Where c
        holds the observed elements, those of x that it marks as missing are scored.
        """
        _check_samples(samples)
        x = self.accept(x)
        self.check_x(x)
        whole = self.read(c, len(x), each=True)
        most = max(1, _AT_ONCE // (samples * numel(self.likelihood.input_shape)))
        found = [x.new_empty(0, dtype=full_precision(x).dtype)]
        with self.evaluating(), draws(self.device, seed, generator):
            for first in range(0, len(x), most):
                rows = slice(first, first + most)
                part = None if whole is None else {name: value[rows] for name, value in whole.items()}
                found.append(self(x[rows], part, samples).log_weight.logsumexp(0) - math.log(samples))
        return torch.cat(found)

    def convert(self, x: Tensor, c_from: Any, c_to: Any) -> Tensor:
        """Return what ``x`` would be under another condition; see ``lowerbound.using.convert``."""
        from .using import convert

        return convert(self, x, c_from, c_to)

    def interpolate(
        self,
        a: Tensor,
        b: Tensor,
        steps: int = 8,
        method: Literal["spherical", "linear"] = "spherical",
        *,
        c: Any = None,
    ) -> Tensor:
        """Return observations on the way from each ``a`` to each ``b``; see ``lowerbound.using.interpolate``."""
        from .using import interpolate

        return interpolate(self, a, b, steps, method, c=c)

    def predict_proba(
        self, x: Tensor, samples: int = 100, *, c: Mapping[str, Any] | None = None, seed: int | None = 0
    ) -> Tensor:
        """Return the probabilities of the classes, (B, K); see ``lowerbound.using.predict_proba``."""
        from .using import predict_proba

        return predict_proba(self, x, samples, c=c, seed=seed)

    def complete(self, x: Tensor, mask: Tensor, n: int = 1, **options: Any) -> Completion:
        """Draw the missing elements of ``x`` given the observed ones; see ``lowerbound.completion.complete``."""
        from .completion import complete

        return complete(self, x, mask, n, **options)

    # ------------------------------------------------------------------ helpers
    def _one_stream(self, seed: int | None, generator: torch.Generator | None) -> torch.Generator | None:
        """Return one generator for several draws, or the noise of z and of x would be the same numbers."""
        if seed is not None and generator is not None:
            raise ConfigError("give either seed= or generator=, not both")
        if seed is None:
            return generator
        return torch.Generator(self.device).manual_seed(seed)

    @contextlib.contextmanager
    def differentiable(self) -> Iterator[None]:
        """Within the block, which may lie in one without gradients, there are some; networks in the parameters' type.

        What was computed outside has no gradient and must be cloned before it takes part.
        """
        before = self.compute_dtype
        try:
            self.compute_dtype = None
            with unpacked(self), torch.inference_mode(False), torch.enable_grad():
                yield
        finally:
            self.compute_dtype = before

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within the block dropout and running averages are off; afterwards they are as before.

        Part by part: one that the user has frozen in evaluation mode stays so.
        """
        training = [part for part in self.modules() if part.training]
        if training:
            self.eval()
        try:
            yield
        finally:
            for part in training:
                part.training = True


def _check_samples(samples: int) -> None:
    if samples < 1:
        raise ConfigError(f"a pass needs samples >= 1; got {samples}")


def _words(levels: Sequence[Level]) -> str:
    return ", ".join(f"{kind} {shape}" for shape, kind in levels)
