r"""A likelihood for x of several named parts of different kinds, an image and a label for one.

.. math:: \log p(x \mid z) = \sum_k \log p_k(x_k \mid z)

Each part has a family of its own; x has them flattened, one after the other.

Reference:
    Multimodal generative models for scalable weakly-supervised learning (Wu and Goodman, 2018),
    https://arxiv.org/abs/1802.05335
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ..distributions import restrict
from ..errors import ConfigError, SupportError
from ..shapes import full_precision, numel
from ..slots import Part, check_of_parts
from .base import Likelihood


class Parts(Likelihood):
    """Parts of x, independent given z.

    Args:
        event_shape: (D,), the numbers of all parts.
        parts: What each part is, as ``DataSpec.parts`` has it: "name", "shape", "values", and what a family of such
            values must know, "categories" or "parts".
        families: Likelihood of each part by its name: a registered name, or a type and options.

    Raises:
        ConfigError: x has no such parts, or a family cannot score the values of its part.
    """

    _inside: Tensor

    scores = frozenset({"mixed", "real"})

    def __init__(
        self,
        event_shape: int | Sequence[int],
        parts: Sequence[Mapping[str, Any]],
        families: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(event_shape)
        self.parts = [dict(part) for part in parts]
        self.families = None if families is None else dict(families)
        shapes = [tuple(part.get("shape") or ()) for part in self.parts]
        if not all(shapes) or self.event_shape != (sum(map(numel, shapes)),):
            raise ConfigError(
                f"likelihood 'parts' needs x of several named parts, but x is {self.event_shape}: load the data with "
                "parts="
            )
        names = [part["name"] for part in self.parts]
        check_of_parts("families", self.families, names)
        self.each = nn.ModuleList(self._family(part) for part in self.parts)
        self.sizes = [numel(family.event_shape) for family in self._each]
        self.inputs = [numel(family.input_shape) for family in self._each]
        self.input_shape = (sum(self.inputs),)
        self.layout = [
            Part(name, family.event_shape, family.shape_beside_mask(), family.input_shape)
            for name, family in zip(names, self._each, strict=True)
        ]
        inside = [torch.full((n,), float(f.inside)) for f, n in zip(self._each, self.sizes, strict=True)]
        self.register_buffer("_inside", torch.cat(inside), persistent=False)

    def _family(self, part: Mapping[str, Any]) -> Likelihood:
        """Return the family of a part, by its registered name."""
        from ..registry import as_options, build, lookup, options_of

        name, chosen = part["name"], (self.families or {}).get(part["name"])
        if chosen is None:
            raise ConfigError(
                f"likelihood 'parts' needs a family for the part {name!r}: families.{name}=NAME"
            )
        options = as_options("likelihood", chosen)
        cls: Any = lookup("likelihood", options.get("type"))
        if cls.scores and part["values"] not in cls.scores:
            raise ConfigError(
                f"likelihood {options['type']!r} cannot score the {part['values']} values of {name!r}"
            )
        known = options_of("likelihood", cls)
        facts = {
            key: part[key] for key in ("categories", "parts") if key in known and part.get(key) is not None
        }
        return build("likelihood", facts | options, event_shape=tuple(part["shape"]))

    @property
    def _each(self) -> list[Likelihood]:
        return cast("list[Likelihood]", list(self.each))

    @property
    def inside(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A value in the support of each element, (D,)."""
        return self._inside

    @property
    def standardised(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Which elements are standardised, (D,): the real ones, of families that ask for it."""
        own = [f.standardised and p["values"] == "real" for f, p in zip(self._each, self.parts, strict=True)]
        return torch.cat([torch.full((n,), bool(value)) for n, value in zip(self.sizes, own, strict=True)])

    def split(self, x: Tensor) -> list[Tensor]:
        """Return the parts (..., *event of the part) of x (..., D)."""
        flat = zip(self._each, x.split(self.sizes, -1), strict=True)
        return [own.unflatten(-1, family.event_shape) for family, own in flat]

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Return x (..., D) of its parts (..., *event of the part)."""
        flat = [x.flatten(x.ndim - len(f.event_shape)) for f, x in zip(self._each, parts, strict=True)]
        return torch.cat(flat, -1)

    # ------------------------------------------------------------------ the slot
    def forward(self, h: Tensor) -> Distribution:
        """Return p(x | z) from the decoder's output (..., *input_shape)."""
        each = zip(self._each, full_precision(h).split(self.inputs, -1), strict=True)
        return PartsDistribution(
            self, [family(own.unflatten(-1, family.input_shape)) for family, own in each]
        )

    def check(self, x: Tensor) -> None:
        """Raise SupportError unless each part lies in its support."""
        for part, family, own in zip(self.layout or (), self._each, self.split(x), strict=True):
            try:
                family.check(own)
            except SupportError as error:
                raise SupportError(f"in the part {part.name!r} of x, {error}") from None

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Those of all parts, flattened."""
        return (sum(numel(family.feature_shape) for family in self._each),)

    def features(self, x: Tensor) -> Tensor:
        """Return the features of all parts, (B, *feature_shape)."""
        each = zip(self._each, self.split(x), strict=True)
        return torch.cat([family.features(own).flatten(1).to(x.dtype) for family, own in each], 1)

    def per_feature(self, mask: Tensor) -> Tensor:
        """Return what each feature is of, (B, *feature_shape), for numbers (B, D), one for each element of x."""
        each = zip(self._each, self.split(mask), strict=True)
        return torch.cat([family.per_feature(own).flatten(1) for family, own in each], 1)

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return where the families begin; 0 for one that does not say."""
        begun = []
        for family, own in zip(self._each, self.split(u), strict=True):
            output = family.start(own, model)
            begun.append(u.new_zeros(numel(family.input_shape)) if output is None else output.flatten())
        return torch.cat(begun)

    def information(self, p: Distribution, u: Tensor) -> Sequence[Tensor] | None:
        """Return the numbers of all parts, 0 where a part has fewer of them."""
        assert isinstance(p, PartsDistribution)
        each = zip(self._each, p.each, self.split(u), strict=True)
        found = [family.information(own, value) for family, own, value in each]
        if any(numbers is None for numbers in found):
            return None
        whole = [list(numbers or ()) for numbers in found]
        most = max(map(len, whole))
        padded = [numbers + [torch.zeros_like(numbers[0])] * (most - len(numbers)) for numbers in whole]
        return [self.joined(row) for row in zip(*padded, strict=True)]

    def values(self, p: Distribution) -> Tensor:
        """Return a draw from ``p`` in which nothing is missing."""
        assert isinstance(p, PartsDistribution)
        return self.joined([family.values(own) for family, own in zip(self._each, p.each, strict=True)])

    def given_gaps(self, p: Distribution, gone: Tensor) -> Distribution:
        """Return ``p`` given which elements (B, D) were found missing."""
        assert isinstance(p, PartsDistribution)
        each = zip(self._each, p.each, self.split(gone), strict=True)
        return PartsDistribution(self, [family.given_gaps(own, there) for family, own, there in each])

    def point(self, p: Distribution) -> Tensor:
        """Return what stands for each part: its mean, or its most probable class."""
        assert isinstance(p, PartsDistribution)
        return self.joined([family.point(own) for family, own in zip(self._each, p.each, strict=True)])


class PartsDistribution(Distribution):
    """Independent parts of x.

    Args:
        family: Whose parts they are.
        each: The distribution of each part.
    """

    arg_constraints = {}  # noqa: RUF012  # pyright: ignore[reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __init__(self, family: Parts, each: Sequence[Distribution]) -> None:
        self.family, self.each = family, list(each)
        super().__init__(self.each[0].batch_shape, torch.Size(family.event_shape), validate_args=False)

    def restricted(self, scored: Tensor) -> PartsDistribution:
        """Return the same with the log-density of the scored elements only."""
        each = zip(self.each, self.family.split(scored), strict=True)
        return PartsDistribution(self.family, [restrict(p, own) for p, own in each])

    def per_part(self, value: Tensor) -> Tensor:
        """Return the log-density of each part in nats, (..., K)."""
        each = zip(self.each, self.family.split(value), strict=True)
        return torch.stack([p.log_prob(own) for p, own in each], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats."""
        return self.per_part(value).sum(-1)

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Draw every part."""
        return self.family.joined([p.sample(torch.Size(sample_shape)) for p in self.each])

    @property
    def mean(self) -> Tensor:
        """Means; NotImplementedError where a part has none."""
        return self.family.joined([p.mean for p in self.each])
