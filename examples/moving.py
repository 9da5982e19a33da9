# %% [markdown]
# # A picture that moves
#
# What three trained runs draw, side by side, as the animation of the README. It is made by
#
#     lowerbound train mnist --preset cvae --condition label --epochs 15 --lr 3e-3 --set training.weight_decay=0.06 \
#         --out runs/by-class
#     lowerbound train mnist --condition label --observed random --minutes 4 --out runs/complete
#     lowerbound plan demo narrow
#     python examples/moving.py runs/by-class runs/complete runs/plan-narrow/run --out docs/images

# %%
import argparse
import io
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import lowerbound as lb
from lowerbound import planning

FRAMES, MILLISECONDS = 42, 120
ROWS, CELL, GAP = 4, 48, 14  # of digits, with so many pixels a side, between panels
TEMPERATURE = 0.8  # the spread of the codes in the first panel, relative to the prior's
INK, GREY, BLUE = "#3c4148", "#6b7280", "#2f6fab"


# %% [markdown]
# The codes of the first panel go once around a circle, z = a cos t + b sin t. With a and b from a normal, z has its
# distribution at every t. All classes of a row share z: only the class differs.


# %%
def by_class(run: Path, rows: int = ROWS) -> Tensor:
    """Return means of p(x | z, class), (frames, rows, 10, H, W)."""
    model = lb.load(run)
    a, b = torch.randn(2, rows, 1, *model.latent_shape, generator=torch.Generator().manual_seed(3))
    t = torch.arange(FRAMES).view(-1, 1, 1, 1) * 2 * torch.pi / FRAMES
    z = TEMPERATURE * (a * t.cos() + b * t.sin()).expand(-1, -1, 10, -1)
    labels = torch.arange(10).expand(FRAMES, rows, 10).flatten()
    x = model.decode(z.flatten(0, 2), {"label": labels})
    return x.view(FRAMES, rows, 10, *x.shape[-2:])


# %% [markdown]
# In the second one, of the first digits of the test split, each draw of what is missing fades into another.


# %%
def completions(run: Path, rows: int = ROWS, draws: int = 4, steps: int = 4) -> Tensor:
    """Return what was observed and draws of the rest, (frames, rows, 1 + draws, H, W)."""
    model = lb.load(run)
    x, c = next(lb.data.load("mnist", condition="label").test.batches(rows, seed=0))
    half = x.shape[-1] // 2
    mask = torch.ones_like(x)
    mask[0::2, :, half:] = 0
    mask[1::2, :, :, half:] = 0
    done = model.complete(x, mask, draws * steps, c=c, seed=1).x.view(steps, draws, rows, *x.shape[-2:])
    at = torch.arange(FRAMES) * steps / FRAMES
    now, share = at.long(), ((at % 1 - 0.5) * 2).clamp(min=0).view(-1, 1, 1, 1, 1)
    shown = done[now] * (1 - share) + done[(now + 1) % steps] * share
    seen = (
        torch.where(mask > 0, x, x.new_tensor(0.5))
        .view(1, rows, 1, *x.shape[-2:])
        .expand(FRAMES, -1, -1, -1, -1)
    )
    return torch.cat([seen, shown.transpose(1, 2)], 2)


# %%
def states(run: Path, problems: tuple[int, ...] = (0, 1, 2), n: int = 60) -> list[Image.Image]:
    """Return frames in which learned states appear in each problem, and the path over them."""
    learned, meta = planning.load_sampler(run)
    family, each = planning.family_from(meta["family"]), FRAMES // len(problems)
    frames = []
    for problem in (family.problem("test", i) for i in problems):
        drawn = planning.Mixed(learned, 0.5).draw(problem, n, np.random.default_rng(0))
        path = planning.plan(problem, drawn).path
        order = np.random.default_rng(0).permutation(n)
        for step in range(each):
            count = min(n, n * (step + 1) // (each // 2))
            figure = Figure(figsize=(ROWS * CELL / 100, ROWS * CELL / 100), dpi=100)
            ax = figure.add_axes((0.01, 0.01, 0.98, 0.98))
            problem.draw_on(ax)
            ax.plot(*drawn[order[:count]].T, ".", color=BLUE, markersize=4)
            if path is not None and step >= each // 2 + 1:
                ax.plot(*path.T, color=INK, linewidth=2)
            ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png")
            frames.append(Image.open(buffer).convert("RGB"))
    return frames


# %%
def grid(x: Tensor) -> Image.Image:
    """Return examples (rows, columns, H, W) as a picture, with a line between them."""
    picture = Image.new("L", (CELL * x.shape[1], CELL * x.shape[0]), 110)
    for row, examples in enumerate(x.clamp(0, 1)):
        for column, example in enumerate(examples):
            tile = Image.fromarray((255 * example.numpy()).astype(np.uint8))
            tile = tile.resize((CELL - 1, CELL - 1), Image.Resampling.BICUBIC)
            picture.paste(tile, (column * CELL, row * CELL))
    return picture.convert("RGB")


def main(runs: tuple[Path, Path, Path], out: Path) -> Path:
    """Write moving.webp: samples by class, completions, and states for a planner."""
    walk, filled, planned = by_class(runs[0]), completions(runs[1]), states(runs[2])
    font, top = ImageFont.load_default(15), 26
    frames = []
    for i in range(FRAMES):
        pictures = [grid(walk[i]), grid(filled[i]), planned[i]]
        width = sum(picture.width + GAP for picture in pictures) - GAP
        frame, left = Image.new("RGB", (width, top + ROWS * CELL), "white"), 0
        for picture, words in zip(
            pictures,
            ("draw each class, in one style", "fill what is missing", "plan through gaps"),
            strict=True,
        ):
            frame.paste(picture, (left, top))
            ImageDraw.Draw(frame).text((left, 3), words, INK, font)
            left += picture.width + GAP
        frames.append(frame)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "moving.webp"
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0, quality=50, method=4
    )
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "runs", type=Path, nargs=3, help="runs by class, of completion, and of a planner's sampler"
    )
    parser.add_argument("--out", type=Path, default=Path("examples/out"))
    arguments = parser.parse_args()
    print(main(tuple(arguments.runs), arguments.out))
