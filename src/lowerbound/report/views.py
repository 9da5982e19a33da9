"""What is worth seeing of a model: each picture with a caption that says exactly what it shows.

All come from the validation split, and from draws of one seed: the same model gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from ..conditions import Label, Vector
from ..data import Data
from ..errors import ConfigError
from ..model import VAE
from ..shapes import draws, numel
from ..training.checkpoint import seed_for
from ..using import place
from . import charts
from .grids import image_grid, tile_size, value_range

ACTIVE = 0.01
"""Mean KL in nats above which a latent dimension counts as used."""

_MOST_CODES = 5000  # in the latent map,
_MOST_VALUES = 2**25  # as long as so many numbers hold them
_MOST_ROWS = 1000  # of a table
_ROWS_OF_EACH = 200  # of a class
_MOST_COLUMNS = 4
_SHEET_WIDTH = 800  # pixels, about
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of a number that is conditioned on
_MEAN_DRAWS = 200
_ORDER, _NOISE = 1, 2  # streams of their own beside that of z: from one, all would be the same numbers


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
    with torch.no_grad(), model.evaluating():
        examples = Examples(model, data, seed)
        write = notation(model)
        parts = [_curves(history, write)]
        if data.spec.kind == "image":
            parts += [
                _samples(examples),
                _conditions(examples),
                _conversions(examples),
                _completions(examples),
            ]
            parts += [_reconstructions(examples), _interpolations(examples)]
        else:
            parts += [_table_samples(examples), _table_conditions(examples), _table_reconstructions(examples)]
        parts.append(_latent_map(examples))
        if data.spec.kind == "image":
            parts.append(_latent_grid(examples))
        parts.append(_kl(examples, numbers or {}))
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
        self.x = model.accept(x)
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
        f"{n} {examples.kind()} (data), what the model is told of each (observed, the missing part in grey), {mean}"
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
        "" if shared else " Both ends are encoded, and the way is decoded, under the condition of the first."
    )
    return View(
        "interpolations",
        image_grid(examples.shown(sheet.flatten(0, 1)), sheet.shape[1]),
        f"{len(a)} rows of images that change from one validation image to another",
        f"Each row goes from one {examples.kind(one=True)} to {to}. The first and the last column are the images "
        f"themselves; between them are {examples.point} at {len(path)} codes on the way from one mean of q(z | x) to "
        f"the other, both included, by spherical interpolation; seed {examples.seed} chose the images."
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
        seen = "is told as condition" if examples.told else "does not see"
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
    model, latent = examples.model, examples.latent
    n = examples.tiles()
    c = examples.given(slice(1))
    found = place(model.under(c))
    if found is None:
        return None
    center, scale = (part.flatten() for part in found)
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
    x = model.decode(z.reshape(-1, *model.latent_shape), c)
    under = "" if c is None else f" All under the condition of one validation image: {examples.first()}."
    return View(
        "latent_grid",
        image_grid(examples.shown(x), n),
        f"Images decoded from a regular grid of {len(x)} latent codes",
        f"{examples.point[0].upper()}{examples.point[1:]} at the {n} mid-quantiles of the prior, "
        f"{0.5 / n:.1%} to {1 - 0.5 / n:.1%}: {where}.{under}{examples.scale_note}",
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
    # A column without a value among these rows has no limits of its own.
    low, high = np.where(np.isnan(rows), np.inf, rows).min(0), np.where(np.isnan(rows), -np.inf, rows).max(0)
    low, high = (np.where(np.isfinite(end), end, 0.0) for end in (low, high))
    if whole:
        low, high = np.zeros(d), np.full(d, (spec.categories or 2) - 1.0)
    margin = 0.5 if whole else np.where(high > low, 0.12 * (high - low), 0.5)
    return rows, names, np.stack([low - margin, high + margin], 1), whole


def _first_columns(examples: Examples, names: Sequence[str]) -> str:
    total = examples.spec.event_shape[0]
    return "all columns" if len(names) == total else f"the first {len(names)} of {total} columns"


def _table_samples(examples: Examples) -> View:
    rows, names, limits, whole = _table(examples)
    x = examples.model.sample(len(rows), examples.given(slice(len(rows))), mean=False, seed=examples.seed)
    samples = x[:, : len(names)].cpu().double().numpy()
    outside = ((samples < limits[:, 0]) | (samples > limits[:, 1])).any(1).mean()
    note = f" {outside:.1%} of the draws lie outside the panels." if outside else ""
    under = "" if examples.c is None else f"{examples.where} under the conditions of these examples"
    return View(
        "samples",
        charts.table_samples(rows, samples, names, limits, whole),
        f"Histograms and scatter plots of the data and of draws from the model: {', '.join(names)}",
        f"{len(rows)} validation examples (data) and {len(samples)} draws of z from p(z) and then of x from p(x | z)"
        f"{under} (model), {_first_columns(examples, names)} in the units of the data; seed {examples.seed}.{note}",
        chart=True,
    )


def _table_conditions(examples: Examples) -> View | None:
    _, names, limits, whole = _table(examples)
    rows = examples.rows()
    if rows is None or len(rows.names) > len(charts.PALETTE):
        return None
    each = _ROWS_OF_EACH
    c = {name: value.repeat_interleave(each, 0) for name, value in rows.c.items()}
    x = examples.model.sample(each * len(rows.names), c, mean=False, seed=examples.seed)
    parts = x[:, : len(names)].cpu().double().unflatten(0, (-1, each)).numpy()
    return View(
        "conditions",
        charts.table_parts(dict(zip(rows.names, parts, strict=True)), charts.PALETTE, names, limits, whole),
        f"Histograms and scatter plots of draws from the model under {', '.join(rows.names)}",
        f"{each} draws of z from p(z) and then of x from p(x | z) in each colour, "
        f"{_first_columns(examples, names)} in the units of the data. The colours are {rows.what}"
        f"{_others(examples, rows)}; seed {examples.seed}.",
        chart=True,
    )


def _table_reconstructions(examples: Examples) -> View:
    rows, names, limits, whole = _table(examples)
    part = slice(len(rows))
    x = examples.model.reconstruct(examples.x[part], examples.given(part))
    x = x[:, : len(names)].cpu().double().numpy()
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
