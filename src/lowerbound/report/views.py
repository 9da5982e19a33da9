"""What is worth seeing of a model: each picture with a caption that says exactly what it shows.

All come from the validation split, and from draws of one seed: the same model gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from ..data import Data
from ..distributions import kl_per_dimension
from ..model import VAE
from ..shapes import draws, numel
from . import charts
from .grids import image_grid, tile_size, value_range

ACTIVE = 0.01
"""Mean KL in nats above which a latent dimension counts as used."""

_MOST_CODES = 5000  # in the latent map,
_MOST_VALUES = 2**25  # as long as so many numbers hold them
_MOST_ROWS = 1000  # of a table
_MOST_COLUMNS = 4
_SHEET_WIDTH = 800  # pixels, about


@dataclass(frozen=True)
class View:
    """One picture.

    Attributes:
        name: Of its file, without the ending.
        png: The picture.
        alt: What it is, in a few words, for those who do not see it.
        caption: What it shows and how it was made.
        chart: A chart on white, which may be inverted for a dark screen; images may not.
        narrow: Draws the same for a narrow screen, where it differs.
    """

    name: str
    png: bytes
    alt: str
    caption: str
    chart: bool = False
    narrow: Callable[[], bytes] | None = None


def views(
    model: VAE,
    data: Data,
    history: Sequence[Mapping[str, Any]],
    numbers: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> list[View]:
    """Return the pictures that apply to this model and these data, in the order of reading.

    The model's mode and torch's global generator are left as they were.

    Args:
        model: The model.
        data: The data it was trained on.
        history: Records of ``metrics.jsonl``; may be empty.
        numbers: What an evaluation gave, for its KL per dimension; validation examples give it otherwise.
        seed: Of all draws, and of the choice of examples.
    """
    with torch.no_grad(), model._evaluating():
        examples = Examples(model, data, seed)
        parts = [_curves(history)]
        if data.spec.kind == "image":
            parts += [_samples(examples), _reconstructions(examples), _interpolations(examples)]
        else:
            parts += [_table_samples(examples), _table_reconstructions(examples)]
        parts.append(_latent_map(examples))
        if data.spec.kind == "image":
            parts.append(_latent_grid(examples))
        parts.append(_kl(examples, numbers or {}))
        return [view for view in parts if view is not None]


class Examples:
    """Validation examples in an order given by the seed, with their posteriors.

    Args:
        model: The model, in evaluation mode.
        data: The data.
        seed: Of the order and of the binarisation or dequantisation.
    """

    def __init__(self, model: VAE, data: Data, seed: int) -> None:
        self.model, self.spec, self.seed = model, data.spec, seed
        split = data.valid
        most = min(_MOST_CODES, max(200, _MOST_VALUES // self.spec.dimensions))
        order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:most]
        with draws(split.rows.device, seed):
            x, labels = split.batch(order.to(split.rows.device))
        self.x = model._accept(x)
        self.labels = None if labels is None else labels.cpu().numpy()
        q = [model.infer(part) for part in self.x.split(250)]
        self.means = torch.cat([part.mean for part in q])
        p = model.prior()
        kl = [kl_per_dimension(part, p) for part in q]
        whole = [part for part in kl if part is not None]
        # (L,) in nats, or None if the posterior does not factorise.
        self.kl = torch.cat(whole).mean(0).flatten().cpu().double().numpy() if len(whole) == len(q) else None
        self.latent = numel(model.latent_shape)
        self.low, self.high = value_range(self.x, self.spec)

    def shown(self, x: Tensor) -> Tensor:
        """Return observations (N, C, H, W) as images in [0, 1] of one or three channels."""
        return (x[:, :3] - self.low) / (self.high - self.low)

    def tiles(self) -> int:
        """Return how many tiles stand in one row of a sheet."""
        return min(12, max(4, _SHEET_WIDTH // (tile_size(*self.spec.event_shape[1:])[1] + 2)))

    @property
    def scale_note(self) -> str:
        """How values became grey levels, where it does not go without saying."""
        notes = []
        if self.spec.values == "categorical":
            notes.append(f"Class numbers 0 to {self.high:g} are shown as black to white.")
        elif self.spec.values == "real":
            notes.append(f"Values from {self.low:.3g} to {self.high:.3g} are shown as black to white.")
        if self.spec.event_shape[0] > 3:
            notes.append(
                f"The first three of {self.spec.event_shape[0]} channels are shown as red, green and blue."
            )
        return " ".join(["", *notes])

    @property
    def point(self) -> str:
        """What the decoder's picture shows of p(x | z)."""
        return {"binary": "means p(x = 1 | z)", "categorical": "most probable classes of p(x | z)"}.get(
            self.spec.values, "means of p(x | z)"
        )

    def kind(self, one: bool = False) -> str:
        """Return what a validation example is called."""
        drawn = "" if self.spec.binarize == "none" else "binarised "
        return f"{drawn}validation image{'' if one else 's'}"


