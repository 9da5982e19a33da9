r"""Two ways to estimate the gradient of an expectation with respect to its distribution.

.. math::
    \nabla_\theta \mathbb{E}_{z \sim q_\theta}[f(z)]
      = \mathbb{E}_{z}[f(z)\, \nabla_\theta \log q_\theta(z)]          \quad\text{(score function, REINFORCE)}

      = \mathbb{E}_{\epsilon}[\nabla_\theta f(z_\theta(\epsilon))]     \quad\text{(reparameterised)}

Each function returns a scalar per batch element whose *gradient* is the estimate. The second needs f to be
differentiable and has by far the smaller variance. For f(z) = z² and z = θ + ε, ε ~ N(0, 1), both have the
expectation 2θ, and one draw has

.. math::
    \operatorname{Var}[z^2 (z - \theta)] = \theta^4 + 14\, \theta^2 + 15, \qquad \operatorname{Var}[2 z] = 4

Reference:
    Simple statistical gradient-following algorithms (Williams, 1992);
    Auto-encoding variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114, section 2.4
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.distributions import Distribution


def score_function_surrogate(f: Callable[[Tensor], Tensor], q: Distribution, samples: int = 1) -> Tensor:
    """Return a surrogate of E_q[f(z)], batch shape of q, whose gradient is the score-function estimate.

    Args:
        f: Function of draws (S, *batch, *event) to (S, *batch); its own parameters get their gradient too.
        q: Distribution of z.
        samples: Number S of draws.
    """
    z = q.sample((samples,))
    value = f(z)
    return (value + value.detach() * _zero_with_gradient(q.log_prob(z))).mean(0)


def reparameterised_surrogate(f: Callable[[Tensor], Tensor], q: Distribution, samples: int = 1) -> Tensor:
    """Return the mean of f over draws that carry the gradient, batch shape of q; ``q`` must have rsample."""
    return f(q.rsample((samples,))).mean(0)


def _zero_with_gradient(log_q: Tensor) -> Tensor:
    """Return 0 in value, with the gradient of ``log_q``: so the surrogate's value stays the estimate of E[f]."""
    return log_q - log_q.detach()
