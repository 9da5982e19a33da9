"""The interface of an objective: what a step of training minimises, with which networks, and how it is judged."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..errors import ConfigError, suggest
from ..model import VAE, VAEOutput
from ..nn import MLP
from .schedules import Progress

if TYPE_CHECKING:
    from ..data import Data


@dataclass(frozen=True)
class ObjectiveOutput:
    """One batch's loss and what is reported of it.

    Attributes:
        loss: Scalar to minimise; its gradient is the estimator's, its value need not be a bound.
        bound: The bound on log p(x | c) itself, mean over the batch in nats, never a surrogate.
        terms: Named scalars to log, nats unless the name says otherwise.
    """

    loss: Tensor
    bound: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


class Move(NamedTuple):
    """One optimiser's part of a step.

    Attributes:
        player: Whose parameters descend, a key of ``Objective.players``.
        loss: Scalar that they descend on.
        bound: The bound on log p(x | c), mean over the batch in nats; None for a move that has none, a critic's.
        terms: Named scalars to log.
    """

    player: str
    loss: Tensor
    bound: Tensor | None
    terms: Mapping[str, Tensor]


class Objective(nn.Module):
    """What training minimises; a module, for it may own networks, such as a critic.

    Weights of its terms stay outside the model: the same model can be trained with one objective and evaluated with
    another. Most objectives have one loss and write ``forward`` alone. One with networks of its own builds them in
    ``start``, names their parameters in ``players`` and yields a move for each player in ``moves``.

    Attributes:
        sums_out_labels: Whether labels may be missing where the model has a classifier.
        is_bound: Whether what it reports as the bound is one on log p(x | c); see ``Criterion`` where not.
    """

    sums_out_labels: bool = False
    is_bound: bool = True

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        """Return the loss and the bound of one batch x, (B, *event), under its condition c."""
        raise NotImplementedError(f"{type(self).__name__} has neither forward nor moves")

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError if the objective does not fit the model or the length of the run."""

    def start(self, model: VAE, data: Data | None = None) -> None:
        """Build what the objective owns, now that the model is known; before the first step, and before resuming."""

    def players(self, model: VAE) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that each optimiser moves, by name; "model" is the model's own."""
        return {"model": [p for p in model.parameters() if p.requires_grad]}

    def moves(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> Iterator[Move]:
        """Yield the moves of one step; each is made, and gradients are cleared, before the next is asked for."""
        out = self(model, x, c, progress)
        yield Move("model", out.loss, out.bound, out.terms)

    def validate(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, samples: int
    ) -> dict[str, Tensor]:
        r"""Return what validation reports of one batch, by name: a value for each example that has one, (<= B,).

        Of "bound" the mean over the split chooses the weights to keep. Here it is the importance-weighted bound,
        :math:`\log \frac1S \sum_s w_s`, beside the two terms of the evidence lower bound; with a classifier also
        whether it is wrong, where the label is known. Where it is not, the bound is that of the class found. Of a
        posterior without a density "bound" is log p(x | z) of its code.

        Args:
            model: The model, in evaluation mode.
            x: Observations, (B, *event).
            c: Their condition.
            samples: Number S of importance samples.
        """
        values = {}
        if model.classifier is not None and c is not None:
            name, found = model.label[0], model.classify(x).argmax(1)
            known = c[name] >= 0
            values["error"] = (found != c[name])[known].to(
                x.dtype if x.is_floating_point() else torch.float32
            )
            c = {**c, name: torch.where(known, c[name], found)}
        out = model(x, c, samples)
        reconstruction = out.log_likelihood.mean(0)
        if not model.posterior.has_density:
            return {"bound": reconstruction, "reconstruction": reconstruction, "kl": out.kl(), **values}
        levels = out.draw.kl_of_levels(analytic=False) if len(out.draw.p) > 1 else []
        return {
            "bound": out.log_weight.logsumexp(0) - math.log(samples),
            "reconstruction": reconstruction,
            "kl": reconstruction - out.log_weight.mean(0),
            **by_level(levels),
            **values,
        }

    def __repr__(self) -> str:
        options = inspect.signature(type(self)).parameters
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in options)})"


class Criterion(Objective):
    """An objective that is no bound on log p(x), for models that have no density or are not trained for it.

    ``forward`` gives its loss; what stands as the "bound" in a run's records, and chooses the weights to keep, is
    minus that loss, which stands beside it as the "criterion". The likelihood of a model with a stochastic posterior
    is still ``evaluate.nll``'s to say.
    """

    is_bound = False

    def judged(self, loss: Tensor, **terms: Tensor) -> ObjectiveOutput:
        """Return a loss with what is reported of it."""
        named = {**terms, "criterion": loss}
        return ObjectiveOutput(loss, -loss, {name: value.detach() for name, value in named.items()})

    def validate(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, samples: int
    ) -> dict[str, Tensor]:
        """Return minus the loss of the batch at the end of training, as "bound", and its terms; (B,) of one value."""
        with torch.enable_grad():  # a gradient may be part of the loss
            out = self(model, x, c, Progress(fraction=1.0))
        return {k: v.detach().expand(len(x)) for k, v in {"bound": -out.loss, **out.terms}.items()}


