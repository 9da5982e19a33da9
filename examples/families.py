"""A picture for each family of models, in seconds each: what docs/models shows.

python examples/families.py [--out DIR] [--only priors --only bounds ...]
"""

# %% [markdown]
# # The families of models, a picture each
#
# Small networks on the 8 x 8 digits, or data made here, so that all pictures take about a minute. Each function below
# is one picture, and `--only` asks for it by name; the page of its name in docs/models says what it shows.

# %%
from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import picture
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor, nn

import lowerbound as lb
from lowerbound.presets import preset

CLASSES = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#879795", "#832db6"),
    *("#a96b59", "#e76300", "#a3924a", "#717581", "#4fb3b8"),
)
SQUARED: dict[str, Any] = {"type": "gaussian", "scale": 0.2}


def trained(data: lb.data.Data, name: str, epochs: int, **slots: Any) -> lb.VAE:
    """Return a model of a preset after some passes over the data; ``slots`` are other choices."""
    chosen = {"network": {"type": "mlp", "hidden": [64, 64]}, **preset(name), **slots}
    objective = chosen.pop("objective", None)
    settings = {"learning_rate": 5e-3, "batch_size": 100} | chosen.pop("training", {})
    chosen.pop("data", None)
    torch.manual_seed(0)
    model = lb.VAE.for_data(data, **chosen)
    lb.fit(model, data, objective=objective, epochs=epochs, progress=False, seed=0, **settings)
    return model.eval()


