"""Held-out log-densities of the estimators' defaults, beside factor analysis and Gaussian mixtures tuned by CV.

    python benchmarks/estimator_density.py [--splits 5]

On scikit-learn's own tables. Uniform noise is added to the digits, for what is counted has no density. A split holds
out a fifth of the rows. The peers see standardised columns, and are scored in the units of the data like ours; their
sizes, covariances and regularisation are chosen by cross-validation on the training rows.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import numpy as np
import sklearn
from common import write_result
from sklearn import datasets
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold

from lowerbound.estimator import VAE

TABLES = ("wine", "diabetes", "breast_cancer", "digits")
FACTORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
MIXTURE = {
    "n_components": [1, 2, 3, 4, 6, 8, 12],
    "covariance_type": ["full", "tied", "diag"],
    "reg_covar": [1e-6, 1e-3, 1e-2, 1e-1],
}


def table(name: str) -> np.ndarray:
    """Return a table's rows, real numbers (N, D)."""
    X = getattr(datasets, f"load_{name}")(return_X_y=True)[0].astype(float)
    return X + np.random.default_rng(0).random(X.shape) if name == "digits" else X


def peers(train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Return the mean log-density of the test rows under each peer, in the units of the data."""
    mean, scale = train.mean(0), train.std(0)
    train, test = (train - mean) / scale, (test - mean) / scale
    inner = KFold(5, shuffle=True, random_state=0)
    factors = {"n_components": [k for k in FACTORS if k <= train.shape[1]]}
    searches = {
        "factor_analysis": GridSearchCV(FactorAnalysis(), factors, cv=inner),
        "gaussian_mixture": GridSearchCV(GaussianMixture(random_state=0), MIXTURE, cv=inner),
    }
    return {name: search.fit(train).score(test) - np.log(scale).sum() for name, search in searches.items()}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--splits", type=int, default=5, help="how many of the five splits")
    options.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    arguments = options.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    started = time.monotonic()
    metrics: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    print(f"{'table':15}{'ours':>10}{'factors':>10}{'mixture':>10}{'seconds':>9}")
    for name in arguments.tables:
        X = table(name)
        found: dict[str, list[float]] = {}
        for train, test in list(KFold(5, shuffle=True, random_state=0).split(X))[: arguments.splits]:
            began = time.perf_counter()
            vae = VAE(random_state=0).fit(X[train])
            seconds = time.perf_counter() - began
            scores = {"ours": vae.score(X[test]), "seconds": seconds} | peers(X[train], X[test])
            for side, value in scores.items():
                found.setdefault(side, []).append(float(value))
        for side, values in found.items():
            metrics[f"{name}_{side}"] = statistics.fmean(values)
            intervals[f"{name}_{side}"] = [min(values), max(values)]
        means = [
            metrics[f"{name}_{side}"] for side in ("ours", "factor_analysis", "gaussian_mixture", "seconds")
        ]
        print(f"{name:15}" + "".join(f"{value:10.2f}" for value in means), flush=True)
    path = write_result(
        "estimator_density",
        metrics,
        intervals=intervals,
        protocol={
            "what": "mean log p(x) of held-out rows, nats, in the units of the data; ends: least and largest fold",
            "splits": arguments.splits,
            "peers": "5-fold cross-validation over " + f"{FACTORS} factors and {MIXTURE}",
        },
        seeds=[0],
        config={"estimator": VAE(random_state=0).get_params()},
        seconds=time.monotonic() - started,
        versions={"scikit-learn": sklearn.__version__},
    )
    print(path)


if __name__ == "__main__":
    main()
