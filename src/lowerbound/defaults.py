"""The choice by the data: which parts suit them, the user's own laid over, and the model built and started."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import nn

from . import conditions, objectives
from .data import Data, DataSpec, Standardize
from .data.spec import ConditionKind
from .errors import ConfigError, suggest
from .model import VAE
from .nn import MLP
from .nn.network import Network
from .overrides import FROM_DATA, check_overrides, latent_shape_of, merge
from .priors import Prior
from .registry import (
    DERIVED,
    REGISTRY,
    SLOTS,
    Options,
    as_options,
    build,
    describe,
    lookup,
    options_of,
    plain,
)

# A sample to start from: so many examples, or so many values.
_EXAMPLES, _VALUES = 20_000, 2**20

# Share of a table's numbers that are far from what z says: it costs a thousandth of a nat where none is.
TAILS = 1e-3

_READS = {kind: kind for kind in get_args(ConditionKind)} | {"map": "image"}


def choose(spec: DataSpec, overrides: Options) -> dict[str, dict[str, Any]]:
    """Return every part's type and options for data of this schema, with the user's choices laid over.

    The default for images of up to 32 x 32 grey pixels and for vectors is a multi-layer perceptron, for larger
    images a convolutional network; the likelihood follows the values: Bernoulli for bits, a Gaussian with the
    optimal σ for grey levels, a standardised Gaussian with one σ per column for tables, categorical for classes; for
    counts negative binomial given the library size, as in scvi-tools. The prior is N(0, I), of tables and of images
    of more than 256 bits a flow, if nothing is given.
    A module stands as its description, which ``build`` knows only if its class is registered.

    Raises:
        ConfigError: a part cannot go with these data or with another part.
    """
    check_overrides(overrides)
    image, size = spec.kind == "image", spec.dimensions
    network: dict[str, Any] = {"type": "conv"}
    if not image or size <= 1024:
        width = 512 if size > 256 or spec.tabular else 256 if _of_columns(spec) else 128
        network = {"type": "mlp", "hidden": [width, width]} | ({"dropout": 0.1} if _of_columns(spec) else {})
    if spec.named is not None:
        network = {"type": "parts"}
    given = as_options("network", overrides.get("network", {}))
    network = merge({"network": network}, {"network": given})["network"]
    usual: dict[str, dict[str, Any]] = {
        "encoder": network,
        "posterior": {"type": "experts" if spec.named is not None else "diagonal_gaussian"},
        # New examples are drawn from it, and under N(0, I) there are holes; on MNIST it is worth two nats, at equal
        # time. Under a condition its codes would mean another thing for each class.
        "prior": {"type": "flow" if _needs_prior(spec) and not spec.conditions else "standard_normal"},
        "decoder": network,
        "likelihood": _usual_likelihood(spec),
        "transform": {"type": "none"},
        "classifier": {"type": "none"},
    }
    if any(entry.kind != "label" for entry in spec.conditions or ()):
        # A class leaves the codes free to mean the same under each; what fixes more of x says where they lie.
        usual["prior"] = {"type": "conditional_gaussian"}
    modules = {slot: value for slot, value in overrides.items() if isinstance(value, nn.Module)}
    chosen: dict[str, dict[str, Any]] = {}
    for slot in SLOTS:
        if slot == "condition":
            chosen[slot] = _with_conditions(spec, overrides.get(slot, {}))
            continue
        if slot == "transform" and "real" in [spec.values, *(part.values for part in spec.named or ())]:
            family = REGISTRY["likelihood"].get(chosen["likelihood"]["type"])  # None of the user's own
            if getattr(family, "standardised", False):
                usual[slot] = {"type": "standardize"}
        value = overrides.get(slot, {})
        options = describe(slot, value) if slot in modules else as_options(slot, value)
        chosen[slot] = merge(usual, {slot: options})[slot]
    known = options_of("likelihood", _class_of("likelihood", chosen["likelihood"], modules))
    for option, usual_value in FROM_DATA["likelihood"].items():
        if option in known:
            chosen["likelihood"].setdefault(option, getattr(spec, option) or usual_value)
    if chosen["classifier"]["type"] != "none":
        # Where a label is missing it is summed out, which leaves nothing for a learned vector to stand in for.
        for entry in chosen["condition"].values():
            if entry["type"] == "label":
                entry["missing"] = False
    _check_together(spec, chosen, modules)
    return chosen


def _usual_likelihood(spec: DataSpec) -> dict[str, Any]:
    """Return the likelihood that suits the values, of named parts one for each."""
    if spec.named is not None:
        families = {part.source: _usual_likelihood(part) for part in spec.named}
        for family in families.values():
            # The σ that fits a batch best belongs to the whole distribution, which is asked for it.
            if family.get("scale") == "optimal":
                family["scale"] = "learned"
        return {"type": "parts", "families": families}
    if spec.tabular:
        return {"type": "columns", "tails": TAILS}
    return {
        "binary": {"type": "bernoulli"},
        "unit": {"type": "gaussian", "scale": "optimal"},
        "real": {"type": "gaussian", "scale": "optimal" if spec.kind == "image" else "per_dimension"},
        "count": {"type": "negative_binomial", "library": "given"},
        "categorical": {"type": "categorical"},
    }[spec.values]


def _of_columns(spec: DataSpec) -> bool:
    """Whether x has columns that mean different things: a table, or zeros and ones that are no image."""
    return spec.tabular or (spec.kind == "vector" and spec.values == "binary")


def _needs_prior(spec: DataSpec) -> bool:
    """Whether log p(x) is what counts, and the codes have a shape that N(0, I) has not."""
    bits = spec.kind == "image" and spec.values == "binary" and spec.dimensions > 256
    return bits or _of_columns(spec)


def _class_of(slot: str, options: Options, modules: Mapping[str, nn.Module]) -> type:
    return type(modules[slot]) if slot in modules else REGISTRY[slot][options["type"]]


def _with_conditions(spec: DataSpec, over: Options) -> dict[str, Any]:
    """Return every entry of the data's condition with the user's options laid over it."""
    said: dict[str, dict[str, Any]] = {}
    for entry in spec.conditions or ():
        of_kind: dict[str, Any] = {"event_shape": list(entry.event_shape)}
        if entry.kind == "label":
            of_kind = {"classes": list(entry.classes or ())}
        elif entry.kind == "observed":
            of_kind = {"event_shape": list(spec.event_shape), "masks": entry.masks}
        said[entry.name] = {"type": entry.kind, **of_kind, "missing": entry.missing}
    for name, value in over.items():
        if name not in said:
            have = suggest(str(name), said) if said else "they have none; load them with condition="
            raise ConfigError(f"{spec.source} has no condition {name!r}; {have}")
        kind = describe("condition", value)["type"] if isinstance(value, nn.Module) else value.get("type")
        # The types of the user's own may read entries of any kind.
        if kind in _READS and _READS[kind] != said[name]["type"]:
            raise ConfigError(
                f"the condition {name!r} of {spec.source} is a {said[name]['type']}, not a {kind}"
            )
    options = {name: value for name, value in over.items() if not isinstance(value, nn.Module)}
    merged = merge(said, options)
    for name, entry in merged.items():
        # What the data say of an entry, its shape for one, holds for any type that it is read as.
        known = DERIVED["condition"].keys() | options_of("condition", lookup("condition", entry["type"]))
        foreign = said[name].keys() - known - {"type"}
        merged[name] = {key: v for key, v in (said[name] | entry).items() if key not in foreign}
    return merged


def _check_together(spec: DataSpec, chosen: Mapping[str, Options], modules: Mapping[str, nn.Module]) -> None:
    """Refuse combinations that cannot work, with the reason."""
    for side in ("encoder", "decoder", "classifier"):
        if chosen[side]["type"] in ("conv", "resnet") and spec.kind != "image":
            raise ConfigError(
                f"{side} {chosen[side]['type']!r} needs images (C, H, W), but {spec.source} has vectors of "
                f"{spec.event_shape}; use 'mlp'"
            )
    _check_partners(chosen)
    cls = _class_of("likelihood", chosen["likelihood"], modules)
    scores = getattr(cls, "scores", frozenset())
    name = cls.__name__ if chosen["likelihood"]["type"] == "custom" else chosen["likelihood"]["type"]
    if scores and spec.values not in scores:
        usual = [n for n, other in REGISTRY["likelihood"].items() if spec.values in other.scores]
        raise ConfigError(
            f"likelihood {name!r} cannot score the {spec.values} values of {spec.source}"
            + (", unless they are binarised (binarize='dynamic')" if scores == {"binary"} else "")
            + (", unless they are counts (values='count')" if "count" in scores else "")
            + f"; use {' or '.join(usual)}"
        )
    transform = chosen["transform"]["type"]
    if transform != "none" and scores and "real" not in scores:
        raise ConfigError(
            f"transform {transform!r} makes real numbers, which likelihood {name!r} cannot score"
        )


def _check_partners(chosen: Mapping[str, Any]) -> None:
    """Refuse a part next to another one than those it goes with, and the same for the blocks of which it is made."""
    named = {
        kind: options["blocks"]
        for kind, options in chosen.items()
        if isinstance(options.get("blocks"), Mapping)
    }
    names = next(iter(named.values()), {})
    for other in named.values():
        if list(names) != list(other):
            raise ConfigError(
                f"blocks must have the same names in the same order: {', '.join(names)}; got "
                f"{', '.join(other)}"
            )
    for name in names:
        _check_partners({**chosen, **{k: _described(k, blocks[name]) for k, blocks in named.items()}})
    for kind, options in chosen.items():
        cls = REGISTRY.get(kind, {}).get(options.get("type", "")) if kind != "condition" else None
        for other, allowed in getattr(cls, "partners", {}).items():
            came = chosen[other]
            allowed = (allowed,) if isinstance(allowed, str) else allowed
            if came["type"] not in (*allowed, "custom"):
                names = " or ".join(map(repr, allowed))
                raise ConfigError(
                    f"{kind} {options['type']!r} goes with {other} {names}; got {other} {came['type']!r}: "
                    "choose both"
                )
            for option in getattr(cls, "agree", ()):
                mine, theirs = (_option_of(k, o, option) for k, o in ((kind, options), (other, came)))
                if None not in (mine, theirs) and plain(mine) != plain(theirs):
                    raise ConfigError(
                        f"{kind} and {other} disagree on {option}: {mine} and {theirs}; "
                        f"set the option {option} of both"
                    )


def _described(kind: str, value: Any) -> Options:
    """Return the options of a part that may be a module."""
    return describe(kind, value) if isinstance(value, nn.Module) else as_options(kind, value)


def _option_of(kind: str, options: Options, name: str) -> Any:
    """Return an option's value, given or usual; None if the class has none of that name."""
    if options["type"] == "custom":
        return None
    option = options_of(kind, lookup(kind, options["type"])).get(name)
    return None if option is None else options.get(name, option.default)