def codes(model: lb.VAE, split: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the posterior means of a part of the digits, (N, L), and the digits."""
    found = lb.evaluate.posterior_means(model, split, progress=False)
    return found.mean.numpy(), found.labels.numpy()


def scatter(ax: Axes, z: np.ndarray, labels: np.ndarray) -> None:
    """Draw codes (N, 2) in the colours of their classes."""
    for k in np.unique(labels):
        at = z[labels == k]
        ax.plot(at[:, 0], at[:, 1], ".", color=CLASSES[int(k)], markersize=3, label=str(k))


def density(ax: Axes, log_density: Any, limits: Sequence[float], **style: Any) -> None:
    """Draw contours of a density, given its logarithm at points (N, 2), that hold 95, 75, 50 and 25 % of it."""
    x, y = np.linspace(*limits[:2], 160), np.linspace(*limits[2:], 160)
    points = torch.as_tensor(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2), dtype=torch.float32)
    with torch.no_grad():
        p = log_density(points).double().exp().reshape(160, 160).numpy()
    order = np.sort(p.ravel())[::-1]
    held = order.cumsum() / order.sum()
    levels = sorted({order[np.searchsorted(held, share)] for share in (0.25, 0.5, 0.75, 0.95)})
    ax.contour(x, y, p, levels, **({"colors": picture.GREY, "linewidths": 0.9} | style))


def sheet(ax: Axes, images: Tensor, columns: int, title: str) -> None:
    """Show images (N, 1, H, W), with values from 0 to 1, as a sheet."""
    framed = nn.functional.pad(images.detach().clamp(0, 1), (0, 1, 0, 1), value=0.35)
    tiles = framed[:, 0].unflatten(0, (-1, columns))
    ax.imshow(tiles.transpose(1, 2).flatten(2).flatten(0, 1)[:-1, :-1].numpy(), cmap="gray", vmin=0, vmax=1)
    ax.set_title(title, fontsize=10)
    ax.axis("off")


def bare(ax: Axes, title: str) -> None:
    """Leave an axis its title alone."""
    ax.set_title(title, fontsize=10)
    ax.set(xticks=[], yticks=[], aspect="equal")


def digits(**options: Any) -> lb.data.Data:
    """Return the digits, with grey levels if told ``binarize="none"``."""
    return lb.data.load("digits", **options)


# %% [markdown]
# ## Priors: the same digits, the codes of the same network, and contours of what codes are expected to be


# %%
def priors(epochs: int = 40) -> Figure:
    figure, axes = picture.panels(1, 3, 9, 3.3)
    data = digits()
    names = {"vae": "N(0, I)", "vamp": "VampPrior", "flow-prior": "flow"}
    for ax, (name, title) in zip(axes, names.items(), strict=True):
        model = trained(data, name, epochs, latent=2)
        z, labels = codes(model, data.train)
        low, high = z.min(0) - (room := 0.25 * np.ptp(z, axis=0)), z.max(0) + room
        view = model.under(None)
        density(ax, lambda p, v=view: v.log_prior(p.unsqueeze(1))[:, 0], (low[0], high[0], low[1], high[1]))
        scatter(ax, z, labels)
        bare(ax, title)
        ax.set_aspect("auto")
    return figure


# %% [markdown]
# ## Posteriors and bounds: a decoder whose posterior is known
#
# x = z₂ + z₁² + 0.3 ε. Of one x the posterior lies along a parabola; the model has this decoder and learns q alone.


# %%
class Parabola(nn.Module):
    """The mean of x, (B, 1, 1), of codes (B, 2)."""

    def forward(self, z: Tensor) -> Tensor:
        return (z[:, 1:] + z[:, :1].square()).unsqueeze(1)


def bent(posterior: lb.posteriors.Posterior, objective: Any, epochs: int) -> lb.VAE:
    """Return the model with the decoder above whose q was trained."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2000, 2, generator=generator)
    x = Parabola()(z)[:, 0] + 0.3 * torch.randn(2000, 1, generator=generator)
    torch.manual_seed(0)
    model = lb.VAE(
        lb.nn.MLP((1,), posterior.input_shape, hidden=(64, 64)),
        posterior,
        lb.priors.StandardNormal(2),
        Parabola(),
        lb.likelihoods.Gaussian(1, scale=0.3),
    )
    data = lb.data.load(x.numpy())
    settings = {"epochs": epochs, "learning_rate": 5e-3, "batch_size": 200, "keep": "last"}
    lb.fit(model, data, objective=objective, progress=False, seed=0, **settings)
    return model.eval()


def against_truth(axes: Sequence[Axes], models: dict[str, lb.VAE], at: float = 2.0) -> None:
    """Draw the posterior of one x, and every model's approximation to it."""
    limits, x = (-2.6, 2.6, -2.5, 3.5), torch.tensor([[at]])
    for ax, (title, model) in zip(axes, models.items(), strict=True):
        view = model.under(None)
        with torch.no_grad():
            evidence = view.evidence(x)
            gap = _log_evidence(at) - model(x, None, 4000).log_weight.mean().item()

        def log_q(p: Tensor, view: Any = view, evidence: Any = evidence) -> Tensor:
            return view.along(evidence, p.unsqueeze(1)).log_q[:, 0]

        density(ax, lambda p: _log_joint(p, at), limits)
        density(ax, log_q, limits, colors=picture.BLUE, linewidths=1.3)
        bare(ax, f"{title}: gap {gap:.2f} nats")


def _log_joint(z: Tensor, at: float) -> Tensor:
    """Return log p(x, z), (N,), of codes (N, 2) in nats."""
    normal = torch.distributions.Normal
    return normal(0.0, 1.0).log_prob(z).sum(1) + normal(Parabola()(z)[:, 0, 0], 0.3).log_prob(
        torch.tensor(at)
    )


def _log_evidence(at: float) -> float:
    """Return log p(x) by a sum over a fine grid."""
    side = torch.arange(-6, 6, 0.02)
    return _log_joint(torch.cartesian_prod(side, side), at).logsumexp(0).item() + 2 * math.log(0.02)


def posteriors(epochs: int = 60) -> Figure:
    figure, axes = picture.panels(1, 3, 9, 3.4)
    q = lb.posteriors
    families = {
        "diagonal Gaussian": q.DiagonalGaussian(2),
        "full covariance": q.FullCovarianceGaussian(2),
        "coupling flow": q.Coupling(2),
    }
    against_truth(axes, {name: bent(one, "elbo", epochs) for name, one in families.items()})
    return figure


def bounds(epochs: int = 60) -> Figure:
    figure, axes = picture.panels(1, 3, 9, 3.4)
    objectives: dict[str, Any] = {
        "ELBO": "elbo",
        "Rényi, α = ½": {"type": "renyi", "alpha": 0.5, "samples": 16},
        "IWAE, K = 16": {"type": "importance_weighted", "samples": 16, "gradient": "dreg"},
    }
    q = lb.posteriors.DiagonalGaussian
    against_truth(axes, {name: bent(q(2), one, epochs) for name, one in objectives.items()})
    return figure


# %% [markdown]
# ## Likelihoods: what the draws of x look like where the family of p(x | z) is wrong, and where it is right


# %%
def likelihoods(epochs: int = 25) -> Figure:
    figure, axes = picture.panels(1, 3, 9, 2.9)
    rng = np.random.default_rng(0)
    heavy = rng.standard_t(2, 3000)
    counts = rng.poisson(rng.gamma(0.8, 5, 3000)) * (rng.random(3000) > 0.3)
    angles = rng.vonmises(0, 2, 3000) % (2 * np.pi) - np.pi  # around the seam
    cases: list[tuple[str, np.ndarray, dict[str, Any], np.ndarray]] = [
        ("heavy tails", heavy, {"gaussian": {}, "student_t": {}}, np.linspace(-10, 10, 61)),
        (
            "counts",
            counts,
            {"poisson": {"library": "none"}, "negative_binomial": {"library": "none", "zero_inflated": True}},
            np.arange(-0.5, 30),
        ),
        ("angles", angles, {"gaussian": {}, "von_mises": {}}, np.linspace(-4.5, 4.5, 61)),
    ]
    for ax, (title, x, families, edges) in zip(axes, cases, strict=True):
        kind = "count" if title == "counts" else "real"
        data = lb.data.load(x.reshape(-1, 1).astype(np.float32), values=kind)
        ax.hist(x, edges, density=True, color="#d9dce0", label="data")
        for color, (name, options) in zip((picture.ORANGE, picture.BLUE), families.items(), strict=True):
            chosen = {"likelihood": {"type": name, **options}, "network": {"type": "mlp", "hidden": []}}
            if name != "gaussian":
                chosen["transform"] = "none"
            model = trained(data, "vae", epochs, latent=1, **chosen)
            drawn = model.sample(20000, mean=False, seed=0).flatten().numpy()
            ax.hist(drawn, edges, density=True, histtype="step", color=color, label=name, linewidth=1.3)
        ax.set_title(title, fontsize=10)
        ax.set_yticks([])
        ax.legend(fontsize=7, frameon=False)
    return figure


# %% [markdown]
# ## Autoencoders: what decodes well need not be where the prior draws; a mixture fitted afterwards is


# %%
def autoencoders(epochs: int = 60) -> Figure:
    figure, axes = picture.panels(1, 3, 9, 3.1)
    data = digits(binarize="none")
    model = trained(data, "rae-l2", epochs, latent=8, network={"type": "mlp", "hidden": [128, 128]})
    after = lb.ex_post(model, data, {"type": "gaussian_mixture", "components": 20}, steps=500)
    x = next(data.test.batches(64))[0]
    with torch.no_grad():
        sheet(axes[0], model.reconstruct(x), 8, "reconstructions")
        sheet(axes[1], model.sample(64, seed=0), 8, "z from N(0, I)")
        sheet(axes[2], after.sample(64, seed=0), 8, "z from a mixture, fitted ex post")
    return figure


# %% [markdown]
# ## Codes drawn to the prior as a whole


# %%
def aggregate(epochs: int = 40) -> Figure:
    figure, axes = picture.panels(1, 3, 9, 3.3)
    data = digits(binarize="none")
    for ax, name in zip(axes, ("ae", "wae-mmd", "aae"), strict=True):
        model = trained(data, name, epochs, latent=2)
        z, labels = codes(model, data.train)
        scatter(ax, z, labels)
        for radius in (1, 2, 3):
            ax.add_patch(Circle((0, 0), radius, fill=False, color=picture.GREY, linewidth=0.8))
        bare(ax, name)
        ax.set_xlim(-(limit := max(3.2, np.abs(z).max() * 1.05)), limit)
        ax.set_ylim(-limit, limit)
    return figure


# %% [markdown]
# ## Discrete codes: every code there is, decoded


# %%
def discrete(epochs: int = 60) -> Figure:
    figure, axes = picture.panels(1, 3, 9, 3.2)
    data = digits(binarize="none")
    book = trained(
        data, "vq-vae", epochs, latent=2, prior={"type": "codebook", "codes": 25}, **{"likelihood": SQUARED}
    )
    lattice = trained(
        data,
        "fsq-vae",
        epochs,
        latent=2,
        posterior={"type": "fsq", "steps": [5, 5]},
        prior={"type": "lattice", "steps": [5, 5]},
        likelihood=SQUARED,
    )
    rows = book.prior.rows(0)  # pyright: ignore
    with torch.no_grad():
        e, _ = codes(book, data.train)
        used = np.unique(e.round(4), axis=0, return_counts=True)[1]
        sheet(axes[0], book.decode(rows), 5, f"VQ: 25 rows of a book, {len(used)} in use")
        sheet(axes[1], lattice.decode(lattice.prior.points), 5, "FSQ: the 5 x 5 points of a lattice")  # pyright: ignore
        x = next(data.test.batches(64))[0][:5]
        seen = [x, book.reconstruct(x), lattice.reconstruct(x)]
        sheet(axes[2], torch.cat(seen), 5, "digits, by VQ, by FSQ")
    return figure


# %% [markdown]
# ## Codes on a sphere and in hyperbolic space


# %%
def curved(epochs: int = 40) -> Figure:
    figure, axes = picture.panels(1, 3, 9, 3.3)
    data = digits(binarize="none")
    sphere = trained(data, "svae", epochs, latent=3, likelihood=SQUARED)
    z, labels = codes(sphere, data.train)
    for ax, side, title in ((axes[0], 1, "sphere, one half"), (axes[1], -1, "sphere, the other half")):
        near = side * z[:, 2] > 0
        # Equal areas: the distance from the pole is √(2 (1 − |z₃|)).
        wide = np.sqrt(2 / (1 + np.abs(z[near, 2])))[:, None]
        scatter(ax, z[near, :2] * wide, labels[near])
        ax.add_patch(Circle((0, 0), math.sqrt(2), fill=False, color=picture.GREY))
        bare(ax, title)
    ball = trained(data, "poincare-vae", epochs, latent=2, likelihood=SQUARED)
    z, labels = codes(ball, data.train)
    scatter(axes[2], z, labels)
    axes[2].add_patch(Circle((0, 0), 1, fill=False, color=picture.GREY))
    bare(axes[2], "Poincaré disc")
    for ax, limit in zip(axes, (1.5, 1.5, 1.05), strict=True):
        ax.set_xlim(-limit, limit)
        ax.set_ylim(-limit, limit)
        ax.axis("off")
    return figure


# %% [markdown]
# ## Disentangling: discs of which column, row and size are known


# %%
def discs() -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 1, 12, 12) of zeros and ones, and their factors (N, 3): column, row, size."""
    grid, places = np.arange(12) + 0.5, np.linspace(3, 9, 8)
    factors = np.array([(c, r, s) for c in range(8) for r in range(8) for s in range(4)])
    far = np.hypot(
        grid[None, None, :] - places[factors[:, 0], None, None],
        grid[None, :, None] - places[factors[:, 1], None, None],
    )
    radius = np.array([1.5, 2.0, 2.5, 3.0])[factors[:, 2], None, None]
    return (far <= radius)[:, None].astype(np.uint8), factors


def disentangling(epochs: int = 150) -> Figure:
    figure, axes = picture.panels(1, 2, 9, 1.9)
    x, factors = discs()
    data = lb.data.load(x)
    for ax, name in zip(axes, ("vae", "beta-tcvae"), strict=True):
        model = trained(data, name, epochs, latent=4)
        means = lb.evaluate.posterior_means(model, x, progress=False).mean
        mig = lb.evaluate.disentanglement(means, factors).mig
        rows = means.var(0).argsort(descending=True)[:3]
        z = means.mean(0).repeat(len(rows), 9, 1)
        for row, j in enumerate(rows):
            z[row, :, j] = torch.linspace(-2, 2, 9)
        with torch.no_grad():
            sheet(ax, model.decode(z.flatten(0, 1)), 9, f"{name}: MIG {mig:.2f}")
    return figure


# A family more is a function above, a row here, and a page of its name in docs/models.
FAMILIES = {
    one.__name__: one
    for one in (
        *(priors, posteriors, bounds, likelihoods, autoencoders, aggregate, discrete, curved),
        disentangling,
    )
}


# %%
def main(out: str | Path = "out", only: Sequence[str] = (), **options: int) -> list[Path]:
    """Write the pictures of these families, or of all."""
    for name in only or FAMILIES:
        picture.save(FAMILIES[name](**options), out, f"family_{name}.png")
    return [Path(out) / f"family_{name}.png" for name in only or FAMILIES]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # pyright: ignore
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--only", action="append", default=[], choices=FAMILIES)
    arguments = parser.parse_args()
    main(arguments.out, arguments.only)
