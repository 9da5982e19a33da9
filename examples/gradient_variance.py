"""The variance of score-function and reparameterised gradients, against their closed forms."""

# %% [markdown]
# # Why draws are reparameterised: the variance of two gradient estimators
#
# A bound on log p(x) is an expectation over q, and training needs its gradient with respect to q's parameters.
# The smallest case has everything in closed form: the gradient of
#
#     E[x²] = θ² + 1  for  x ~ N(θ, 1),  which is 2θ.
#
# Write x = θ + ε with ε ~ N(0, 1). From one draw,
#
# - the score-function estimate is x² · ∂ log N(x; θ, 1)/∂θ = x² ε. Its second moment is
#   E[(θ² + 2θε + ε²)² ε²] = θ⁴ + (4 + 2) θ² E[ε⁴] + E[ε⁶] = θ⁴ + 18 θ² + 15, so its variance is θ⁴ + 14 θ² + 15;
# - with the baseline b = E[x²], which changes no expectation since E[ε] = 0, it is (x² - b) ε. Its second moment is
#   E[(2θε + ε² - 1)² ε²] = 12 θ² + 10, so its variance is 8 θ² + 10;
# - the reparameterised estimate is ∂(θ + ε)²/∂θ = 2x, with variance 4, whatever θ is.
#
# The script draws each many times, measures the three variances, and holds them against these polynomials.

# %%
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import picture
import torch
from torch import Tensor
from torch.distributions import Normal

from lowerbound.objectives import reparameterised_surrogate, score_function_surrogate


# %%
# Each estimate comes from a surrogate whose gradient it is. One θ per draw keeps the estimates apart: the
# gradient with respect to the i-th copy is the estimate of the i-th draw.
def score_function(q: Normal, theta: float) -> Tensor:
    return score_function_surrogate(torch.square, q)


def with_baseline(q: Normal, theta: float) -> Tensor:
    return score_function_surrogate(lambda x: x.square() - (theta**2 + 1), q)


def reparameterised(q: Normal, theta: float) -> Tensor:
    return reparameterised_surrogate(torch.square, q)


ESTIMATORS: dict[str, tuple[Callable[[Normal, float], Tensor], Callable[[float], float], str]] = {
    "score function": (score_function, lambda t: t**4 + 14 * t**2 + 15, picture.RED),
    "score function with a baseline": (with_baseline, lambda t: 8 * t**2 + 10, picture.ORANGE),
    "reparameterised": (reparameterised, lambda t: 4.0, picture.BLUE),
}


def gradients(surrogate: Callable[[Normal, float], Tensor], theta: float, draws: int) -> Tensor:
    """Return independent one-draw estimates of the gradient, (draws,)."""
    copies = torch.full((draws,), theta, dtype=torch.float64, requires_grad=True)
    surrogate(Normal(copies, 1.0), theta).sum().backward()
    assert copies.grad is not None
    return copies.grad


# %% [markdown]
# The mean and the variance of the estimates carry errors themselves. The standard error of a sample variance
# s² follows from the fourth central moment m₄: √((m₄ - s⁴) / n). The score function's estimates have heavy tails,
# so it takes many draws to measure even their variance.


# %%
def measure(surrogate: Callable[[Normal, float], Tensor], theta: float, draws: int) -> dict[str, float]:
    g = gradients(surrogate, theta, draws)
    variance = g.var().item()
    fourth = (g - g.mean()).pow(4).mean().item()
    return {
        "theta": theta,
        "mean": g.mean().item(),
        "mean_stderr": (variance / draws) ** 0.5,
        "variance": variance,
        "variance_stderr": ((fourth - variance**2) / draws) ** 0.5,
    }


def main(out: str | Path, quick: bool = False) -> dict[str, list[dict[str, float]]]:
    torch.manual_seed(0)
    draws = 50_000 if quick else 1_000_000
    thetas = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0]
    numbers: dict[str, list[dict[str, float]]] = {}
    print(f"{draws:,} draws each; the gradient is 2θ\n")
    print(f"{'estimator':32}{'θ':>4}{'mean':>19}{'variance':>20}{'closed form':>13}")
    for name, (surrogate, closed, _) in ESTIMATORS.items():
        numbers[name] = [measure(surrogate, theta, draws) | {"closed": closed(theta)} for theta in thetas]
        for row in numbers[name]:
            mean = f"{row['mean']:9.4f} ± {row['mean_stderr']:.4f}"
            variance = f"{row['variance']:9.2f} ± {row['variance_stderr']:.2f}"
            print(f"{name:32}{row['theta']:4.1f}{mean:>19}{variance:>20}{row['closed']:13.2f}")
    plot(numbers, out)
    return numbers


# %%
def plot(numbers: dict[str, list[dict[str, float]]], out: str | Path) -> None:
    figure, (left, ax) = picture.panels(1, 2, 10, 4.2)
    for name, (surrogate, _, colour) in ESTIMATORS.items():
        shown = gradients(surrogate, 2.0, 50_000).numpy()
        left.hist(shown, bins=150, range=(-6, 40), density=True, histtype="step", color=colour, label=name)
    left.axvline(4, color=picture.GREY, linestyle="--", linewidth=1, label="the gradient, 2θ")
    left.set(
        xlabel="one draw's estimate at θ = 2", ylabel="density", title="Estimates of the gradient of E[x²]"
    )
    left.set(ylim=(0, 0.3))
    left.legend(frameon=False, loc="center right")
    line = torch.linspace(0, 5, 200).tolist()
    for name, (_, closed, colour) in ESTIMATORS.items():
        rows = numbers[name]
        ax.plot(line, [closed(t) for t in line], color=colour, label=name)
        ax.errorbar(
            [row["theta"] for row in rows],
            [row["variance"] for row in rows],
            yerr=[2 * row["variance_stderr"] for row in rows],
            fmt="o",
            color=colour,
            markersize=4,
            capsize=3,
        )
    ax.set(
        yscale="log",
        ylim=(2, 2000),
        xlabel="θ",
        ylabel="variance of one draw's estimate",
        title="Variance: lines are closed forms, points measured",
    )
    ax.grid(color="#e3e5e8")
    picture.save(figure, out, "gradient_variance.png")


# %%
if __name__ == "__main__":
    picture.run(main, __doc__)
