"""Digits of the class that is asked for, and one model that gives both p(x | c) and p(x)."""

# %% [markdown]
# # Generate by class
#
# With the label c as a condition the model is p(z) p(x | z, c). The prior does not know the class, so a code z says
# everything else about a digit, its style, and the decoder adds the class:
#
#     log p(x | c) >= E[log p(x | z, c)] - KL(q(z | x, c) || p(z)).
#
# In training the label is hidden three times in ten (label dropout). Then the same weights know p(x) as well, when
# they are asked without a label. There is a second way to p(x), which needs no dropout: to sum over the classes,
#
#     log p(x) = log sum_c p(c) p(x | c).
#
# The script prints both, with log p(x | c) and a model that never saw a label.

# %%
from __future__ import annotations

from pathlib import Path

import picture
import torch

import lowerbound as lb
from lowerbound.report import image_grid

DROPOUT = 0.3
NETWORK = {"hidden": [256, 256]}


# %% [markdown]
# The sum over the classes cannot lose more than -log p(c) nats against log p(x | c), which is log 10 = 2.30 for ten
# equally frequent classes: the other terms of the sum are not negative. Its largest term also names the class, by
# Bayes's rule.


# %%
def summed(model: lb.VAE, split: lb.data.Split, samples: int) -> tuple[torch.Tensor, float]:
    """Return log p(x) of each example by a sum over the classes, and the share of right largest terms."""
    label = model.condition["label"]
    of_class = [lb.evaluate.nll(model, split, samples, c=c).per_example for c in label.classes]
    joint = torch.stack(of_class) + label.frequency.double().log().unsqueeze(1)
    return joint.logsumexp(0), (joint.argmax(0) == split.labels).double().mean().item()


def main(out: str | Path, quick: bool = False) -> dict[str, float]:
    epochs, samples = (40, 50) if quick else (150, 500)
    data = lb.data.load("digits", binarize="none", condition="label")
    torch.manual_seed(0)
    model = lb.VAE.for_data(data, latent=8, condition={"label": {"dropout": DROPOUT}}, network=NETWORK)
    lb.fit(model, data, epochs=epochs, device="cpu", progress=False)
    plain = lb.data.load("digits", binarize="none")
    torch.manual_seed(0)
    without = lb.VAE.for_data(plain, latent=8, network=NETWORK)
    lb.fit(without, plain, epochs=epochs, device="cpu", progress=False)

    known = lb.evaluate.nll(model, data.test, samples)
    hidden = lb.evaluate.nll(model, data.test, samples, c={"label": None})
    log_p, right = summed(model, data.test, samples)
    numbers = {
        "conditional": known.value,
        "hidden": hidden.value,
        "summed": -log_p.mean().item(),
        "without": lb.evaluate.nll(without, plain.test, samples).value,
        "right": right,
    }
    print(f"{known.n} test digits, nats per digit")
    print(f"  -log p(x | c)                           {numbers['conditional']:7.2f}")
    print(f"  -log p(x), the label hidden             {numbers['hidden']:7.2f}")
    print(f"  -log p(x), summed over the classes      {numbers['summed']:7.2f}")
    print(f"  -log p(x) of a model without labels     {numbers['without']:7.2f}")
    print(f"largest term of the sum at the right class: {right:.1%}")

    # One code under each class, in a column.
    z = torch.randn(12, 8, generator=torch.Generator().manual_seed(1))
    names: list[str | None] = [*model.condition["label"].classes, None]
    rows = torch.cat([model.decode(z, name) for name in names])
    words = [name or "no label" for name in names]
    path = Path(out) / "generate_by_class.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_grid(rows, columns=len(z), row_labels=words))
    print(f"wrote {path}")
    return numbers


# %%
if __name__ == "__main__":
    picture.run(main, __doc__)
