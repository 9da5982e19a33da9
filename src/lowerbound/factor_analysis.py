r"""Factor analysis of features of which some may be missing: x = mean + loadings z + noise, z ~ N(0, I).

The noise is independent, with a variance for each feature. The fit has the greatest likelihood for rows of which a
missing value is the feature's mean, by fixed-point steps on the eigenvectors of the scaled covariance: so an encoder
sees them that is affine. The density is of what a row shows.

Reference:
    EM algorithms for ML factor analysis (Rubin and Thayer, 1982), Psychometrika 47, 69-76
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Factors", "best_rank", "factors", "log_density"]

_FLOOR = 1e-3  # of the noise variance
_RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


class Factors(NamedTuple):
    """A model of F features: mean (F,), loadings (F, rank) and noise variances (F,)."""

    mean: np.ndarray
    loadings: np.ndarray
    noise: np.ndarray


def factors(
    x: np.ndarray, rank: int, floor: np.ndarray | float = _FLOOR, *, most: int | None = None
) -> Factors:
    """Return the model of the greatest likelihood, a missing value being the mean of its feature.

    Args:
        x: Rows (n, F), NaN where a value is missing. A feature that no row shows has mean 0.
        rank: Number of factors, at most F.
        floor: Least noise variance, of all features or of each, (F,).
        most: Most fixed-point steps; None for what the number of features allows.
    """
    seen = ~np.isnan(x)
    mean = np.where(seen, x, 0.0).sum(0) / np.maximum(seen.sum(0), 1)
    centred = np.where(seen, x - mean, 0.0)
    return Factors(mean, *_of_covariance(centred.T @ centred / len(x), rank, floor, most))


def log_density(model: Factors, x: np.ndarray) -> np.ndarray:
    """Return the log-density of what each row x (n, F) shows, in nats, (n,)."""
    seen = ~np.isnan(x)
    size, rank = model.loadings.shape
    centred = np.where(seen, x - model.mean, 0.0)
    # Rows with the same gaps have the factors' precision in common.
    _, first, pattern = np.unique(np.packbits(seen, 1), axis=0, return_index=True, return_inverse=True)
    scaled = model.loadings / model.noise[:, None]
    squares = (model.loadings[:, :, None] * scaled[:, None, :]).reshape(size, rank * rank)
    precision = np.eye(rank) + (seen[first].astype(float) @ squares).reshape(-1, rank, rank)
    inverse, log_det = np.linalg.inv(precision), np.linalg.slogdet(precision)[1]
    about, pattern = centred @ scaled, pattern.reshape(-1)
    solved = about @ inverse[0] if len(first) == 1 else np.einsum("nr,nrs->ns", about, inverse[pattern])
    quadratic = (np.square(centred) / model.noise).sum(1) - (solved * about).sum(1)
    log_det = seen @ np.log(model.noise) + log_det[pattern]
    return -0.5 * (quadratic + log_det + seen.sum(1) * np.log(2 * np.pi))


def best_rank(x: np.ndarray, floor: np.ndarray | float = _FLOOR) -> int:
    """Return the number of factors, 32 at most, of the highest likelihood in three-fold cross-validation."""
    n, size = x.shape
    ranks = [rank for rank in _RANKS if rank <= size and rank < n] or [1]
    if n < 6 or len(ranks) == 1 or size > 500:
        return min(8, ranks[-1])
    fold = np.random.default_rng(0).permutation(n) % 3
    total = [
        sum(log_density(factors(x[fold != k], rank, floor), x[fold == k]).sum() for k in range(3))
        for rank in ranks
    ]
    return ranks[int(np.argmax(total))]


def _of_covariance(
    second: np.ndarray, rank: int, floor: np.ndarray | float, most: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return loadings (F, rank) and noise variances (F,) of the greatest likelihood, from the covariance (F, F)."""
    variance = np.maximum(second.diagonal(), floor)
    noise = variance.copy()
    for _ in range(most or (200 if len(second) <= 100 else 20)):
        root = np.sqrt(noise)
        values, vectors = np.linalg.eigh(second / root / root[:, None])
        values, vectors = values[-rank:], vectors[:, -rank:]
        loadings = root[:, None] * vectors * np.sqrt(np.maximum(values - 1, 0))
        old, noise = noise, np.maximum(variance - np.square(loadings).sum(1), floor)
        if np.abs(np.log(noise / old)).max() < 1e-3:
            break
    return loadings, noise
