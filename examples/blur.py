"""Why a Gaussian decoder prefers a blurred digit to a shifted one, and what σ has to do with it."""

# %% [markdown]
# # Blur, and what σ has to do with it
#
# A Gaussian decoder measures a picture by its squared distance from the decoder's mean:
#
#     log N(x; μ, σ² I) = - ||x - μ||² / (2σ²) - D log σ - D/2 log 2π.
#
# That is not how people see. Doersch's tutorial (https://arxiv.org/abs/1606.05908, figure 3) has a shifted 2, which
# is a perfectly good 2, at a larger distance from the original than a 2 with a piece missing. The first part below
# measures this on real digits; the second shows what follows for a VAE, and that σ decides how bad it gets.

# %%
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import picture
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

import lowerbound as lb
from lowerbound.report import image_grid

# %% [markdown]
# ## Part 1: a shifted 2 is far away, a blurred one is near
#
# The digits of 8 x 8 pixels are enlarged to 32 x 32 for this part and get a margin of 4 pixels, so that a shift by a
# pixel or two is a small one, and shifts nothing out of the picture.


# %%
def enlarged(images: Tensor) -> Tensor:
    """Return images (N, 1, 8, 8) as (N, 1, 40, 40)."""
    return pad(interpolate(images, scale_factor=4, mode="bicubic").clamp(0, 1), (4, 4, 4, 4))


def blurred(images: Tensor, sigma: float = 2.25) -> Tensor:
    """Return images (N, 1, H, W) after a Gaussian blur of ``sigma`` pixels."""
    reach = torch.arange(-6, 7)
    kernel = torch.exp(-0.5 * (reach / sigma).square())
    kernel = kernel / kernel.sum()
    return conv2d(images, torch.outer(kernel, kernel)[None, None], padding=6)


def shifted(images: Tensor, pixels: int) -> Tensor:
    """Return images (N, 1, H, W) moved to the right and down by so many pixels, fewer than their margin."""
    return images.roll((pixels, pixels), (-2, -1))


def log_normal(square: Tensor | float, sigma: Tensor | float, dimensions: int) -> Tensor:
    """Return log N(x; μ, σ² I) in nats from the squared distance ||x - μ||²."""
    variance = torch.as_tensor(sigma).square()
    return -0.5 * (square / variance + dimensions * torch.log(2 * math.pi * variance))


def distances(data: lb.data.Data, out: str | Path) -> dict[str, float]:
    """Compare, for every 2, a blurred, an averaged and two shifted versions of it."""
    x, _ = next(data.train.batches(len(data.train)))
    twos = enlarged(x[data.train.labels == 2])
    versions = {
        "blurred": blurred(twos),
        "average of all 2s": twos.mean(0, keepdim=True).expand_as(twos),
        "shifted by 1 pixel": shifted(twos, 1),
        "shifted by 2 pixels": shifted(twos, 2),
    }
    squares = {name: (twos - version).square().sum((1, 2, 3)) for name, version in versions.items()}
    numbers = {name: square.mean().item() for name, square in squares.items()}
    nearer = squares["blurred"] < squares["shifted by 1 pixel"]
    numbers["blurred nearer"] = nearer.double().mean().item()
    print(f"mean squared distance of {len(twos)} twos from")
    for name in versions:
        print(f"  {name:20}{numbers[name]:7.2f}")
    print(
        f"the blurred version is nearer than the shift by one pixel for {numbers['blurred nearer']:.1%} of them\n"
    )
    typical = int(squares["average of all 2s"].argmin())
    shown = {"original x": twos[typical]} | {name: version[typical] for name, version in versions.items()}
    plot_distances(shown, {name: square[typical].item() for name, square in squares.items()}, out)
    return numbers


# %% [markdown]
# σ cannot mend the order: the log-densities of a blurred version b and a shifted one s differ by
# (||x - s||² - ||x - b||²) / (2σ²), which is positive for every σ. It decides how much the difference weighs. Each
# version has its own best σ, the root mean squared error, at the peaks in the picture; far below it the density of
# both collapses, since neither is x; far above it nothing matters.


