"""The whole method in two dimensions: data, codes, posteriors and bounds against exact numbers."""

# %% [markdown]
# # The whole method in two dimensions, where every number can be checked
#
# The data have a known density: a pinwheel of five Gaussians, so log p_data(x) is exact. The model has a latent of
# two dimensions, so its own log p(x) is a double integral that a fine grid does to many digits:
#
#     p(x) = ∫ p(x | z) p(z) dz.
#
# With it three things that are usually taken on trust can be looked at:
#
# - how far the evidence lower bound (ELBO) is below log p(x): by KL(q(z | x) || p(z | x)), no more and no less;
# - how the importance-weighted bound with k samples closes that gap;
# - how far the model, even evaluated exactly, is below the data's own density.

# %%
from __future__ import annotations

import math
from pathlib import Path

import picture
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

import lowerbound as lb


# %%
def pinwheel(arms: int = 5) -> MixtureSameFamily:
    """Return a mixture of ``arms`` long Gaussians around the origin, each turned against its radius."""
    angle = torch.arange(arms) * (2 * math.pi / arms)
    mean = 1.5 * torch.stack([angle.cos(), angle.sin()], -1)
    turned = angle + 0.8
    axis = torch.stack([turned.cos(), turned.sin()], -1)
    across = torch.stack([-turned.sin(), turned.cos()], -1)
    scale_tril = torch.stack([0.45 * axis, 0.12 * across], -1)
    covariance = scale_tril @ scale_tril.mT
    return MixtureSameFamily(Categorical(torch.ones(arms)), MultivariateNormal(mean, covariance))


# %% [markdown]
# ## The integral
#
# A grid over the latent, with the weight of a cell p(z) h². The prior has 10⁻⁷ of its mass outside ±5.5. The step h
# must be small against the width of the posteriors; the script repeats the sum on a coarser grid, and prints by how
# much that changes it.


# %%
def latent_grid(step: float) -> Tensor:
    """Return the nodes of a square grid over the latent, (Z, 2)."""
    side = torch.arange(-5.5, 5.5, step)
    return torch.cartesian_prod(side, side)


