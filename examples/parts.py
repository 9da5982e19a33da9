"""An image and its label as two parts of x: each from the other, by three ways to combine their experts."""

# %% [markdown]
# # Several parts
#
# x is an image and its label, and either may be missing. One network reads each part, and one posterior combines what
# they say of z: by a product, a mixture, or a mixture of products. The same model then says which label an image has
# and draws images of a label, and both are compared in nats: log p(label | image) and log p(image | label).

# %%
from __future__ import annotations

from pathlib import Path

import picture
import torch

import lowerbound as lb
from lowerbound.presets import preset
from lowerbound.report import image_grid

PRESETS = {"mvae": "product", "mmvae": "mixture", "mopoe": "mixture of products"}
DRAWS = 2


def main(out: str | Path, quick: bool = False) -> dict[str, dict[str, float]]:
    epochs, samples, test = (8, 50, 40) if quick else (40, 200, 180)
    data = lb.data.load("digits", parts=["image", "label"])
    classes = data.spec.named[1].classes
    print(f"{test} test digits, nats")
    print(f"{'':22}{'log p(label | image)':>22}{'log p(image | label)':>22}{'labels wrong':>14}")
    results, rows = {}, []
    for name, what in PRESETS.items():
        torch.manual_seed(0)
        model = lb.VAE.for_data(data, latent=8, posterior=preset(name)["posterior"])
        lb.fit(
            model, data, objective=preset(name)["objective"], epochs=epochs, batch_size=100,
            device="cpu", progress=False,
        )  # fmt: skip
        of_label, of_image = (
            lb.evaluate.conditional_nll(model, data.test, of=of, samples=samples, limit=test, progress=False)
            for of in ("label", "image")
        )
        x, _ = next(data.test.batches(test))
        parts = lb.data.split_parts(x, data.spec)
        told = lb.data.join_parts({"image": parts["image"]}, data.spec)
        drawn = model.complete(told, ~told.isnan(), 50, samples=samples, seed=0).x
        found = lb.data.split_parts(drawn, data.spec)["label"].mode(0).values
        numbers = {
            "label_given_image": -of_label.value,
            "image_given_label": -of_image.value,
            "wrong": (found != parts["label"]).double().mean().item(),
        }
        results[name] = numbers
        print(
            f"{what:22}{numbers['label_given_image']:22.2f}{numbers['image_given_label']:22.2f}"
            f"{numbers['wrong']:14.0%}"
        )
        told = lb.data.join_parts({"label": classes}, data.spec)
        images = model.complete(told, ~told.isnan(), DRAWS, mean=True, samples=samples, seed=0).x
        rows.append(lb.data.split_parts(images, data.spec)["image"])
    path = Path(out) / "parts.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [what for what in PRESETS.values() for _ in range(DRAWS)]
    path.write_bytes(
        image_grid(
            torch.cat(rows).flatten(0, 1), columns=len(classes), column_labels=classes, row_labels=labels
        )
    )
    print(f"wrote {path}")
    return results


# %%
if __name__ == "__main__":
    picture.run(main, __doc__)
