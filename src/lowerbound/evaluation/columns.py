"""Which column of a row is unlike what it usually is."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data import Split
from ..likelihoods import ColumnsDistribution
from ..model import VAE
from .stream import Passes

_DRAWS = 20
_BATCH = 500


def column_log_probs(model: VAE, split: Split | Tensor, *, seed: int = 0) -> Tensor | None:
    r"""Return log E_q[p(x_d | z)] of each column in nats, (N, D), NaN where a cell is missing.

    Under q(z | x, c), so given the other columns and its own: what still surprises then is odd.

    Args:
        model: The model.
        split: A part of the data.
        seed: Of the draws of z.

    Returns:
        None if the likelihood is not one of columns.
    """
    found, passes = [], Passes(model, split, seed=seed)
    with passes.running("scoring columns") as advance:
        for x, c in passes.batches(_BATCH):
            view = model.under(c)
            u, _ = view.to_model(x)
            p_x = view.likelihood(view.infer(view.evidence(u), len(u), _DRAWS).code)
            if not isinstance(p_x, ColumnsDistribution):
                return None
            each = p_x.per_column(u).logsumexp(0) - torch.tensor(float(_DRAWS)).log()
            found.append(torch.where(u.isnan(), torch.nan, each).cpu())
            advance(len(x))
    return torch.cat(found)


def oddest(model: VAE, split: Split | Tensor, *, seed: int = 0) -> tuple[Tensor, Tensor] | None:
    """Return of each row the column that is furthest below its average, (N,), and by how many nats, (N,).

    Args:
        model: The model.
        split: A part of the data.
        seed: Of the draws of z.

    Returns:
        None if the likelihood is not one of columns.
    """
    each = column_log_probs(model, split, seed=seed)
    if each is None:
        return None
    below = (each.nanmean(0) - each).nan_to_num(-torch.inf)
    nats, column = below.max(1)
    return column, nats.nan_to_num(neginf=0.0)
