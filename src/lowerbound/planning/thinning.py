"""Few states that stand for many: what a planner wants of a distribution in which it can afford a handful of states.

Independent draws leave holes and clumps, and so, to a lesser degree, do draws from evenly spread codes, as a decoder
bends what was even. Here many states are drawn and a few of them kept, each near the mean of a part of the others:
Lloyd's iteration, which moves each of n centres to the mean of the states nearest to it. Where it ends depends on
where it begins, so it begins evenly along a curve that passes near states one after the other.

Reference:
    Least squares quantization in PCM (Lloyd, 1982), IEEE Transactions on Information Theory 28, 129-137
    Über die stetige Abbildung einer Linie auf ein Flächenstück (Hilbert, 1891), the curve
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from .problem import Array

_LEVELS = 16  # of the curve: it passes through 4^16 squares
_STEPS = 10  # of Lloyd's iteration; more change nothing that planning notices


def representatives(states: Array, n: int, rng: np.random.Generator) -> Array:
    """Return which states (N, 2) of the unit square, at most ``n``, are spread like all of them but evenly.

    Together they stand for the distribution that the states were drawn from; a single one does not follow it, as it
    is near the mean of its part.

    Args:
        states: (N, 2), none twice.
        n: Number of states, at least 1.
        rng: Drives where along the curve the first centre lies.

    Returns:
        Rows of ``states``, rising. All N if there are no more than ``n``; fewer than ``n`` where one state is the
        nearest to two of the means.
    """
    if len(states) <= n:
        return np.arange(len(states))
    along = states[np.argsort(hilbert(states), kind="stable")]
    centres = along[((np.arange(n) + rng.random()) * len(along) / n).astype(int)]
    for _ in range(_STEPS):
        nearest = KDTree(centres).query(states)[1]
        count = np.bincount(nearest, minlength=n)
        total = np.stack([np.bincount(nearest, weights=x, minlength=n) for x in states.T], axis=1)
        centres = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], centres)
    return np.unique(KDTree(states).query(centres)[1])


def hilbert(states: Array) -> Array:
    """Return how far along Hilbert's curve the states (N, 2) of the unit square lie, (N,) int64.

    The curve starts at (0, 0), ends at (1, 0), and passes through all squares of a fine lattice, each beside the one
    before.

    Example:
        >>> hilbert(np.array([[0.1, 0.1], [0.1, 0.9], [0.9, 0.9], [0.9, 0.1]])).argsort().tolist()
        [0, 1, 2, 3]
    """
    size = 1 << _LEVELS
    x, y = np.clip(states * size, 0, size - 1).astype(np.int64).T
    place = np.zeros(len(states), dtype=np.int64)
    half = size >> 1
    while half:
        right, upper = (x & half) > 0, (y & half) > 0
        place += half * half * ((3 * right) ^ upper)
        # The curve within a lower quarter is turned: mirrored on the right, and x and y change places.
        x, y = np.where(right & ~upper, size - 1 - x, x), np.where(right & ~upper, size - 1 - y, y)
        x, y = np.where(upper, x, y), np.where(upper, y, x)
        half >>= 1
    return place
