"""The optimiser of each player of an objective, and the guard that keeps what is not finite out of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..settings import Settings

_PACE = 0.05  # by which share the running median of norms moves


def make_optimizer(parameters: Sequence[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """Return the optimiser of these parameters; weight decay is for matrices, never for biases and scales."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    groups = [group for group in groups if group["params"]]
    return kind(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


class Guard:
    """Keeps weights, moments and counts as they were before the first move that was not finite.

    Whether a loss and its gradient are finite is known to the device, which then leaves out that update and all later
    ones; the host asks when it waits for the device anyway. The fused optimisers read the two numbers that this takes
    where torch's GradScaler puts them: ``found_inf``, and ``grad_scale``, by which they divide the gradient.

    A move may also be left out alone, when its gradient is many times as long as usual. What is usual is the running
    median of the norms, which rises or falls by a fixed share with each move.

    Args:
        device: Where the moves are made.
        skip: How many times as long as usual a gradient may be; None for any length.
    """

    def __init__(self, device: torch.device, skip: float | None = None) -> None:
        self._skip = skip
        self.usual: dict[str, Tensor] = {}  # logarithm of each player's running median
        self._bad = torch.zeros((), device=device)  # 1 from the first bad move on
        self._good = torch.zeros((), device=device)  # moves before that
        self.moves: list[tuple[int, int]] = []  # step and number of each since the last look

    def apply(
        self,
        optimizer: torch.optim.Optimizer,
        loss: Tensor,
        clip: float | None,
        move: tuple[int, int],
        player: str = "model",
    ) -> Tensor:
        """Let the optimiser make a move with the gradients at hand, clipped to a norm, if all is finite.

        Args:
            optimizer: The player's.
            loss: The move's loss.
            clip: Largest norm of the gradient, if there is one.
            move: Number of the step, and of the move within it.
            player: Whose move it is.

        Returns:
            1 if the move was left out for its length, else 0.
        """
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        norm = nn.utils.get_total_norm(gradients)  # it is finite only if every gradient is
        total = loss.detach() + norm
        self._bad = torch.where(total - total == 0, self._bad, 1.0)
        self._good += 1 - self._bad
        self.moves.append(move)
        long = torch.zeros_like(self._bad) if self._skip is None else self._too_long(norm, player)
        optimizer.found_inf = self._bad.maximum(long)  # pyright: ignore[reportAttributeAccessIssue]
        # A CPU knows at once that nothing is to be clipped: division by 1 would be a pass over all gradients.
        scale = None
        if clip is not None and not (norm.device.type == "cpu" and norm.item() + 1e-6 <= clip):
            scale = ((norm + 1e-6) / clip).clamp(min=1).float()
        optimizer.grad_scale = scale  # pyright: ignore[reportAttributeAccessIssue]
        optimizer.step()
        return long

    def _too_long(self, norm: Tensor, player: str) -> Tensor:
        """Return whether a norm is far beyond the usual, as 0 or 1, and learn from it what is usual."""
        assert self._skip is not None
        length = norm.detach().float().log()
        usual = self.usual.get(player, length)
        usual = torch.where(usual.isfinite(), usual, length)  # the first norms were 0
        moved = usual + _PACE * (length - usual).sign()
        self.usual[player] = torch.where(moved.isfinite(), moved, usual)
        return (length > usual + math.log(self._skip)).to(self._bad)

    def bad(self) -> float:
        """Return whether a move was not finite, as 0 or 1; this waits for the device."""
        return self._bad.item()

    def first_bad(self) -> tuple[int, int]:
        """Return the step and the number of the first move that was not finite."""
        return self.moves[int(self._good.item())]

    def passed(self) -> None:
        """Go on from a look at which all was well."""
        self._good.zero_()
        self.moves.clear()
