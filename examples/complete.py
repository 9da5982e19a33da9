"""Digits of which only a part is seen: by a model trained to complete them, and by one that was not."""

# %% [markdown]
# # Complete what is missing
#
# Observed are some pixels x_o of a digit; wanted are draws of the others, x_m, that fit them. Several draws, because
# the observed part rarely settles the matter.
#
# A model that was *trained for it* has the observed pixels and their places as its condition. It saw masks of every
# form in training (`observed="random"`) and draws at once:
#
#     z ~ p(z | x_o),        x_m ~ p(x_m | z, x_o).
#
# A model that was *not* holds the answer too, but it must be searched for codes that explain x_o. They are drawn from
# proposals, weighted by p(x_o | z) p(z) / r(z), and drawn again by the weights. The effective sample size (ESS) says
# how many codes are left after the weighting.
#
# The two have nothing but the data in common, and they can be compared in nats: the first gives
# log p(x_m | x_o) as its likelihood, the second as log p(x) - log p(x_o).
#
# All is done twice: with digits in black and white, and with grey levels. A grey pixel that is known to within
# σ = 0.1 rules out nearly every code, so the ESS of grey digits is small, the search repeats its few good codes, and
# its number is not to be trusted. The model that was trained for it does not mind.

# %%
from __future__ import annotations

from pathlib import Path

import picture
import torch
from torch import Tensor

import lowerbound as lb
from lowerbound.report import image_grid

DRAWS = 5


# %%
def masks() -> dict[str, Tensor]:
    """Return what is observed, (8, 8) each: True where a pixel is seen."""
    half = (torch.arange(8) < 4).expand(8, 8)
    scattered = torch.rand(8, 8, generator=torch.Generator().manual_seed(3)) < 0.25
    return {"left half": half, "a quarter of the pixels": scattered}


def compare(
    trained: lb.VAE, plain: lb.VAE, x: Tensor, mask: Tensor, samples: int
) -> tuple[dict[str, float], Tensor, Tensor]:
    """Complete images by both models; return numbers and the first images' completions, (D, N, 1, 8, 8) each."""
    whole = mask.expand_as(x).float()
    told = {"observed": torch.stack([x * whole, whole], 1)}
    direct = lb.evaluate.nll(trained, x, samples, c=told)
    done = plain.complete(x, mask, DRAWS, mean=True, samples=samples, seed=0)
    searched = plain.log_prob(x, samples=samples, seed=0) - done.log_observed
    difference = searched - direct.per_example
    numbers = {
        "trained": direct.value,
        "search": -searched.mean().item(),
        "difference_stderr": difference.std().item() / len(x) ** 0.5,
        "ess": done.ess.median().item(),
        "missing": int((~mask).sum()),
    }
    return numbers, trained.complete(x, mask, DRAWS, mean=True, seed=0).x, done.x


def main(out: str | Path, quick: bool = False) -> dict[str, dict[str, float]]:
    epochs, samples, test = (15, 100, 40) if quick else (150, 1000, 120)
    results, rows = {}, []
    print(f"{test} test digits, -log p(x_m | x_o) in nats")
    print(f"{'digits, observed':34}{'pixels left':>12}{'trained':>9}{'search':>9}{'ESS, median':>16}")
    for digits, binarize in (("bits", "dynamic"), ("grey", "none")):
        models = []
        for observed in ("random", None):
            data = lb.data.load("digits", binarize=binarize, observed=observed)
            torch.manual_seed(0)
            model = lb.VAE.for_data(data, latent=8)
            lb.fit(model, data, epochs=epochs, device="cpu", progress=False)
            models.append(model)
        x, _ = next(data.test.batches(test))
        shown = [int((data.test.labels[:test] == k).nonzero()[0]) for k in (2, 3, 5, 8)]
        for name, mask in masks().items():
            numbers, direct, searched = compare(*models, x, mask, samples)
            results[f"{digits}, {name}"] = numbers
            print(
                f"{f'{digits}, {name}':34}{numbers['missing']:12d}{numbers['trained']:9.2f}{numbers['search']:9.2f}"
                f"{numbers['ess']:9.0f} of {samples}"
            )
            if digits == "grey":
                seen = torch.where(mask, x, 0.4)
                rows.append(torch.stack([x, seen, *direct, *searched], 1)[shown].flatten(0, 1))
    names = ["data", "observed", *["trained"] * DRAWS, *["searched"] * DRAWS]
    path = Path(out) / "complete.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_grid(torch.cat(rows), columns=len(names), column_labels=names, group=4))
    print(f"wrote {path}")
    return results


# %%
if __name__ == "__main__":
    picture.run(main, __doc__)