def recipe(data: Data, model: VAE, given: Mapping[str, Any]) -> tuple[objectives.Objective, dict[str, Any]]:
    """Return the objective and the training settings that suit the data, where the user has chosen no objective.

    A model with a classifier learns from labelled and unlabelled examples together.

    Models of binary data are compared by their log-likelihood, and there the importance-weighted bound gains the
    most: on MNIST a nat over the evidence lower bound at equal time, chosen on the validation split, as were the
    numbers for multi-layer perceptrons. Of tables, too, it finds what columns have to do with each other, where the
    evidence lower bound leaves out what costs as much to say in z as it gains; not so under a condition, where it was
    seen to leave the prior of rare values of c behind. Of other real values it would fit σ to draws that it hardly
    weighs.

    Args:
        data: The data.
        model: The model.
        given: Settings that the user has chosen, which are laid over.
    """
    bound, usual = objectives.ImportanceWeighted(samples=8, gradient="dreg", kept=2), {}
    mlp = isinstance(model.encoder, MLP)
    if model.classifier is not None:
        bound = objectives.SemiSupervised(augment=1.0 if data.spec.kind == "image" else 0.0)
        # The bound says little of the classifier: the weights to keep are the last ones.
        usual = {"labelled_per_batch": 50, "keep": "last"}
    elif data.spec.values == "binary":
        usual = {"batch_size": 256, "learning_rate": 3e-3, "weight_decay": 0.06} if mlp else {}
    elif data.spec.tabular:
        rows = len(data.train)
        batch = max(32, min(500, rows // 20))
        epochs = max(50, min(120, math.ceil(2500 / math.ceil(rows / batch))))
        usual = {"batch_size": batch, "weight_decay": 0.05, "epochs": epochs, "patience": 6}
        if data.spec.conditions:
            bound = objectives.ELBO()
    else:
        # Of named parts, each set of them is to be enough.
        bound = objectives.ELBO()
        if data.spec.named is not None:
            rising = objectives.Linear(0.0, 1.0, 0.3, "fraction")
            bound = objectives.Subsets(objectives.ELBO(beta=rising))
    if given.keys() & {"epochs", "minutes"}:
        usual.pop("epochs", None)
    return bound, {**usual, **given}


def default_latent(spec: DataSpec) -> int:
    """Return a usual number of latent dimensions: an eighth of the values, 2 to 40; of columns up to 16 or 32."""
    if spec.tabular:
        return max(2, min(16, spec.dimensions))
    if _of_columns(spec):
        return max(2, min(32, spec.dimensions // 2))
    return max(2, min(40, spec.dimensions // 8))


# ---------------------------------------------------------------------------------------- from choices to a model
def check_data(data: Any) -> None:
    """Raise a ConfigError unless this is what ``lowerbound.data.load`` returns."""
    if not isinstance(getattr(data, "spec", None), DataSpec):
        raise ConfigError(
            f"data come from lowerbound.data.load, which takes a DataFrame or an array too; got {type(data).__name__}"
        )


def model_for_data(data: Any, latent: Any = None, **slots: Any) -> VAE:
    """Choose, build and start a model for ``data``; the body of ``VAE.for_data``."""
    known = ("network", *SLOTS)
    for name in slots:
        if name not in known:
            raise ConfigError(f"VAE.for_data has no argument {name!r}; {suggest(name, ('latent', *known))}")
    check_data(data)
    spec = data.spec
    chosen: dict[str, Any] = choose(spec, slots)
    modules = {name: value for name, value in slots.items() if isinstance(value, nn.Module)}
    entries = {n: v for n, v in slots.get("condition", {}).items() if isinstance(v, nn.Module)}
    chosen["condition"] = chosen["condition"] | entries
    shape: Any = None if latent is None else latent_shape_of(latent)
    if shape and "posterior" in modules and modules["posterior"].event_shape != shape:
        raise ConfigError(
            f"latent={latent}, but the posterior has latent shape {modules['posterior'].event_shape}; leave one out"
        )
    if shape is None:
        module = modules.get("posterior", modules.get("prior"))
        # One of the user's own need not be a prior until the model is built, which says so.
        family = REGISTRY["prior"].get(chosen["prior"]["type"], Prior)
        usual = family.usual(chosen["prior"], spec.event_shape, default_latent(spec))
        shape = usual if module is None else module.event_shape
    if "prior" not in slots and chosen["prior"]["type"] == "flow" and (len(shape) > 1 or shape == (1,)):
        # Of one number no half moves the other, and of a map each place would be apart.
        chosen["prior"] = {"type": "standard_normal"}
    model = build_model(chosen | modules, shape, spec)
    _start(model, data, modules)
    return model


def build_model(chosen: Mapping[str, Any], latent: Any, spec: DataSpec) -> VAE:
    """Build the model from every part's options; those that are modules already are taken as they are."""
    shared: dict[str, Any] = {}

    def slot(kind: str, **derived: Any) -> Any:
        value = chosen[kind]
        return value if isinstance(value, nn.Module) else build(kind, value, **shared | derived)

    likelihood = slot("likelihood", event_shape=spec.event_shape, context=1)
    condition = _build_condition(chosen["condition"], likelihood.feature_shape)
    last = None if condition is None else condition.items()[-1][1]
    shared.update(
        context=0 if condition is None else condition.context,
        map_shape=last.map_shape if isinstance(last, conditions.Map) else None,
        feature_shape=likelihood.feature_shape,
        data_shape=spec.event_shape,
        layout=likelihood.layout,
    )
    if "context" in likelihood.derived:  # known once the condition is, which has been told of the features
        likelihood = slot("likelihood", event_shape=spec.event_shape)
    posterior = slot("posterior", event_shape=latent_shape_of(latent))
    prior = slot("prior", event_shape=posterior.event_shape)
    shared["latent_shape"] = posterior.event_shape
    labels = [] if condition is None else condition.labels
    in_shape = likelihood.shape_beside_mask() if spec.missing else likelihood.feature_shape
    model = VAE(
        encoder=slot("encoder", in_shape=in_shape, out_shape=posterior.input_shape),
        posterior=posterior,
        prior=prior,
        decoder=slot("decoder", in_shape=prior.code_shape, out_shape=likelihood.input_shape),
        likelihood=likelihood,
        transform=slot("transform", mean=torch.zeros(spec.event_shape), std=torch.ones(spec.event_shape)),
        condition=condition,
        classifier=slot(
            "classifier",
            in_shape=in_shape,
            out_shape=(len(labels[0][1].classes) if labels else 1,),
            context=0,
        ),
        missing=spec.missing,
    )
    model.data_spec = spec
    return model


def _build_condition(
    chosen: Mapping[str, Any], feature_shape: tuple[int, ...]
) -> conditions.Conditions | None:
    """Build the entries of a condition; those that are modules already are taken as they are."""
    entries = {}
    for name, value in chosen.items():
        if not isinstance(value, nn.Module):
            said = {key: value[key] for key in value if key in DERIVED["condition"]}
            options = {key: value[key] for key in value if key not in said}
            value = build("condition", options, **said | {"feature_shape": feature_shape})
        entries[name] = value
    # Last comes the map: there, networks that know of places look for it.
    ordered = sorted(entries.items(), key=lambda item: isinstance(item[1], conditions.Map))
    return conditions.Conditions(dict(ordered)) if entries else None


def _start(model: VAE, data: Any, modules: Mapping[str, nn.Module]) -> None:
    """Let every part begin where the data are; networks of the user's own are left as they are."""
    for name, entry in model.condition.items() if model.condition is not None else ():
        if entry.starts:
            entry.start(data.train.distinct(name), model)
    if isinstance(model.transform, Standardize) and "transform" not in modules:
        mean, std, own = data.mean, data.std, model.likelihood.standardised
        if isinstance(own, torch.Tensor):  # of named parts, some are
            mean, std = torch.where(own, mean, 0.0), torch.where(own, std, 1.0)
        model.transform = Standardize(mean, std)
    u = starting_sample(data.train, model.transform)
    networks = {"posterior": "encoder", "likelihood": "decoder"}
    for name in ("encoder", "posterior", "prior", "decoder", "likelihood"):
        slot = getattr(model, name)
        if name in networks.values() and (name in modules or not isinstance(slot, Network)):
            continue
        output = slot.start(u, model)
        network = getattr(model, networks.get(name, ""), None)
        if output is not None and isinstance(network, Network) and networks[name] not in modules:
            network.set_output_bias(output)


def starting_sample(split: Any, transform: nn.Module | None) -> torch.Tensor:
    """Return transformed examples (N, *event), gaps filled, for parts to start from; the same at every call."""
    n = max(1, min(_EXAMPLES, _VALUES // split.spec.dimensions))
    index = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:n].sort().values
    parts = (x.cpu() for x, _ in split.select(index.numpy()).batches(256))
    u = torch.cat([x if transform is None else transform(x) for x in parts])
    return _without_gaps(u) if split.spec.missing else u


def _without_gaps(u: torch.Tensor) -> torch.Tensor:
    """Return the sample with each missing value replaced by another example's, drawn at random; 0 if none has one."""
    flat, generator = u.flatten(1).T.clone(), torch.Generator().manual_seed(0)
    for values in flat:
        gaps = values.isnan()
        seen = values[~gaps]
        if len(seen):
            values[gaps] = seen[torch.randint(len(seen), (int(gaps.sum()),), generator=generator)]
        else:
            values.zero_()
    return flat.T.reshape(u.shape)


def describe_model(model: VAE) -> dict[str, Any]:
    """Return what ``build_model`` needs to build ``model`` again, as JSON has it."""
    latent = model.latent_shape
    slots = {slot: describe(slot, getattr(model, slot)) for slot in SLOTS if slot != "condition"}
    entries = {} if model.condition is None else dict(model.condition.items())
    described = {name: describe("condition", entry, derived=True) for name, entry in entries.items()}
    return {"latent": latent[0] if len(latent) == 1 else list(latent), **slots, "condition": described}
