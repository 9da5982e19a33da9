"""Seconds until something happens: importing, ``lowerbound --help``, loading a run, the first training step.

    python benchmarks/startup.py [--peers DIR] [--rounds 7]

Every measurement is a fresh process, from its start to its end; ``import torch`` alone and ``import pythae`` stand
beside them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import contest
from common import write_result
from contest import Numbers

import lowerbound as lb

_PARTS = "import lowerbound as lb; data = lb.data.load('digits'); model = lb.VAE.for_data(data, latent=2)"
# One step: an epoch of as many examples as a batch has.
_STEP = (
    f"{_PARTS}; part = lb.data.Data(data.train.take(128), data.valid.take(16), data.test, options=data.options); "
    "lb.fit(model, part, objective='elbo', epochs=1, batch_size=128, progress=False)"
)


def commands(folder: Path, peers: Path) -> dict[str, list[str]]:
    """Return the command of every measurement by name.

    Args:
        folder: Of a saved model.
        peers: Interpreter of the peers' environment.
    """
    own = [sys.executable, "-c"]
    return {
        "python": [*own, "pass"],
        "import_torch": [*own, "import torch"],
        "import_torch_peers": [str(peers), "-c", "import torch"],
        "import_lowerbound": [*own, "import lowerbound"],
        "import_lowerbound_vae": [*own, "from lowerbound import VAE, fit, load"],
        "import_pythae": [
            str(peers),
            "-c",
            "from pythae.models import VAE; from pythae.trainers import BaseTrainer",
        ],
        "help": [str(Path(sys.executable).parent / "lowerbound"), "--help"],
        "load_run": [*own, f"import lowerbound as lb; lb.load({os.fspath(folder)!r})"],
        "first_step": [*own, _STEP],
    }


def seconds_of(command: list[str]) -> dict[str, float]:
    """Run a command in a fresh process and return its wall-clock time."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=contest.environment())
    return {"seconds": time.perf_counter() - started}


def main() -> None:
    arguments = contest.parser(__doc__, rounds=7).parse_args()
    started = time.monotonic()
    numbers = Numbers()
    with contest.peers_python(arguments.peers) as peers, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        data = lb.data.load("digits")
        lb.save(lb.VAE.for_data(data, latent=2), folder)
        turns = {
            name: lambda command=command: seconds_of(command)
            for name, command in commands(folder, peers).items()
        }
        for turn in turns.values():  # once for nothing: compiled files, and the disk's cache
            turn()
        answers = contest.alternate(turns, arguments.rounds)
        versions = _versions(peers)
    seconds = {name: [answer["seconds"] for answer in of_one] for name, of_one in answers.items()}
    for name, values in seconds.items():
        numbers.add(f"seconds_{name}", values)
    numbers.add_ratio("pythae_over_ours_import", seconds["import_pythae"], seconds["import_lowerbound_vae"])
    path = write_result(
        "startup",
        numbers.metrics,
        intervals=numbers.intervals,
        protocol={
            "seconds": "wall-clock time of a fresh process, its start and end included; files are in the disk cache",
            "python": "an interpreter that does nothing, a part of all the others",
            "import_lowerbound": "import lowerbound, which imports its parts when they are first used; "
            "import_lowerbound_vae those for a model, training and loading",
            "import_pythae": "VAE and BaseTrainer, in an environment of its own, where import_torch_peers is torch "
            "alone",
            "load_run": "import and load a saved model of the digits",
            "first_step": "import, load the digits, build a model and train one step of 128 images, with the "
            "validation of 16 after it",
            "value": "median of the rounds",
            "interval": "lowest and highest round",
            "rounds": arguments.rounds,
        },
        seeds=[0],
        config={"first_step": _STEP},
        seconds=time.monotonic() - started,
        versions=versions,
    )
    print(path)


def _versions(peers: Path) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as scratch:
        worker = contest.Worker(peers, "plain", Path(scratch) / "log")
        versions = contest.peers_versions(worker)
        worker.close()
    return versions


if __name__ == "__main__":
    main()
