"""Small data sets, and the command line, that several tests share."""

import numpy as np
import pytest
import torch

import lowerbound as lb
import lowerbound.report
from lowerbound import cli

SHORT = {"batch_size": 500, "progress": False}  # digits: 1437 training examples, 3 steps an epoch

CELLS = 6  # places of the map of a grid of 8 rows and 12 columns, halved twice: 2 rows, 3 columns


def ended(*arguments):
    """Run a command and return its exit status."""
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return left.value.code or 0


@pytest.fixture(scope="module")
def no_pictures():
    """Let no run draw pictures; a file that imports it asks for it by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lowerbound.report, "write_pictures", lambda *_: [])
        yield


def small_model(data, hidden=32, **slots):
    """A small network with dropout, whose draws then hang on the seed of every step."""
    torch.manual_seed(0)
    slots = {"latent": 3, "network": {"type": "mlp", "hidden": [hidden], "dropout": 0.1}} | slots
    return lb.VAE.for_data(data, **slots)


def points_on_grids(problems=60, each=20, seed=0):
    """Points (x, y) that lie where their grid is bright; each grid is a group, and comes with a start of no use.

    The box of the points is [-3, 3] x [10, 12]; a grid has a bright place of 4 x 4 of its 8 x 12 pixels. The grid
    comes before the start, not at the end.
    """
    rng = np.random.default_rng(seed)
    place = np.arange(problems) % CELLS
    grids = np.zeros((problems, 1, 2, 4, 3, 4), np.uint8)
    grids[np.arange(problems), 0, place // 3, :, place % 3] = 1
    starts = rng.standard_normal((problems, 2)).astype(np.float32)
    index = np.repeat(np.arange(problems), each)
    u = rng.random((len(index), 2))
    x = -3 + 2 * (place[index] % 3 + u[:, 0])
    y = 10 + (place[index] // 3 + u[:, 1])
    condition = {
        "grid": lb.data.Shared(grids.reshape(problems, 1, 8, 12), index),
        "start": lb.data.Shared(starts, index),
    }
    points = np.stack([x, y], 1).astype(np.float32)
    return lb.data.load(points, values="real", condition=condition, groups=index, seed=seed)


def with_cells(cells=CELLS, **network):
    """The slots of a latent with cells, for ``VAE.for_data``."""
    return {
        "posterior": {"type": "cell_gaussian", "cells": cells},
        "prior": {"type": "cell", "cells": cells},
        "encoder": {"type": "cells", "cells": cells, **network},
        "decoder": {"type": "cells", "cells": cells, **network},
    }
