r"""A likelihood for the columns of a table: numbers on their own scale, and categories.

Each number is brought to normal scores by a monotone map g, piecewise linear between points of the training data's
distribution function, so that over the data g(x) is N(0, 1) whatever the column's shape is; there it is Gaussian
given z. With :math:`\mu, \sigma` from the decoder:

.. math::
    \text{density:}\quad & \log p(x \mid z) = \log N(g(x); \mu, \sigma) + \log g'(x) \\
    \text{multiples of a step } s \text{:}\quad & P(x \mid z) = \Phi\left(\tfrac{g(x + s/2) - \mu}{\sigma}\right)
        - \Phi\left(\tfrac{g(x - s/2) - \mu}{\sigma}\right) \\
    \text{categories:}\quad & P(x \mid z) = \text{softmax}(h)_x

Single values that many rows have, spikes v_k, have a probability of their own, and g is of the rest:

.. math:: P(v_k \mid z) = \pi_k + \pi_0 P_g(v_k), \qquad p(x \mid z) = \pi_0\, p_g(x), \qquad
    \pi = \text{softmax}(h)

with :math:`P_g(v_k) = 0` where the rest has a density. Where values repeat that lie on no grid, all others have the
probability of a cell around them, as of a step. So -log p(x) is in the column's own units, and of what is counted it
is a probability: nothing is added to the data, and nothing is left out. Draws stay within the range of the data that
the map was fitted to; the density reaches further.

Numbers can have heavy tails, the share ``tails`` of them by Cauchy's law around the middle of the column, whatever
z is: a value far from what z says costs log(1/tails) nats and a few, where a Gaussian's cost grows with the square.

Whether a cell is empty can be modelled too, by a Bernoulli variable m given z: then log p(m | z) is a part of the
density, and draws have empty cells as often as the data. A cell that is empty counts for nothing else. Or m depends
on the value itself, which empties its own cell, "self-masking": with the number in standard units t(x),

.. math::
    p(m = 1 \mid x) = \text{sigmoid}(a + b\, t(x)), \qquad
    p(m = 1 \mid z) = \int p(x \mid z)\, p(m = 1 \mid x)\, dx

and a logit for each category. The integral has a closed form (``distributions/selection.py``), and what fills an
empty cell is drawn from p(x | z, m = 1). The map to normal scores would hide that the numbers that are there are the
lower or upper ones alone, which tells how many are not: so the map of such a column is affine, and its tails are
Gaussian. Of the sign of b that tells less; "self_masking_high" has b > 0.

Reference:
    not-MIWAE: deep generative modelling with missing not at random data (Ipsen, Mattei and Frellsen, 2021),
    https://arxiv.org/abs/2006.12871, self-masking

    A survey of sampling from contaminated distributions (Tukey, 1960), a few of other origin

    A randomised version of the same transform, with noise within ties: Tabular data synthesis with quantile
    transforms, as in Revisiting deep learning models for tabular data (Gorishniy et al., 2021)
    https://arxiv.org/abs/2106.11959
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from statistics import NormalDist
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ..distributions import SelectedGaussian, with_gumbel_noise
from ..distributions.intervals import cauchy_quantile, log_cauchy_interval, log_gaussian_interval
from ..errors import ConfigError, SupportError
from ..shapes import full_precision, numel
from .base import Likelihood
from .normal_scores import END, KNOTS, knots

_FLOOR = 1e-3  # of σ, in normal scores
_OFF = 0.3  # steps: what float32 leaves open of a large multiple is less
_MOST_CATEGORIES = 10_000
# Of the rest, of which a median is taken beside the spikes: its normal scores at 1/32, 3/32, ...
_QUANTILES = [NormalDist().inv_cdf((i + 0.5) / 16) for i in range(16)]

SelfMasking = Literal["self_masking", "self_masking_high", "self_masking_low"]


class Columns(Likelihood):
    """Columns of a table, independent given z.

    Args:
        event_shape: (D,), one number per column.
        parts: What each column is: {"categories": K} for places 0..K-1; or of numbers {"step": s}, {"cell": w} for
            the probability of a width w around the number, or none for a density; "low", a bound below which no value
            lies; "spikes", values with a probability of their own. Of either "missing": true, if some are empty.
        gaps: Model whether a cell is empty, of the columns of which some are: true, given z; or given the value
            itself, "self_masking"; "self_masking_high" if numbers are known to be missing rather where they are high,
            or "self_masking_low".
        tails: Share of the numbers, in [0, 1), that are Cauchy whatever z is.

    Raises:
        ConfigError: there is not one entry for each column, or one makes no sense, or ``tails`` is no such share.
    """

    xs: Tensor
    us: Tensor
    at_numbers: Tensor
    at_choices: Tensor
    at_empty: Tensor
    at_masked: Tensor
    masked: Tensor
    masked_places: Tensor
    wide: Tensor
    beneath: Tensor
    steps: Tensor
    cells: Tensor
    ends: Tensor
    starts: Tensor
    spiked: Tensor
    spikes: Tensor
    rest: Tensor
    of_feature: Tensor

    scores = frozenset({"mixed", "real"})
    scores_missing = True

    def __init__(
        self,
        event_shape: int | Sequence[int],
        parts: Sequence[Mapping[str, Any]],
        gaps: bool | SelfMasking = True,
        tails: float = 0.0,
    ) -> None:
        super().__init__(event_shape)
        if len(parts) != numel(self.event_shape):
            raise ConfigError(
                f"Columns needs one entry per column of x {self.event_shape}; got {len(parts)} of them"
            )
        self.parts = [dict(part) for part in parts]
        if not (isinstance(gaps, bool) or gaps in get_args(SelfMasking)):
            words = ", ".join(map(repr, get_args(SelfMasking)))
            raise ConfigError(f"gaps of Columns are true, false, {words}; got {gaps!r}")
        if not 0 <= tails < 1:
            raise ConfigError(f"tails of Columns are a share in [0, 1); got {tails!r}")
        self.gaps = gaps
        self.tails = tails
        for i, column in enumerate(self.parts):
            _check(i, column)
        self.numbers = [i for i, column in enumerate(self.parts) if not column.get("categories")]
        self.choices = [i for i, column in enumerate(self.parts) if column.get("categories")]
        spikes = [sorted(self.parts[i].get("spikes") or ()) for i in self.numbers]
        spiked = [row for row, values in enumerate(spikes) if values]
        # A softmax each: the categories, and then the numbers with spikes, of which the last place is the rest's.
        self.sizes = [int(self.parts[i]["categories"]) for i in self.choices]
        self.sizes += [len(spikes[row]) + 1 for row in spiked]
        owners = [*self.choices, *(self.numbers[row] for row in spiked)]
        empty = [i for i, part in enumerate(self.parts) if gaps and part.get("missing")]
        own = set() if isinstance(gaps, bool) else set(empty)
        empty = [] if own else empty
        masked = [row for row, i in enumerate(self.numbers) if i in own]
        self.masked_choices = [group for group, i in enumerate(self.choices) if i in own]
        self.input_shape = (2 * len(self.numbers) + sum(self.sizes) + len(empty),)
        of_numbers = [self.parts[i] for i in self.numbers]
        steps = [float(column.get("step") or 0) for column in of_numbers]
        cells = [float(column.get("step") or column.get("cell") or 0) for column in of_numbers]

        def keep(name: str, value: Any, dtype: torch.dtype | None = None) -> None:
            self.register_buffer(name, torch.as_tensor(value, dtype=dtype), persistent=False)

        keep("at_numbers", self.numbers, torch.long)
        keep("at_choices", self.choices, torch.long)
        keep("at_empty", empty, torch.long)
        in_turn = [self.numbers[row] for row in masked] + [
            self.choices[group] for group in self.masked_choices
        ]
        keep("at_masked", in_turn, torch.long)
        keep("masked", masked, torch.long)
        keep("wide", [0.0 if i in own else tails for i in self.numbers], torch.float64)
        if own:
            self.mask_offset = nn.Parameter(torch.full((len(masked),), -1 / _FASTER))
            self.mask_slope = nn.Parameter(torch.zeros(len(masked)))
            every = sum(self.sizes[group] for group in self.masked_choices)
            self.mask_logits = nn.Parameter(torch.full((every,), -1 / _FASTER))
        # Which of the numbers with spikes is which of the masked ones.
        self.masked_spikes = [(a, masked.index(row)) for a, row in enumerate(spiked) if row in masked]
        groups = torch.arange(sum(self.sizes)).split(self.sizes) if self.sizes else []
        keep(
            "masked_places", [k for group in self.masked_choices for k in groups[group].tolist()], torch.long
        )
        keep("steps", steps, torch.float64)
        keep("cells", cells, torch.float64)
        keep("starts", [sum(self.sizes[:group]) for group in range(len(self.sizes))], torch.long)
        keep("spiked", spiked, torch.long)
        widest = max((len(values) for values in spikes), default=0)
        padded = [[*spikes[row], *[math.inf] * (widest - len(spikes[row]))] for row in spiked]
        keep("spikes", torch.tensor(padded, dtype=torch.float64).reshape(len(spiked), widest))
        keep("rest", [len(spikes[row]) for row in spiked], torch.long)  # place of what is no spike
        features = [*self.numbers, *(i for i, n in zip(owners, self.sizes, strict=True) for _ in range(n))]
        keep("of_feature", features, torch.long)
        line = torch.linspace(-END, END, KNOTS).expand(len(self.numbers), KNOTS)
        self.register_buffer("xs", line.clone())
        self.register_buffer("us", line.clone())
        # Cauchy's distribution function where no value lies below.
        self.register_buffer("beneath", torch.zeros(len(self.numbers)), persistent=tails > 0)
        self.register_buffer("ends", torch.tensor([-math.inf, math.inf]).repeat(len(self.numbers), 1))

    def _apply(self, fn: Any, recurse: bool = True) -> Columns:
        # Whatever type the model has: of 0.001 in float32 the millionth multiple is none of 0.001.
        wide = {name: getattr(self, name) for name in ("steps", "cells")}
        super()._apply(fn, recurse)
        for name, value in wide.items():
            setattr(self, name, value.to(getattr(self, name).device))
        return self

    # ------------------------------------------------------------------ numbers to normal scores and back
    def score(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return lower and upper normal score, and the logarithm of a width, (..., Dn) each, of numbers (..., Dn).

        Where upper is larger than lower, x has the probability of what lies between, and the width is their
        difference. Else it has a density, and the width is g'.
        """
        # In float64: of a step that is small beside its column the difference would have no digits left.
        exact = self._on_grid(x.double())
        flat, half = (
            torch.atleast_2d(exact).flatten(0, -2).T.contiguous(),
            self.cells.double()[:, None] / 2,
        )
        both, slope = self._map(torch.cat([flat - half, flat + half], 1))
        low, high, slope = both[:, : flat.shape[1]], both[:, flat.shape[1] :], slope[:, : flat.shape[1]]
        high = torch.where(half > 0, high, low)
        log_width = torch.where(half > 0, (high - low).clamp(min=1e-30), slope).log()
        return tuple(part.T.reshape(x.shape).to(x.dtype) for part in (low, high, log_width))  # pyright: ignore[reportReturnType]

    def _on_grid(self, x: Tensor) -> Tensor:
        """Return numbers (..., Dn) in float64, those of steps rounded to them."""
        step = self.steps.double()
        return torch.where(step > 0, (x / torch.where(step > 0, step, 1.0)).round() * step, x)

    def _map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return g and its slope at numbers (Dn, N)."""
        xs, us = self.xs.double(), self.us.double()
        at = torch.searchsorted(xs[:, 1:-1].contiguous(), x)
        x0, u0, slope = (t.gather(1, at) for t in (xs, us, us.diff() / xs.diff()))
        return u0 + (x - x0) * slope, slope

    def number(self, u: Tensor, whole: bool = True) -> Tensor:
        """Return the numbers (..., Dn) of normal scores, within the range of the data.

        Args:
            u: The scores.
            whole: Round them to their steps.
        """
        flat = torch.atleast_2d(u).flatten(0, -2).T.contiguous()
        at = torch.searchsorted(self.us[:, 1:-1].contiguous(), flat)
        rise = self.us.diff()
        slope = torch.where(rise > 0, self.xs.diff() / torch.where(rise > 0, rise, 1.0), 0.0)
        x0, u0, slope = (t.gather(1, at) for t in (self.xs, self.us, slope))
        x = x0 + (flat - u0) * slope
        x = x.T.reshape(u.shape).double()
        x = self._on_grid(x) if whole else x
        return x.clamp(self.ends[:, 0], self.ends[:, 1]).to(u.dtype)

    def places(self, x: Tensor) -> Tensor:
        """Return which category or spike each column has that has such, (..., G), of x (..., D)."""
        spiked = x[..., self.at_numbers[self.spiked]].unsqueeze(-1)
        step = self.steps[self.spiked].unsqueeze(-1)
        near = torch.where(step > 0, _OFF * step, 1e-6 * self.spikes.abs().nan_to_num(posinf=0.0))
        at = (spiked - self.spikes).abs() <= near
        of_spikes = torch.where(at.any(-1), at.int().argmax(-1), self.rest) if len(self.rest) else at.sum(-1)
        return torch.cat([x[..., self.at_choices].long(), of_spikes], -1)

    # ------------------------------------------------------------------ the slot
    @property
    def feature_shape(self) -> tuple[int, ...]:
        """A normal score for each number, one-hot categories and spikes."""
        return (len(self.numbers) + sum(self.sizes),)

    def features(self, x: Tensor) -> Tensor:
        """Return normal scores, and one-hot categories and spikes, (B, *feature_shape)."""
        low, high, _ = self.score(x[:, self.at_numbers])
        parts = [(low.clamp(-5, 5) + high.clamp(-5, 5)) / 2]
        own = torch.zeros(x.shape[0], sum(self.sizes), dtype=parts[0].dtype, device=x.device)
        parts.append(own.scatter_(1, self.starts + self.places(x), 1.0))
        return torch.cat(parts, 1)

    def per_feature(self, mask: Tensor) -> Tensor:
        """Return what each feature is of, (B, *feature_shape), for numbers (B, D), one for each column."""
        return mask.index_select(1, self.of_feature)

    def forward(self, h: Tensor) -> Distribution:
        """Return p(x | z) from the decoder's output (..., *input_shape)."""
        return ColumnsDistribution(self, full_precision(h))

    def check(self, x: Tensor) -> None:
        """Raise SupportError unless numbers are finite and categories are places among those of their column."""
        self.refuse(
            x, ~torch.isfinite(x), "the real numbers", "leave an empty cell NaN in data of which cells may be"
        )
        for i, size in zip(self.choices, self.sizes, strict=False):
            place = x[:, i]
            if bool(((place < 0) | (place >= size) | (place != place.round())).any()):
                raise SupportError(
                    f"column {i} of x has categories 0..{size - 1}; got {place.min():g} to {place.max():g}; read "
                    "tables with lowerbound.data.load_like(source, model.data_spec)"
                )
        numbers, steps = x[:, self.at_numbers].double(), self.steps.double()
        multiple = numbers / torch.where(steps > 0, steps, 1.0)
        # What x itself leaves open of a large multiple is no fault of the data.
        off = (multiple - multiple.round()).abs() - torch.finfo(x.dtype).eps * multiple.abs()
        off *= steps > 0
        if bool((off > _OFF).any()):
            column = int((off > _OFF).any(0).nonzero()[0])
            raise SupportError(
                f"column {self.numbers[column]} of x holds multiples of {steps[column]:g}; got "
                f"{numbers[:, column][off[:, column] > _OFF][0]:g}; round it, or train with a schema without a step"
            )

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Fit the maps g to a sample; return scores of N(0, 1), and the logarithms of what is chosen how often."""
        places = self.places(u)
        alone = torch.zeros_like(u, dtype=torch.bool)
        alone[:, self.at_numbers[self.spiked]] = places[:, len(self.choices) :] < self.rest
        affine, lows = set(self.masked.tolist()), [self.parts[i].get("low") for i in self.numbers]
        lows = torch.tensor([-math.inf if low is None else low for low in lows], dtype=torch.float64)
        for row, i in enumerate(self.numbers):
            values = u[~alone[:, i], i] if bool((~alone[:, i]).any()) else u[:, i]
            if row in affine:
                # Those that are not there may lie beyond those that are.
                line = torch.linspace(-END, END, KNOTS, dtype=torch.float64)
                xs, us = (
                    values.double().mean() + values.double().std(correction=0).clamp(min=1e-12) * line,
                    line,
                )
                ends = torch.stack([lows[row], lows.new_tensor(math.inf)])
            else:
                (xs, us), ends = knots(values.double(), self.parts[i]), torch.stack(torch.aminmax(u[:, i]))
            self.xs[row], self.us[row], self.ends[row] = xs.to(self.xs), us.to(self.us), ends.to(self.ends)
        bound, _ = self._map((lows.to(self.cells.device) - self.cells / 2).unsqueeze(1))
        self.beneath = (bound.squeeze(1).nan_to_num(neginf=-math.inf).atan() / math.pi + 0.5).to(self.beneath)
        logits = [
            ((place.bincount(minlength=n) + 0.5) / (len(u) + 0.5 * n)).log()
            for place, n in zip(places.T, self.sizes, strict=True)
        ]
        # How often cells are empty the sample does not say, in which they have been filled.
        rare = u.new_full((len(self.at_empty),), -2.0)
        return torch.cat([u.new_zeros(2 * len(self.numbers)), *(part.to(u) for part in logits), rare])

    # ------------------------------------------------------------------ values that empty their own cells
    @property
    def slope(self) -> Tensor:
        """b of each masked number, (M,)."""
        sign = {"self_masking_high": 1.0, "self_masking_low": -1.0}.get(str(self.gaps))
        raw = _FASTER * self.mask_slope
        return raw if sign is None else sign * nn.functional.softplus(raw + _ONE)

    @property
    def offset(self) -> Tensor:
        """a of each masked number, (M,)."""
        return _FASTER * self.mask_offset

    @torch.no_grad()
    def begin_at_masking(self, offset: Tensor, slope: Tensor) -> None:
        """Let ``offset`` and ``slope`` be these, (M,), of the sign that they have."""
        if self.gaps != "self_masking":
            # Softplus backwards.
            slope = slope.abs() + torch.log(-torch.expm1(-slope.abs())) - _ONE
        self.mask_offset.copy_(offset / _FASTER)
        self.mask_slope.copy_(slope / _FASTER)

    def standard(self, x: Tensor) -> Tensor:
        """Return masked numbers (..., M) in standard units."""
        xs, us = self.xs.double()[self.masked], self.us.double()[self.masked]
        t = us[:, 0] + (x.double() - xs[:, 0]) * (us[:, -1] - us[:, 0]) / (xs[:, -1] - xs[:, 0])
        return t.to(x.dtype)

    def logit_of(self, x: Tensor) -> Tensor:
        """Return the logits of being empty of masked columns of x (..., D), (..., E), numbers before categories."""
        columns = x[..., self.at_masked]
        numbers, choices = columns.tensor_split([len(self.masked)], -1)
        logits = [self.offset + self.slope * self.standard(numbers)]
        sizes = [self.sizes[group] for group in self.masked_choices]
        for place, table in zip(
            choices.long().unbind(-1), (_FASTER * self.mask_logits).split(sizes), strict=True
        ):
            logits.append(table[place].unsqueeze(-1))
        return torch.cat(logits, -1)

    def logit_of_places(self) -> Tensor:
        """Return the logits of being empty of all categories and spikes, (P,), infinite where not modelled."""
        logits = self.mask_offset.new_full((sum(self.sizes),), math.inf)
        logits = logits.index_copy(0, self.masked_places, _FASTER * self.mask_logits)
        for a, m in self.masked_spikes:
            many, first = int(self.rest[a]), int(self.starts[len(self.choices) + a])
            values = self.spikes[a, :many].to(logits).unsqueeze(-1).expand(-1, len(self.masked))
            of_spikes = self.offset[m] + self.slope[m] * self.standard(values)[:, m]
            logits = logits.index_copy(0, torch.arange(first, first + many, device=logits.device), of_spikes)
        return logits

    def given_gaps(self, p: Distribution, gone: Tensor) -> Distribution:
        """Return ``p`` for draws and means in the places of cells (B, D) that were found empty."""
        assert isinstance(p, ColumnsDistribution)
        return p.found_empty(gone)

    def chosen(self, chances: Tensor) -> Tensor:
        """Return the most probable categories, (..., Dc), of probabilities or logits (..., sum of sizes)."""
        groups = chances.split(self.sizes, -1)[: len(self.choices)]
        return _stacked([group.argmax(-1) for group in groups], chances)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        """Read the state of a model also where it was written without the ends of the data."""
        state_dict.setdefault(prefix + "ends", self.ends)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def values(self, p: Distribution) -> Tensor:
        """Return a draw from ``p`` in which nothing is missing."""
        assert isinstance(p, ColumnsDistribution)
        return p.values()

    def point(self, p: Distribution) -> Tensor:
        """Return the medians of the numbers, which are values that occur, and the most probable categories."""
        assert isinstance(p, ColumnsDistribution)
        return p.median


class ColumnsDistribution(Distribution):
    """Independent columns; see the module.

    Args:
        family: Whose maps and columns they are.
        h: Means and log-scales of the numbers' normal scores, and logits, (..., P).
        scored: 1 where an element is scored, else 0, (B, D); None if all are.

    Attributes:
        chances: The logarithms of the probabilities of all categories and spikes, where cells were found empty given
            that they are, (..., sum of sizes).
    """

    arg_constraints = {}  # noqa: RUF012  # pyright: ignore[reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __init__(self, family: Columns, h: Tensor, scored: Tensor | None = None) -> None:
        n = len(family.numbers)
        self.family, self.h, self.scored = family, h, scored
        self.mean_score = h[..., :n]
        self.scale = torch.exp(4 * torch.tanh(h[..., n : 2 * n] / 4)) + _FLOOR
        logits, self.empty = h[..., 2 * n :].tensor_split([sum(family.sizes)], -1)
        # The logarithms of the probabilities of all categories and spikes, a group after the other.
        groups = [group.log_softmax(-1) for group in logits.split(family.sizes, -1)] if family.sizes else []
        self.logits = torch.cat(groups, -1) if groups else logits
        self.centre, self.chances = self.mean_score, self.logits
        self.gone: Tensor | None = None
        super().__init__(h.shape[:-1], torch.Size(family.event_shape), validate_args=False)

    def found_empty(self, gone: Tensor) -> ColumnsDistribution:
        """Return the same where cells (B, D) were found empty.

        Draws and means are those of what such a cell holds, and a value in its place has the density of the value and
        of the cell's being empty.
        """
        family, own = self.family, copy(self)
        own.gone = gone
        if len(family.at_masked):
            own.centre = own._with_masked(self.centre, self._selected.mean)
            if family.sizes:
                of_place = family.of_feature[len(family.numbers) :]
                joint = self.logits + torch.where(gone[..., of_place], self._empty_places, 0.0)
                own.chances = torch.cat([g.log_softmax(-1) for g in joint.split(family.sizes, -1)], -1)
        return own

    def restricted(self, scored: Tensor) -> ColumnsDistribution:
        """Return the same with the log-density of the scored columns only."""
        return ColumnsDistribution(self.family, self.h, scored)

    def per_column(self, x: Tensor) -> Tensor:
        """Return the log-density or log-probability of each column of ``x`` (..., D), in nats, (..., D).

        Of an empty cell (NaN) that of being empty, or 0 where that is not modelled.
        """
        family, gone = self.family, x.isnan()
        x = torch.where(gone, family.inside, x)
        each = torch.where(gone, 0.0, self._of_values(x))
        sign = gone if self.gone is None else gone | self.gone
        if len(at := family.at_masked):
            logit = family.logit_of(x)
            told = nn.functional.logsigmoid(torch.where(sign[..., at], logit, -logit))
            told = torch.where(gone[..., at], self.log_empty, told)
        elif len(at := family.at_empty):
            told = nn.functional.logsigmoid(torch.where(sign[..., at], self.empty, -self.empty))
        else:
            return each
        return each.index_add(-1, at, told.to(each.dtype))

    @cached_property
    def _selected(self) -> SelectedGaussian:
        """What is missing of the masked numbers that are no spike, (..., M)."""
        family = self.family
        mean, scale = (part[..., family.masked] for part in (self.mean_score, self.scale))
        return SelectedGaussian(mean, scale, family.offset, family.slope)

    @cached_property
    def _empty_places(self) -> Tensor:
        """Log-probabilities of being empty given the category or spike, (..., P), 0 where that is not modelled."""
        family = self.family
        each = nn.functional.logsigmoid(family.logit_of_places()).expand_as(self.logits)
        rest = family.starts[len(family.choices) :] + family.rest
        for a, m in family.masked_spikes:
            own = self._selected.log_missing[..., m, None]
            each = each.index_copy(-1, rest[a : a + 1], own.to(each.dtype))
        return each

    @property
    def log_empty(self) -> Tensor:
        """Log-probabilities that the masked columns are empty, numbers and then categories, (..., E)."""
        family = self.family
        each = list(self._selected.log_missing.unbind(-1))
        if family.sizes:
            groups = (self.logits + self._empty_places).split(family.sizes, -1)
            for a, m in family.masked_spikes:
                each[m] = groups[len(family.choices) + a].logsumexp(-1)
            each += [groups[group].logsumexp(-1) for group in family.masked_choices]
        return torch.stack(each, -1)

    def _with_masked(self, u: Tensor, other: Tensor) -> Tensor:
        """Return scores (..., Dn) with others (..., M) where a number is known to be gone."""
        family = self.family
        gone = self.gone[..., family.at_numbers[family.masked]]  # pyright: ignore[reportOptionalSubscript]
        return u.index_copy(-1, family.masked, torch.where(gone, other, u[..., family.masked]))

    def _of_values(self, x: Tensor) -> Tensor:
        family = self.family
        score = family.score(x[..., family.at_numbers])
        of_numbers = log_gaussian_interval(*score, self.mean_score, self.scale)
        if family.tails:
            share = family.wide.to(of_numbers.dtype)
            wide = log_cauchy_interval(*score).to(of_numbers.dtype) - torch.log1p(-family.beneath.to(share))
            of_numbers = torch.logaddexp(torch.log1p(-share) + of_numbers, share.log() + wide)
        place = family.places(x)
        shape = torch.broadcast_shapes(self.logits.shape[:-1], place.shape[:-1])
        logits = self.logits.expand(*shape, -1)
        taken = logits.gather(-1, (family.starts + place).expand(*shape, -1))
        of_choices, of_spikes = taken.tensor_split([len(family.choices)], -1)
        if len(family.spiked):
            rest, at = self._of_rest(logits), place[..., len(family.choices) :]
            whole = rest + of_numbers[..., family.spiked]
            is_spike = at < family.rest
            own = torch.where(family.cells[family.spiked] > 0, torch.logaddexp(of_spikes, whole), of_spikes)
            whole = torch.where(is_spike, own, whole).to(of_numbers.dtype)
            of_numbers = of_numbers.index_copy(-1, family.spiked, whole)
        out = torch.empty(
            (*of_numbers.shape[:-1], *self.event_shape), dtype=of_numbers.dtype, device=x.device
        )
        out = out.index_copy(-1, family.at_numbers, of_numbers)
        return out.index_copy(-1, family.at_choices, of_choices.to(out.dtype).expand(*out.shape[:-1], -1))

    def _of_rest(self, logits: Tensor) -> Tensor:
        """Return the log-probability that a number is none of its spikes, (..., A)."""
        return logits[..., self.family.starts[len(self.family.choices) :] + self.family.rest]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of the scored columns of ``value``, in nats."""
        each = self.per_column(value)
        return (each if self.scored is None else torch.where(self.scored > 0, each, 0.0)).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Draw every column, with cells empty (NaN) as often as the model has it."""
        x = self.values(sample_shape)
        family = self.family
        if len(at := family.at_masked if len(family.at_masked) else family.at_empty):
            logit = family.logit_of(x) if len(family.at_masked) else self.empty
            gone = torch.rand(*x.shape[:-1], len(at), device=x.device) < logit.sigmoid()
            x[..., at] = torch.where(gone, torch.nan, x[..., at])
        return x

    @torch.no_grad()
    def values(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Draw every column, none of them empty."""
        lead = torch.Size(sample_shape)
        u = self.mean_score + self.scale * torch.randn(
            *lead, *self.mean_score.shape, device=self.h.device, dtype=self.h.dtype
        )
        if self.gone is not None and len(self.family.masked):
            u = self._with_masked(u, self._selected.sample(lead))
        if self.family.tails:
            wide = cauchy_quantile(torch.rand_like(u), self.family.beneath.to(u))
            u = torch.where(torch.rand_like(u) < self.family.wide.to(u.dtype), wide, u)
        noisy = with_gumbel_noise(self.chances, (*lead, *self.chances.shape))
        places = (
            [group.argmax(-1) for group in noisy.split(self.family.sizes, -1)] if self.family.sizes else []
        )
        return self._joined(self.family.number(u), _stacked(places, u))

    @property
    def median(self) -> Tensor:
        """Medians of the numbers, but for ``tails``, and the most probable categories.

        Of numbers that are known to be gone, of which the law is not symmetric, means.
        """
        family = self.family
        x = family.number(self.centre)
        if len(family.spiked):
            # Half of the probability of the spikes, and of as many quantiles of the rest, lies up to it.
            line = torch.tensor(_QUANTILES, dtype=x.dtype, device=x.device)
            line = line.reshape(-1, *[1] * self.mean_score.ndim)
            rest = family.number(self.centre + self.scale * line)[..., family.spiked].movedim(0, -1)
            values = torch.cat([family.spikes.to(x).expand(*rest.shape[:-1], -1), rest], -1)
            of_rest = self._of_rest(self.chances).exp().unsqueeze(-1) / len(_QUANTILES)
            chances = torch.cat([self._of_spikes(), of_rest.expand_as(rest)], -1)
            order = values.argsort(-1)
            up_to = chances.gather(-1, order).cumsum(-1)
            middle = (up_to < 0.5).sum(-1, keepdim=True).clamp(max=values.shape[-1] - 1)
            x[..., family.spiked] = values.gather(-1, order).gather(-1, middle).squeeze(-1)
        return self._joined(x, family.chosen(self.chances))

    @property
    def mean(self) -> Tensor:
        """Means of the numbers, by Gauss-Hermite quadrature, and the most probable categories."""
        family = self.family
        nodes, weights = (torch.as_tensor(t, dtype=self.h.dtype, device=self.h.device) for t in _HERMITE)
        lines = nodes.reshape(-1, *[1] * self.mean_score.ndim)
        x = family.number(self.mean_score + self.scale * lines, whole=False)
        x = (x * (weights / weights.sum()).reshape(lines.shape)).sum(0)
        if self.gone is not None and len(family.masked):
            x = self._with_masked(x, family.number(self.centre, whole=False)[..., family.masked])
        if family.tails:
            line = (torch.arange(64, dtype=x.dtype, device=x.device).unsqueeze(-1) + 0.5) / 64
            far = family.number(cauchy_quantile(line, family.beneath.to(x))).mean(0)
            x = torch.lerp(x, far.expand_as(x), family.wide.to(x.dtype))
        if len(family.spiked):
            spikes = family.spikes.to(x).nan_to_num(posinf=0.0)
            rest = self._of_rest(self.chances).exp() * x[..., family.spiked]
            x[..., family.spiked] = rest + (self._of_spikes() * spikes).sum(-1)
        return self._joined(x, family.chosen(self.chances))

    def _of_spikes(self) -> Tensor:
        """Return the probabilities of the spikes, (..., A, most spikes), 0 where there are fewer."""
        family = self.family
        wide = family.spikes.shape[-1]
        groups = self.chances.split(family.sizes, -1)[len(family.choices) :]
        pad = torch.nn.functional.pad
        return torch.stack(
            [pad(group[..., :-1].exp(), (0, wide + 1 - group.shape[-1])) for group in groups], -2
        )

    def _joined(self, x: Tensor, places: Tensor) -> Tensor:
        """Return all columns, of numbers (..., Dn) and of the places of categories, and of spikes if there are."""
        family, n = self.family, len(self.family.choices)
        if places.shape[-1] > n:
            at, last = places[..., n:], family.spikes.shape[-1] - 1
            spikes = family.spikes.to(x).expand(*at.shape, -1).gather(-1, at.clamp(max=last).unsqueeze(-1))
            is_spike = at < family.rest
            x[..., family.spiked] = torch.where(is_spike, spikes.squeeze(-1), x[..., family.spiked])
        out = x.new_empty(*x.shape[:-1], *self.event_shape)
        out[..., family.at_numbers] = x
        out[..., family.at_choices] = places[..., :n].to(out.dtype)
        return out


