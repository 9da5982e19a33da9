"""Write the golden run folders of the present format: python make.py OUT (see README.md)."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

import lowerbound as lb

HERE = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
SMALL = {"type": "mlp", "hidden": [16]}


def table():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 2))
    return (
        np.tanh(z @ rng.normal(size=(2, 5)) * 2) * [1, 10, 100, 0.1, 5] + rng.normal(size=(300, 5)) * 0.1
    ).astype("f")


def points():
    rng = np.random.default_rng(0)
    place = rng.integers(6, size=120)
    grids = np.zeros((120, 1, 2, 4, 3, 4), np.uint8)
    grids[np.arange(120), 0, place // 3, :, place % 3] = 1
    x = np.stack([-3 + 2 * (place % 3 + rng.random(120)), 10 + (place // 3 + rng.random(120))], 1).astype("f")
    return x, grids.reshape(120, 1, 8, 12)


def cells(**network):
    return {
        "posterior": {"type": "cell_gaussian", "cells": 6},
        "prior": {"type": "cell", "cells": 6, "hidden": [8]},
        "encoder": {"type": "cells", "cells": 6, "hidden": [8], **network},
        "decoder": {"type": "cells", "cells": 6, "hidden": [8], **network},
    }


def runs():
    digits = lb.data.load("digits")
    yield (
        "bits",
        digits,
        {"network": SMALL, "latent": 4},
        {"objective": {"type": "importance_weighted", "samples": 4, "gradient": "dreg", "kept": 2}},
    )
    yield (
        "grey",
        lb.data.load("digits", binarize="none"),
        {"network": SMALL, "latent": 3, "posterior": "full_covariance_gaussian"},
        {},
    )
    labelled = lb.data.load("digits", condition="label")
    yield (
        "label",
        labelled,
        {"network": SMALL, "latent": 3, "prior": {"type": "conditional_gaussian", "hidden": [8]}},
        {},
    )
    yield (
        "observed",
        lb.data.load("digits", observed="random"),
        {"network": SMALL, "latent": 3, "condition": {"observed": {"size": 8, "hidden": [8]}}},
        {},
    )
    yield (
        "classes",
        lb.data.load("digits", condition="label", labelled=100),
        {"network": SMALL, "latent": 3, "classifier": {"type": "mlp", "hidden": [8]}},
        {},
    )
    yield "table", lb.data.load(table()), {"network": SMALL, "latent": 2}, {}
    x, grids = points()
    mapped = lb.data.load(x, values="real", condition={"grid": grids})
    yield (
        "cells",
        mapped,
        {
            "latent": 8,
            **cells(),
            "condition": {"grid": {"type": "map", "features": 4, "channels": [4, 4], "blocks": 1}},
        },
        {},
    )


def numbers(model, data):
    """What a later version must find again, on the first test examples."""
    x, c = data.test.take(12).batches(12).__iter__().__next__()
    torch.manual_seed(0)
    found = {
        "log_prob": model.log_prob(x, c, samples=20, seed=1).tolist() if model.classifier is None else None,
        "encode": model.encode(x, c).tolist() if model.classifier is None else None,
        "encode_sample": model.encode(x, c, sample=True, seed=2).tolist()
        if model.classifier is None
        else None,
        "sample": model.sample(3, None if c is None else {k: v[:3] for k, v in c.items()}, seed=3).tolist()
        if model.classifier is None
        else model.sample(3, c=2, seed=3).tolist(),
        "predict_proba": model.predict_proba(x).tolist() if model.classifier is not None else None,
    }
    if model.classifier is None:
        result = lb.evaluate.nll(model, data.test.take(12), samples=50)
        bound = lb.evaluate.bound(model, data.test.take(12), samples=3)
        found |= {"nll": result.value, "ess": result.ess.tolist(), "elbo": bound.elbo, "kl": bound.kl}
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, data, slots, options in runs():
        torch.manual_seed(0)
        model = lb.VAE.for_data(data, **slots)
        out = HERE / name
        lb.fit(
            model,
            data,
            epochs=3,
            batch_size=100,
            evaluations=2,
            out=out,
            overwrite=True,
            progress=False,
            precision="fp32",
            **options,
        )
        again = lb.load(out)
        (out / "expected.json").write_text(json.dumps(numbers(again, data)))
        if name != "bits":  # one of them is resumed too
            for file in (out / "checkpoint").iterdir():
                file.unlink()
            (out / "checkpoint").rmdir()
        print(name, sum(f.stat().st_size for f in out.rglob("*") if f.is_file()))
