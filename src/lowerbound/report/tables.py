"""What the pictures of a table show, in numbers: its columns one by one, how they go together, and the odd rows.

One description serves tables with a schema and plain vectors, whose columns are given one here.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..data.spec import ColumnSpec, DataSpec

MOST_BARS = 8
_MOST_LEVELS = 20  # of a category in associations
_FEW = 10  # different numbers that get a bar each
_SPIKE = 0.2  # share of the cells that makes a number stand alone,
_SPIKE_OF_FEW = 0.5  # and among so few different ones that each can have a bin
_BINS = 40
_DECADES = 2.5  # beyond, the axis of a positive number is logarithmic
_TAIL = 0.005  # share of the cells beyond each end of an axis, if they would flatten the rest


def columns_of(spec: DataSpec) -> list[ColumnSpec]:
    """Return what each column of x means, (D,)."""
    if spec.table is not None:
        return [column for column in spec.table if column.is_modelled]
    if spec.named is not None:
        flat = [replace(part, event_shape=(part.dimensions,), columns=_numbered(part)) for part in spec.named]
        return [
            replace(column, categories=part.classes or column.categories)
            for part in flat
            for column in columns_of(part)
        ]
    subscripts = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
    names = spec.columns or [f"x{str(k + 1).translate(subscripts)}" for k in range(spec.event_shape[0])]
    if spec.values in ("binary", "categorical"):
        places = tuple(range(spec.categories or 2))
        return [ColumnSpec(name, "category", "integer", categories=places) for name in names]
    return [ColumnSpec(name, "real", "float") for name in names]


def _numbered(part: DataSpec) -> tuple[str, ...]:
    """Return a name for each element of a part of x."""
    return (
        tuple(f"{part.source} {k + 1}" for k in range(part.dimensions))
        if part.dimensions > 1
        else (part.source,)
    )


def cell(column: ColumnSpec, x: float, digits: int | None = None) -> str:
    """Return a number of x as the user writes it, or with so many digits; without pandas, which is optional."""
    if np.isnan(x):
        return "empty"
    if not column.is_number:
        return column.words[round(x)]
    v = float(values_of(column, np.array(x)))
    if column.stored == "date":
        return str(np.datetime64(round(v * 86400), "s")).removesuffix("T00:00:00").replace("T", " ")
    if digits is None and column.digits is not None:
        return f"{v:.{column.digits}f}"
    return f"{v:.{digits or 6}g}"


# ---------------------------------------------------------------------- one column
@dataclass
class Panel:
    """One column of one or more parts, as it is drawn.

    Attributes:
        column: What it means.
        scale: "words" of bars, or of the axis: "linear", "log" (in decades) or "date" (in days since 1970-01-01).
        edges: Of the bins on this axis (K + 1,); of bars 0 to K.
        heights: For each part the share of its cells in each bar, or their density on the axis, (K,).
        words: Of the bars.
        spikes: Numbers that stand alone: where on the axis, what they are, and the share of each part's cells.
        empty: Share of the first part's cells that are empty.
        beyond: Share of each part's cells that lie outside of the axis.
        own: The numbers of the bars or of the spikes.
    """

    column: ColumnSpec
    scale: str
    edges: np.ndarray
    heights: list[np.ndarray] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    spikes: list[tuple[float, str, list[float]]] = field(default_factory=list)
    empty: float = 0.0
    beyond: list[float] = field(default_factory=list)
    own: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def at(self, v: np.ndarray) -> np.ndarray:
        """Return where values (N,) are on the axis, or in which bar; NaN for none."""
        if self.scale == "words":
            is_own = v[:, None] == self.own
            # Cells of no bar of their own are in the last one.
            return np.where(
                np.isnan(v), np.nan, np.where(is_own.any(1), is_own.argmax(1), len(self.words) - 1)
            )
        places = np.log10(v, out=np.full(len(v), np.nan), where=v > 0) if self.scale == "log" else v.copy()
        for value, (place, *_) in zip(self.own, self.spikes, strict=True):
            places[np.isclose(v, value, rtol=1e-6, atol=0)] = place
        return places

    @property
    def limits(self) -> tuple[float, float]:
        """Both ends of the axis, spikes included."""
        places = [self.edges[0], self.edges[-1], *(place for place, *_ in self.spikes)]
        margin = 0.05 * (self.edges[-1] - self.edges[0])
        return min(places) - margin, max(places) + margin


def values_of(column: ColumnSpec, x: np.ndarray) -> np.ndarray:
    """Return the values of numbers of x, which are in float32: equal ones are equal."""
    v = column.on_grid(np.asarray(x, np.float64) + column.offset)
    return np.round(v, 9) if column.digits is None else np.round(v, column.digits)


def panel(column: ColumnSpec, parts: Sequence[np.ndarray], guide: np.ndarray | None = None) -> Panel:
    """Return one column of several parts.

    Args:
        column: What it means.
        parts: Numbers of x, (N,) each, NaN where a cell is empty.
        guide: The numbers by which bars and axis are chosen; the first part if None.
    """
    guide = parts[0] if guide is None else guide
    guide = values_of(column, guide[~np.isnan(guide)])
    values, counts = np.unique(guide, return_counts=True)
    is_discrete = column.step is not None or bool((values == np.round(values)).all())
    few = 0 < len(values) <= _FEW and is_discrete and len(guide) >= 5 * len(values)
    if column.is_number and not few:
        shown = _histogram(column, guide, values, counts)
    else:
        shown = _bars(column, values, counts)
    for part in parts:
        _count(shown, values_of(column, part[~np.isnan(part)]))
    if shown.words[-1:] == ["other"] and not any(shares[-1] for shares in shown.heights):
        shown.words, shown.edges = shown.words[:-1], shown.edges[:-1]
        shown.heights = [shares[:-1] for shares in shown.heights]
    shown.empty = float(np.isnan(parts[0]).mean()) if len(parts[0]) else 0.0
    return shown


def _bars(column: ColumnSpec, values: np.ndarray, counts: np.ndarray) -> Panel:
    """The most frequent values; in their order, if they have one."""
    if not column.is_number:
        every = np.arange(len(column.categories or ()), dtype=float)
        counts = np.array([counts[values == place].sum() for place in every], dtype=int)
        values = every
    most = len(values) if len(values) <= MOST_BARS + 1 else MOST_BARS
    kept = np.argsort(-counts, kind="stable")[:most]
    if column.is_number or column.kind == "ordered" or column.stored != "text":
        kept = np.sort(kept)
    words = [cell(column, float(values[k]) - column.offset) for k in kept]
    # Numbers of the model may be others than the data's.
    if most < len(values) or column.is_number:
        words.append("other")
    return Panel(column, "words", np.arange(len(words) + 1.0), words=words, own=values[kept])


def _histogram(column: ColumnSpec, guide: np.ndarray, values: np.ndarray, counts: np.ndarray) -> Panel:
    """Bins over the numbers but for those that stand alone."""
    shares = counts / max(1, len(guide))
    alone = shares >= (_SPIKE if column.step is None or len(values) > _BINS else _SPIKE_OF_FEW)
    for spike in column.spikes:
        alone |= np.isclose(values, spike, rtol=1e-6, atol=0)
    positive = guide[guide > 0]
    zero = values == 0
    if len(positive) > 1 and not (guide < 0).any() and _decades(positive) > _DECADES:
        alone |= zero  # which a logarithmic axis has no place for
    chosen = np.flatnonzero(alone)[np.argsort(-shares[alone], kind="stable")]
    kept = [k for k in chosen if zero[k]] + [k for k in chosen if not zero[k]][:3]
    rest = np.sort(guide[~np.isin(guide, values[kept])])
    if len(rest) == 0:
        rest = guide if len(guide) else np.zeros(1)
        kept = []
    scale = "date" if column.stored == "date" else "linear"
    if scale == "linear" and rest[0] > 0 and _decades(rest) > _DECADES:
        scale = "log"
    shown = Panel(column, scale, np.zeros(0))
    places = np.log10(rest) if scale == "log" else rest
    low, high = np.quantile(places, [_TAIL, 1 - _TAIL])
    if places[-1] - places[0] <= 1.6 * (high - low):
        low, high = places[0], places[-1]
    if high <= low:
        low, high = low - 0.5, high + 0.5
    bins = int(np.clip(2 * len(rest) ** (1 / 3), 8, _BINS))
    shown.edges = _edges(low, high, bins, scale, column.step)
    span = shown.edges[-1] - shown.edges[0]
    for k in kept:
        with np.errstate(divide="ignore"):
            place = np.log10(max(values[k], 0.0)) if scale == "log" else values[k]
        place = float(np.clip(place, shown.edges[0] - 0.08 * span, shown.edges[-1] + 0.08 * span))
        shown.own = np.append(shown.own, values[k])
        shown.spikes.append((place, cell(column, float(values[k]) - column.offset, 3), []))
    return shown


def _decades(positive: np.ndarray) -> float:
    low, high = np.quantile(positive, [0.01, 0.99])
    return float(np.log10(high / low))


def _edges(low: float, high: float, bins: int, scale: str, step: float | None) -> np.ndarray:
    """Edges of bins; between the multiples of the step, for else some bins would hold more of these than others."""
    if step is None:
        return np.linspace(low, high, bins + 1)
    if scale == "log":
        cuts = (np.round(10 ** np.linspace(low, high, bins + 1) / step - 0.5) + 0.5) * step
        cuts[-1] = max(cuts[-1], 10**high + step / 2)
        return np.log10(np.unique(cuts.clip(min=step / 2)))
    width = step * max(1, np.ceil((high - low) / step / bins))
    start = (np.round(low / step) - 0.5) * step
    return start + width * np.arange(max(2, int(np.ceil((high + step / 2 - start) / width - 1e-9)) + 1))


def _count(shown: Panel, v: np.ndarray) -> None:
    """Add a part, its values without empty cells."""
    total = max(1, len(v))
    if shown.scale == "words":
        counts = np.bincount(shown.at(v).astype(int), minlength=len(shown.words))
        shown.heights.append(counts / total)
        shown.beyond.append(0.0)
        return
    for value, (*_, shares) in zip(shown.own, shown.spikes, strict=True):
        is_own = np.isclose(v, value, rtol=1e-6, atol=0)
        shares.append(float(is_own.sum() / total))
        v = v[~is_own]
    counts, _ = np.histogram(shown.at(v), shown.edges)
    shown.heights.append(counts / total / np.diff(shown.edges))
    shown.beyond.append(float((len(v) - counts.sum()) / total))


# ---------------------------------------------------------------------- how far draws are from the data
def distances(columns: Sequence[ColumnSpec], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return how far the columns of two tables (N, D) and (M, D) are from each other, (D,) in [0, 1].

    Of numbers the largest difference of their distribution functions (Kolmogorov and Smirnov's), of categories half
    the sum of the differences of their shares (the total variation). NaN for a column without values in one of them.
    """
    found = np.full(len(columns), np.nan)
    for k, column in enumerate(columns):
        one, two = (np.sort(x[~np.isnan(x[:, k]), k]) for x in (a, b))
        if not len(one) or not len(two):
            continue
        at = np.unique(np.concatenate([one, two]))
        below = [np.searchsorted(x, at, side="right") / len(x) for x in (one, two)]
        if column.is_number:
            found[k] = np.abs(below[0] - below[1]).max()
        else:
            shares = [np.diff(part, prepend=0.0) for part in below]
            found[k] = np.abs(shares[0] - shares[1]).sum() / 2
    return found


