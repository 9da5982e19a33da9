"""Names and options become the slots they say and come back as they were; wrong ones are refused with a remedy."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from toys import CELLS, points_on_grids, with_cells

import lowerbound as lb
from lowerbound import presets
from lowerbound.conditions import Conditions, Vector
from lowerbound.data import DataSpec
from lowerbound.defaults import choose, default_latent, describe_model
from lowerbound.errors import ConfigError, LowerboundError
from lowerbound.nn.cells import lattice
from lowerbound.objectives import ELBO, ImportanceWeighted, Linear, Progress, Switch
from lowerbound.overrides import check_overrides, merge, parse_assignment
from lowerbound.posteriors import Experts
from lowerbound.registry import REGISTRY, build, build_objective, describe, options_of
from lowerbound.slots import Part

SHAPES = {
    "encoder": {"in_shape": (1, 8, 8), "out_shape": (2, 3)},
    "decoder": {"in_shape": (3,), "out_shape": (1, 1, 8, 8)},
    "posterior": {"event_shape": (3,)},
    "prior": {"event_shape": (3,), "context": 4},
    "likelihood": {"event_shape": (1, 8, 8)},
    "transform": {"mean": torch.zeros(1, 8, 8), "std": torch.ones(1, 8, 8)},
    "classifier": {"in_shape": (1, 8, 8), "out_shape": (5,)},
    "objective": {},
    "schedule": {},
}
CONDITIONS = {
    "label": {"classes": ("a", "b", "c")},
    "vector": {"event_shape": (3,)},
    "image": {"event_shape": (1, 8, 8)},
    "map": {"event_shape": (1, 8, 8)},
    "set": {"event_shape": (4, 3)},
    "observed": {"event_shape": (1, 8, 8)},
}
# With room for as many cells as OPTIONS asks for, or as the defaults do.
WITH_CELLS = {
    "encoder": lambda cells: {"in_shape": (1, 8, 8), "out_shape": (2, cells + 3), "context": 128},
    "decoder": lambda cells: {"in_shape": (cells + 3,), "out_shape": (1, 1, 8, 8), "context": 128},
    "posterior": lambda cells: {"event_shape": (cells + 3,)},
    "prior": lambda cells: {"event_shape": (cells + 3,), "context": 4},
}


# As many numbers as can be divided by whatever a code is made of, of an image of 8 x 8.
NUMBERS = {
    "gumbel_softmax": 20,
    "categorical": 20,
    "vq": 8,
    "gumbel_vq": 8,
    "codebook": 8,
    "fsq": 8,
    "lattice": 8,
    "ladder": 8,
    "two_stage": 20,
    "product": 20,
    "hamiltonian": 20,
    "riemannian": 20,
    "momentum": 20,
}


# Of x that has two named parts.
LAYOUT = [Part("a", (2,), (4,), (1, 2)), Part("b", (1,), (2,), (1, 1))]
OF_PARTS = {
    "encoder": {"in_shape": (6,), "out_shape": Experts(3, LAYOUT).input_shape, "layout": LAYOUT},
    "decoder": {"in_shape": (3,), "out_shape": (3,), "layout": LAYOUT},
    "posterior": {"event_shape": (3,), "layout": LAYOUT},
    "likelihood": {"event_shape": (3,)},
}


def shapes(kind, name, options=None):
    if kind == "condition":
        return CONDITIONS[name]
    if name in ("parts", "experts"):
        return OF_PARTS[kind]
    cells = options_of(kind, REGISTRY[kind][name]).get("cells")
    if cells is None:
        # To a class that does not ask for it by its attribute derived, it is not passed.
        own = {"data_shape": (1, 8, 8)} if kind in ("posterior", "prior") else {}
        numbers = NUMBERS.get(name) if own else None
        if name == "conv_ladder":
            (numbers,) = lb.priors.ConvLadder.usual(options or {}, (1, 8, 8), 0)
        divided = {"event_shape": (numbers,)} if numbers else {}
        return SHAPES[kind] | divided | own
    return WITH_CELLS[kind]((options or {}).get("cells", cells.default))


# For every option of every registered class a value that is not its default.
MLP = {
    "hidden": [7, 7],
    "activation": "gated",
    "residual": True,
    "norm": True,
    "dropout": 0.25,
    "input_dropout": 0.125,
    "injection": "film",
}
CONV = {"channels": [4, 6], "hidden": 9, "activation": "tanh", "dropout": 0.25}
EMBEDDING = {"network": "conv", "size": 9, "hidden": [8], "channels": [4, 6]}
LINE = {"start": 0.5, "end": 2.0, "length": 3.0, "unit": "epochs"}
OPTIONS = {
    ("encoder", "mlp"): MLP,
    ("encoder", "conv"): CONV,
    ("encoder", "resnet"): CONV | {"blocks": 1},
    ("decoder", "mlp"): MLP,
    ("decoder", "conv"): CONV,
    ("decoder", "resnet"): CONV | {"blocks": 1},
    ("encoder", "affine_mlp"): {"hidden": [7], "activation": "tanh", "dropout": 0.25},
    ("decoder", "affine_mlp"): {"hidden": [7], "activation": "tanh", "dropout": 0.25},
    ("encoder", "cells"): {"cells": 6, "hidden": [7], "between": True},
    ("decoder", "cells"): {"cells": 6, "hidden": [7], "features": 5, "between": True},
    ("posterior", "cell_gaussian"): {"cells": 6},
    ("prior", "cell"): {"cells": 6, "hidden": [5]},
    ("posterior", "diagonal_gaussian"): {},
    ("posterior", "full_covariance_gaussian"): {},
    ("posterior", "low_rank_gaussian"): {"rank": 1},
    ("posterior", "student_t"): {"df": 5.0},
    ("posterior", "iaf"): {"transforms": 1, "hidden": [5], "features": 4},
    ("posterior", "coupling"): {"transforms": 1, "hidden": [5], "features": 4},
    ("posterior", "sylvester"): {"transforms": 2, "columns": 1},
    ("posterior", "planar"): {"transforms": 3},
    ("posterior", "von_mises_fisher"): {},
    ("posterior", "poincare"): {"curvature": 0.5},
    ("posterior", "deterministic"): {},
    ("posterior", "vq"): {"depth": 2, "commitment": 0.5, "gradient": "rotation", "stride": 4},
    ("posterior", "gumbel_vq"): {
        "depth": 2,
        "temperature": 0.7,
        "drop": 0.25,
        "norm": 0.5,
        "scale": 2.0,
        "stride": 4,
    },
    ("posterior", "fsq"): {"steps": [3, 4], "stride": 4},
    ("posterior", "ladder"): {"sizes": [3, 5], "hidden": [5], "features": 4, "merge": "precision"},
    ("posterior", "two_stage"): {"second": 3, "hidden": [5], "first": {"type": "student_t"}},
    ("posterior", "conv_ladder"): {"scales": [1, 1], "channels": 4, "width": 2, "blocks": 1},
    ("posterior", "gumbel_softmax"): {"categories": 4, "temperature": 0.7, "hard": False},
    ("posterior", "gamma"): {},
    ("prior", "gamma"): {"shape": 3.0, "rate": 0.5},
    ("posterior", "hamiltonian"): {"steps": 2, "step_size": 0.1, "tempering": 0.5},
    ("posterior", "riemannian"): {
        "steps": 2,
        "step_size": 0.1,
        "tempering": 0.5,
        "temperature": 1.0,
        "regularisation": 0.1,
        "centroids": 20,
        "iterations": 6,
    },
    ("prior", "momentum"): {"hidden": [5]},
    ("encoder", "parts"): {"networks": {"a": {"type": "mlp", "hidden": [4]}}, "hidden": [7]},
    ("decoder", "parts"): {"networks": {"b": {"type": "mlp", "hidden": [4]}}, "hidden": [7]},
    ("posterior", "experts"): {"combine": "moe", "stratified": False},
    ("likelihood", "parts"): {
        "parts": [
            {"name": "a", "shape": [2], "values": "real"},
            {"name": "b", "shape": [1], "values": "binary"},
        ],
        "families": {"a": {"type": "laplace"}, "b": "bernoulli"},
    },
    ("objective", "deep_features"): {
        "weight": 2.0,
        "beta": 0.5,
        "features": "random",
        "channels": [4, 5],
        "steps": 2,
        "seed": 1,
    },
    ("objective", "subsets"): {"objective": describe("objective", ImportanceWeighted(3)), "random": 2},
    ("objective", "mvtcae"): {"alpha": 0.5, "beta": 2.0},
    ("posterior", "product"): {
        "blocks": {
            "a": {"type": "low_rank_gaussian", "latent": 10, "rank": 1},
            "b": {"type": "gumbel_softmax", "latent": 10, "categories": 5, "temperature": 0.7, "hard": False},
        }
    },
    ("prior", "product"): {
        "blocks": {
            "a": {"type": "gaussian_mixture", "latent": 10, "components": 3, "hidden": [5]},
            "b": {"type": "categorical", "latent": 10, "categories": 5, "hidden": [5]},
        }
    },
    ("prior", "gaussian_mixture"): {"components": 3, "hidden": [5]},
    ("prior", "vamp"): {"components": 3, "weighted": True},
    ("prior", "maf"): {"transforms": 1, "hidden": [5]},
    ("prior", "nsf"): {"transforms": 1, "hidden": [5], "bins": 4},
    ("prior", "sphere"): {},
    ("prior", "poincare"): {"curvature": 0.5, "hidden": [5]},
    ("prior", "categorical"): {"categories": 4, "hidden": [5]},
    ("prior", "codebook"): {
        "codes": 6,
        "width": 1,
        "depth": 2,
        "order": 3,
        "learning": "means",
        "decay": 0.9,
        "revive": 0.1,
        "stride": 4,
    },
    ("prior", "lattice"): {"steps": [3, 4], "order": 3, "stride": 4},
    ("prior", "ladder"): {"sizes": [3, 5], "hidden": [5], "top": {"type": "flow", "couplings": 2}},
    ("prior", "two_stage"): {"second": 3, "hidden": [5]},
    ("prior", "conv_ladder"): {"scales": [1, 1], "channels": 4, "width": 2},
    ("likelihood", "laplace"): {"scale": "predicted"},
    ("likelihood", "student_t"): {"scale": "predicted", "df": 5.0},
    ("likelihood", "log_cosh"): {"scale": "predicted", "power": 2.0},
    ("likelihood", "censored_gaussian"): {"limit": 3.0, "scale": "predicted"},
    ("likelihood", "discretised_logistic"): {"levels": 16, "components": 2},
    ("likelihood", "beta"): {},
    ("likelihood", "log_normal"): {},
    ("likelihood", "gamma"): {},
    ("likelihood", "von_mises"): {},
    ("likelihood", "ordinal"): {"categories": 5},
    ("prior", "standard_normal"): {},
    ("prior", "conditional_gaussian"): {"hidden": [5]},
    ("prior", "flow"): {"couplings": 2, "hidden": [5]},
    ("likelihood", "bernoulli"): {},
    ("likelihood", "columns"): {
        "parts": [{"step": 0.5, "low": 0.0}] * 62 + [{"categories": 3}, {"spikes": [0.0]}],
        "gaps": False,
        "tails": 0.25,
    },
    ("likelihood", "continuous_bernoulli"): {},
    ("likelihood", "poisson"): {"library": "none", "zero_inflated": True},
    ("likelihood", "negative_binomial"): {
        "library": "none",
        "dispersion": "predicted",
        "zero_inflated": True,
    },
    ("likelihood", "multinomial"): {"total": "modelled", "dispersion": "learned"},
    ("likelihood", "gaussian"): {"scale": "predicted"},
    ("likelihood", "categorical"): {"categories": 5},
    ("transform", "none"): {},
    ("transform", "standardize"): {},
    ("condition", "label"): {"size": 3, "dropout": 0.25, "missing": True},
    ("condition", "vector"): {"hidden": [6, 5], "dropout": 0.25, "missing": True},
    ("condition", "image"): EMBEDDING | {"dropout": 0.25, "missing": True},
    ("condition", "map"): {
        "features": 3,
        "channels": [4, 6],
        "blocks": 1,
        "dropout": 0.25,
        "missing": True,
    },
    ("condition", "set"): {"size": 9, "hidden": [8], "dropout": 0.25, "missing": True},
    ("condition", "observed"): EMBEDDING,
    ("classifier", "none"): {},
    ("classifier", "mlp"): MLP,
    ("classifier", "conv"): CONV,
    ("classifier", "resnet"): CONV | {"blocks": 1},
    ("objective", "semi_supervised"): {"alpha": 3.0, "augment": 0.5, "beta": {"type": "cosine", **LINE}},
    ("objective", "elbo"): {
        "beta": {"type": "cosine", **LINE},
        "free_bits": 0.5,
        "samples": 3,
        "analytic_kl": True,
        "free_bits_of": "dimension",
    },
    ("objective", "importance_weighted"): {"samples": 5, "gradient": "dreg", "kept": 2},
    ("objective", "capacity"): {"capacity": [{"type": "linear", **LINE}, 2.0], "gamma": 10.0},
    ("objective", "total_correlation"): {"alpha": 2.0, "beta": 3.0, "gamma": 0.5, "aggregate": "mws"},
    ("objective", "factor_vae"): {"gamma": 5.0, "hidden": [7, 6]},
    ("objective", "dip"): {"kind": "i", "off_diagonal": 2.0, "diagonal": 20.0},
    ("objective", "info_vae"): {"alpha": 0.25, "weight": 3.0, "distance": "mmd_gaussian"},
    ("objective", "wasserstein"): {"weight": 3.0, "distance": "sliced_wasserstein"},
    ("objective", "multiply_weighted"): {"estimates": 2, "samples": 3, "decoder": "all"},
    ("objective", "combined"): {"samples": 5, "beta": 0.25},
    ("objective", "renyi"): {"alpha": 0.25, "samples": 5},
    ("objective", "regularised"): {"beta": 0.5, "penalty": "gradient", "weight": 0.1},
    ("objective", "adversarial"): {"weight": 3.0, "hidden": [7]},
    ("objective", "vae_gan"): {"weight": 0.5, "beta": 2.0, "network": "conv", "features": 7},
    ("objective", "structural_similarity"): {"weight": 9.0, "beta": 2.0, "window": 7, "white": 255.0},
    ("objective", "switch"): {
        "first": {
            "type": "elbo",
            "beta": {"type": "linear", **LINE},
            "free_bits": 0.0,
            "samples": 1,
            "analytic_kl": False,
            "free_bits_of": "level",
        },
        "then": {"type": "importance_weighted", "samples": 7, "gradient": "stl", "kept": 3},
        "at": 0.75,
    },
    ("schedule", "constant"): {"value": 0.5},
    ("schedule", "linear"): LINE,
    ("schedule", "cosine"): LINE,
}


def spec(values="unit", shape=(1, 8, 8), **more):
    return DataSpec("here", "image" if len(shape) == 3 else "vector", shape, values, **more)


def data_of(kind, condition=None):
    """Data of each schema: (values, shape) decide."""
    rng = np.random.default_rng(3)
    arrays = {
        "bits": lambda: rng.integers(0, 2, (40, 1, 8, 8)).astype(np.uint8),
        "grey": lambda: rng.integers(0, 256, (40, 1, 8, 8)).astype(np.uint8),
        "unit": lambda: rng.random((40, 1, 8, 8), dtype=np.float32),
        "table": lambda: 5 + 3 * rng.standard_normal((40, 4)).astype(np.float32),
        "wide": lambda: rng.standard_normal((40, 1100)).astype(np.float32),
        "classes": lambda: rng.integers(0, 3, (40, 5)),
        "large": lambda: rng.integers(0, 256, (12, 3, 24, 24)).astype(np.uint8),
    }
    array = arrays[kind]()
    labels = None if condition is None else np.arange(len(array)) % 2
    values = "categorical" if kind == "classes" else None
    return lb.data.load(array, values=values, labels=labels, condition=condition)


# ------------------------------------------------------------------------------------------------- round trips
def test_the_table_of_options_covers_every_registered_class_and_option():
    registered = {(kind, name): cls for kind, classes in REGISTRY.items() for name, cls in classes.items()}
    assert set(OPTIONS) == set(registered)
    for key, cls in registered.items():
        assert set(OPTIONS[key]) == set(options_of(key[0], cls)), key


@pytest.mark.parametrize(("kind", "name"), OPTIONS)
def test_describe_gives_back_every_option_that_build_took(kind, name):
    options = {"type": name, **OPTIONS[kind, name]}
    described = describe(kind, build(kind, options, **shapes(kind, name, options)))
    assert described == options
    assert json.loads(json.dumps(described)) == options
    assert describe(kind, build(kind, described, **shapes(kind, name, options))) == options


# Families of parts follow from the data; without an objective there is the ELBO.
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        key
        for key in OPTIONS
        if key[0] != "schedule" and key not in {("likelihood", "parts"), ("objective", "subsets")}
    ],
)
def test_a_type_alone_has_the_defaults_of_its_class(kind, name):
    cls = REGISTRY[kind][name]
    needed = {k: OPTIONS[kind, name][k] for k, p in options_of(kind, cls).items() if p.default is p.empty}
    described = describe(kind, build(kind, {"type": name, **needed}, **shapes(kind, name)))
    for option, parameter in options_of(kind, cls).items():
        if parameter.default is not parameter.empty:
            assert described[option] == json.loads(json.dumps(parameter.default)), option


def test_a_bare_name_stands_for_a_nested_objective_or_schedule():
    built = build("objective", {"type": "switch", "first": "elbo", "then": "importance_weighted"})
    assert isinstance(built, Switch)
    assert (type(built.first), type(built.then)) == (ELBO, ImportanceWeighted)
    warm = build_objective({"beta": "linear"})
    assert isinstance(warm.beta, Linear)
    assert warm.beta(Progress(fraction=0.05)) == pytest.approx(0.5)


def test_an_objective_without_a_type_is_the_elbo():
    assert build_objective({"beta": 4}).beta == 4.0
    assert build_objective({}).beta == 1.0


# -------------------------------------------------------------------------------------------- choice by the data
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("bits", {"encoder": "mlp", "decoder": "mlp", "likelihood": "bernoulli", "transform": "none"}),
        ("grey", {"encoder": "mlp", "likelihood": "gaussian", "transform": "none"}),
        ("unit", {"encoder": "mlp", "likelihood": "gaussian", "transform": "none"}),
        ("table", {"encoder": "mlp", "likelihood": "gaussian", "transform": "standardize"}),
        ("wide", {"encoder": "mlp", "decoder": "mlp", "transform": "standardize"}),
        ("classes", {"encoder": "mlp", "likelihood": "categorical", "transform": "none"}),
        ("large", {"encoder": "conv", "decoder": "conv", "likelihood": "gaussian"}),
    ],
)
def test_for_data_chooses_slots_by_the_schema_and_they_can_score_the_data(kind, expected):
    data = data_of(kind)
    model = lb.VAE.for_data(data, latent=3)
    described = describe_model(model)
    assert {slot: described[slot]["type"] for slot in expected} == expected
    assert described["posterior"] == {"type": "diagonal_gaussian"}
    assert described["prior"] == {"type": "standard_normal"}
    x, _ = next(data.test.batches(4))
    assert model.log_prob(x, samples=2, seed=0).isfinite().all()
    assert model.sample(2).shape == (2, *data.spec.event_shape)


def test_the_scale_of_the_likelihood_follows_the_data():
    assert lb.VAE.for_data(data_of("unit")).likelihood.scale == "optimal"
    assert lb.VAE.for_data(data_of("table")).likelihood.scale == "per_dimension"
    assert lb.VAE.for_data(data_of("classes")).likelihood.categories == 3


def test_the_transform_has_the_moments_of_the_training_data():
    data = data_of("table")
    model = lb.VAE.for_data(data)
    x, _ = next(data.train.batches(100))
    torch.testing.assert_close(model.transform(x).mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.transform(x).std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_a_fresh_model_of_bits_starts_at_their_mean():
    data = data_of("bits")
    model = lb.VAE.for_data(data, latent=3)
    torch.testing.assert_close(
        model.sample(200, seed=1).mean(0), data.mean.clamp(0.01, 0.99), atol=0.05, rtol=0
    )


@pytest.mark.parametrize(("dimensions", "latent"), [(4, 2), (16, 2), (24, 3), (64, 8), (320, 40), (3072, 40)])
def test_the_usual_latent_size_is_an_eighth_of_the_data_between_2_and_40(dimensions, latent):
    assert default_latent(spec(shape=(dimensions,), values="real")) == latent


# --------------------------------------------------------------------------------------------------- overrides
@pytest.mark.parametrize(
    ("slots", "slot", "cls", "options"),
    [
        ({"encoder": "conv"}, "encoder", lb.nn.ConvEncoder, {}),
        ({"network": "resnet"}, "decoder", lb.nn.ResNetDecoder, {}),
        ({"network": {"hidden": [9]}}, "encoder", lb.nn.MLP, {"hidden": (9,)}),
        ({"network": {"hidden": [9]}, "encoder": {"hidden": [5]}}, "encoder", lb.nn.MLP, {"hidden": (5,)}),
        ({"network": {"hidden": [9]}, "encoder": {"hidden": [5]}}, "decoder", lb.nn.MLP, {"hidden": (9,)}),
        ({"posterior": "full_covariance_gaussian"}, "posterior", lb.posteriors.FullCovarianceGaussian, {}),
        (
            {"likelihood": {"type": "gaussian", "scale": 0.5}},
            "likelihood",
            lb.likelihoods.Gaussian,
            {"scale": 0.5},
        ),
        ({"likelihood": {"scale": "learned"}}, "likelihood", lb.likelihoods.Gaussian, {"scale": "learned"}),
        ({"likelihood": "continuous_bernoulli"}, "likelihood", lb.likelihoods.ContinuousBernoulli, {}),
    ],
)
def test_a_slot_is_overridden_by_name_or_options(slots, slot, cls, options):
    chosen = getattr(lb.VAE.for_data(data_of("unit"), latent=3, **slots), slot)
    assert type(chosen) is cls
    assert {name: getattr(chosen, name) for name in options} == options


def test_a_slot_is_overridden_by_an_object_which_is_taken_as_it_is():
    class Net(nn.Sequential):
        pass

    decoder = Net(nn.Linear(3, 64), nn.Unflatten(1, (1, 1, 8, 8)))
    before = [p.clone() for p in decoder.parameters()]
    posterior = lb.posteriors.FullCovarianceGaussian(3)
    model = lb.VAE.for_data(data_of("unit"), decoder=decoder, posterior=posterior)
    assert model.decoder is decoder
    assert model.posterior is posterior
    assert model.latent_shape == (3,)
    assert all(torch.equal(a, b) for a, b in zip(before, decoder.parameters(), strict=True))
    described = describe("decoder", decoder)
    assert described["type"] == "custom"
    assert described["class"].endswith("Net")


def test_categorical_bits_have_two_categories():
    model = lb.VAE.for_data(data_of("bits"), likelihood="categorical")
    assert model.likelihood.categories == 2


def test_a_likelihood_of_the_users_own_gets_no_transform_unasked():
    likelihood = type("Own", (lb.likelihoods.Gaussian,), {})((4,), scale=1.0)
    assert lb.VAE.for_data(data_of("table"), likelihood=likelihood).transform is None
    assert (
        lb.VAE.for_data(data_of("table"), likelihood=likelihood, transform="standardize").transform
        is not None
    )


def test_merge_keeps_options_of_the_same_type_and_drops_those_of_another():
    base = {"objective": {"type": "elbo", "beta": 4.0}, "network": "mlp", "training": {"epochs": 2}}
    assert merge(base, {"objective": {"free_bits": 1.0}})["objective"] == {
        "type": "elbo",
        "beta": 4.0,
        "free_bits": 1.0,
    }
    assert merge(base, {"objective": {"type": "importance_weighted"}})["objective"] == {
        "type": "importance_weighted"
    }
    assert merge(base, {"network": {"hidden": [3]}})["network"] == {"type": "mlp", "hidden": [3]}
    assert merge(base, {"training": {"seed": 1}})["training"] == {"epochs": 2, "seed": 1}
    assert base["objective"] == {"type": "elbo", "beta": 4.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latent=3", {"latent": 3}),
        ("objective.beta=4", {"objective": {"beta": 4}}),
        ("decoder.hidden=[400, 400]", {"decoder": {"hidden": [400, 400]}}),
        ("objective.beta.length = 0.5", {"objective": {"beta": {"length": 0.5}}}),
        ("network=conv", {"network": "conv"}),
        ('network="conv"', {"network": "conv"}),
        ("encoder.residual=true", {"encoder": {"residual": True}}),
        ("data.labels=a=b.npy", {"data": {"labels": "a=b.npy"}}),
    ],
)
def test_an_assignment_is_read_as_toml_or_else_as_a_word(text, expected):
    assert parse_assignment(text) == expected


# ----------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"encodr": "mlp"}, "no section 'encodr'; did you mean 'encoder'"),
        ({"encoder": "mpl"}, "no encoder 'mpl'; did you mean 'mlp'"),
        (
            {"encoder": "os.system"},
            "no encoder 'os.system'; options: affine_mlp, cells, conv, mlp, parts, resnet",
        ),
        ({"encoder": {"type": ["mlp"]}}, "no encoder"),
        (
            {"encoder": 5},
            "encoder is a registered name, a table with a 'type' and options, or an object; got 5",
        ),
        ({"network": {"hiden": [3]}}, "no option 'hiden'; did you mean 'hidden'"),
        ({"network": {"type": "mlp", "blocks": 3}}, "'mlp' has no option 'blocks'"),
        ({"network": {"hidden": [3], "blocks": 3}}, "a whole number"),
        (
            {"network": {"type": "mlp", "hidden": 64}},
            "hidden must be a list of whole numbers, like [400, 400]; got 64",
        ),
        ({"network": {"type": "mlp", "hidden": [0]}}, "positive integers"),
        ({"network": {"type": "conv", "channels": []}}, "positive integers"),
        ({"encoder": {"dropout": 1.5}}, "dropout must be a number in [0, 1)"),
        ({"encoder": {"activation": "geluu"}}, "did you mean 'gelu'"),
        ({"encoder": {"residual": "yes"}}, "residual must be true or false; got 'yes'"),
        ({"posterior": {"ranks": 2}}, "posterior has no option 'ranks'; did you mean 'rank'?"),
        ({"likelihood": {"scale": "optimall"}}, "did you mean 'optimal'"),
        ({"likelihood": {"scale": -1}}, "positive number as scale"),
        ({"likelihood": {"scale": True}}, "scale"),
        ({"likelihood": {"type": "categorical", "categories": 1}}, "categories >= 2"),
        ({"objective": "elboo"}, "no objective 'elboo'; did you mean 'elbo'"),
        ({"objective": {"bata": 4}}, "no option 'bata'; did you mean 'beta'"),
        ({"objective": {"beta": "linea"}}, "no schedule 'linea'; did you mean 'linear'"),
        ({"objective": {"beta": {"type": "linear", "lenght": 3}}}, "did you mean 'length'"),
        ({"objective": {"beta": {"type": "linear", "length": 0}}}, "positive length"),
        ({"objective": {"beta": [1]}}, "beta must be a number; got [1]"),
        ({"objective": {"type": "elbo", "beta": -1}}, "beta >= 0"),
        ({"objective": {"type": "importance_weighted", "samples": 0}}, "samples >= 1"),
        ({"objective": {"gradient": "dregg"}}, "did you mean 'dreg'"),
        ({"objective": {"type": "switch", "first": "elbo"}}, "'switch' needs the option 'then'"),
        ({"objective": {"type": "switch", "first": "elbow", "then": "elbo"}}, "did you mean 'elbo'"),
        ({"transform": "standardise"}, "did you mean 'standardize'"),
        ({"latent": 0}, "each a positive integer; got 0"),
        ({"latent": -3}, "each a positive integer; got -3"),
        ({"latent": 2.5}, "each a positive integer; got 2.5"),
        ({"latent": True}, "each a positive integer; got True"),
        ({"training": 5}, "training is a table of options; got 5"),
        ({"training": {"learning_rat": 1}}, "did you mean 'learning_rate'"),
        ({"training": {"batch_size": 2.5}}, "batch_size must be a whole number; got 2.5"),
        ({"training": {"epochs": True}}, "epochs must be a number; got True"),
        ({"training": {"betas": [0.9]}}, "betas must be a list of 2 numbers; got [0.9]"),
        ({"training": {"precision": "fp8"}}, "cannot be 'fp8'; did you mean 'fp32'"),
        ({"data": 5}, "data is a table of options; got 5"),
        ({"data": {"binarise": "none"}}, "did you mean 'binarize'"),
        ({"data": {"binarize": "dinamic"}}, "cannot be 'dinamic'; did you mean 'dynamic'"),
        ({"data": {"split": 0.8}}, "split must be a list of numbers; got 0.8"),
        ([1], "a table of sections; got [1]"),
    ],
)
def test_what_is_wrong_without_any_data_is_refused_with_the_nearest_valid_name(overrides, message):
    with pytest.raises(ConfigError) as caught:
        check_overrides(overrides, "run.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("run.toml: ")


@pytest.mark.parametrize(
    "overrides",
    [
        {"network": {"hidden": 64}},
        {"network": {"hidden": [64]}},
        {"network": {"type": "mlp", "hidden": []}},
        {"network": {"type": "mlp", "hidden": [200_000, 200_000]}},
        {"likelihood": "categorical"},
        {"objective": {"gradient": "stl"}},
        {"objective": {"beta": {"type": "linear", "length": 3, "unit": "epochs"}}},
        {"transform": None},
        {"latent": 1},
        {"data": {"image_size": [28, 32], "columns": ["a"], "root": "/x", "channels": 1}},
        {"training": {"clip": None, "betas": [0.9, 0.95], "epochs": 3}},
        {"encoder": nn.Linear(2, 2), "objective": ELBO()},
    ],
)
def test_what_some_data_could_make_sense_of_is_not_refused_before_they_are_known(overrides):
    check_overrides(overrides)


@pytest.mark.parametrize(
    ("schema", "overrides", "message"),
    [
        (
            spec("real", (4,)),
            {"network": "conv"},
            "encoder 'conv' needs images (C, H, W), but here has vectors of (4,)",
        ),
        (spec("real", (4,)), {"decoder": "resnet"}, "use 'mlp'"),
        (spec("unit"), {"likelihood": "bernoulli"}, "unless they are binarised (binarize='dynamic'); use"),
        (spec("unit"), {"likelihood": "categorical"}, "cannot score the unit values of here; use"),
        (spec("real"), {"likelihood": "continuous_bernoulli"}, "cannot score the real values"),
        (spec("categorical", categories=4), {"likelihood": "gaussian"}, "use categorical"),
        (spec("binary"), {"transform": "standardize"}, "which likelihood 'bernoulli' cannot score"),
        (
            spec("unit"),
            {"likelihood": lb.likelihoods.Bernoulli((1, 8, 8))},
            "likelihood 'bernoulli' cannot score",
        ),
        (spec("unit"), {"encoder": {"type": "mlp", "channels": [3]}}, "'mlp' has no option 'channels'"),
    ],
)
def test_what_does_not_go_with_the_data_is_refused_with_what_would(schema, overrides, message):
    with pytest.raises(ConfigError) as caught:
        choose(schema, overrides)
    assert message in str(caught.value)


def test_for_data_refuses_unknown_slots_and_a_latent_size_that_contradicts_the_posterior():
    data = data_of("unit")
    with pytest.raises(ConfigError, match="did you mean 'prior'"):
        lb.VAE.for_data(data, priorr="standard_normal")
    with pytest.raises(ConfigError, match=r"latent=2, but the posterior has latent shape \(3,\)"):
        lb.VAE.for_data(data, latent=2, posterior=lb.posteriors.DiagonalGaussian(3))
    with pytest.raises(LowerboundError, match="encoder has in_shape"):
        lb.VAE.for_data(data, latent=2, encoder=lb.nn.MLP((1, 9, 9), (2, 2)))


# ------------------------------------------------------------------------------------------------------ presets
def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="no preset 'betavae'; did you mean 'beta-vae'"):
        presets.preset("betavae")


def test_presets_say_what_their_paper_says():
    assert presets.preset("beta-vae")["objective"]["beta"] == 4.0
    assert presets.preset("iwae")["objective"] == {"type": "importance_weighted", "samples": 50}
    assert presets.preset("dreg")["objective"]["gradient"] == "dreg"
    warm = build_objective(presets.preset("kl-warm-up")["objective"]).beta
    assert [warm(Progress(fraction=f)) for f in (0.0, 0.05, 0.1, 1.0)] == pytest.approx([0, 0.5, 1, 1])
    assert all(preset.summary for preset in presets.PRESETS.values())


def test_what_a_paper_says_nothing_of_is_the_normal_prior_and_what_is_nobodys_is_left_to_the_data():
    for name, one in presets.PRESETS.items():
        assert ("prior" in one.overrides) is bool(one.source), name
    assert presets.preset("vae")["prior"] == {"type": "standard_normal"}
    assert presets.preset("vamp")["prior"]["type"] == "vamp"


# --------------------------------------------------------------------------------------------------- conditions
def conditional_data(n=40, missing=False):
    """Examples with a condition of every kind but the observed part."""
    rng = np.random.default_rng(4)
    grid = rng.integers(0, 2, (n, 1, 6, 6)).astype(np.float32)
    start = rng.standard_normal((n, 2)).astype(np.float32)
    if missing:
        start[::3] = np.nan
    kinds = {"kind": np.array(["cat", "dog"])[np.arange(n) % 2], "a.start": start, "type": grid}
    return lb.data.load(rng.standard_normal((n, 3)).astype(np.float32), condition=kinds)


@pytest.mark.runs
def test_every_kind_of_condition_is_saved_and_loads_to_the_same_numbers(tmp_path):
    data = conditional_data(missing=True)
    chosen = {
        "kind": {"dropout": 0.5, "size": 3},
        "type": {"network": "conv", "channels": [2], "hidden": [5]},
    }
    model = lb.VAE.for_data(data, latent=2, condition=chosen)
    assert [type(entry).__name__ for _, entry in model.condition.items()] == ["Label", "Vector", "Image"]
    assert [entry.null is not None for _, entry in model.condition.items()] == [True, True, False]
    lb.fit(model, data, epochs=1, progress=False)
    lb.save(model, tmp_path / "run")
    again = lb.load(tmp_path / "run")
    x, c = next(data.test.batches(4))
    assert torch.equal(again.log_prob(x, c, 5, seed=2), model.log_prob(x, c, 5, seed=2))
    some = {"kind": "dog", "type": torch.zeros(1, 6, 6)}
    assert torch.equal(again.sample(3, some, seed=1), model.sample(3, some, seed=1))
    assert again.condition["kind"].dropout == 0.5
    assert again.condition["kind"].classes == ("cat", "dog")
    assert torch.equal(again.condition["a.start"].mean, model.condition["a.start"].mean)


def test_the_embedding_knows_the_training_data():
    data = conditional_data(missing=True)
    model = lb.VAE.for_data(data, latent=2)
    labels, start = data.train.condition("kind"), data.train.condition("a.start")
    torch.testing.assert_close(
        model.condition["kind"].frequency, torch.bincount(labels, minlength=2) / len(labels)
    )
    known = start[~start.isnan().any(1)]
    torch.testing.assert_close(model.condition["a.start"].mean, known.mean(0))
    torch.testing.assert_close(model.condition["a.start"].std, known.std(0, correction=0))


@pytest.mark.parametrize(
    ("side", "condition", "latent", "prior"),
    [
        (17, None, None, "flow"),
        (16, None, None, "standard_normal"),
        (17, "label", None, "standard_normal"),
        (17, None, 1, "standard_normal"),
        (17, None, 2, "flow"),
    ],
)
def test_larger_images_of_bits_have_a_flow_as_prior(side, condition, latent, prior):
    x = np.random.default_rng(0).integers(0, 2, (40, 1, side, side)).astype(np.uint8)
    data = lb.data.load(x, labels=np.arange(40) % 2, condition=condition, binarize="none")
    model = lb.VAE.for_data(data, latent=latent, network={"type": "mlp", "hidden": [4]})
    assert describe("prior", model.prior)["type"] == prior
    chosen = lb.VAE.for_data(
        data, latent=latent, network={"type": "mlp", "hidden": [4]}, prior="standard_normal"
    )
    assert describe("prior", chosen.prior)["type"] == "standard_normal"


@pytest.mark.parametrize(
    ("condition", "prior"),
    [("label", "standard_normal"), ({"t": np.ones((40, 2)) * 0.5}, "conditional_gaussian")],
)
def test_the_prior_depends_on_all_conditions_but_labels(condition, prior):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3)).astype(np.float32)
    data = lb.data.load(x, labels=np.arange(40) % 4, condition=condition)
    assert choose(data.spec, {})["prior"]["type"] == prior
    assert choose(data.spec, {"prior": "standard_normal"})["prior"]["type"] == "standard_normal"


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ({"condition": {"kinds": {}}}, "no condition 'kinds'; did you mean 'kind'"),
        ({"condition": {"kind": {"drop": 0.1}}}, "no option 'drop'"),
        ({"condition": {"kind": {"dropout": 1.5}}}, "dropout must be"),
        ({"condition": {"kind": {"dropout": "much"}}}, "dropout must be a number"),
        ({"condition": {"kind": {"type": "vector"}}}, "is a label, not a vector"),
        ({"condition": {"a.start": {"type": "map"}}}, "is a vector, not a map"),
        ({"condition": {"type": {"type": "set"}}}, "is a image, not a set"),
        ({"condition": {"type": {"type": "map", "blocks": 0.5}}}, "blocks must be a whole number"),
        ({"condition": {"kind": 3}}, "table of options"),
        ({"condition": "label"}, "table of entries"),
        ({"condition": {"type": {"network": "transformer"}}}, "cannot be 'transformer'"),
    ],
)
def test_wrong_options_of_a_condition_are_refused(slots, message):
    with pytest.raises(ConfigError, match=message):
        lb.VAE.for_data(conditional_data(), **slots)


def test_a_condition_of_data_without_one_is_refused():
    with pytest.raises(ConfigError, match="load them with condition="):
        lb.VAE.for_data(data_of("table"), condition={"label": {"dropout": 0.1}})
    with pytest.raises(ConfigError, match="needs a condition; use 'standard_normal'"):
        lb.VAE.for_data(data_of("table"), prior="conditional_gaussian")


def test_a_model_saved_before_there_were_conditions_loads(tmp_path):
    data = data_of("table")
    model = lb.VAE.for_data(data, latent=2)
    lb.save(model, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    stored = json.loads(path.read_text())
    stored["format"] = 1
    del stored["model"]["condition"], stored["model"]["classifier"], stored["data"]["spec"]["conditions"]
    for side in ("encoder", "decoder"):
        del stored["model"][side]["injection"]
    path.write_text(json.dumps(stored))
    x, _ = next(data.test.batches(4))
    assert torch.equal(lb.load(tmp_path / "run").log_prob(x, seed=0), model.log_prob(x, seed=0))


def test_an_entry_of_the_users_own_is_passed_to_load(tmp_path):
    class Doubled(Vector):
        def embed(self, value):
            return 2 * super().embed(value)

    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((2, 40, 2)).astype(np.float32)
    data = lb.data.load(x, condition={"t": t})
    model = lb.VAE.for_data(data, latent=1, condition={"t": Doubled(2)})
    lb.save(model, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"your own class.*Doubled"):
        lb.load(tmp_path / "run")
    again = lb.load(tmp_path / "run", condition=Conditions({"t": Doubled(2)}))
    assert torch.equal(again.sample(3, [0.1, 0.2], seed=0), model.sample(3, [0.1, 0.2], seed=0))


# ------------------------------------------------------------------------------------------ a latent with cells
MAP = {"grid": {"type": "map", "features": 3, "channels": [4, 4], "blocks": 1}}


def test_an_image_becomes_a_map_with_what_the_data_say_of_it():
    data = conditional_data(missing=True)
    chosen = choose(data.spec, {"condition": {"type": {"type": "map", "channels": [4]}}})["condition"]["type"]
    assert chosen == {"type": "map", "event_shape": [1, 6, 6], "missing": False, "channels": [4]}
    model = lb.VAE.for_data(data, latent=2, condition={"type": {"type": "map", "channels": [4]}})
    entry = model.condition["type"]
    assert (entry.map_shape, entry.missing) == ((16, 3, 3), False)
    # It comes last, wherever it stands in the data; without cells, other slots read it as any context.
    grid = lb.data.load(np.zeros((9, 2)), condition={"m": np.ones((9, 4, 4)), "v": np.ones((9, 2)) * 0.5})
    assert lb.VAE.for_data(grid, condition={"m": {"type": "map", "channels": [2]}}).condition.names == (
        "v",
        "m",
    )
    assert lb.VAE.for_data(grid).condition.names == ("m", "v")


def test_cells_of_a_map_lie_where_its_places_do():
    """From the data to the prior: a grid that is bright somewhere makes the points there probable."""
    data = points_on_grids()
    model = lb.VAE.for_data(data, latent=CELLS + 2, condition=MAP, **with_cells())
    assert model.condition.names == ("start", "grid")
    assert model.prior.map_shape == model.decoder.map_shape == (3, 2, 3)
    x = torch.cat([x for x, _ in data.train.batches(2000)])
    low, high = x.amin(0), x.amax(0)
    centres = model.transform.inverse(model.encoder.centres)
    torch.testing.assert_close(centres, lattice(low.tolist(), high.tolist(), (3, 2)), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        model.decoder.reach * model.transform.std, (high - low) / torch.tensor([3, 2]), atol=1e-4, rtol=0
    )
    # The cell of a point, by the encoder, is the bright place of its grid, by the map's rows and columns.
    x, c = next(data.test.batches(2000))
    bright = c["grid"].reshape(-1, 2, 4, 3, 4).amax((2, 4)).flatten(1)
    assert (bright.sum(1) == 1).all()
    same = model.infer(x, c).mean[:, :CELLS].argmax(1) == bright.argmax(1)
    assert same.double().mean() > 0.97  # the range of the data is not quite the box
    # A prior that looks at nothing but how bright a place is.
    entry, prior = model.condition["grid"], model.prior
    for parameter in (*entry.parameters(), *prior.parameters()):
        parameter.data.fill_(1.0 if parameter.ndim > 1 else 0.0)
    nn.init.zeros_(prior.network.layers[2].map.weight)  # of the start
    assert torch.equal(model.prior_at(c).probs.argmax(1), bright.argmax(1))


def test_cells_without_a_map_are_found_by_k_means():
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0, 0], [9, 0, 1], [0, 9, 2], [9, 9, 3]])
    x = (corners[np.arange(400) % 4] + 0.1 * rng.standard_normal((400, 3))).astype(np.float32)
    data = lb.data.load(x)
    before = torch.get_rng_state()
    model = lb.VAE.for_data(data, latent=6, network={"hidden": [8]}, **with_cells(4))
    found = model.transform.inverse(model.encoder.centres)
    nearest = (torch.from_numpy(corners)[:, None] - found).norm(dim=-1).amin(1)
    assert nearest.max() < 0.1
    assert torch.equal(model.encoder.centres, model.decoder.centres)
    torch.testing.assert_close(model.decoder.reach, torch.full((3,), 0.5), atol=0.01, rtol=0)
    assert model.prior.logits.shape == (4,)
    again = lb.VAE.for_data(data, latent=6, **with_cells(4))
    assert torch.equal(again.encoder.centres, model.encoder.centres)  # whatever the global generator gives
    assert not torch.equal(torch.get_rng_state(), before)  # of the networks' weights
    assert model.log_prob(torch.from_numpy(x[:5]), seed=0).isfinite().all()


def test_a_constant_column_is_no_place_that_cannot_be_left():
    x = np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32)
    x[:, 1] = 5
    model = lb.VAE.for_data(lb.data.load(x), latent=5, transform="none", **with_cells(3))
    assert model.decoder.reach[1] == 1
    assert (model.decoder.reach > 0).all()


def test_the_usual_latent_has_room_for_the_cells():
    model = lb.VAE.for_data(points_on_grids(), condition=MAP, **with_cells())
    assert model.latent_shape == (CELLS + 2,)


def test_a_decoder_with_cells_starts_at_the_spread_of_the_data():
    data = points_on_grids()
    likelihood = {"type": "gaussian", "scale": "predicted"}
    model = lb.VAE.for_data(data, condition=MAP, likelihood=likelihood, **with_cells())
    x, c = next(data.train.batches(50))
    spread = model(x, c).p_x.stddev * model.transform.std
    torch.testing.assert_close(spread.mean((0, 1)), data.std, rtol=0.3, atol=0)


def test_networks_of_the_users_own_keep_their_centres():
    data = points_on_grids()
    slots = with_cells()
    shape = {"cells": CELLS, "hidden": (8,), "context": 20}
    encoder = lb.nn.CellEncoder((2,), (2, CELLS + 1), **shape)
    decoder = lb.nn.CellDecoder((CELLS + 1,), (1, 2), map_shape=(3, 2, 3), **shape)
    lb.nn.cells.place_cells(encoder, decoder, torch.full((CELLS, 2), 7.0), torch.ones(2))
    slots |= {"encoder": encoder, "decoder": decoder}
    model = lb.VAE.for_data(data, latent=CELLS + 1, condition=MAP, **slots)
    assert model.decoder is decoder
    assert (decoder.centres == 7).all()


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        (
            {"prior": "standard_normal"},
            "'cell_gaussian' goes with prior 'cell'; got prior 'standard_normal'",
        ),
        ({"encoder": "mlp"}, "posterior 'cell_gaussian' goes with encoder 'cells'; got encoder 'mlp'"),
        ({"decoder": "mlp"}, "prior 'cell' goes with decoder 'cells'; got decoder 'mlp'"),
        ({"posterior": "diagonal_gaussian"}, "goes with posterior 'cell_gaussian'"),
        (
            {"encoder": {"type": "cells", "cells": 5}},
            "encoder and posterior disagree on cells: 5 and 6; set the option cells of both",
        ),
        ({"decoder": "cells"}, "disagree on cells: 6 and 256"),
        ({"prior": lb.priors.CellPrior(9, cells=7)}, "posterior and prior disagree on cells: 6 and 7"),
        (with_cells(7), "is not one of 7 cells in a context of 20; set cells to rows x columns"),
        ({"latent": CELLS}, r"cells=6 needs a latent \(K \+ L,\)"),
        ({"prior": {"cells": 0}}, r"disagree on cells: 6 and 0"),
        (with_cells(-3), r"cells=-3 needs a latent|cells must be a positive integer"),
        ({"encoder": {"cells": 2.5}}, "encoder.cells must be a whole number"),
    ],
)
def test_cells_that_do_not_fit_are_refused(slots, message):
    data = points_on_grids()
    chosen = merge({"condition": MAP, **with_cells()}, slots)
    with pytest.raises(ConfigError, match=message):
        lb.VAE.for_data(data, **chosen)


def test_cells_for_data_that_have_too_few_places_or_examples_are_refused():
    x = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    with pytest.raises(ConfigError, match="40 cells are more than the 32 different examples; use fewer"):
        lb.VAE.for_data(lb.data.load(x), **with_cells(40))
    grids = {"grid": np.ones((40, 8, 12))}
    with pytest.raises(ConfigError, match=r"cells on a map need data \(x, y\); an example has 3 numbers"):
        lb.VAE.for_data(lb.data.load(x, condition=grids), condition=MAP, **with_cells())
    bits = data_of("bits")
    with pytest.raises(ConfigError, match="goes with likelihood 'gaussian'; got likelihood 'bernoulli'"):
        lb.VAE.for_data(bits, **with_cells())


def test_a_slot_of_the_users_own_may_stand_with_the_cells():
    class Flat(lb.priors.CellPrior):
        def begin(self, context, encode):
            return torch.zeros(CELLS)

    model = lb.VAE.for_data(
        points_on_grids(), condition=MAP, **with_cells() | {"prior": Flat(CELLS + 2, cells=CELLS)}
    )
    assert model.sample(5, {"grid": torch.zeros(1, 8, 12), "start": [0, 0]}, spread=True).shape == (5, 2)


def test_a_set_becomes_an_embedding_that_knows_its_rows():
    rng = np.random.default_rng(0)
    sets = 3 + 2 * rng.standard_normal((5, 4, 3))
    sets[0, 1:] = np.nan
    condition = {"boxes": lb.data.Shared(sets, np.arange(40) % 5, "set")}
    data = lb.data.load(rng.standard_normal((40, 2)), condition=condition)
    options = {"boxes": {"size": 6, "hidden": [5]}}
    model = lb.VAE.for_data(data, latent=1, condition=options)
    entry = model.condition["boxes"]
    assert type(entry).__name__ == "PointSet"
    assert entry.event_shape == (4, 3)
    rows = torch.from_numpy(sets[~np.isnan(sets).any(-1)]).float()
    torch.testing.assert_close(entry.mean, rows.mean(0))
    assert describe_model(model)["condition"]["boxes"] == {
        "type": "set",
        "event_shape": [4, 3],
        "size": 6,
        "hidden": [5],
        "dropout": 0.0,
        "missing": False,
    }
    assert choose(data.spec, {})["prior"]["type"] == "conditional_gaussian"
    assert model.sample(3, {"boxes": sets[0, :1]}).shape == (3, 2)
