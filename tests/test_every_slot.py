"""Every registered posterior, prior and likelihood, on real data: trains, resumes bit for bit, is saved and loaded,
evaluated (or says why it has no likelihood), sampled from, and put under a condition.

A name that is registered later is tried as well, beside the usual slots on the first data that it can score.
"""

import functools
import math
import signal

import numpy as np
import pytest
import torch

import lowerbound as lb
from lowerbound.errors import ConfigError, SupportError
from lowerbound.registry import REGISTRY, options_of

pytestmark = pytest.mark.runs

EXAMPLES = 240
NETWORK = {"type": "mlp", "hidden": [16]}
# Latents that a code must have the numbers for, or the number of its levels.
LATENT = {
    "gumbel_softmax": 20,
    "categorical": 20,
    "cell_gaussian": 8,
    "cell": 8,
    "fsq": 8,
    "lattice": 8,
    "poincare": 2,
    "product": 8,
    "conv_ladder": None,
    "two_stage": None,
}
# Slots that go with others than their partners say, or with options without a default.
BESIDE = {
    ("posterior", "cell_gaussian"): {
        "posterior": {"type": "cell_gaussian", "cells": 4},
        "prior": {"type": "cell", "cells": 4},
        "encoder": {"type": "cells", "cells": 4},
        "decoder": {"type": "cells", "cells": 4},
    },
    ("likelihood", "censored_gaussian"): {"likelihood": {"type": "censored_gaussian", "limit": 10.0}},
    ("posterior", "vq"): {
        "posterior": {"type": "vq", "depth": 2, "gradient": "rotation"},
        "prior": {"type": "codebook", "codes": 8, "depth": 2},
    },
    ("posterior", "gumbel_vq"): {
        "posterior": {"type": "gumbel_vq", "depth": 2, "drop": 0.1, "norm": 0.5},
        "prior": {"type": "codebook", "codes": 8, "depth": 2, "learning": "gradient"},
    },
    ("prior", "codebook"): {"prior": {"type": "codebook", "codes": 8, "order": 6}, "posterior": "vq"},
    ("prior", "lattice"): {"prior": {"type": "lattice", "order": 6}, "posterior": "fsq"},
    ("prior", "vamp"): {"prior": {"type": "vamp", "components": 5}},
    # Parts need no experts: one network may read them all.
    ("likelihood", "parts"): {"likelihood": "parts", "posterior": "diagonal_gaussian"},
}
BESIDE["posterior", "product"] = BESIDE["prior", "product"] = {
    "posterior": {
        "type": "product",
        "blocks": {
            "numbers": {"type": "diagonal_gaussian", "latent": 3},
            "choice": {"type": "gumbel_softmax", "latent": 5, "categories": 5},
        },
    },
    "prior": {
        "type": "product",
        "blocks": {
            "numbers": {"type": "gaussian_mixture", "latent": 3, "components": 2},
            "choice": {"type": "categorical", "latent": 5, "categories": 5},
        },
    },
}
BESIDE["prior", "cell"] = BESIDE["posterior", "cell_gaussian"]
NO_LIKELIHOOD = {"deterministic": "a deterministic code has no density"}
CASES = [(kind, name) for kind in ("posterior", "prior", "likelihood") for name in REGISTRY[kind]]