class WithCritic(Objective):
    """An objective with a network of its own, the player "critic", which is built once the model is known.

    The model moves by ``play``, then the critic by what ``critics_loss`` says of the same batch.
    """

    critic: nn.Module
    hidden: Sequence[int]

    def build(self, model: VAE) -> nn.Module:
        """Return the critic for a model: one of codes, with the widths ``hidden``."""
        return MLP(model.latent_shape, (1,), hidden=tuple(self.hidden), activation="relu")

    def play(self, out: VAEOutput) -> tuple[ObjectiveOutput, tuple[Tensor, ...]]:
        """Return the model's part of a pass, and what the critic is shown of it, without gradients."""
        raise NotImplementedError(f"{type(self).__name__} has no play")

    def critics_loss(self, *shown: Tensor) -> Tensor:
        """Return the critic's loss, a scalar, of what it is shown."""
        raise NotImplementedError(f"{type(self).__name__} has no loss of its critic")

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        return self.play(model(x, c))[0]

    def moves(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> Iterator[Move]:
        """Yield the model's move and the critic's."""
        done, shown = self.play(model(x, c))
        yield Move("model", done.loss, done.bound, done.terms)

        loss = self.critics_loss(*shown)
        yield Move("critic", loss, None, {"critic": loss.detach()})

    def start(self, model: VAE, data: Data | None = None) -> None:
        """Build the critic."""
        self.critic = self.build(model).to(model.device, model.dtype)

    def players(self, model: VAE) -> dict[str, list[nn.Parameter]]:
        """Return the model's parameters and the critic's."""
        return super().players(model) | {"critic": list(self.critic.parameters())}


def penalised(
    out: VAEOutput, extra: Tensor | float, beta: Tensor | float = 1.0, **terms: Tensor
) -> ObjectiveOutput:
    """Return the loss −E[log p(x | z)] + β KL + ``extra``, whose reported bound is the evidence lower bound.

    Args:
        out: The pass.
        extra: What is added, a scalar.
        beta: Weight of the KL.
        **terms: More to log.
    """
    reconstruction, kl = out.log_likelihood.mean(), out.kl().mean()
    loss = beta * kl - reconstruction + extra + mean_penalty(out)
    named = {"reconstruction": reconstruction, "kl": kl, **terms}
    return ObjectiveOutput(loss, reconstruction - kl, {name: value.detach() for name, value in named.items()})


def of_weights(out: VAEOutput, bound: Tensor, loss: Tensor | None = None) -> ObjectiveOutput:
    """Return a bound of importance weights with the two terms of the ELBO.

    Args:
        out: The pass.
        bound: The bound.
        loss: What to descend on; minus the bound if not given.
    """
    reconstruction = out.log_likelihood.detach().mean()
    terms = {"reconstruction": reconstruction, "kl": reconstruction - out.log_weight.detach().mean()}
    return ObjectiveOutput(mean_penalty(out) - bound if loss is None else loss, bound, terms)


def check_counts(owner: Objective, **counts: int) -> None:
    """Raise ConfigError unless all are at least 1."""
    for name, value in counts.items():
        if value < 1:
            raise ConfigError(f"{type(owner).__name__} needs {name} >= 1; got {value!r}")


def check_word(option: str, value: Any, known: Sequence[str]) -> None:
    """Raise ConfigError unless the value of an option is one of the words it knows."""
    if value not in known:
        raise ConfigError(f"unknown {option} {value!r}; {suggest(str(value), known)}")


def check_weights(owner: Objective, **weights: float) -> None:
    """Raise ConfigError unless all are finite numbers that are not negative."""
    for name, value in weights.items():
        if not 0 <= value < math.inf:
            raise ConfigError(f"{type(owner).__name__} needs a finite {name} >= 0; got {value!r}")


def check_fixed_prior(owner: Objective, model: VAE) -> None:
    """Raise ConfigError if the prior has parameters: without a KL they would stay as they are."""
    if any(p.requires_grad for p in model.prior.parameters()):
        raise ConfigError(
            f"prior {type(model.prior).__name__} would learn nothing from {type(owner).__name__}, which has no KL; "
            "train with prior='standard_normal' and fit another one to the codes afterwards: lowerbound.ex_post"
        )


def decoded_mean(p_x: Distribution, out: VAEOutput) -> Tensor:
    """Return the mean of p(x | z) in the units of the model, for objectives that look at nothing else of it.

    Raises:
        ConfigError: the likelihood has none, or values of x may be missing.
    """
    model = out.view.model
    name = type(model.likelihood).__name__
    if model.missing:
        raise ConfigError("this objective compares whole examples, but some values of the data are missing")
    try:
        return p_x.mean
    except NotImplementedError:
        raise ConfigError(f"this objective needs a likelihood with a mean; {name} has none") from None


def by_level(kl: list[Tensor]) -> dict[str, Tensor]:
    """Return the KL of each level by its name in records, coarse to fine; nothing of a latent of one level."""
    return {f"kl_level_{n}": value for n, value in enumerate(kl, 1)} if len(kl) > 1 else {}


def mean_penalty(out: VAEOutput) -> Tensor | float:
    """Return the mean of what the posterior adds to the loss beside the bound, such as a commitment term."""
    return out.penalty.mean() if isinstance(out.penalty, Tensor) else out.penalty
