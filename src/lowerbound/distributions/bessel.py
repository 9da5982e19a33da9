r"""The modified Bessel function of the first kind, of any order, as torch has it for the orders 0 and 1.

Far up in the order Debye's expansion is exact to the last digits; from there ratios of neighbours come down by

.. math:: \frac{I_{n+1}(x)}{I_n(x)} = \left[\frac{2 (n + 1)}{x} + \frac{I_{n+2}(x)}{I_{n+1}(x)}\right]^{-1}

in which errors only shrink.

Reference:
    Handbook of mathematical functions (Abramowitz and Stegun, 1964), equations 9.7.7 and 9.6.26
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

_HIGH = 60  # order from which the expansion is used


def _debye(terms: int) -> list[list[float]]:
    """Return the coefficients of u_k(t), k = 0..terms, lowest power first (equation 9.3.10)."""
    u = [Fraction(1)]
    found = [u]
    for _ in range(terms):
        new = [Fraction(0)] * (len(u) + 3)
        for n, c in enumerate(u):
            if n:  # ½ t² (1 − t²) u'
                new[n + 1] += Fraction(n, 2) * c
                new[n + 3] -= Fraction(n, 2) * c
            # ⅛ ∫ (1 − 5 t²) u
            new[n + 1] += c / (8 * (n + 1))
            new[n + 3] -= 5 * c / (8 * (n + 3))
        u = new
        found.append(u)
    return [[float(c) for c in u] for u in found]


_U = _debye(6)


def _far_up(order: float, x: Tensor) -> Tensor:
    """Return log I of a large order."""
    z = x / order
    root = (1 + z.square()).sqrt()
    t = 1 / root
    series = sum(
        sum(c * t**n for n, c in enumerate(u) if c) / order**k  # pyright: ignore[reportOperatorIssue]
        for k, u in enumerate(_U)
    )
    eta = root + (z / (1 + root)).log()
    return order * eta - 0.5 * math.log(2 * math.pi * order) - 0.5 * root.log() + torch.log(series)  # pyright: ignore


def log_bessel_i(order: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return log I(x) of an order and of the next one.

    Args:
        order: At least 0.
        x: Positive numbers in float64.
    """
    up = max(0, math.ceil(_HIGH - order))
    high = order + up
    log_i = _far_up(high, x)
    log_ratio = _far_up(high + 1, x) - log_i
    for n in range(up - 1, -1, -1):
        log_ratio = -torch.log(2 * (order + n + 1) / x + log_ratio.exp())
        log_i = log_i - log_ratio
    return log_i, log_i + log_ratio
