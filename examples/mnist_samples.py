# %% [markdown]
# # Samples of a trained run
#
# Draws from the prior, decoded by a model that `lowerbound train mnist --minutes 10` has made; none is picked out.
# The picture of the README is made by
#
#     python examples/mnist_samples.py runs/mnist --out docs/images

# %%
import argparse
from pathlib import Path

import lowerbound as lb


def main(run: Path, out: Path, columns: int = 16, rows: int = 5) -> Path:
    """Write mnist_samples.png: means of p(x | z) for columns x rows codes z from the prior, seed 0."""
    model = lb.load(run)
    picture = lb.report.image_grid(model.sample(columns * rows, seed=0), columns)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "mnist_samples.png"
    path.write_bytes(picture)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, help="folder of a run on images")
    parser.add_argument("--out", type=Path, default=Path("examples/out"))
    arguments = parser.parse_args()
    print(main(arguments.run, arguments.out))
