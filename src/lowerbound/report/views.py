"""What is worth seeing of a model: each picture with a caption that says exactly what it shows.

All come from the validation split, and from draws of one seed: the same model gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torch.distributions import Normal

from ..conditions import Label, Vector
from ..data import Data
from ..errors import ConfigError
from ..evaluation import column_log_probs
from ..model import VAE
from ..shapes import draws, numel
from ..training.checkpoint import seed_for
from ..using import place
from . import charts, tables
from .grids import image_grid, tile_size, value_range

ACTIVE = 0.01
"""Mean KL in nats above which a latent dimension counts as used."""

_MOST_CODES = 5000  # in the latent map,
_MOST_VALUES = 2**25  # as long as so many numbers hold them
_MOST_ROWS = 2000  # of a table
_ROWS_OF_EACH = 200  # of a class
_MOST_PANELS = 24
_MOST_CELLS = 2**22
_SETS = (5, 40)  # of draws, to tell what chance makes: of many rows, and of few
_MOST_RELATED = 100  # columns in associations,
_MOST_NAMES = 30  # with names up to so many
_LEAST_DRAWS = 1000
_MOST_COUNTED = 20_000  # examples, for the empty cells
_ODD, _ODD_CELLS, _ODD_SAMPLES = 10, 3, 20
_SHEET_WIDTH = 800  # pixels, about
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of a number that is conditioned on
_MEAN_DRAWS = 200
_MOST_TRAVERSALS = 8
_PRIOR_DRAWS = 4000  # of which a prior's quantiles are taken where it has none in closed form
# Streams of their own beside that of z: from one, all would be the same numbers.
_ORDER, _NOISE, _PLACES = 1, 2, 3


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
        lead: What it comes to, in a sentence before the picture.
        table: Rows of words, the head first, in place of a picture.
    """

    name: str
    png: bytes
    alt: str
    caption: str
    chart: bool = False
    narrow: Callable[[], bytes] | None = None
    lead: str = ""
    table: Sequence[Sequence[str]] = ()


def views(
    model: VAE,
    data: Data,
    history: Sequence[Mapping[str, Any]],
    numbers: Mapping[str, Any] | None = None,
    seed: int = 0,
    page: bool = True,
) -> list[View]:
    """Return the pictures that apply to this model and these data, in the order of reading.

    The model's mode and torch's global generator are left as they were.

    Args:
        model: The model.
        data: The data it was trained on.
        history: Records of ``metrics.jsonl``; may be empty.
        numbers: What an evaluation gave, for its KL per dimension; validation examples give it otherwise.
        seed: Of all draws, and of the choice of examples.
        page: With what is no picture.
    """
    with torch.no_grad(), model.evaluating():
        examples = Examples(model, data, seed)
        write = notation(model)
        kl, of = _kl_of(examples, numbers or {})
        curves = _curves(history, write)
        if data.spec.kind == "image":
            parts = [_samples(examples), curves, _conditions(examples), _conversions(examples)]
            parts += [_completions(examples), _reconstructions(examples), _interpolations(examples)]
        else:
            table = Table(examples)
            parts = [_table_samples(table), curves, _table_conditions(table), _correlations(table)]
            parts += [
                _table_reconstructions(table),
                _missing(table, data),
                _odd(table, data) if page else None,
            ]
        parts.append(_latent_map(examples))
        if data.spec.kind == "image":
            parts += [_latent_grid(examples), _traversals(examples, kl)]
        parts.append(_dimensions(examples, kl, of))
        return [replace(view, caption=write(view.caption)) for view in parts if view is not None]


def notation(model: VAE) -> Callable[[str], str]:
    """Return what writes the condition c into a text's formulas, p(x | z) as p(x | z, c), if the model has one."""
    if model.condition is None:
        return str
    alone = () if model.prior.context else ("z",)

    def given_c(formula: re.Match[str]) -> str:
        family, inside = formula.groups()
        return formula[0] if inside in alone else f"{family}({inside}{',' if '|' in inside else ' |'} c)"

    return partial(re.sub, r"\b([pq])\(([^()]*)\)", given_c)


