r"""A Gaussian draw carried towards p(z | x) by Hamiltonian dynamics, its momenta in the bound.

.. math::
    z_0 \sim \mathcal{N}(\mu(x), \operatorname{diag} \sigma(x)^2), \quad
    \rho_0 \sim \mathcal{N}(0, \beta_0^{-1} I); \qquad K \text{ times:} \\
    \rho \leftarrow \rho + \tfrac{\epsilon}{2} \nabla_z \log p(x, z), \quad z \leftarrow z + \epsilon \rho, \quad
    \rho \leftarrow \sqrt{\beta_{k-1} / \beta_k} \left( \rho + \tfrac{\epsilon}{2} \nabla_z \log p(x, z) \right)

Each move shears, so only tempering changes volumes, by :math:`\beta_0^{d/2}` altogether, and the way back is known: a
code is (z, ρ), of which the prior says p(z) N(ρ; 0, I), and q(z, ρ | x) is exact at any code. Importance weights then
estimate log p(x) as those of any posterior do. Where a network has dropout, forces differ from pass to pass: then a
draw has its exact density, and a code that is scored again another one.

Reference:
    Hamiltonian variational auto-encoder (Caterini, Doucet and Sejdinovic, 2018), https://arxiv.org/abs/1805.11328,
    algorithm 1 with its quadratic tempering
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions import Pushforward, bounded_exp, factorised_gaussian
from ..errors import ConfigError
from ..nn.network import size
from ..shapes import event_shape_of, full_precision, is_positive
from .base import Posterior


class Hamiltonian(Posterior):
    """K tempered leapfrog steps from a factorised Gaussian, their sizes learned for each dimension.

    Args:
        event_shape: (2 d,): d numbers that the decoder reads, and their momenta.
        steps: Number K of steps.
        step_size: Size ε of a step that training starts from.
        tempering: Inverse temperature β_0 of the first momenta, below 1 for wider ones; of the last it is 1.

    Raises:
        ConfigError: a code is no even number of numbers, or an option is out of its range.
    """

    partners: ClassVar = {"prior": "momentum"}
    sees_joint: ClassVar = True

    def __init__(
        self,
        event_shape: int | Sequence[int],
        steps: int = 3,
        step_size: float = 0.05,
        tempering: float = 0.3,
    ) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1 or shape[0] % 2:
            raise ConfigError(
                f"a code of Hamiltonian is as many numbers as momenta, an even latent (2 d,); got {shape}"
            )
        if not (is_positive(step_size) and is_positive(tempering)):
            raise ConfigError(
                f"Hamiltonian needs a step_size and a tempering > 0; got {step_size!r} and {tempering!r}"
            )
        super().__init__(shape, (2, shape[0] // 2))
        self.steps, self.step_size, self.tempering = size("steps", steps), step_size, tempering
        self.log_step = nn.Parameter(torch.full((shape[0] // 2,), math.log(step_size)))

    def read(self, h: Tensor, context: Tensor | None, joint: Any = None) -> Any:
        """Return the encoder's output and log p(x, z | c)."""
        if joint is None:
            raise ConfigError("the posterior Hamiltonian follows log p(x, z): no prior can be made of it")
        return h, joint

    def level(self, number: int, evidence: Any, state: Any, p: Distribution) -> Distribution:
        """Return q(z, ρ | x), batch (B,), from means and log-scales (B, 2, d)."""
        h, joint, *more = evidence
        loc, raw = full_precision(h).unbind(-2)
        scale = torch.cat([bounded_exp(raw), torch.full_like(raw, self.tempering**-0.5)], -1)
        loc = torch.cat([loc, torch.zeros_like(loc)], -1)
        base = factorised_gaussian(loc, scale, 1)
        # 1/√β falls to 1 quadratically.
        raised = [(1 - self.tempering**-0.5) * (k / self.steps) ** 2 for k in range(self.steps + 1)]
        roots = [each + self.tempering**-0.5 for each in raised]
        step, cooling = self.log_step.exp(), [new / old for old, new in pairwise(roots)]
        return Pushforward(base, self._maps(joint, step, cooling, len(loc), *more))

    def _maps(self, joint: Any, step: Tensor, cooling: Sequence[float], batch: int) -> Sequence[Any]:
        return [Leapfrog(joint, step, factor, batch) for factor in cooling]

    def point(self, q: Distribution) -> Tensor:
        """Return where the Gaussian's mean is carried to from rest: q has no mean in closed form."""
        return q.carried(q.base.mean)[0]  # pyright: ignore[reportAttributeAccessIssue]


class Leapfrog:
    """One step of the dynamics, and its tempering.

    Args:
        joint: log p(x, z | c) of B examples.
        step: ε of each dimension, (d,).
        cooling: Factor on the momenta after the step.
        batch: Number B of examples.
    """

    def __init__(self, joint: Any, step: Tensor, cooling: float, batch: int) -> None:
        self.joint, self.step, self.cooling, self.batch = joint, step, cooling, batch

    def kick(self, z: Tensor, momentum: Tensor) -> Tensor:
        """Return ε/2 times the gradient of log p(x, z | c) at z (..., B, d)."""
        lead = torch.broadcast_shapes(z.shape[:-1], (self.batch,))
        code = torch.cat([z, momentum], -1).expand(*lead, -1).reshape(-1, self.batch, 2 * z.shape[-1])
        slope = self.joint.gradient(code)[..., : z.shape[-1]]
        return self.step / 2 * slope.reshape(*lead, -1)

    def move(self, z: Tensor, momentum: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the dynamics lead; with the momentum turned round, they lead back."""
        momentum = momentum + self.kick(z, momentum)
        z = z + self.step * momentum
        return z, momentum + self.kick(z, momentum)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image of codes (..., 2 d) and log |det|."""
        z, momentum = self.move(*z.chunk(2, -1))
        moved = torch.cat([z, self.cooling * momentum], -1)
        return moved, torch.full_like(moved[..., 0], z.shape[-1] * math.log(self.cooling))

    def inverse(self, y: Tensor) -> Tensor:
        """Return the codes of which ``forward`` makes these."""
        z, momentum = y.chunk(2, -1)
        z, momentum = self.move(z, -momentum / self.cooling)
        return torch.cat([z, -momentum], -1)
