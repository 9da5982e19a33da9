r"""How well single codes stand for the known factors that data were made of.

All of these take codes (N, L), posterior means as a rule, and factors (N, K): whole numbers or words are discrete,
other numbers continuous. Most rest on the mutual information of each code, cut into bins of equal width, with each
factor,

.. math:: I_{jk} = \sum_{a, b} p_{ab} \log \frac{p_{ab}}{p_a p_b}

of the frequencies themselves, which are too high by about (bins − 1)(levels − 1) / 2N nats: give many examples, and
compare only what has the same N and the same bins.

References:
    MIG: Isolating sources of disentanglement in VAEs (Chen et al., 2018), https://arxiv.org/abs/1802.04942;
    SAP: Variational inference of disentangled latent concepts (Kumar et al., 2018), https://arxiv.org/abs/1711.00848;
    DCI: A framework for the quantitative evaluation of disentangled representations (Eastwood and Williams, 2018);
    FactorVAE score: Disentangling by factorising (Kim and Mnih, 2018), https://arxiv.org/abs/1802.05983;
    modularity: Learning deep disentangled embeddings with the F-statistic loss (Ridgeway and Mozer, 2018),
    https://arxiv.org/abs/1802.05312;
    their settings: Challenging common assumptions (Locatello et al., 2019), https://arxiv.org/abs/1811.12359
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError

_BINS = 20
_ACTIVE = 0.05  # standard deviation below which a code casts no vote
_GROUP = 64  # examples that share a factor


@dataclass(frozen=True)
class Disentanglement:
    """All scores of a set of codes, from 0 to 1 but for the last; higher is better, but for the last.

    Attributes:
        mig: Mutual information gap.
        sap: Separated attribute predictability.
        disentanglement: DCI: whether a code matters for one factor only.
        completeness: DCI: whether a factor is found in one code only.
        informativeness: DCI: how well trees predict the factors, share of right classes or R², on unseen examples.
        modularity: Whether a code says something of one factor only.
        factor_vae: Share of right majority votes.
        gaussian_total_correlation: Of a Gaussian with the codes' covariance, in nats; 0 is best.
        n: Number of examples.
        bins: Bins of each code.
    """

    mig: float
    sap: float
    disentanglement: float
    completeness: float
    informativeness: float
    modularity: float
    factor_vae: float
    gaussian_total_correlation: float
    n: int
    bins: int = _BINS


def disentanglement(codes: Any, factors: Any, *, bins: int = _BINS, seed: int = 0) -> Disentanglement:
    """Return all scores at once.

    Args:
        codes: Codes (N, L), for one ``posterior_means(model, split).mean``.
        factors: What is known of the examples, (N, K).
        bins: Bins of each code.
        seed: Seed of the splits, the trees and the votes.

    Raises:
        DataError: the shapes do not match, or something is not finite.
    """
    codes, columns = _checked(codes, factors)
    information = mutual_information(codes, factors, bins)
    entropy = np.array([_entropy(np.unique(_levels(f, bins), return_counts=True)[1]) for f in columns])
    importance, informative = importances(codes, factors, seed=seed)
    d, c = dci(importance)
    return Disentanglement(
        mig=mig(information, entropy),
        sap=sap(codes, factors, seed=seed),
        disentanglement=d,
        completeness=c,
        informativeness=informative,
        modularity=modularity(information),
        factor_vae=factor_vae_score(codes, factors, bins=bins, seed=seed),
        gaussian_total_correlation=gaussian_total_correlation(codes),
        n=len(codes),
        bins=bins,
    )


def mutual_information(codes: Any, factors: Any, bins: int = _BINS) -> np.ndarray:
    """Return the mutual information of each code with each factor, (L, K), in nats.

    Args:
        codes: Codes (N, L).
        factors: Factors (N, K).
        bins: Bins of equal width of each code, and of a continuous factor.
    """
    codes, columns = _checked(codes, factors)
    if bins < 2:
        raise ConfigError(f"mutual information needs at least 2 bins; got {bins}")
    rows = [_levels(code, bins) for code in codes.T]
    found = np.empty((len(rows), len(columns)))
    for k, column in enumerate(columns):
        values = _levels(column, bins)
        for j, row in enumerate(rows):
            joint = np.zeros((row.max() + 1, values.max() + 1))
            np.add.at(joint, (row, values), 1)
            found[j, k] = _entropy(joint.sum(1)) + _entropy(joint.sum(0)) - _entropy(joint)
    return found.clip(min=0)


def mig(information: np.ndarray, entropy: np.ndarray) -> float:
    """Return the mutual information gap: mean over factors of the two highest informations' difference over H.

    Args:
        information: Mutual information (L, K), nats.
        entropy: Entropy of each factor, (K,), nats. A factor that never changes says nothing and is left out.
    """
    if len(information) == 1:
        information = np.vstack([information, np.zeros_like(information)])
    top = np.sort(information, 0)[-2:]
    known = entropy > 0
    return float(np.mean((top[1] - top[0])[known] / entropy[known])) if known.any() else 0.0


def modularity(information: np.ndarray) -> float:
    """Return the mean over codes of 1 less the share of other factors; a code that says nothing counts 0.

    Args:
        information: Mutual information (L, K), nats.
    """
    squared = np.square(information)
    most = squared.max(1)
    others = (squared.sum(1) - most) / np.maximum(most, 1e-300) / max(1, information.shape[1] - 1)
    return float(np.mean(np.where(most > 1e-12, 1 - others, 0.0)))


def dci(importance: np.ndarray) -> tuple[float, float]:
    """Return disentanglement and completeness of importances (L, K) >= 0 of each code for each factor."""

    def concentrated(rows: np.ndarray) -> float:
        mass = rows.sum(1)
        if mass.sum() == 0:
            return 0.0
        used = rows[mass > 0] / mass[mass > 0, None]
        entropy = np.array([_entropy(row) for row in used]) / np.log(max(2, rows.shape[1]))
        return float(np.sum((1 - entropy) * mass[mass > 0] / mass.sum()))

    return concentrated(importance), concentrated(importance.T)


def importances(codes: Any, factors: Any, *, seed: int = 0) -> tuple[np.ndarray, float]:
    """Return how much each code matters to boosted trees that predict each factor, (L, K), and how well they do.

    Args:
        codes: Codes (N, L); half of the examples are learned from, the other half predicted.
        factors: Factors (N, K).
        seed: Seed of the split and of the trees.
    """
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    codes, columns = _checked(codes, factors)
    first, second = _halves(len(codes), seed)
    weights, scores = [], []
    for column in columns:
        kind = GradientBoostingClassifier if _is_discrete(column) else GradientBoostingRegressor
        if len(np.unique(column[first])) < 2:  # nothing to learn
            weights.append(np.zeros(codes.shape[1]))
            scores.append(float(np.mean(column[second] == column[first][0])))
            continue
        trees = kind(random_state=seed).fit(codes[first], column[first])
        weights.append(np.abs(trees.feature_importances_))
        scores.append(trees.score(codes[second], column[second]))
    return np.stack(weights, 1), float(np.mean(scores))


def sap(codes: Any, factors: Any, *, seed: int = 0) -> float:
    """Return the mean over factors of the gap between the two codes that best predict it alone.

    A continuous factor is predicted by a line (R²), a discrete one by a linear classifier (share of right classes
    among unseen examples).
    """
    from sklearn.svm import LinearSVC

    codes, columns = _checked(codes, factors)
    first, second = _halves(len(codes), seed)
    scores = np.zeros((max(2, codes.shape[1]), len(columns)))
    for k, column in enumerate(columns):
        for j, code in enumerate(codes.T):
            if code.std() < 1e-12 or len(np.unique(column)) < 2:
                continue
            if _is_discrete(column):
                svm = LinearSVC(C=0.01, class_weight="balanced", random_state=seed)
                svm.fit(code[first, None], column[first])
                scores[j, k] = svm.score(code[second, None], column[second])
            else:
                scores[j, k] = np.corrcoef(code, column)[0, 1] ** 2
    top = np.sort(scores, 0)[-2:]
    return float(np.mean(top[1] - top[0]))


def factor_vae_score(
    codes: Any, factors: Any, *, votes: int = 5000, bins: int = _BINS, seed: int = 0
) -> float:
    """Return how often the code that varies least within a group tells which factor the group shares.

    A group is 64 examples that agree in one factor. Two thirds of the votes make the table of what a code's vote
    stands for, by majority; the others are counted. Codes of a standard deviation below 0.05 have no vote.

    Args:
        codes: Codes (N, L).
        factors: Factors (N, K).
        votes: Number of groups.
        bins: Bins of a continuous factor, within which examples agree.
        seed: Seed of the groups.
    """
    codes, columns = _checked(codes, factors)
    if votes < 3:
        raise ConfigError(f"factor_vae_score needs at least 3 votes; got {votes}")
    spread = codes.std(0)
    active = np.flatnonzero(spread >= _ACTIVE)
    if not len(active):
        return 0.0
    rng = np.random.default_rng(seed)
    scaled = codes[:, active] / spread[active]
    levels = [_levels(column, bins) for column in columns]
    members = [[np.flatnonzero(values == v) for v in range(values.max() + 1)] for values in levels]
    table = np.zeros((2, len(active), len(columns)))
    for vote in range(votes):
        k = rng.integers(len(columns))
        group = rng.choice(members[k][levels[k][rng.integers(len(codes))]], _GROUP)
        table[int(vote % 3 == 2), scaled[group].var(0).argmin(), k] += 1
    stands_for = table[0].argmax(1)
    return float(table[1, np.arange(len(active)), stands_for].sum() / table[1].sum())


def gaussian_total_correlation(codes: Any) -> float:
    r"""Return ½ (Σ log C_jj − log det C) of the codes' covariance C, in nats; codes that never move are left out."""
    codes = _finite(codes)
    moving = codes[:, codes.std(0) > 1e-12]
    if moving.shape[1] < 2:
        return 0.0
    sign, log_det = np.linalg.slogdet(np.corrcoef(moving.T))
    return float("inf") if sign <= 0 else float(max(0.0, -0.5 * log_det))


