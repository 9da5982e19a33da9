"""How estimates of log p(x) with draws from the prior fail as the latent grows."""

# %% [markdown]
# # Why log p(x) is not estimated with draws from the prior
#
# p(x) = E_{p(z)}[p(x | z)], so an average of p(x | z) over draws from the prior is unbiased for p(x). It fails all
# the same as the latent grows: hardly a draw lands where the posterior p(z | x) has its mass. About exp(KL) draws
# are needed, with KL = KL(p(z | x) || p(z)) (Chatterjee and Diaconis, 2018, https://arxiv.org/abs/1511.01437).
# Importance sampling draws from q(z | x) and needs about exp(KL(p(z | x) || q(z | x))).
#
# To measure errors, the truth must be known. Here is a model where it is: z ~ N(0, I) with L dimensions and
# x = W z + σ ε, where the columns of W are orthonormal. Then
#
#     p(x) = N(0, W Wᵀ + σ² I),    p(z | x) = N(Wᵀ x / (1 + σ²), σ² / (1 + σ²) I),
#
# and every further latent dimension adds ½ log(1 + 1/σ²) nats to the KL, on average over x.
#
# A trained encoder is never exact, so q gets standard deviations that are a = 1.3 times too large. Then its effective
# sample size has a closed form too: the share (√(2a² - 1) / a²)^L of the draws. Where that leaves only a few dozen,
# the measured effective sample size flatters: the draws that would have shown how uneven the weights are have not
# come up.

# %%
from __future__ import annotations

import math
from pathlib import Path

import picture
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

import lowerbound as lb

SIGMA = 0.5
WIDER = 1.3
POSTERIOR_SCALE = math.sqrt(SIGMA**2 / (1 + SIGMA**2))
NATS_PER_DIMENSION = 0.5 * math.log(1 + 1 / SIGMA**2)
SHARE_PER_DIMENSION = math.sqrt(2 * WIDER**2 - 1) / WIDER**2


# %%
# A posterior is a module that makes a distribution of the encoder's output, so this one takes six lines.
class FixedScale(lb.posteriors.Posterior):
    """q(z | x) = N(encoder(x), scale² I)."""

    def __init__(self, latent: int, scale: float) -> None:
        super().__init__(latent, (latent,))
        self.scale = scale

    def forward(self, h: Tensor) -> Distribution:
        return Independent(Normal(h, self.scale), 1)


def exact_model(latent: int, dimensions: int) -> tuple[lb.VAE, Distribution]:
    """Return the model and its exact p(x)."""
    w = torch.linalg.qr(torch.randn(dimensions, latent)).Q
    encoder, decoder = nn.Linear(dimensions, latent, bias=False), nn.Linear(latent, dimensions, bias=False)
    with torch.no_grad():
        encoder.weight.copy_(w.T / (1 + SIGMA**2))
        decoder.weight.copy_(w)
    model = lb.VAE(
        encoder=encoder,
        posterior=FixedScale(latent, WIDER * POSTERIOR_SCALE),
        prior=lb.priors.StandardNormal(latent),
        decoder=nn.Sequential(decoder, nn.Unflatten(-1, (1, dimensions))),
        likelihood=lb.likelihoods.Gaussian(dimensions, scale=SIGMA),
    )
    covariance = w @ w.T + SIGMA**2 * torch.eye(dimensions)
    return model, MultivariateNormal(torch.zeros(dimensions), covariance)


# %% [markdown]
# The data come from the model itself, so that it fits them perfectly and only the estimator is on trial. Both
# estimators get the same number of draws. `evaluate.nll` returns with each estimate its effective sample size:
# how many equally weighted draws would be worth as much.


# %%
def main(out: str | Path, quick: bool = False) -> list[dict[str, float]]:
    torch.manual_seed(0)
    samples, examples = 1000, 100 if quick else 500
    rows = []
    print(f"{samples} draws per example, {examples} examples, errors in nats\n")
    print(f"{'latent':>6}{'log p(x)':>10}{'naive error':>20}{'ESS':>7}{'importance error':>20}{'ESS':>7}")
    for latent in (1, 2, 4, 8, 16, 32) if quick else (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64):
        model, exact = exact_model(latent, dimensions=64)
        x = exact.sample((examples,))
        log_p = exact.log_prob(x)
        row: dict[str, float] = {"latent": latent, "log_p": log_p.mean().item()}
        for name, proposal in (("naive", "prior"), ("importance", "posterior")):
            result = lb.evaluate.nll(model, x, samples=samples, proposal=proposal)
            error = result.per_example - log_p
            row[f"{name}_error"] = error.mean().item()
            row[f"{name}_stderr"] = error.std().item() / math.sqrt(examples)
            row[f"{name}_ess"] = result.ess_median
        rows.append(row)
        naive, importance = (
            f"{row[f'{name}_error']:+.4f} ± {row[f'{name}_stderr']:.4f}" for name in ("naive", "importance")
        )
        print(
            f"{latent:6d}{row['log_p']:10.2f}{naive:>20}{row['naive_ess']:7.1f}"
            f"{importance:>20}{row['importance_ess']:7.1f}"
        )
    plot(rows, samples, out)
    return rows


# %%
def plot(rows: list[dict[str, float]], samples: int, out: str | Path) -> None:
    figure, (left, right) = picture.panels(1, 2, 9.5, 3.8)
    latents = [row["latent"] for row in rows]
    for name, label, colour in (
        ("naive", "naive: z from the prior", picture.RED),
        ("importance", "importance sampling: z from q(z | x)", picture.BLUE),
    ):
        errors = [row[f"{name}_error"] for row in rows]
        bars = [2 * row[f"{name}_stderr"] for row in rows]
        left.errorbar(
            latents, errors, yerr=bars, fmt="o-", color=colour, markersize=4, capsize=3, label=label
        )
        right.plot(
            latents, [row[f"{name}_ess"] for row in rows], "o-", color=colour, markersize=4, label=label
        )
    line = torch.arange(latents[-1] + 1)
    (closed,) = right.plot(
        line, samples * SHARE_PER_DIMENSION**line, ":", color="black", label="closed form, many draws"
    )
    limit = math.log(samples) / NATS_PER_DIMENSION
    for ax in (left, right):
        ax.axvline(limit, color=picture.GREY, linestyle="--", linewidth=1, label=f"exp(KL) = {samples} draws")
        ax.set(xlabel="latent dimensions")
        ax.grid(color="#e3e5e8")
    left.set(ylabel="error of log p(x), nats", title="Error of the estimate, mean over examples")
    right.set(
        ylabel="effective sample size",
        yscale="log",
        ylim=(0.8, 1.3 * samples),
        title=f"Worth of {samples} draws",
    )
    left.legend(frameon=False)
    right.legend(handles=[closed], frameon=False, loc="upper right")
    picture.save(figure, out, "naive_estimator.png")


# %%
if __name__ == "__main__":
    picture.run(main, __doc__)