@torch.no_grad()
def exact(model: lb.VAE, x: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Return log p(x) and KL(q(z | x) || p(z | x)) of each x, (B,), in nats, by sums over the latent grid."""
    z = latent_grid(step)
    p_x, log_prior = model.likelihood_at(z), model.prior().log_prob(z).double()
    log_p, kl = [], []
    for each in x:
        log_joint = p_x.log_prob(each).double() + log_prior
        log_p.append(log_joint.logsumexp(0) + 2 * math.log(step))
        log_q = model.infer(each[None]).log_prob(z).double()
        kl.append((log_q.exp() * (log_q - log_joint + log_p[-1])).sum() * step**2)
    return torch.stack(log_p), torch.stack(kl)


# %% [markdown]
# ## Training and the comparison
#
# The data have the same variance in all directions, and then training with a learned σ has a trap: a model that
# ignores z, with σ as wide as the data, is stationary for any linear use of z, and the run ends there, with a KL of
# zero. So the KL's weight starts at 0.1 and rises to 1 over the first half of the run.


# %%
SAMPLES = (1, 2, 5, 10, 20, 50, 100, 500)


def main(out: str | Path, quick: bool = False) -> dict[str, float]:
    torch.manual_seed(0)
    density = pinwheel()
    data = lb.data.load(density.sample((10_000,)))
    model = lb.VAE.for_data(
        data, latent=2, network={"hidden": [64, 64]}, likelihood={"scale": "learned"}, transform="none"
    )
    warm_up = lb.objectives.ELBO(beta=lb.objectives.Linear(start=0.1, length=0.5))
    epochs = 15 if quick else 60
    lb.fit(model, data, objective=warm_up, epochs=epochs, learning_rate=4e-3, progress=False, device="cpu")

    x, _ = next(data.test.batches(100 if quick else 400))
    step = 0.04
    log_p, kl = exact(model, x, step)
    coarse, _ = exact(model, x[:50], 2 * step)
    numbers = {
        "data": density.log_prob(x).mean().item(),
        "exact": log_p.mean().item(),
        "grid_error": (coarse - log_p[:50]).abs().max().item(),
        "kl": kl.mean().item(),
    }
    # A bound is an expectation over draws: every x is taken 50 times.
    for k in SAMPLES:
        result = lb.evaluate.nll(model, x.repeat(50, 1), samples=k)
        estimates = result.per_example.reshape(50, -1).mean(1)
        numbers[f"bound_{k}"] = estimates.mean().item()
        numbers[f"bound_{k}_stderr"] = estimates.std().item() / math.sqrt(50)

    print(f"mean over {len(x)} test points, nats")
    print(f"  log density of the data     {numbers['data']:8.4f}")
    print(
        f"  exact log p(x) of the model {numbers['exact']:8.4f}   (coarser grid: {numbers['grid_error']:.0e})"
    )
    for k in SAMPLES:
        bound, stderr = numbers[f"bound_{k}"], numbers[f"bound_{k}_stderr"]
        print(
            f"  bound with k = {k:<3d}          {bound:8.4f} ± {stderr:.4f}   {numbers['exact'] - bound:.4f} below"
        )
    print(
        f"  KL(q(z | x) || p(z | x)) by quadrature: {numbers['kl']:.4f}, the gap of the bound with k = 1, the ELBO"
    )
    plot(model, density, x, numbers, out)
    return numbers


# %%
@torch.no_grad()
def plot(
    model: lb.VAE, density: MixtureSameFamily, x: Tensor, numbers: dict[str, float], out: str | Path
) -> None:
    figure, (left, right, codes, bounds) = picture.panels(2, 2, 9, 8.6)
    side = torch.linspace(-3, 3, 80)
    pixels = torch.cartesian_prod(side, side)
    ours, _ = exact(model, pixels, step=0.1)
    for ax, log_density, title in (
        (left, density.log_prob(pixels), "Density of the data, with test points"),
        (right, ours, "Density of the model, by quadrature"),
    ):
        image = log_density.exp().reshape(80, 80).T.numpy()
        ax.imshow(
            image,
            extent=(-3, 3, -3, 3),
            origin="lower",
            cmap="Greys",
            vmin=0,
            vmax=0.6,
            interpolation="bilinear",
        )
        picture.square(ax, title, 3, ("x₁", "x₂"))
    arm = (density.component_distribution.log_prob(x[:, None])).argmax(-1)
    colours = [picture.PALETTE[k] for k in arm]
    left.scatter(*x.T, s=5, c=colours)
    draw_posteriors(codes, model, x, colours)
    draw_bounds(bounds, numbers)
    picture.save(figure, out, "two_dimensions.png")


def draw_posteriors(ax: Axes, model: lb.VAE, x: Tensor, colours: list[str], shown: int = 12) -> None:
    """Draw posterior means of all x, and for some both q and the exact posterior, at two standard deviations."""
    ax.scatter(*model.encode(x).T, s=5, c=colours, alpha=0.5)
    z = latent_grid(0.04)
    width = round(math.sqrt(len(z)))
    first, second = (axis.reshape(width, width) for axis in z.T)
    for each in x[:shown]:
        q = model.infer(each[None])
        ax.add_patch(Ellipse(q.mean[0].tolist(), *(4 * q.stddev[0]).tolist(), fill=False, linestyle="--"))
        log_joint = model.likelihood_at(z).log_prob(each) + model.prior().log_prob(z)
        # Where a Gaussian's density has fallen by exp(-2), there are its two standard deviations.
        level = [log_joint.max().item() - 2]
        ax.contour(
            first,
            second,
            log_joint.reshape(width, width),
            level,
            colors="black",
            linestyles="solid",
            linewidths=1,
        )
    for style, name in (("--", "q(z | x)"), ("-", "p(z | x), exact")):
        ax.plot([], [], style, color="black", linewidth=1, label=name)
    ax.legend(frameon=False, loc="upper right", bbox_to_anchor=(1.02, 1.02))
    picture.square(ax, "Codes of the test points, and posteriors", 3.3, ("z₁", "z₂"))


def draw_bounds(ax: Axes, numbers: dict[str, float]) -> None:
    """Draw the bounds against the number of samples, between the exact values that they may not pass."""
    ax.errorbar(
        SAMPLES,
        [numbers[f"bound_{k}"] for k in SAMPLES],
        yerr=[2 * numbers[f"bound_{k}_stderr"] for k in SAMPLES],
        fmt="o-",
        color=picture.BLUE,
        markersize=4,
        capsize=3,
        label="bound with k samples",
    )
    ax.axhline(numbers["exact"], color=picture.RED, label="log p(x) of the model, exact")
    ax.axhline(numbers["data"], color=picture.GREY, linestyle="--", label="log density of the data")
    ax.set(xscale="log", xlabel="importance samples k", ylabel="mean over test points, nats", title="Bounds")
    ax.grid(color="#e3e5e8")
    ax.legend(frameon=False, loc="center right")


# %%
if __name__ == "__main__":
    picture.run(main, __doc__)
