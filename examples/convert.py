"""Digits turned into other digits of the same style."""

# %% [markdown]
# # Convert: another class, the same style
#
# A conditional model splits a digit into its class c and a code z of all the rest. The prior p(z) is the same for
# every class, so a code that was read from a 3 is as good a code for a 7:
#
#     z = mean of q(z | x, c),        x' = mean of p(x | z, c').
#
# Three things can go wrong, and the script measures each on all test digits:
#
# - x' is not of the class asked for: a classifier that was trained on real digits reads it;
# - the code knows the class, so that x' is a mixture of both: a linear classifier tries to find the class in the code
#   (one in ten by chance), and for comparison in the code of a model that was not told the class;
# - the style is lost: how much ink, and how far the digit leans, are correlated between x and x'.

# %%
from __future__ import annotations

from pathlib import Path

import picture
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import Tensor

import lowerbound as lb
from lowerbound.report import image_grid


# %%
def lean(images: Tensor) -> Tensor:
    """Return how far images (N, 1, 8, 8) lean: the slope of the columns of their ink against its rows."""
    ink = images[:, 0] / images.sum((1, 2, 3)).clamp(min=1e-6)[:, None, None]
    row, column = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    down = row - (ink * row).sum((1, 2))[:, None, None]
    right = column - (ink * column).sum((1, 2))[:, None, None]
    return (ink * down * right).sum((1, 2)) / (ink * down.square()).sum((1, 2))


def correlation(a: Tensor, b: Tensor) -> float:
    return torch.corrcoef(torch.stack([a, b]))[0, 1].item()


def main(out: str | Path, quick: bool = False) -> dict[str, float]:
    epochs = 60 if quick else 200
    data = lb.data.load("digits", binarize="none", condition="label")
    torch.manual_seed(0)
    model = lb.VAE.for_data(data, latent=8)
    lb.fit(model, data, epochs=epochs, device="cpu", progress=False)
    plain = lb.data.load("digits", binarize="none")
    torch.manual_seed(0)
    untold = lb.VAE.for_data(plain, latent=8)
    lb.fit(untold, plain, epochs=epochs, device="cpu", progress=False)

    x_train, c_train = next(data.train.batches(len(data.train)))
    x, c = next(data.test.batches(len(data.test)))
    was, classes = c["label"], torch.arange(10)
    versions = torch.stack([model.convert(x, c, k) for k in range(10)])  # (10, B, 1, 8, 8)
    other = was != classes[:, None]

    reader = SVC(C=10).fit(x_train.flatten(1), c_train["label"])
    read = torch.as_tensor(reader.predict(versions.flatten(0, 1).flatten(1))).reshape(10, -1)
    told = LogisticRegression(max_iter=3000).fit(model.encode(x_train, c_train), c_train["label"])
    not_told = LogisticRegression(max_iter=3000).fit(untold.encode(x_train), c_train["label"])

    def kept(of: str) -> float:
        """Return the mean over the classes of a property's correlation between x and x', where the class changed."""
        measure = {"ink": lambda images: images.sum((1, 2, 3)), "lean": lean}[of]
        pairs = [(measure(x[at]), measure(version[at])) for version, at in zip(versions, other, strict=True)]
        return sum(correlation(*pair) for pair in pairs) / len(pairs)

    numbers = {
        "as_asked": (read == classes[:, None])[other].double().mean().item(),
        "reader_on_data": float(reader.score(x.flatten(1), was)),
        "class_in_code": float(told.score(model.encode(x, c), was)),
        "class_in_code_untold": float(not_told.score(untold.encode(x), was)),
        "ink": kept("ink"),
        "lean": kept("lean"),
    }
    print(f"{len(x)} test digits, each converted to the nine other classes")
    print(
        f"  read as the class asked for    {numbers['as_asked']:6.1%}   (real digits {numbers['reader_on_data']:.1%})"
    )
    print(
        f"  class found in the code        {numbers['class_in_code']:6.1%}   "
        f"(of a model that is not told it {numbers['class_in_code_untold']:.1%})"
    )
    print(
        f"  correlation of the ink         {numbers['ink']:6.2f}\n"
        f"  correlation of the lean        {numbers['lean']:6.2f}"
    )

    # The first test digit of each class, and what it would be as every other.
    first = [int((was == k).nonzero()[0]) for k in range(10)]
    sheet = torch.cat([x[None], versions])[:, first].transpose(0, 1).flatten(0, 1)
    names = ["data", *data.spec.classes]
    path = Path(out) / "convert.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_grid(sheet, columns=11, column_labels=names))
    print(f"wrote {path}")
    return numbers


# %%
if __name__ == "__main__":
    picture.run(main, __doc__)
