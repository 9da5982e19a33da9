r"""A model that begins as the factor analysis of its data: where the estimators' training sets out.

The affine parts of both networks are the factors, the prior is a mixture of Gaussians over them. Where numbers empty
their own cells, what they hold is drawn beside by stochastic EM.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from sklearn.mixture import GaussianMixture as Mixture
from torch import Tensor

from .data import Split
from .distributions import SelectedGaussian
from .factor_analysis import Factors, best_rank, factors
from .likelihoods import Columns
from .model import VAE
from .nn import AffineMLP
from .priors import GaussianMixture, StandardNormal

__all__ = ["begin_at_factors", "begin_at_mixture", "factors_in"]

_FACTOR_ROWS = 5000  # that tell of the factors
_FLOOR = 1e-3  # of the factors' noise variance, in standard units
_OF_CATEGORIES = 0.5  # the same of what tells of a category, as a share of its variance
_SWEEPS = 30  # of stochastic EM, where numbers empty their own cells


def factors_in(model: VAE, split: Split) -> int:
    """Return the number of factors of rows by cross-validation, 32 at most."""
    features = _features(model, split)
    return best_rank(features, _floor(model, features))


def _spread(split: Split) -> Tensor:
    return torch.linspace(0, len(split) - 1, min(len(split), _FACTOR_ROWS)).long()


def _features(model: VAE, split: Split) -> np.ndarray:
    """Return features (n, F) of rows spread over the split, without the mask, NaN where a value is missing."""
    x, _ = split.batch(_spread(split))
    with torch.no_grad():
        u, _ = model.at(None).to_model(x)
        found = model.features(u)[:, : math.prod(model.likelihood.feature_shape)].double()
        gone = model.likelihood.per_feature(u.isnan().flatten(1).double()) > 0
    return torch.where(gone, math.nan, found).numpy()


def _floor(model: VAE, features: np.ndarray) -> np.ndarray:
    """Return the least noise variance of each feature, (F,)."""
    family = model.likelihood
    floor = np.full(features.shape[1], _FLOOR)
    if isinstance(family, Columns):
        # A category is drawn, whatever the code: of one that is known well half of the variance is kept.
        n = len(family.numbers)
        seen = ~np.isnan(features[:, n:])
        share = np.where(seen, features[:, n:], 0.0).sum(0) / np.maximum(seen.sum(0), 1)
        floor[n:] = np.maximum(_OF_CATEGORIES * share * (1 - share), _FLOOR)
    return floor


@torch.no_grad()
def _begin_at_masking(family: Columns, features: np.ndarray, split: Split, rank: int) -> np.ndarray:
    """Return features (n, F) with draws where numbers have emptied their own cells, and means where others are empty.

    By stochastic EM: a factor analysis of what is there and of the draws; for each column a logistic regression of
    being empty on the number, which is where the likelihood begins; and draws given both.
    """
    masked = family.masked.tolist()
    x, _ = split.batch(_spread(split))
    gone = x[:, family.at_numbers[family.masked]].isnan().numpy()
    sign = {"self_masking_high": 1.0, "self_masking_low": -1.0}.get(str(family.gaps), 0.0)
    rank = min(rank, features.shape[1])
    features = np.where(np.isnan(features), np.nanmean(features, 0), features)
    guessed = sign + 0.5 * torch.randn(gone.shape).numpy()
    features[:, masked] = np.where(gone, guessed, features[:, masked])
    offset, slope = torch.zeros(2, len(masked), dtype=torch.float64)
    for _ in range(_SWEEPS):
        u = torch.as_tensor(features[:, masked])
        for _ in range(3):  # Newton steps of all columns, a Gaussian of 5 on the slopes
            p = (offset + slope * u).sigmoid()
            rise, w = torch.as_tensor(gone).double() - p, p * (1 - p) + 1e-4
            g = torch.stack([rise.sum(0), (rise * u).sum(0) - slope / 25])
            a, b, c = w.sum(0), (w * u).sum(0), (w * u * u).sum(0) + 1 / 25
            by = torch.stack([c * g[0] - b * g[1], a * g[1] - b * g[0]]) / (a * c - b * b)
            offset, slope = offset + by[0].clamp(-1, 1), slope + by[1].clamp(-1, 1)
            slope = slope if sign == 0 else sign * (sign * slope).clamp(min=0.05)
        mean, loadings, noise = factors(features, rank, _FLOOR, most=20)
        centred = features - mean
        inverse = np.linalg.inv(np.eye(rank) + loadings.T @ (loadings / noise[:, None]))
        z = centred @ (loadings / noise[:, None]) @ inverse
        z = z + torch.randn(z.shape, dtype=torch.float64).numpy() @ np.linalg.cholesky(inverse).T
        of_factors = torch.as_tensor((mean + z @ loadings.T)[:, masked])
        law = SelectedGaussian(of_factors, torch.as_tensor(np.sqrt(noise[masked])), offset, slope)
        drawn = law.sample(torch.Size()).clamp(-8, 8).numpy()
        features[:, masked] = np.where(gone, drawn, features[:, masked])
    family.begin_at_masking(offset, slope)
    return features


@torch.no_grad()
def begin_at_factors(model: VAE, split: Split) -> None:
    """Let the affine parts of both networks be the factor analysis of the rows.

    The factors are turned so that their posterior is diagonal, which is the family of q: the bound is tight.

    Args:
        model: Whose networks they are, both ``affine_mlp``.
        split: The rows.
    """
    features, family = _features(model, split), model.likelihood
    gone = np.isnan(features)
    if isinstance(family, Columns) and len(family.masked):
        features = _begin_at_masking(family, features, split, model.latent_shape[0])
    rank = model.latent_shape[0]
    wide = min(rank, features.shape[1])
    mean, loadings, noise = factors(features, wide, _floor(model, features))
    _, turn = np.linalg.eigh(loadings.T @ (loadings / noise[:, None]))
    loadings = np.concatenate([loadings @ turn, np.zeros((len(mean), rank - wide))], 1)
    found = Factors(mean, loadings, noise)
    known = np.where(gone, np.where(np.isnan(features), mean, features), 0.0)
    _begin_encoder(model, found, gone, known.sum(0) / np.maximum(gone.sum(0), 1))
    _begin_decoder(model, found)


def _begin_encoder(model: VAE, found: Factors, gone: np.ndarray, known: np.ndarray) -> None:
    """Let q be the posterior of the factors, about, where some of the features are missing.

    Args:
        model: Whose encoder it is.
        found: The factors, independent given all features.
        gone: Which features of rows are missing, (n, F).
        known: What the encoder is to take for each feature where it is missing, (F,).
    """
    encoder, (mean, loadings, noise), family = model.encoder, found, model.likelihood
    assert isinstance(encoder, AffineMLP)
    assert encoder.output.bias is not None
    features, rank = loadings.shape
    precision = np.square(loadings) / noise[:, None]
    log_total = np.log1p(precision.sum(0))
    back = np.exp(-log_total)[:, None] * (loadings / noise[:, None]).T
    encoder.output.weight.zero_()
    weight, bias = encoder.straight.weight, encoder.output.bias
    weight.zero_()
    weight[:rank, :features] = torch.as_tensor(back).to(weight)
    bias.copy_(torch.as_tensor(np.concatenate([-back @ mean, -log_total / 2])))
    if not model.missing:
        return
    # Of each column the encoder sees whether it is there, and 0 where it is not.
    columns = torch.arange(math.prod(family.event_shape))
    of_feature = family.per_feature(columns.unsqueeze(0))[0]
    taken = torch.as_tensor(back * known).to(weight)
    weight[:rank].index_add_(1, features + of_feature, -taken)
    bias[:rank] += taken.sum(1)
    # What a row does not show leaves its code open: the best of independent factors have as precision the sum of what
    # the features add, of which the logarithm is about linear in what is missing.
    less = log_total - np.log1p((~gone) @ precision)
    empty = np.zeros((len(gone), len(columns)))
    empty[:, of_feature.numpy()] = gone
    wider = torch.as_tensor(np.linalg.lstsq(empty, less / 2, rcond=1e-6)[0].T).to(weight)
    weight[rank:, features:] = -wider
    bias[rank:] += wider.sum(1)


def _begin_decoder(model: VAE, found: Factors) -> None:
    decoder, (mean, loadings, noise), family = model.decoder, found, model.likelihood
    assert isinstance(decoder, AffineMLP)
    assert decoder.output.bias is not None
    decoder.output.weight.zero_()
    weight, bias = decoder.straight.weight, decoder.output.bias
    weight.zero_()
    columns = isinstance(family, Columns)
    n = len(family.numbers) if columns else len(mean)
    bound = 4 if columns else 10  # of the log-scale, as the likelihoods have it
    weight[:n] = torch.as_tensor(loadings[:n]).to(weight)
    bias[:n] = torch.as_tensor(mean[:n]).to(bias)
    share = np.clip(np.log(noise[:n]) / (2 * bound), -0.95, 0.95)
    bias[n : 2 * n] = torch.as_tensor(bound * np.arctanh(share)).to(bias)
    if len(mean) > n:
        # To the first order: what moves the share of a category moves its logarithm.
        weight[2 * n : n + len(mean)] = torch.as_tensor(
            loadings[n:] / np.maximum(mean[n:], 0.02)[:, None]
        ).to(weight)


@torch.no_grad()
def begin_at_mixture(model: VAE, rows: Split, components: int, seed: int) -> None:
    """Let the prior be the mixture of Gaussians of the greatest likelihood for draws of the factors."""
    if components == 1:
        model.prior = StandardNormal(model.latent_shape)
        return
    x, _ = rows.batch(_spread(rows))
    z = model.encode(x, sample=True, seed=seed).double().numpy()
    found: Any = Mixture(components, covariance_type="diag", reg_covar=1e-3, random_state=seed).fit(z)
    numbers = [np.log(found.weights_)[:, None], found.means_, np.log(found.covariances_) / 2]
    with torch.random.fork_rng(devices=[]):
        model.prior = prior = GaussianMixture(model.latent_shape, components)
    prior.numbers.copy_(torch.as_tensor(np.concatenate(numbers, 1)))