def _samples(examples: Examples) -> View:
    side = examples.tiles()
    n = side * min(side, 8)
    x = examples.model.sample(n, seed=examples.seed)
    return View(
        "samples",
        image_grid(examples.shown(x), side),
        f"{n} images drawn from the model",
        f"{n} draws from the model, not selected: {examples.point}, with z from the prior p(z); "
        f"seed {examples.seed}.{examples.scale_note}",
    )


def _reconstructions(examples: Examples) -> View:
    columns = min(examples.tiles(), len(examples.x))
    x = examples.x[: columns * min(4, len(examples.x) // columns)]  # whole rows
    originals, decoded = (part.unflatten(0, (-1, columns)) for part in (x, examples.model.reconstruct(x)))
    pairs = torch.stack([originals, decoded], 1).flatten(0, 2)
    return View(
        "reconstructions",
        image_grid(examples.shown(pairs), columns, row_labels=("data", "model"), group=2),
        f"{len(x)} validation images above their reconstructions",
        f"{len(x)} {examples.kind()} (data), and below each its reconstruction (model): {examples.point} at the mean "
        f"z of q(z | x); seed {examples.seed} chose the images.{examples.scale_note}",
    )


def _interpolations(examples: Examples) -> View | None:
    rows = min(8, len(examples.x) // 2)
    if not rows:
        return None
    a, b = examples.x[:rows], examples.x[rows : 2 * rows]
    path = examples.model.interpolate(a, b, examples.tiles() - 2)
    sheet = torch.cat([a[None], path, b[None]]).transpose(0, 1)
    return View(
        "interpolations",
        image_grid(examples.shown(sheet.flatten(0, 1)), sheet.shape[1]),
        f"{rows} rows of images that change from one validation image to another",
        f"Each row goes from one {examples.kind(one=True)} to another. The first and the last column are the images "
        f"themselves; between them are {examples.point} at {len(path)} codes on the way from one mean of q(z | x) to "
        f"the other, both included, by spherical interpolation; seed {examples.seed} chose the images."
        f"{examples.scale_note}",
    )


def _latent_map(examples: Examples) -> View | None:
    means = examples.means.flatten(1).cpu().double().numpy()
    prior = None
    if examples.latent <= 2:
        points, axes = means, ["z₁", "z₂"]
        what = "Means of q(z | x)"
        if examples.latent == 2:
            p = examples.model.prior()
            prior = p.mean.flatten().cpu().numpy(), p.stddev.flatten().cpu().numpy()
    elif len(means) < 3:
        return None
    else:
        with np.errstate(
            invalid="ignore"
        ):  # of a collapsed posterior all means are equal, and the shares 0 / 0
            pca = PCA(2, svd_solver="full").fit(means)
        points, shares = pca.transform(means), np.nan_to_num(pca.explained_variance_ratio_)
        axes = [
            f"{order} principal component ({share:.0%})"
            for order, share in zip(("first", "second"), shares, strict=True)
        ]
        what = (
            f"Means of q(z | x) in {examples.latent} dimensions, projected on their first two principal components, "
            f"which hold {shares.sum():.0%} of their variance"
        )
    classes = examples.spec.classes or ()
    if examples.labels is None:
        colour = "The data have no labels."
    elif len(classes) > charts.MOST_CLASSES:
        colour = f"The {len(classes)} classes are too many to be told apart by colour."
    else:
        colour = (
            f"Colour{' and shape' if examples.latent > 1 else ''}: the class, which the model does not see."
        )
    circles = "" if prior is None else " Dotted: 1, 2 and 3 standard deviations of the prior."
    return View(
        "latent",
        charts.latent_map(points, axes, examples.labels, classes, prior),
        f"Map of the latent codes of {len(points)} validation examples",
        f"{what}, for {len(points)} validation examples. {colour}{circles}",
        chart=True,
    )


def _latent_grid(examples: Examples) -> View:
    model, latent = examples.model, examples.latent
    n = examples.tiles()
    p = model.prior()
    center, scale = p.mean.flatten(), p.stddev.flatten()
    quantiles = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).to(center)
    if latent == 1:
        z = center + scale * quantiles[:, None]
        where = "z from left to right"
    else:
        first, second, chosen = _plane(examples)
        z = center.repeat(n, n, 1)
        z[..., first] = center[first] + scale[first] * quantiles[None, :]
        z[..., second] = center[second] + scale[second] * quantiles.flip(0)[:, None]
        where = (
            f"z{_subscript(first + 1)} from left to right and z{_subscript(second + 1)} from bottom to top"
        )
        if latent > 2:
            where += (
                f"; these are {chosen} of the {latent} dimensions, and the others are at the prior's mean"
            )
    x = model.decode(z.reshape(-1, *model.latent_shape))
    return View(
        "latent_grid",
        image_grid(examples.shown(x), n),
        f"Images decoded from a regular grid of {len(x)} latent codes",
        f"{examples.point[0].upper()}{examples.point[1:]} at the {n} mid-quantiles of the prior, "
        f"{0.5 / n:.1%} to {1 - 0.5 / n:.1%}: {where}.{examples.scale_note}",
    )


def _plane(examples: Examples) -> tuple[int, int, str]:
    """Return the two latent dimensions that say most of x, and how they were chosen."""
    if examples.latent == 2:
        return 0, 1, ""
    if examples.kl is not None:
        activity, chosen = examples.kl, "the two with the largest KL"
    else:
        activity = examples.means.flatten(1).var(0).cpu().numpy()
        chosen = "the two with the largest variance of the means of q(z | x)"
    first, second = np.argsort(-activity, kind="stable")[:2]
    return int(first), int(second), chosen


def _subscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _table(examples: Examples) -> tuple[np.ndarray, list[str], np.ndarray, bool]:
    """Return the rows shown (N, d), the names of the columns shown, their limits (d, 2), and if all are whole."""
    spec = examples.spec
    d = min(_MOST_COLUMNS, spec.event_shape[0])
    names = list(spec.columns[:d]) if spec.columns else [f"x{_subscript(k + 1)}" for k in range(d)]
    rows = examples.x[:_MOST_ROWS, :d].cpu().double().numpy()
    whole = spec.values in ("binary", "categorical")
    low, high = rows.min(0), rows.max(0)
    if whole:
        low, high = np.zeros(d), np.full(d, (spec.categories or 2) - 1.0)
    margin = 0.5 if whole else np.where(high > low, 0.12 * (high - low), 0.5)
    return rows, names, np.stack([low - margin, high + margin], 1), whole


def _first_columns(examples: Examples, names: Sequence[str]) -> str:
    total = examples.spec.event_shape[0]
    return "all columns" if len(names) == total else f"the first {len(names)} of {total} columns"


def _table_samples(examples: Examples) -> View:
    rows, names, limits, whole = _table(examples)
    x = examples.model.sample(len(rows), mean=False, seed=examples.seed)
    samples = x[:, : len(names)].cpu().double().numpy()
    outside = ((samples < limits[:, 0]) | (samples > limits[:, 1])).any(1).mean()
    note = f" {outside:.1%} of the draws lie outside the panels." if outside else ""
    return View(
        "samples",
        charts.table_samples(rows, samples, names, limits, whole),
        f"Histograms and scatter plots of the data and of draws from the model: {', '.join(names)}",
        f"{len(rows)} validation examples (data) and {len(samples)} draws of z from p(z) and then of x from p(x | z) "
        f"(model), {_first_columns(examples, names)} in the units of the data; seed {examples.seed}.{note}",
        chart=True,
    )


def _table_reconstructions(examples: Examples) -> View:
    rows, names, limits, whole = _table(examples)
    x = examples.model.reconstruct(examples.x[: len(rows)])[:, : len(names)].cpu().double().numpy()
    draw = partial(charts.table_reconstructions, rows, x, names, limits, whole)
    return View(
        "reconstructions",
        draw(),
        f"Reconstructions against data: {', '.join(names)}",
        f"{len(rows)} validation examples: {examples.point} at the mean z of q(z | x) against the data, "
        f"{_first_columns(examples, names)} in the units of the data. On the dotted line the two agree.",
        chart=True,
        narrow=partial(draw, columns=2),
    )


def _curves(history: Sequence[Mapping[str, Any]]) -> View | None:
    if not history:
        return None
    return View(
        "curves",
        charts.curves(history),
        "Bound, reconstruction, KL and learning rate against epochs",
        "Nats per example; a higher bound is better. Training: the objective's own bound, mean over the steps since "
        "the evaluation before. Validation: the importance-weighted bound, of the averaged weights where averaging "
        "is on; the dot marks its best value.",
        chart=True,
        narrow=partial(charts.curves, history, columns=1),
    )


def _kl(examples: Examples, numbers: Mapping[str, Any]) -> View | None:
    if numbers.get("kl_per_dimension") is not None:
        kl = np.asarray(numbers["kl_per_dimension"], dtype=float).ravel()
        of = f"{numbers.get('n', 'the')} {numbers.get('split') or 'evaluated'} examples"
    elif examples.kl is not None:
        kl, of = examples.kl, f"{len(examples.x)} validation examples"
    else:
        return None
    return View(
        "kl",
        charts.kl_bars(kl, ACTIVE),
        f"Bar chart of the KL of {len(kl)} latent dimensions",
        f"KL(q(z | x) ‖ p(z)) of each latent dimension, mean over {of}, largest first; together {kl.sum():.2f} nats. "
        f"{int((kl > ACTIVE).sum())} of {len(kl)} dimensions exceed {ACTIVE} nats.",
        chart=True,
    )
