"""What each process of a group does in `test_processes.py`: train an epoch and write down what it has met.

torchrun --nproc-per-node 2 tests/in_each_process.py FOLDER
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

import lowerbound as lb
from lowerbound.objectives import ELBO, Move, Objective
from lowerbound.training import save_tensors

EXAMPLES, BATCH, SEED = 985, 98, 3
# 687 to train: batches of 98 and one of 1, of which one process has none; 197 to validate: batches of 98, 98 and 1.
SPLIT = (0.697, 0.2, 0.103)
# The weights stand still, so that what every step must give can be worked out in one process.
SETTINGS = {
    "epochs": 1,
    "batch_size": BATCH,
    "seed": SEED,
    "learning_rate": 1e-30,
    "ema": 0.0,
    "clip": None,
    "device": "cpu",
    "precision": "fp32",
    "progress": False,
}


# A run in which the weights move, with a checkpoint at every step and an evaluation after every epoch.
MOVING = {"epochs": 3, "batch_size": BATCH, "seed": 1, "checkpoint_seconds": 1e-9, "evaluations": 1000}


def make_data(path):
    """Images that are all alike and grey: only binarisation makes one differ from the other."""
    if not path.exists():
        np.save(path, np.full((EXAMPLES, 4, 4), 128, np.uint8))
    return lb.data.load(path, binarize="dynamic", split=SPLIT)


def make_model(data):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return lb.VAE.for_data(data, latent=3, network={"type": "mlp", "hidden": [16]})


class Watched(Objective):
    """The evidence lower bound, which remembers what the model was given and what it has drawn."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def forward(self, model, x, c, progress):
        o = model(x, c)
        self.seen[f"x.{progress.step}"] = x
        self.seen[f"noise.{progress.step}"] = noise_of(o)
        return ELBO()(lambda x, c, samples: o, x, c, progress)


def noise_of(o):
    """Return the standard normal draws behind z, (samples, B, latent)."""
    return (o.z - o.q.mean) / o.q.stddev


class Fragile(Objective):
    """The evidence lower bound, whose process is killed in one step of one rank, once."""

    def __init__(self, flag, rank, step):
        super().__init__()
        self.flag, self.rank, self.step = flag, rank, step

    def forward(self, model, x, c, progress):
        flag = Path(self.flag)
        if progress.step == self.step and int(os.environ["RANK"]) == self.rank and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return ELBO()(model, x, c, progress)


class Critical(Objective):
    """The evidence lower bound beside a critic of the codes, whose gradient no engine averages."""

    def start(self, model, data=None):
        self.critic = torch.nn.Linear(3, 1)

    def players(self, model):
        return super().players(model) | {"critic": list(self.critic.parameters())}

    def moves(self, model, x, c, progress):
        o = model(x, c)
        bound = (o.log_likelihood[0] - o.kl()).mean()
        yield Move("model", -bound, bound, {})
        loss = (self.critic(o.z[0].detach()) - x.flatten(1).mean(1, keepdim=True)).square().mean()
        yield Move("critic", loss, None, {"critic": loss.detach()})


def criticise(data, folder):
    objective = Critical()
    lb.fit(make_model(data), data, objective=objective, out=folder / "critic", progress=False, **MOVING)
    save_tensors(folder / f"critic-{os.environ['RANK']}.safetensors", objective.state_dict(), {})


def watch(data, folder):
    rank = os.environ["RANK"]
    model, objective = make_model(data), Watched()
    names = [name for name, _ in model.named_parameters()]

    def note(optimizer, args, kwargs):
        step = max(int(name.split(".")[1]) for name in objective.seen)
        for name, parameter in zip(names, model.parameters(), strict=True):
            objective.seen[f"gradient.{step}.{name}"] = parameter.grad.clone()

    handle = register_optimizer_step_pre_hook(note)
    lb.fit(model, data, objective=objective, out=folder / "run", **SETTINGS)
    handle.remove()
    save_tensors(folder / f"seen-{rank}.safetensors", objective.seen, {})


def main(folder, what="seen"):
    data = make_data(folder / "data.npy")
    if what == "whole":
        lb.fit(make_model(data), data, objective="elbo", out=folder / "whole", progress=False, **MOVING)
    elif what == "critic":
        criticise(data, folder)
    else:
        watch(data, folder)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