@functools.cache
def sets():
    """Small real data of each kind of value, by name: arrays, the options of ``load``, labels."""
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine

    digits, cancer, wine = load_digits(), load_breast_cancer(), load_wine()
    images = digits.images.reshape(-1, 1, 8, 8)
    return {
        "bits": ((images > 7).astype(np.uint8), {"binarize": "none"}, digits.target),
        "levels": ((images * (255 / 16)).astype(np.uint8), {"dequantize": False}, digits.target),
        "grey": ((images * (255 / 16)).astype(np.uint8), {}, digits.target),
        "counts": (digits.data.astype("f"), {"values": "real"}, digits.target),
        "limited": (digits.data.clip(max=10.0).astype("f"), {"values": "real"}, digits.target),
        "classes": ((digits.data // 4).astype(int), {"values": "categorical"}, digits.target),
        "positive": (cancer.data[:, :10].astype("f") + 1e-3, {"values": "real"}, cancer.target),
        "real": (np.log(wine.data).astype("f"), {"values": "real"}, wine.target),
        "angles": (2 * np.arctan(wine.data - wine.data.mean(0)).astype("f"), {"values": "real"}, wine.target),
        "table": (wine.data.astype("f"), {}, wine.target),
        "parts": (
            {
                "image": (images > 7).astype(np.uint8),
                "rows": digits.images.mean(2),
                "third": digits.target % 3,
            },
            {"binarize": "none", "parts": ["image", "rows", "third"]},
            digits.target,
        ),
    }


@functools.cache
def data(name, labels=False):
    x, options, y = sets()[name]
    few = np.random.default_rng(0).permutation(len(y))[:EXAMPLES]
    if name == "table":
        import pandas as pd

        x = pd.DataFrame(x)
    elif name == "parts":
        x = {key: array[few] for key, array in x.items()}
    else:
        few_x = x[few]
        x = few_x
    y = y[few] if name != "table" else y
    return lb.data.load(x, seed=0, **options, **({"condition": {"label": y}} if labels else {}))


def suited(kind, name):
    """Name of the first data that the likelihood can score; bits for other slots."""
    beside = BESIDE.get((kind, name), {})
    if name in ("experts", "parts"):
        return "parts"
    if "decoder" in beside:
        return "real"
    if kind != "likelihood":
        return "bits"
    cls = REGISTRY[kind][name]
    first = {
        "ordinal": "classes",
        "categorical": "classes",
        "von_mises": "angles",
        "censored_gaussian": "limited",
    }
    for each in [first[name]] if name in first else sets():
        split = data(each)
        if not cls.scores or split.spec.values in cls.scores:
            try:
                fresh(kind, name, each)
                return each
            except (SupportError, ConfigError):
                continue
    raise AssertionError(f"no data here suit the likelihood {name!r}: add some to sets()")


def fresh(kind, name, which, labels=False):
    """The model, made the same each time."""
    torch.manual_seed(0)
    partners = {
        other: each if isinstance(each, str) else each[0]
        for other, each in REGISTRY[kind][name].partners.items()
    }
    slots = BESIDE.get((kind, name)) or {kind: name, **partners}
    needs = [o for o, p in options_of(kind, REGISTRY[kind][name]).items() if p.default is p.empty]
    assert set(needs) <= {"categories", "parts", *slots.get(kind, {})}, (
        f"say in BESIDE what {needs} are to be"
    )
    network = {} if "decoder" in slots else {"network": NETWORK}
    split = data(which, labels)
    model = lb.VAE.for_data(split, **{"latent": LATENT.get(name, 4), **network, **slots})
    model.check_x(next(iter(split.train.batches(EXAMPLES)))[0])
    return model


def interrupt(model, record):
    signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_slot_on_real_data(kind, name, tmp_path, monkeypatch):
    monkeypatch.setattr(lb.report, "write_pictures", lambda *_: [])
    if REGISTRY[kind][name].__name__ == "ConditionalGaussian":
        return  # it needs a condition; see below
    which = suited(kind, name)
    split = data(which)
    options = {"objective": "elbo", "epochs": 2, "batch_size": 64, "evaluations": 2, "progress": False}
    before = {key: value.clone() for key, value in fresh(kind, name, which).state_dict().items()}
    whole = lb.fit(fresh(kind, name, which), split, out=tmp_path / "whole", **options)
    assert whole.stopped == "finished"
    state = whole.model.state_dict()
    moved = {key.split(".")[0] for key, value in state.items() if not torch.equal(value, before[key])}
    assert {"encoder", "decoder"} <= moved
    for each in ("posterior", "prior", "likelihood"):
        if any(True for _ in getattr(whole.model, each).parameters()):
            assert each in moved, f"{each} has parameters, none of which has moved"

    cut = lb.fit(fresh(kind, name, which), split, out=tmp_path / "cut", callback=interrupt, **options)
    assert cut.stopped == "interrupted"
    resumed = lb.fit(fresh(kind, name, which), split, out=tmp_path / "cut", resume=True, **options)
    for key, value in state.items():
        assert torch.equal(resumed.model.state_dict()[key], value), key

    again = lb.load(tmp_path / "whole")
    x, _ = next(iter(split.test.batches(8)))
    if name in NO_LIKELIHOOD:
        with pytest.raises(ConfigError, match=NO_LIKELIHOOD[name]):
            lb.evaluate.nll(again, split.test, samples=5, progress=False)
    else:
        torch.testing.assert_close(
            again.log_prob(x, samples=5, seed=1), whole.model.log_prob(x, samples=5, seed=1), rtol=0, atol=0
        )
        found = lb.evaluate.summary(again, split.test, samples=20, limit=20, progress=False)
        assert math.isfinite(found["nll"])
        assert found["nll"] < -found["elbo"] + 1
        assert (found["bits_per_dim"] is not None) == (
            again.likelihood.discrete
            or split.spec.levels is not None
            or split.spec.values in ("binary", "categorical")
        )
    again.check_x(again.accept(again.sample(5, mean=False, seed=0)))
    assert again.sample(5, seed=0).isfinite().all()
    assert again.reconstruct(x).shape == x.shape
    torch.testing.assert_close(again.decode(again.encode(x)), again.reconstruct(x))


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_slot_takes_a_condition(kind, name):
    which = "real" if name == "conditional_gaussian" else suited(kind, name)
    split = data(which, labels=True)
    model = fresh(kind, name, which, labels=True)
    lb.fit(model, split, objective="elbo", epochs=1, batch_size=200, progress=False)
    x, c = next(iter(split.test.batches(6)))
    known = c["label"].unique()
    drawn = model.sample(4, c=int(known[0]), seed=0)
    assert drawn.shape == (4, *split.spec.event_shape)
    assert drawn.isfinite().all()
    assert model.sample(len(known), c=known.tolist(), seed=0).isfinite().all()
    if name not in NO_LIKELIHOOD:
        together = model.log_prob(x, c, samples=4, seed=0)
        assert together.isfinite().all()
    # Of each example the prior is that of its own condition.
    with model.evaluating(), torch.no_grad():
        draw = model.under(c).generate(1, len(x))
        alone = model.under({"label": c["label"][:1]}).along(None, model.prior.join(draw.z)[:, :1])
        torch.testing.assert_close(draw.log_p[:, :1].expand(1, 1), alone.log_p)