# ------------------------------------------------------------------------------------------------- small things
def _finite(codes: Any) -> np.ndarray:
    codes = np.asarray(codes, np.float64)
    if codes.ndim != 2 or not codes.size:
        raise DataError(f"codes are (N, L), a row for each example; got shape {codes.shape}")
    if not np.isfinite(codes).all():
        raise DataError("codes must be finite numbers; got NaN or Inf")
    return codes


def _checked(codes: Any, factors: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return codes as float64, (N, L), and each factor as an array (N,)."""
    codes, factors = _finite(codes), np.asarray(factors)
    factors = factors[:, None] if factors.ndim == 1 else factors
    if factors.ndim != 2 or len(factors) != len(codes):
        raise DataError(
            f"factors are (N, K), a row for each of {len(codes)} examples; got shape {factors.shape}"
        )
    if factors.dtype.kind == "f" and not np.isfinite(factors).all():
        raise DataError("factors must be finite; got NaN or Inf")
    return codes, list(factors.T)


def _is_discrete(values: np.ndarray) -> bool:
    return values.dtype.kind != "f"


def _levels(values: np.ndarray, bins: int) -> np.ndarray:
    """Return the class of each value: of a continuous one its bin of equal width."""
    if _is_discrete(values):
        return np.unique(values, return_inverse=True)[1]
    edges = np.linspace(values.min(), values.max(), bins + 1)[1:-1]
    return np.digitize(values, edges)


def _entropy(counts: np.ndarray) -> float:
    """Return the entropy, in nats, of what was counted so often."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _halves(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(n)
    return order[: (n + 1) // 2], order[(n + 1) // 2 :]