def levels(columns: Sequence[ColumnSpec], x: np.ndarray) -> list[np.ndarray | None]:
    """Return of each category the level at each of its places, the frequent ones alone; None for numbers."""
    found: list[np.ndarray | None] = []
    for column, values in zip(columns, x.T, strict=True):
        if column.is_number:
            found.append(None)
            continue
        size = len(column.categories or ())
        counts = np.bincount(values[~np.isnan(values)].astype(int), minlength=size)
        level = np.full(size, _MOST_LEVELS)
        level[np.argsort(-counts, kind="stable")[:_MOST_LEVELS]] = np.arange(min(size, _MOST_LEVELS))
        found.append(level)
    return found


def association(x: np.ndarray, level: Sequence[np.ndarray | None]) -> np.ndarray:
    r"""Return how much each two columns of a table (N, D) say of each other, (D, D) in [0, 1].

    All are the canonical correlations of the two, a number standing for its ranks and a category for its indicators,
    as the root of their mean square: of two numbers \|Spearman's correlation\|, of two categories Cramér's V, of a
    number and a category the correlation ratio of the ranks. A pair is measured on the rows that have both; NaN where
    one of them does not vary there.

    Args:
        x: Numbers, NaN where a cell is empty.
        level: Of a category the level of each place, None of a number; see `levels`.
    """
    from scipy.stats import rankdata

    there = ~np.isnan(x)
    blocks = []
    for k, own in enumerate(level):
        present, values = there[:, k], x[there[:, k], k]
        if own is None:
            ranks = np.zeros((len(x), 1))
            ranks[present, 0] = rankdata(values) / max(1, len(values)) - 0.5
            blocks.append(ranks)
        else:
            size = int(own.max(initial=0)) + 1
            blocks.append(np.zeros((len(x), size)))
            blocks[-1][present, own[values.astype(int)]] = 1
    starts = np.cumsum([0, *(block.shape[1] for block in blocks)])
    features = np.concatenate(blocks, 1)
    # Sums of features, of products and of squares over the rows that have both: no pair needs its own pass.
    products = features.T @ features
    sums, squares = (part.T @ there for part in (features, features**2))
    both = there.T.astype(float) @ there
    found = np.full((len(level), len(level)), np.nan)
    for i, j in itertools.combinations_with_replacement(range(len(level)), 2):
        a, b = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
        n = both[i, j]
        if n < 2:
            continue
        kinds = (level[i] is None, level[j] is None)
        if all(kinds):
            one, two = sums[a, j].item() / n, sums[b, i].item() / n
            spread = (squares[a, j].item() / n - one**2) * (squares[b, i].item() / n - two**2)
            share = (products[a, b].item() / n - one * two) ** 2 / spread if spread > 1e-12 else np.nan
        elif not any(kinds):
            share = _cramer(products[a, b])
        else:
            if kinds[1]:
                a, b, i, j = b, a, j, i  # a is the number
            total, of_each, count = sums[a, j].item(), products[a, b].ravel(), sums[b, i]
            spread = squares[a, j].item() - total**2 / n
            between = (of_each[count > 0] ** 2 / count[count > 0]).sum() - total**2 / n
            share = between / spread if spread > 1e-9 and (count > 0).sum() > 1 else np.nan
        found[i, j] = found[j, i] = np.sqrt(np.clip(share, 0, 1))
    return found


def _cramer(table: np.ndarray) -> float:
    """Cramér's V squared of counts."""
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    if min(table.shape) < 2:
        return np.nan
    expected = table.sum(1, keepdims=True) * table.sum(0)
    return float(((table**2 / expected).sum() - 1) / (min(table.shape) - 1))


def odd_columns(each: np.ndarray, rows: np.ndarray, most: int = 3) -> np.ndarray:
    """Return of some rows the columns that are furthest below what is usual, the furthest first, (R, most).

    Args:
        each: log p(x_d | z) of each column of all rows (N, D), NaN where a cell is empty.
        rows: Which (R,).
        most: How many.
    """
    usual = np.nanmean(np.where(np.isnan(each).all(0), 0.0, each), 0)
    return np.argsort(np.nan_to_num(each[rows] - usual, nan=np.inf), axis=1, kind="stable")[:, :most]
