"""Train a VAE on small digits, and do with it what one usually does."""

# %% [markdown]
# # Quick start: train, evaluate, save, load, sample
#
# The data are real handwritten digits of 8 x 8 pixels that come inside scikit-learn, so nothing is downloaded.
# Their grey levels are binarised afresh at every look, and a Bernoulli likelihood scores the pixels. As a yardstick,
# pixels that know nothing of each other, each with its own probability of white, cost 27.2 nats per digit.

# %%
from __future__ import annotations

from pathlib import Path

import picture
import torch

import lowerbound as lb
from lowerbound.report import image_grid


def main(out: str | Path, quick: bool = False) -> dict[str, float]:
    torch.manual_seed(0)
    data = lb.data.load("digits")
    model = lb.VAE.for_data(data, latent=8)
    run = lb.fit(model, data, epochs=50 if quick else 300, device="cpu", progress=False)
    print(f"{data}\ntrained for {run.steps} steps in {run.seconds:.0f} s")

    nll = lb.evaluate.nll(model, data.test, samples=100 if quick else 1000)
    bound = lb.evaluate.bound(model, data.test, samples=10)
    print(f"-log p(x) = {nll.value:.2f} ± {nll.stderr:.2f} nats per digit, trusted: {nll.trusted}")
    print(f"bound: {bound.elbo:.2f} nats = reconstruction {bound.reconstruction:.2f} - KL {bound.kl:.2f}")

    # Reconstructions and samples are means of p(x | z): the grey is the probability of a white pixel.
    folder = lb.save(model, Path(out) / "quickstart", overwrite=True)
    model = lb.load(folder)
    x, _ = next(data.test.batches(16))
    rows = torch.cat([x, model.reconstruct(x), model.sample(32, seed=0)])
    labels = ("data", "reconstruction", "sample", "sample")
    (Path(out) / "quickstart.png").write_bytes(image_grid(rows, columns=16, row_labels=labels))
    print(f"saved the model in {folder}, wrote {Path(out) / 'quickstart.png'}")
    again = lb.evaluate.nll(model, data.test, samples=nll.samples)
    return {"nll": nll.value, "stderr": nll.stderr, "elbo": bound.elbo, "nll_after_loading": again.value}


# %%
if __name__ == "__main__":
    picture.run(main, __doc__)
