r"""The KL term in two parts: what codes say of x, and how far all of them together are from the prior.

.. math::
    \mathbb{E}_x KL(q(z \mid x) \,\|\, p(z)) = \underbrace{\mathbb{E} \log \frac{q(z \mid x)}{q(z)}}_{I(x; z)}
        + \underbrace{KL(q(z) \,\|\, p(z))}_{\text{aggregate}}, \qquad q(z) = \frac1N \sum_n q(z \mid x_n)

Draws of the prior look unlike data where the second part is large: another prior takes it away
(``lowerbound.ex_post``). The first cannot exceed log N: near it, more examples are needed to tell how large it is.

Reference:
    ELBO surgery (Hoffman and Johnson, 2016)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..data import Split
from ..errors import ConfigError
from ..model import VAE
from .stream import Options, Passes, standard_error

_NEAR = 0.5  # nats below log N
_VALUES = 2**22  # numbers held at once


@dataclass(frozen=True)
class AggregatePosterior:
    """The two parts of the KL term, in nats per example.

    Attributes:
        mutual_information: I(x; z) of the examples, at most log n.
        mutual_information_stderr: Its standard error over the examples.
        kl: KL(q(z) || p(z)) of the examples' aggregate posterior, from one draw of each.
        kl_stderr: Its standard error over the examples.
        n: Number of examples.
    """

    mutual_information: float
    mutual_information_stderr: float
    kl: float
    kl_stderr: float
    n: int

    @property
    def warning(self) -> str | None:
        """Why the parts are not to be trusted, in a sentence, or None."""
        if math.log(self.n) - self.mutual_information > _NEAR:
            return None
        return (
            f"the mutual information, {self.mutual_information:.2f} nats, is close to log n = {math.log(self.n):.2f}"
            f", which it cannot exceed: of {self.n} examples only the sum of both parts is known; give more"
        )


def aggregate_posterior(
    model: VAE, split: Split | Tensor | Any, **options: Unpack[Options]
) -> AggregatePosterior:
    """Estimate the mutual information of x and z, and the KL of the aggregate posterior from the prior.

    The time grows with the square of the number of examples; ``limit`` bounds it.

    Args:
        model: The model.
        split: A part of the data, or a tensor or array (N, *event).
        **options: See ``Options``.

    Raises:
        ConfigError: the latent has several levels, or an option has an impossible value.
    """
    if len(model.prior.levels) > 1:
        raise ConfigError("the aggregate posterior is that of a latent of one level; the model has several")
    passes = Passes(model, split, **options)
    posteriors: list[Distribution] = []
    codes, log_p, log_q = [], [], []
    with passes.running("aggregate posterior") as advance:
        for x, c in passes.batches(passes.rows):
            view = model.under(c)
            draw = view.infer(view.evidence(view.to_model(x)[0]), len(x))
            posteriors.append(draw.q[0])
            codes.append(draw.z[0][0])
            log_p.append(draw.log_p[0])
            log_q.append(draw.log_q[0])
        z = torch.cat(codes)
        rows = max(1, _VALUES // (z[0].numel() * max(len(part) for part in codes)))
        together = []
        for some in z.split(rows):
            each = [q.log_prob(some.unsqueeze(1)) for q in posteriors]
            together.append(torch.cat(each, 1).double().logsumexp(1))
            advance(len(some))
    log_aggregate = torch.cat(together).cpu() - math.log(len(z))
    information = torch.cat(log_q).cpu().double() - log_aggregate
    kl = log_aggregate - torch.cat(log_p).cpu().double()
    return AggregatePosterior(
        information.mean().item(), standard_error(information), kl.mean().item(), standard_error(kl), len(z)
    )