def _stacked(places: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return places of groups side by side, (..., G); of none, (..., 0)."""
    if places:
        return torch.stack(list(places), -1)
    return torch.zeros(*like.shape[:-1], 0, dtype=torch.long, device=like.device)


def _hermite() -> tuple[Any, Any]:
    import numpy as np

    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    return nodes, weights


_HERMITE = _hermite()
_ONE = math.log(math.e - 1)  # of which softplus is 1
_FASTER = (
    8.0  # than weights the numbers learn that say when a column's cells are empty, of which all rows tell
)


def _check(i: int, column: Mapping[str, Any]) -> None:
    size = column.get("categories")
    if size is not None and not (isinstance(size, int) and 2 <= size <= _MOST_CATEGORIES):
        raise ConfigError(f"column {i} of Columns needs 2 to {_MOST_CATEGORIES} categories; got {size!r}")
    for name in ("step", "cell"):
        width = column.get(name)
        if width is not None and not (isinstance(width, int | float) and 0 < width < math.inf):
            raise ConfigError(f"column {i} of Columns needs a positive {name}; got {width!r}")
    if unknown := column.keys() - {"categories", "step", "cell", "low", "spikes", "missing"}:
        raise ConfigError(f"column {i} of Columns has no entry {sorted(unknown)[0]!r}")