class Rows(NamedTuple):
    """One entry of the condition at several values, the others as the first example has them.

    Attributes:
        entry: Name of the entry.
        what: What the values are, in words.
        names: What each is called.
        c: The condition, (K, ...) each.
    """

    entry: str
    what: str
    names: list[str]
    c: dict[str, Tensor]


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
        order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed_for(seed, _ORDER)))[
            :most
        ]
        with draws(split.rows.device, seed_for(seed, _NOISE)):
            x, c = split.batch(order.to(split.rows.device))
        self.x, self.order = model.accept(x), order
        self.c = model.read(c, len(x))
        self._label(None if split.labels is None else split.labels.cpu()[order])
        parts = torch.arange(len(x)).split(250)
        views = [model.under(self.given(part)) for part in parts]
        seen = [
            view.evidence(view.to_model(self.x[part])[0]) for view, part in zip(views, parts, strict=True)
        ]
        middle = [v.middle(e, len(i)) for v, e, i in zip(views, seen, parts, strict=True)]
        self.means = torch.cat([model.prior.join(draw.z)[0] for draw in middle])
        self.one_prior = not views[0].prior().batch_shape
        kl = [draw.kl_per_dimension() for draw in middle]
        whole = [part for part in kl if part is not None]
        # (L,) in nats, or None if the posterior does not factorise.
        self.kl = torch.cat(whole).mean(0).flatten().cpu().double().numpy() if len(whole) == len(kl) else None
        self.latent = numel(model.latent_shape)
        self.low, self.high = value_range(self.x, self.spec)

    @property
    def spread(self) -> np.ndarray:
        """Variance of the posterior's means in each dimension, (L,)."""
        return self.means.flatten(1).double().var(0).cpu().numpy()

    def _label(self, labels: Tensor | None) -> None:
        """Note the classes of the data's labels or else of the condition's only one, and if the model sees them."""
        classes = self.spec.classes or ()
        told = {entry.name for entry in self.spec.conditions or () if entry.kind == "label"}
        self.told = labels is None or "label" in told
        if labels is None and self.c is not None and len(told) == 1:
            name, label = self.model.label
            labels, classes = self.c[name].cpu(), label.classes
        if labels is not None and (labels < 0).any():
            labels, classes = labels.where(labels >= 0, len(classes)), (*classes, "no label")
        self.labels = None if labels is None else labels.numpy()
        self.classes = classes

    def given(self, index: Any) -> dict[str, Tensor] | None:
        """Return the condition of the examples at an index."""
        return None if self.c is None else {name: value[index] for name, value in self.c.items()}

    def first(self, *without: str) -> str:
        """Return what the first example's condition is, in words, but for some entries."""
        words: list[str] = []
        condition = self.model.condition
        if condition is None or self.c is None:
            return ""
        for name, entry in condition.items():
            if name in without:
                continue
            value = self.c[name][:1]
            if not entry.known(value):
                words.append(f"{name} missing")
            elif isinstance(entry, Label):
                words.append(f"{name} = {entry.classes[int(value)]}")
            elif isinstance(entry, Vector) and value.numel() <= 4:
                words.append(f"{name} = {', '.join(f'{number:.6g}' for number in value[0].tolist())}")
            else:
                words.append("its observed values" if name == condition.observed else f"its {name}")
        return ", ".join(words)

    def rows(self) -> Rows | None:
        """Return the classes of the first label, or else quantiles of the first number, to show side by side."""
        entries = [] if self.model.condition is None else self.model.condition.items()
        labels = [] if self.model.condition is None else self.model.condition.labels
        numbers = [(n, e) for n, e in entries if isinstance(e, Vector) and e.event_shape == (1,)]
        for name, entry in (labels or numbers)[:1]:
            assert self.c is not None
            if isinstance(entry, Label):
                seen = entry.seen
                values = torch.tensor(seen[: charts.MOST_CLASSES], device=self.x.device)
                what = f"classes of {name}"
                if len(values) < len(seen):
                    what += f" (the first {len(values)} of {len(seen)})"
                names = [entry.classes[k] for k in values.tolist()]
            else:
                known = self.c[name][entry.known(self.c[name])]
                if not len(known):
                    continue
                shares = known.new_tensor(_QUANTILES)
                values = known.quantile(shares, dim=0, interpolation="nearest").unique(dim=0)
                percent = ", ".join(f"{share:.0%}" for share in _QUANTILES)
                what = f"values of {name}, its {percent} quantiles in the validation split"
                names = [f"{name} = {value:.6g}" for value in values[:, 0].tolist()]
            c = {key: value[:1].expand(len(values), *value.shape[1:]) for key, value in self.c.items()}
            return Rows(name, what, names, {**c, name: values})
        return None

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
        point = {"binary": "means p(x = 1 | z)", "categorical": "most probable classes of p(x | z)"}.get(
            self.spec.values, "means of p(x | z)"
        )
        if self.spec.values == "mixed":
            point = "medians of numbers and most probable categories of p(x | z)"
        return point + self.where

    @property
    def where(self) -> str:
        """Where x is the model's own."""
        observed = self.model.condition is not None and self.model.condition.observed is not None
        return " where x is missing" if observed else ""

    def kind(self, one: bool = False) -> str:
        """Return what a validation example is called."""
        drawn = "" if self.spec.binarize == "none" else "binarised "
        return f"{drawn}validation image{'' if one else 's'}"


