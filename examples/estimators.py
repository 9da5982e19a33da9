"""A density of scikit-learn's wines, beside those of factor analysis and a mixture of Gaussians."""

# %% [markdown]
# # Estimators for scikit-learn
#
# 178 wines, 13 measurements each. Four fifths are for training; of the others the mean of log p(x) is compared, in
# nats and in the units of the measurements. The peers' sizes are chosen by cross-validation on the training rows.
#
# A model that gives high density to wines should also know what is none: the measurements of all wines, each column
# shuffled by itself, look like wines column by column, but not together.

# %%
from __future__ import annotations

from pathlib import Path

import numpy as np
import picture
from sklearn.datasets import load_wine
from sklearn.decomposition import FactorAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lowerbound.estimator import VAE


# %%
def peer(estimator, sizes: list[int], train: np.ndarray):
    """Return a peer on standardised columns, and what its log-densities lack to be in the units of the data."""
    name = type(estimator).__name__.lower()
    pipeline = make_pipeline(StandardScaler(), estimator)
    search = GridSearchCV(pipeline, {f"{name}__n_components": sizes}, cv=5).fit(train)
    return search, -np.log(search.best_estimator_[0].scale_).sum()


def main(out: str | Path, quick: bool = False) -> dict[str, dict[str, float]]:
    X = load_wine(return_X_y=True)[0]
    train, test = train_test_split(X, test_size=0.2, random_state=0)
    rng = np.random.default_rng(0)
    none = np.stack([rng.permutation(column) for column in test.T], 1)

    vae = VAE(epochs=20 if quick else None, random_state=0).fit(train)
    factors, factors_scale = peer(FactorAnalysis(), [1, 2, 3, 4, 6], train)
    mixture, mixture_scale = peer(GaussianMixture(reg_covar=0.1, random_state=0), [1, 2, 3, 4, 6], train)
    scores = {
        "VAE": (vae.score_samples(test), vae.score_samples(none)),
        "factor analysis": tuple(
            factors.best_estimator_.score_samples(x) + factors_scale for x in (test, none)
        ),
        "Gaussian mixture": tuple(
            mixture.best_estimator_.score_samples(x) + mixture_scale for x in (test, none)
        ),
    }
    results = {}
    print(f"{'':18}{'log p(x), test':>16}{'AUC against shuffled columns':>32}")
    for name, (wines, others) in scores.items():
        auc = roc_auc_score(np.repeat([1, 0], len(test)), np.concatenate([wines, others]))
        results[name] = {"log_p": float(wines.mean()), "auc": float(auc)}
        print(f"{name:18}{wines.mean():16.2f}{auc:32.3f}")

    figure, (ax,) = picture.panels(1, 1, 5, 3.2)
    bins = np.linspace(-50, -10, 30).tolist()
    for values, colour, label in zip(
        scores["VAE"], (picture.BLUE, picture.ORANGE), ("wines", "shuffled"), strict=True
    ):
        ax.hist(np.clip(values, -50, -10), bins, color=colour, alpha=0.7, label=label)
    ax.set(xlabel="log p(x) by the VAE, nats", ylabel="rows")
    ax.legend(frameon=False)
    picture.save(figure, out, "estimators.png")
    return results


# %%
if __name__ == "__main__":
    picture.run(main, __doc__)