# %%
def plot_distances(images: dict[str, Tensor], squares: dict[str, float], out: str | Path) -> None:
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.7))
    for ax, (name, image) in zip(top.subplots(1, len(images)), images.items(), strict=True):
        ax.imshow(image[0].numpy(), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        distance = f"||x - μ||² = {squares[name]:.1f}" if name in squares else " "
        ax.set_title(f"{name}\n{distance}", fontsize=9.5)
    left, right = bottom.subplots(1, 2)
    sigma = torch.logspace(-2, 0.5, 300)
    dimensions = 40 * 40
    colours = (picture.BLUE, picture.PALETTE[0], picture.ORANGE, picture.RED)
    for (name, square), colour in zip(squares.items(), colours, strict=True):
        left.plot(sigma, log_normal(square, sigma, dimensions) / dimensions, color=colour, label=name)
        best = math.sqrt(square / dimensions)
        left.plot(best, log_normal(square, best, dimensions) / dimensions, "o", color=colour)
        if name.startswith("shifted"):
            gap = (square - squares["blurred"]) / (2 * sigma.square())
            right.plot(sigma, gap, color=colour, label=f"blurred - {name}")
    left.set(
        ylim=(-3, 2),
        ylabel="log N(x; μ, σ² I) / pixel, nats",
        title="Log-density of x, with μ a version of it",
    )
    right.set(yscale="log", ylabel="nats", title="Difference of log-densities: slope -2")
    for ax in (left, right):
        ax.set(xscale="log", xlabel="σ")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#e3e5e8")
        ax.legend(frameon=False, fontsize=9)
    picture.save(figure, out, "blur.png")


# %% [markdown]
# ## Part 2: σ sets what a code may cost
#
# A code pays if the squared error that it saves, divided by 2σ², is more than the KL that it costs. For a linear
# decoder the account is exact (probabilistic PCA, Tipping and Bishop, 1999): a direction is used if the data's
# variance along it, an eigenvalue λ of the covariance, exceeds σ². In units where white is 1, no λ of the digits
# exceeds 0.7. So with σ = 1, which is what training by the mean squared error means, no code pays: the KL goes to
# zero, and the mean of every sample is the average digit. The optimal σ is the root mean squared error itself, and
# needs no tuning.
#
# The price of a bad σ is plain in bits per pixel: 17 grey levels cost log₂ 17 = 4.09 bits if nothing is known at all,
# and the models with σ = 1 and 0.5 are worse than that. Their draws, as opposed to the means that papers print, show
# why.


# %%
def compare_scales(data: lb.data.Data, out: str | Path, quick: bool) -> list[dict[str, Any]]:
    """Train with σ = 1, σ = 0.5 and the optimal σ; print KL, active units and bits per pixel."""
    x, _ = next(data.train.batches(len(data.train)))
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.flatten(1).T))
    images, labels, rows = [x[:16]], ["data"], []
    print(f"largest eigenvalue λ of the digits' covariance: {eigenvalues[-1]:.2f}\n")
    print(f"{'σ':>15}{'λ > σ²':>8}{'active of 16':>14}{'KL, nats':>10}{'bits per pixel':>16}")
    for scale in (1.0, 0.5, "optimal"):
        torch.manual_seed(0)
        model = lb.VAE.for_data(data, latent=16, likelihood={"scale": scale})
        lb.fit(model, data, epochs=40 if quick else 150, progress=False, device="cpu")
        sigma = (
            scale
            if isinstance(scale, float)
            else model.likelihood_at(torch.zeros(1, 16)).stddev.mean().item()
        )
        nll = lb.evaluate.nll(model, data.test, samples=100 if quick else 1000)
        row = {
            "scale": scale,
            "sigma": sigma,
            "eigenvalues_above": int((eigenvalues > sigma**2).sum()),
            "active_units": lb.evaluate.active_units(model, data.test).count,
            "kl": lb.evaluate.bound(model, data.test).kl,
            "bits_per_dim": lb.evaluate.bits_per_dim(nll.value, data.spec),
            "spread": model.sample(500, seed=0).var(0).sum().item(),
        }
        rows.append(row)
        print(
            f"{f'{scale} = {sigma:.3f}' if scale == 'optimal' else scale:>15}{row['eigenvalues_above']:8d}"
            f"{row['active_units']:14d}{row['kl']:10.2f}{row['bits_per_dim']:16.2f}"
        )
        images += [model.sample(16, seed=0), model.sample(16, mean=False, seed=0)]
        labels += [f"scale {sigma:.2g}: mean", f"scale {sigma:.2g}: draw"]
    sheet = image_grid(torch.cat(images), columns=16, row_labels=labels)
    (Path(out) / "blur_samples.png").write_bytes(sheet)
    print(f"wrote {Path(out) / 'blur_samples.png'}")
    return rows


def main(out: str | Path, quick: bool = False) -> dict[str, Any]:
    data = lb.data.load("digits", binarize="none")
    return {"distances": distances(data, out), "scales": compare_scales(data, out, quick)}


# %%
if __name__ == "__main__":
    picture.run(main, __doc__)