def _samples(examples: Examples) -> View:
    side = examples.tiles()
    n = side * min(side, 8)
    x = examples.model.sample(n, examples.given(torch.arange(n) % len(examples.x)), seed=examples.seed)
    under = (
        "" if examples.c is None else f" under the conditions of {min(n, len(examples.x))} validation images"
    )
    return View(
        "samples",
        image_grid(examples.shown(x), side),
        f"{n} images drawn from the model",
        f"{n} draws from the model{under}, not selected: {examples.point}, with z from the prior p(z); "
        f"seed {examples.seed}.{examples.scale_note}",
    )


def _conditions(examples: Examples) -> View | None:
    rows = examples.rows()
    if rows is None:
        return None
    columns = examples.tiles()
    c = {name: value.repeat_interleave(columns, 0) for name, value in rows.c.items()}
    x = examples.model.sample(len(rows.names) * columns, c, seed=examples.seed)
    return View(
        "conditions",
        image_grid(examples.shown(x), columns, row_labels=rows.names),
        f"{len(x)} images drawn from the model, a row for each of {', '.join(rows.names)}",
        f"{columns} draws from the model in each row, not selected: {examples.point}, with z from the prior p(z). "
        f"The rows are {rows.what}{_others(examples, rows)}; seed {examples.seed}.{examples.scale_note}",
    )


def _others(examples: Examples, rows: Rows) -> str:
    """Return how the rest of the condition was set."""
    rest = examples.first(rows.entry)
    return f"; the rest of the condition is that of one validation example: {rest}" if rest else ""


def _conversions(examples: Examples) -> View | None:
    model, rows = examples.model, examples.rows()
    try:
        name, _ = model.label
    except ConfigError:
        return None
    x, c = examples.x[:8], examples.given(slice(8))
    if rows is None or (model.prior.context and place(model.under(c)) is None):
        return None
    versions = [model.convert(x, c, {**(c or {}), name: k}) for k in rows.c[name]]
    sheet = torch.stack([x, *versions], 1)
    return View(
        "conversions",
        image_grid(examples.shown(sheet.flatten(0, 1)), sheet.shape[1], column_labels=("data", *rows.names)),
        f"{len(x)} validation images, each decoded under {', '.join(rows.names)}",
        f"{len(x)} {examples.kind()} (data), and right of each what it would be under other {rows.what}: "
        f"{examples.point}, with z the mean of q(z | x) under the image's own condition"
        f"{'' if examples.one_prior else ', moved to the same place in the prior p(z)'}"
        f"{'; the rest of the condition stays its own' if len(c or ()) > 1 else ''}; seed {examples.seed} chose the "
        f"images.{examples.scale_note}",
    )


