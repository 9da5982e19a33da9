"""Outlier detection by PyOD's VAE, nearest neighbours and isolation forests, with their defaults."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import torch
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.vae import VAE


class Detectors:
    """Trained on rows, they give each of others a score that is higher the odder it is."""

    def __init__(self, threads: int = 1):
        torch.set_num_threads(threads)

    def scores(self, train: list[list[float]], test: list[list[float]], seed: int) -> dict[str, Any]:
        """Return the scores and the seconds of each detector."""
        X, Y = np.array(train), np.array(test)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (PyOD draws from it)
        torch.manual_seed(seed)
        detectors = {
            "pyod_vae": VAE(random_state=seed, batch_size=min(32, len(X)), verbose=0),
            "iforest": IForest(random_state=seed),
            "knn": KNN(n_neighbors=min(5, len(X) - 1)),
        }
        answer = {}
        for name, detector in detectors.items():
            began = time.perf_counter()
            scores = detector.fit(X).decision_function(Y)
            seconds = time.perf_counter() - began
            answer[name] = {"scores": np.nan_to_num(scores, nan=np.inf).tolist(), "seconds": seconds}
        return answer
