"""Missing values in x: they are not scored, the encoder reads the mask, and what is left is exact."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import MultivariateNormal

import lowerbound as lb
from lowerbound.data import Standardize, load
from lowerbound.errors import SupportError
from lowerbound.likelihoods import Bernoulli, Categorical, Gaussian
from lowerbound.nn import MLP
from lowerbound.posteriors import DiagonalGaussian
from lowerbound.priors import StandardNormal

F64 = torch.float64
W = torch.tensor([[1.0, 0.4], [-0.5, 1.2], [0.8, -0.3], [0.1, 0.9]], dtype=F64)
SIGMA = 0.5


class Linear(torch.nn.Module):
    """x = W z."""

    def forward(self, z):
        return (z @ W.T).unsqueeze(-2)


class Exact(torch.nn.Module):
    """Nearly the posterior given the observed values: its mean, and spreads a little too large."""

    def forward(self, features):
        x, mask = features.chunk(2, -1)
        precision = torch.eye(2, dtype=F64) + torch.einsum("bd,di,dj->bij", mask, W, W) / SIGMA**2
        mean = torch.linalg.solve(precision, (x * mask) @ W / SIGMA**2)
        scale = 1.3 * torch.linalg.inv(precision).diagonal(dim1=-2, dim2=-1).sqrt()
        return torch.stack([mean, scale.log()], -2)


def linear(**slots):
    return lb.VAE(
        Exact(),
        DiagonalGaussian(2),
        StandardNormal(2),
        Linear(),
        Gaussian(4, scale=SIGMA),
        missing=True,
        **slots,
    ).double()


def batch(n=6):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=generator, dtype=F64)
    gaps = torch.rand(n, 4, generator=generator) < 0.5
    gaps[0], gaps[1] = False, True
    return torch.where(gaps, torch.nan, x), gaps


def test_log_p_is_that_of_the_observed_values():
    x, gaps = batch()
    model = linear()
    model.decoder.weight = torch.nn.Parameter(torch.zeros((), dtype=F64))  # a model has parameters
    covariance = W @ W.T + SIGMA**2 * torch.eye(4, dtype=F64)
    for row, gone, found in zip(x, gaps, model.log_prob(x, samples=40_000, seed=0), strict=True):
        at = (~gone).nonzero().flatten()
        exact = 0.0
        if len(at):
            exact = (
                MultivariateNormal(torch.zeros(len(at), dtype=F64), covariance[at][:, at])
                .log_prob(row[at])
                .item()
            )
        assert found.item() == pytest.approx(exact, abs=0.01)


def test_a_transform_counts_the_slopes_of_what_is_there():
    x, _ = batch()
    mean, std = torch.tensor([1.0, 2.0, -1.0, 0.0]).double(), torch.tensor([2.0, 0.5, 3.0, 1.0]).double()
    plain, scaled = linear(), linear(transform=Standardize(mean, std))
    for model in (plain, scaled):
        model.decoder.weight = torch.nn.Parameter(torch.zeros((), dtype=F64))
    slopes = torch.where(x.isnan(), 0.0, -std.log()).sum(1)
    difference = scaled.log_prob(x * std + mean, samples=50, seed=0) - plain.log_prob(x, samples=50, seed=0)
    assert torch.allclose(difference, slopes, atol=1e-9)


def test_a_gap_reaches_neither_the_value_nor_a_gradient():
    torch.manual_seed(0)
    model = lb.VAE(
        MLP((8,), (2, 2), hidden=[5]), DiagonalGaussian(2), StandardNormal(2), MLP((2,), (2, 4), hidden=[5]),
        Gaussian(4, scale="predicted"), missing=True,
    )  # fmt: skip
    x, gaps = batch()
    out = model(x.float())
    assert out.log_weight.isfinite().all()
    out.log_weight.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    features = model.features(x.float())
    assert torch.equal(features[:, 4:] == 0, gaps)
    assert (features[:, :4][gaps] == 0).all()


@pytest.mark.parametrize(
    ("likelihood", "values"),
    [(Bernoulli((1, 4, 4)), 2), (Categorical((1, 4, 4), categories=3), 3), (Categorical(6, 3), 3)],
)
def test_any_likelihood_that_factorises_leaves_gaps_out(likelihood, values):
    torch.manual_seed(0)
    shape = likelihood.shape_beside_mask()
    network = MLP((2,), likelihood.input_shape, hidden=[6])
    model = lb.VAE(
        MLP(shape, (2, 2), hidden=[6]),
        DiagonalGaussian(2),
        StandardNormal(2),
        network,
        likelihood,
        missing=True,
    )
    x = torch.randint(values, (5, *likelihood.event_shape)).float()
    x[torch.rand_like(x) < 0.3] = torch.nan
    model.check(x)
    z = torch.randn(1, 5, 2)
    p_x = model.at().decoded(z)
    each = p_x.base_dist.log_prob(x.nan_to_num())
    expected = torch.where(x.isnan(), 0.0, each[0]).flatten(1).sum(1)
    assert torch.allclose(model.at().log_likelihood(p_x, x)[0], expected)


def test_a_model_of_complete_data_refuses_a_gap():
    data = load(np.random.default_rng(0).normal(size=(40, 3)))
    model = lb.VAE.for_data(data, latent=2)
    with pytest.raises(SupportError, match="missing values"):
        model.log_prob(torch.tensor([[0.0, math.nan, 1.0]]))


def test_moments_and_starts_go_by_what_is_there():
    rng = np.random.default_rng(0)
    x = rng.normal(5, 2, (4000, 3))
    x[rng.random(x.shape) < 0.4] = np.nan
    x[:, 2] = np.nan
    data = load(x, split=(0.98, 0.01, 0.01))
    assert data.spec.missing
    rows = data.train.batch(torch.arange(len(data.train)))[0].double().numpy()
    assert data.mean[:2].numpy() == pytest.approx(np.nanmean(rows[:, :2], 0), rel=1e-5)
    assert data.std[:2].numpy() == pytest.approx(np.nanstd(rows[:, :2], 0), rel=1e-5)
    assert (data.mean[2], data.std[2]) == (0, 1)
    model = lb.VAE.for_data(data, latent=2)
    assert model.missing
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.runs
def test_gaps_are_learned_around_and_filled(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=1500)
    table = pd.DataFrame({"a": z + 0.1 * rng.normal(size=1500), "b": -z + 0.1 * rng.normal(size=1500)})
    table["word"] = np.where(z > 0, "high", "low")
    whole = table.copy()
    for column in table:
        table.loc[rng.random(1500) < 0.25, column] = None
    data = load(table)
    torch.manual_seed(0)
    model = lb.VAE.for_data(data, latent=2, prior="standard_normal")
    lb.fit(model, data, epochs=30, progress=False, out=tmp_path / "run")
    x, _ = data.all.batch(torch.arange(1500))
    rows = x[:, 0].isnan() & ~x[:, 1].isnan()
    filled = model.complete(x[rows], ~x[rows].isnan(), n=20, seed=0)
    assert not filled.x.isnan().any()
    truth = torch.as_tensor(whole["a"].to_numpy().copy())[rows]
    assert (filled.x[:, :, 0].mean(0) - truth).square().mean().sqrt() < 0.35  # 1.0 by the mean of the column
    drawn = model.sample(4000, mean=False, seed=0)
    assert drawn.isnan().float().mean(0).tolist() == pytest.approx([0.25] * 3, abs=0.04)
    again = lb.load(tmp_path / "run")
    assert torch.equal(again.log_prob(x[:20], seed=1), model.log_prob(x[:20], seed=1))
    assert again.log_prob(table.iloc[:3], samples=5, seed=0).isfinite().all()