def _completions(examples: Examples) -> View | None:
    model, n = examples.model, min(8, len(examples.x))
    name = None if model.condition is None else model.condition.observed
    c = examples.given(slice(n))
    if name is None or c is None:
        return None
    mask = c.pop(name)[:, 1]
    x = examples.x[:n]
    grey = x.new_full((), (examples.low + examples.high) / 2)
    columns = [x, torch.where(mask > 0, x, grey)]
    names = ["data", "observed"]
    ask = partial(model.complete, x, mask, c=c or None, mean=True, seed=examples.seed)
    many = max(10, min(_MEAN_DRAWS, _MOST_VALUES // x.numel()))
    if examples.spec.values != "categorical":
        columns.append(ask(many).x.mean(0))
        names.append("mean")
    draws = ask(max(4, examples.tiles() - len(columns))).x
    sheet = torch.stack([*columns, *draws], 1)
    mean = f"the mean of {many} completions, and " if "mean" in names else ""
    return View(
        "completions",
        image_grid(examples.shown(sheet.flatten(0, 1)), sheet.shape[1], column_labels=(*names, "draws")),
        f"{n} validation images, their observed parts and completions",
        f"{n} {examples.kind()} (data), what the model is conditioned on (observed, the missing part in grey), {mean}"
        f"{len(draws)} single completions (draws), not selected: {examples.point}, with z from the "
        f"prior p(z); seed {examples.seed} chose the images, the masks and z.{examples.scale_note}",
    )


def _reconstructions(examples: Examples) -> View:
    columns = min(examples.tiles(), len(examples.x))
    x = examples.x[: columns * min(4, len(examples.x) // columns)]  # whole rows
    originals, decoded = (
        part.unflatten(0, (-1, columns))
        for part in (x, examples.model.reconstruct(x, examples.given(slice(len(x)))))
    )
    pairs = torch.stack([originals, decoded], 1).flatten(0, 2)
    return View(
        "reconstructions",
        image_grid(examples.shown(pairs), columns, row_labels=("data", "model"), group=2),
        f"{len(x)} validation images above their reconstructions",
        f"{len(x)} {examples.kind()} (data), and below each its reconstruction (model): {examples.point} at the mean "
        f"z of q(z | x); seed {examples.seed} chose the images.{examples.scale_note}",
    )


def _interpolations(examples: Examples) -> View | None:
    start, end, alike = _pairs(examples)
    if not len(start):
        return None
    a, b, c = examples.x[start], examples.x[end], examples.given(start)
    path = examples.model.interpolate(a, b, examples.tiles() - 2, c=c)
    sheet = torch.cat([a[None], path, b[None]]).transpose(0, 1)
    to = f"another of the same {alike[0]}" if alike else "another"
    shared = len(c or ()) == len(alike)
    under = (
        "" if shared else " Both ends are encoded, and the path is decoded, under the condition of the first."
    )
    return View(
        "interpolations",
        image_grid(examples.shown(sheet.flatten(0, 1)), sheet.shape[1]),
        f"{len(a)} rows of images that change from one validation image to another",
        f"Each row goes from one {examples.kind(one=True)} to {to}. The first and the last column are the images "
        f"themselves; between them are {examples.point} at {len(path)} codes on the path from one mean of q(z | x) "
        f"to the other, both included, by spherical interpolation; seed {examples.seed} chose the images."
        f"{under}{examples.scale_note}",
    )


def _pairs(examples: Examples) -> tuple[Tensor, Tensor, list[str]]:
    """Return where interpolations start and end, and the entry of the condition that both have in common, if any."""
    try:
        name, _ = examples.model.label
    except ConfigError:
        rows = min(8, len(examples.x) // 2)
        return torch.arange(rows), torch.arange(rows, 2 * rows), []
    assert examples.c is not None
    labels = examples.c[name].cpu()
    found = [(labels == k).nonzero().flatten()[:2] for k in labels.unique() if k >= 0]
    pairs = [pair for pair in found if len(pair) == 2][:8]
    start, end = torch.stack(pairs, 1) if pairs else torch.zeros(2, 0, dtype=torch.long)
    return start, end, [name]


def _latent_map(examples: Examples) -> View | None:
    means = examples.means.flatten(1).cpu().double().numpy()
    prior = None
    if examples.latent <= 2:
        points, axes = means, ["z₁", "z₂"]
        what = "Means of q(z | x)"
        if examples.latent == 2 and examples.one_prior:
            found = place(examples.model.under(examples.given(slice(1))))
            prior = found and (found[0].flatten().cpu().numpy(), found[1].flatten().cpu().numpy())
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
    classes = examples.classes
    if examples.labels is None:
        colour = "The data have no labels."
    elif len(classes) > charts.MOST_CLASSES:
        colour = f"The {len(classes)} classes are too many to be told apart by colour."
    else:
        seen = "is conditioned on" if examples.told else "does not see"
        colour = f"Colour{' and shape' if examples.latent > 1 else ''}: the class, which the model {seen}."
    circles = "" if prior is None else " Dotted: 1, 2 and 3 standard deviations of the prior."
    return View(
        "latent",
        # Codes of a model that is told the class lie where they do whatever it is.
        charts.latent_map(points, axes, examples.labels, classes, prior, words=not examples.told),
        f"Map of the latent codes of {len(points)} validation examples",
        f"{what}, for {len(points)} validation examples. {colour}{circles}",
        chart=True,
    )


def _latent_grid(examples: Examples) -> View | None:
    """Return images decoded from a regular grid over one or two latent dimensions."""
    model, n = examples.model, examples.tiles()
    c = examples.given(slice(1))
    found = _quantiles(examples)
    if found is None or examples.latent > 2:
        return None
    if examples.latent == 1:
        z, where = found, "z from left to right"
    else:
        z = torch.stack([found[:, 0].repeat(n), found[:, 1].flip(0).repeat_interleave(n)], 1)
        where = "z₁ from left to right and z₂ from bottom to top"
    x = model.decode(z.reshape(-1, *model.latent_shape), c)
    under = "" if c is None else f" All under the condition of one validation image: {examples.first()}."
    return View(
        "latent_grid",
        image_grid(examples.shown(x), n),
        f"Images decoded from a regular grid of {len(x)} latent codes",
        f"{examples.point[0].upper()}{examples.point[1:]} at the {n} mid-quantiles of the prior, "
        f"{0.5 / n:.1%} to {1 - 0.5 / n:.1%}: {where}.{under}{examples.scale_note}",
    )


def _traversals(examples: Examples, kl: np.ndarray | None) -> View | None:
    """Return a row of decoded images for each of the latent dimensions that say most, moved alone."""
    model, n = examples.model, examples.tiles()
    found = _quantiles(examples)
    if found is None or examples.latent <= 2:
        return None
    by = "KL" if kl is not None else "variance of the means of q(z | x)"
    activity = examples.spread if kl is None else kl
    chosen = np.argsort(-activity, kind="stable")[:_MOST_TRAVERSALS]
    z = examples.means[:1].flatten(1).repeat(len(chosen), n, 1)
    for row, k in enumerate(chosen):
        z[row, :, k] = found[:, k]
    x = model.decode(z.reshape(-1, *model.latent_shape), examples.given(slice(1)))
    return View(
        "traversals",
        image_grid(examples.shown(x), n, row_labels=[f"z{k + 1}" for k in chosen]),
        f"{len(chosen)} rows of images, in each of which one latent dimension changes",
        f"Latent traversals of one {examples.kind(one=True)}: {examples.point}, where z is the mean of its q(z | x) "
        f"but for one dimension in each row, which goes through the {n} mid-quantiles of the prior, {0.5 / n:.1%} to "
        f"{1 - 0.5 / n:.1%}. The rows are the {len(chosen)} of {examples.latent} dimensions of largest {by}, the "
        f"largest first; seed {examples.seed} chose the image.{examples.scale_note}",
    )


def _quantiles(examples: Examples) -> Tensor | None:
    """Return mid-quantiles of the prior in each dimension (n, L), one for each tile of a row; None without any."""
    n = examples.tiles()
    view = examples.model.under(examples.given(slice(1)))
    places = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    if isinstance(getattr(view.prior(), "base_dist", None), Normal) and (found := place(view)) is not None:
        center, scale = (part.flatten() for part in found)
        return center + scale * torch.special.ndtri(places).to(center)[:, None]
    if not examples.model.prior.is_one_real_level:
        return None
    with draws(examples.x.device, seed_for(examples.seed, _PLACES)):
        z = view.generate(_PRIOR_DRAWS).z[0].flatten(2)[:, 0]
    return torch.quantile(z, places.to(z), dim=0)


class Table:
    """A table's validation examples and draws from the model, once for all its pictures.

    Args:
        examples: The examples.
    """

    def __init__(self, examples: Examples) -> None:
        self.examples, self.columns = examples, tables.columns_of(examples.spec)
        n = min(len(examples.x), _MOST_ROWS, max(200, _MOST_CELLS // len(self.columns)))
        self.x = examples.x[:n].cpu().double().numpy()
        sets_of = int(np.clip(_LEAST_DRAWS // n, *_SETS))
        count = max(sets_of * n, _LEAST_DRAWS)
        given = examples.given(torch.arange(count) % n)
        drawn = examples.model.sample(count, given, mean=False, seed=examples.seed)
        self.draws = drawn.cpu().double().numpy()
        # Parts of the draws with as many rows and the same empty cells as the data: what chance alone makes.
        empty = np.isnan(self.x)
        sets = [np.where(empty, np.nan, self.draws[k * n : (k + 1) * n]) for k in range(sets_of)]
        self.distance = tables.distances(self.columns, self.x, sets[0])
        self.chance = [tables.distances(self.columns, a, b) for a, b in pairwise(sets)]
        order = np.argsort(-np.nan_to_num(self.distance, nan=-1.0), kind="stable")
        self.chosen, self.related = np.sort(order[:_MOST_PANELS]), np.sort(order[:_MOST_RELATED])
        level = tables.levels([self.columns[k] for k in self.related], self.x[:, self.related])
        self.data, self.model, *more = (
            tables.association(part[:, self.related], level) for part in (self.x, *sets)
        )
        self.pairs = _mean(np.abs(self.data - self.model)[np.triu_indices(len(self.related), 1)])
        self.pairs_by_chance = [
            _mean(np.abs(a - b)[np.triu_indices(len(self.related), 1)])
            for a, b in pairwise([self.model, *more])
        ]

    def panels(self, parts: Sequence[np.ndarray], guide: np.ndarray) -> list[tables.Panel]:
        """Return what is drawn of the columns shown."""
        return [
            tables.panel(self.columns[k], [part[:, k] for part in parts], guide[:, k]) for k in self.chosen
        ]

    def which(self, shown: np.ndarray | None = None) -> str:
        """Return which columns are shown and by what rule, in words."""
        shown = self.chosen if shown is None else shown
        left = [column.name for k, column in enumerate(self.columns) if k not in set(shown)]
        if not left:
            return "all columns"
        names = ", ".join(charts.brief(name) for name in left[:_MOST_NAMES])
        more = f" and {len(left) - _MOST_NAMES} more" if len(left) > _MOST_NAMES else ""
        return (
            f"those {len(shown)} of {len(self.columns)} columns whose draws differ most from the data (left out, as "
            f"they differ less: {names}{more})"
        )

    def verdict(self) -> str:
        """Return in a few sentences whether the model's tables are like the data's."""
        off, chance = _mean(self.distance), [_mean(part) for part in self.chance]
        text = f"On average distributions differ by {off:.2f} ({_span(chance)} by chance)"
        if len(self.columns) > 1 and off > 0:
            worst = int(np.nanargmax(self.distance))
            text += f", most that of {charts.brief(self.columns[worst].name)}: {self.distance[worst]:.2f}"
        like = [_is_like(off, chance)]
        if not np.isnan(self.pairs):
            like.append(_is_like(self.pairs, self.pairs_by_chance))
            text += (
                f"; associations of two columns by {self.pairs:.2f} ({_span(self.pairs_by_chance)} by chance)"
            )
        lead = {
            (True,): "The columns are like the data's",
            (False,): "The columns are not like the data's",
            (True, True): "The columns, and how they go together, are like the data's",
            (True, False): "The columns are like the data's; how they go together is not",
            (False, True): "The columns are not like the data's, but they go together as the data's do",
            (False, False): "The columns are not like the data's, nor do they go together as the data's do",
        }[tuple(like)]
        return f"{lead}, as far as {len(self.x)} rows tell. {text}."


def _mean(numbers: np.ndarray) -> float:
    known = numbers[~np.isnan(numbers)]
    return float(known.mean()) if len(known) else float("nan")


def _span(chance: Sequence[float]) -> str:
    ends = f"{min(chance):.2f}", f"{max(chance):.2f}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _is_like(off: float, chance: Sequence[float]) -> bool:
    return not off > max(1.25 * max(chance), max(chance) + 0.01)


def _table_samples(table: Table) -> View:
    examples = table.examples
    draw = partial(charts.panels, ("data", "model"), table.panels((table.x, table.draws), table.x))
    under = "" if examples.c is None else f"{examples.where} under the conditions of these examples"
    return View(
        "samples",
        draw(),
        f"Columns of the data and of draws from the model: {_names(table)}",
        f"{len(table.x)} validation examples (data) and {len(table.draws)} draws of z from p(z) and then of x from "
        f"p(x | z){under} (model): {table.which()}; seed {examples.seed}. An axis ends where 0.5% of the data lie "
        "beyond if it would else hide the rest, and a value that stands alone has bars as high as its share. "
        "Distributions differ by the largest difference of the distribution functions of a number (Kolmogorov and "
        "Smirnov) or half the sum of the differences of a category's shares; by chance, as two sets of draws of "
        f"the data's size, of {len(table.chance) + 1} sets. Like: by no more than a quarter more than by chance, or "
        "0.01.",
        chart=True,
        narrow=partial(draw, side=2),
        lead=table.verdict(),
    )


def _names(table: Table) -> str:
    return ", ".join(table.columns[k].name for k in table.chosen)


def _table_conditions(table: Table) -> View | None:
    examples, rows = table.examples, table.examples.rows()
    if rows is None or len(rows.names) > len(charts.PALETTE):
        return None
    each = _ROWS_OF_EACH
    c = {name: value.repeat_interleave(each, 0) for name, value in rows.c.items()}
    x = examples.model.sample(each * len(rows.names), c, mean=False, seed=examples.seed).cpu().double()
    draw = partial(
        charts.panels,
        rows.names,
        table.panels(list(x.unflatten(0, (-1, each)).numpy()), x.numpy()),
        charts.PALETTE,
    )
    return View(
        "conditions",
        draw(),
        f"Columns of draws from the model under {', '.join(rows.names)}: {_names(table)}",
        f"{each} draws of z from p(z) and then of x from p(x | z) in each colour: {table.which()}. The colours are "
        f"{rows.what}{_others(examples, rows)}; seed {examples.seed}.",
        chart=True,
        narrow=partial(draw, side=2),
    )


def _table_reconstructions(table: Table) -> View:
    examples, part = table.examples, slice(len(table.x))
    x = examples.model.reconstruct(examples.x[part], examples.given(part)).cpu().double().numpy()
    columns = []
    for k, shown in zip(table.chosen, table.panels((table.x,), table.x), strict=True):
        known = ~np.isnan(table.x[:, k])
        # Of bits the mean is the probability of a one.
        if not shown.column.is_number:
            x[:, k] = np.round(x[:, k])
        columns.append((shown, *(tables.values_of(shown.column, whole[known, k]) for whole in (table.x, x))))
    draw = partial(charts.reconstructions, columns)
    return View(
        "reconstructions",
        draw(),
        f"Reconstructions against data: {_names(table)}",
        f"{len(x)} validation examples: {examples.point} at the mean z of q(z | x) against the data, "
        f"{table.which()}. Of numbers, on the dotted line the two agree, and 0.5% of the data may lie beyond each "
        "end; of bars, the share of the data's cells that are reproduced.",
        chart=True,
        narrow=partial(draw, side=2),
    )


def _correlations(table: Table) -> View | None:
    if np.isnan(table.pairs):
        return None
    data, model = table.data, table.model
    names = [table.columns[k].name for k in table.related]
    n, d = len(table.x), len(names)
    maps = {"data": data, "model": model, "model − data": model - data}
    draw = partial(charts.heat_maps, maps, names if d <= _MOST_NAMES else [])
    unnamed = "" if d <= _MOST_NAMES else " The names of so many columns are not written."
    return View(
        "correlations",
        draw(side=3 if d <= 12 or d > _MOST_NAMES else 2),
        f"Three heat maps: associations of {d} columns in the data, in draws from the model, and their difference",
        f"How much two columns say of each other, from 0 to 1, in {n} validation examples, in as many draws from the "
        "model, and the difference: of two numbers the absolute value of Spearman's rank correlation, of two "
        "categories Cramér's V, of a number and a category the correlation ratio of the ranks; "
        f"{table.which(table.related)}. The mean absolute difference of all pairs is {table.pairs:.3f}; of two sets "
        f"of draws of this size {_span(table.pairs_by_chance)}.{unnamed}",
        chart=True,
        narrow=partial(draw, side=1),
    )


def _missing(table: Table, data: Data) -> View | None:
    total, empty = 0, np.zeros(len(table.columns))
    for x, _ in data.train.batches(1000, limit=_MOST_COUNTED):
        total, empty = total + len(x), empty + x.isnan().sum(0).cpu().numpy()
    if not empty.any():
        return None
    order = np.argsort(-empty, kind="stable")[:_MOST_PANELS]
    order = order[empty[order] > 0]
    left = int((empty > 0).sum()) - len(order)
    rest = f"; {left} more columns have fewer" if left else ""
    return View(
        "missing",
        charts.bars([table.columns[k].name for k in order], list(empty[order] / total)),
        f"Share of empty cells: {', '.join(f'{table.columns[k].name} {empty[k] / total:.1%}' for k in order)}",
        f"Share of the cells that are empty in {total} training examples, in each column that has some, largest first"
        f"{rest}; {empty.sum() / total / len(empty):.1%} of all cells. Draws from the model have none.",
        chart=True,
    )


def _odd(table: Table, data: Data) -> View | None:
    examples = table.examples
    log_p = (
        examples.model.log_prob(examples.x, examples.c, _ODD_SAMPLES, seed=examples.seed)
        .cpu()
        .double()
        .numpy()
    )
    rows = np.argsort(log_p, kind="stable")[:_ODD]
    each = column_log_probs(examples.model, data.valid.select(examples.order.numpy()), seed=examples.seed)
    cells: list[list[str]] = [[] for _ in rows]
    if each is not None:
        of = each.double().numpy()
        for words, row, columns in zip(cells, rows, tables.odd_columns(of, rows, _ODD_CELLS), strict=True):
            for k in columns[~np.isnan(of[row, columns])]:
                value = charts.brief(tables.cell(table.columns[k], float(examples.x[row, k])), 40)
                words.append(f"{table.columns[k].name} = {value} ({of[row, k]:.1f})")
    head = ("Row", "log p(x)", *(["Odd cells, log p(cell | z)"] if each is not None else []))
    start = 0 if data.whole else len(data.train)
    places = examples.order.numpy() + start
    places = places if data.order is None or data.whole else data.order[places]
    body = [
        (f"{places[row]}", f"{log_p[row]:.1f}", *(["; ".join(words)] if each is not None else []))
        for row, words in zip(rows, cells, strict=True)
    ]
    cells_are = (
        f" Odd cells: those {_ODD_CELLS} whose log-density given z, in nats, is furthest below the column's mean, "
        "the furthest first; z from q(z | x)."
        if each is not None
        else ""
    )
    return View(
        "odd",
        b"",
        "",
        f"The {len(rows)} of {len(log_p)} validation examples that the model holds for least probable, by their row "
        f"in the source, counted from 0: log p(x) in nats, median of all {np.median(log_p):.1f}, estimated with "
        f"{_ODD_SAMPLES} importance samples from q(z | x), so not exact.{cells_are}",
        table=(head, *body),
    )


def _curves(history: Sequence[Mapping[str, Any]], write: Callable[[str], str]) -> View | None:
    if not history:
        return None
    draw = partial(charts.curves, history, write=write)
    return View(
        "curves",
        draw(),
        "Bound, reconstruction, KL and learning rate against epochs",
        "Nats per example; a higher bound is better. Training: the objective's own bound, mean over the steps since "
        "the evaluation before. Validation: the importance-weighted bound, of the averaged weights where averaging "
        "is on; the dot marks its best value.",
        chart=True,
        narrow=partial(draw, columns=1),
    )


def _kl_of(examples: Examples, numbers: Mapping[str, Any]) -> tuple[np.ndarray | None, str]:
    """Return the KL of each latent dimension (L,) in nats, as evaluated or else of the examples; and of what."""
    if len(numbers.get("kl_per_dimension") or ()) == examples.latent:
        kl = np.asarray(numbers["kl_per_dimension"], dtype=float).ravel()
        return kl, f"{numbers.get('n', 'the')} {numbers.get('split') or 'evaluated'} examples"
    return examples.kl, f"{len(examples.x)} validation examples"


def _dimensions(examples: Examples, kl: np.ndarray | None, of: str) -> View | None:
    """Return bars of the KL of each dimension, or if there is none of how far the means of q(z | x) spread."""
    if kl is None:
        if not examples.model.prior.is_one_real_level:
            return None
        spread = examples.spread
        return View(
            "kl",
            charts.dimension_bars(spread, ACTIVE, "variance of the means"),
            f"Bar chart of the variance of {len(spread)} latent dimensions",
            "There is no KL of each dimension: the posterior or the prior does not factorise. Shown is the variance "
            f"of the means of q(z | x) over {len(examples.x)} validation examples, largest first; "
            f"{int((spread > ACTIVE).sum())} of {len(spread)} dimensions are active, with more than {ACTIVE}.",
            chart=True,
        )
    return View(
        "kl",
        charts.dimension_bars(kl, ACTIVE, "KL, nats"),
        f"Bar chart of the KL of {len(kl)} latent dimensions",
        f"KL(q(z | x) ‖ p(z)) of each latent dimension, mean over {of}, largest first; together {kl.sum():.2f} nats. "
        f"{int((kl > ACTIVE).sum())} of {len(kl)} dimensions exceed {ACTIVE} nats.",
        chart=True,
    )
