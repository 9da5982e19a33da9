"""A conditional VAE draws states for a planner where the walls of a room have their gaps, and is compared."""

# %% [markdown]
# # States where solutions pass
#
# The unit square is cut by walls with one gap of 3 cm in each; a point has to get from a start to a goal. A planner
# that draws its states uniformly rarely hits a gap. Here a conditional VAE (Ichter, Harrison and Pavone, 2018,
# https://arxiv.org/abs/1709.05448) sees the occupancy grid, the start and the goal, and draws half of the states:
#
#     x ~ p(x | c) = E_{z ~ p(z | c)} p(x | z, c),        c = (grid, start, goal).
#
# It learns from states in the bottlenecks of other problems' solutions, and nobody tells it what a gap is.
#
# Two latents are compared. With *cells*, a part of the code is the place of the map that x lies in, and its prior
# reads the map. With a *Gaussian* one the encoder can write the place into the code, and does: the reconstruction is
# good, the KL is large, and codes from the prior give states anywhere. The planner has the prior only.

# %%
from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

import lowerbound as lb
from lowerbound import planning

GAP = 0.03
COUNTS = (25, 50, 100, 200)


# %%
def share_in_gaps(sampler: planning.Sampler, problems: list[planning.PlanarProblem], n: int = 100) -> float:
    """Return which share of a sampler's states lies in the gaps, mean over problems."""
    shares = []
    for problem in problems:
        x = sampler.draw(problem, n, np.random.default_rng(0))[:, None]
        shares.append(((x >= problem.gaps[:, :2]) & (x <= problem.gaps[:, 2:])).all(-1).any(1).mean())
    return float(np.mean(shares))


def main(out: str | Path, quick: bool = False) -> dict[str, dict[str, float]]:
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    solved, tested = (400, 30) if quick else (600, 60)
    epochs = 4 if quick else 5
    family = planning.family("narrow", gap=GAP)
    problems: list[planning.PlanarProblem] = list(family.problems("test", tested))  # type: ignore[arg-type]
    samplers: dict[str, planning.Sampler] = {"uniform": planning.Uniform(), "bridge test": planning.Bridge()}
    numbers: dict[str, dict[str, float]] = {name: {} for name in samplers}

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "narrow.npz"
        planning.make_data(family, solved, data, workers=1)
        held_out = planning.load_data(data).test
        for kind in ("cells", "gaussian"):
            run = Path(folder) / kind
            planning.train(data, run, kind=kind, epochs=epochs, device="cpu", progress=False)
            learned, _ = planning.load_sampler(run)
            bound = lb.evaluate.bound(learned.model, held_out, samples=4)
            name = f"learned, {kind}, half uniform"
            samplers[name] = planning.Mixed(learned, 0.5)
            numbers[name] = {
                "reconstruction": bound.reconstruction,
                "kl": bound.kl,
                "alone_in_gaps": share_in_gaps(learned, problems),
            }

    wide = max(map(len, samplers))
    print(f"{'':{wide}}{'in gaps':>9}" + "".join(f"{n:8d}" for n in COUNTS))
    curves = {}
    for name, sampler in samplers.items():
        curves[name] = planning.success_curve(planning.measure(sampler, problems, COUNTS))
        numbers[name]["in_gaps"] = share_in_gaps(sampler, problems)
        numbers[name] |= {f"solved_{point['n']}": point["success"] for point in curves[name]}
        shown = "".join(f"{point['success']:8.2f}" for point in curves[name])
        print(f"{name:{wide}}{numbers[name]['in_gaps']:9.1%}{shown}")
    for kind in ("cells", "gaussian"):
        one = numbers[f"learned, {kind}, half uniform"]
        print(f"{kind}: reconstruction {one['reconstruction']:.2f}, KL {one['kl']:.2f} nats")

    # %%
    ours = "learned, cells, half uniform"
    order = [*(name for name in curves if name != ours), ours]  # the last stands out
    (out / "planning_success.png").write_bytes(
        planning.success_picture({name: curves[name] for name in order})
    )
    rng = np.random.default_rng(0)
    for problem in problems:
        drawn = {name: samplers[name].draw(problem, 100, rng) for name in ("uniform", ours)}
        path = planning.plan(problem, drawn[ours]).path
        if path is not None and len(path) > 3:
            break
    (out / "planning_samples.png").write_bytes(planning.problem_picture(problem, drawn, path))
    print(f"wrote {out / 'planning_samples.png'} and {out / 'planning_success.png'}")
    return numbers


# %%
if __name__ == "__main__":
    import picture

    picture.run(main, __doc__)
