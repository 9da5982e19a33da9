"""Scores of samples against closed forms, other implementations and what equal distributions must give."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from exact import linear_gaussian, linear_vae

import lowerbound as lb
from lowerbound.errors import ConfigError, DataError
from lowerbound.evaluation import classifier_features, compare_features, frechet_distance, sample_quality
from lowerbound.evaluation.quality import density_coverage, kernel_distance, precision_recall, radii

pytestmark = pytest.mark.usefixtures("float64")


def whitened(n, d, seed=0):
    """Numbers whose mean is exactly 0 and whose covariance exactly I."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T)).T)


def test_the_frechet_distance_is_its_closed_form():
    x, shift = whitened(500, 3), torch.tensor([1.0, -2.0, 0.5])
    scale = torch.tensor([0.5, 1.0, 3.0])
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-12)
    closed = shift.square().sum() + (scale - 1).square().sum()
    assert frechet_distance(x, whitened(400, 3, seed=1) * scale + shift) == pytest.approx(closed.item())


def test_the_frechet_distance_is_that_of_scipy_for_covariances_that_do_not_commute():
    a, b = torch.randn(60, 5) @ torch.randn(5, 5), torch.randn(80, 5) @ torch.randn(5, 5) + 1
    c1, c2 = np.cov(a.T), np.cov(b.T)
    cross = scipy.linalg.sqrtm(c1 @ c2).real.trace()
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + c1.trace() + c2.trace() - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(wanted)
    few = torch.randn(4, 5)  # fewer than features: covariances without an inverse
    assert frechet_distance(few, few) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
def test_the_kernel_distance_is_unbiased_and_its_shares_vary_as_it_does():
    values, spread = [], []
    for _ in range(400):
        value, one, two = kernel_distance(torch.randn(40, 3) + 0.5, torch.randn(60, 3))
        values.append(value)
        spread.append(one.var() / 40 + two.var() / 60)
    values = torch.stack(values)
    # E(x·y/3 + 1)³ by the moments of Gaussians with means m: 1 + s + 3 E[t²] + E[t³] with t = x·y/3
    exact = expected(0.5, 0.5) + expected(0.0, 0.0) - 2 * expected(0.5, 0.0)
    assert abs(values.mean() - exact) < 4 * values.std() / math.sqrt(400)
    assert torch.stack(spread).mean().sqrt() == pytest.approx(values.std().item(), rel=0.15)


def expected(a, b):
    """E(x·y/3 + 1)³ of x ~ N(a, I), y ~ N(b, I) in three dimensions, by a million draws that are not theirs."""
    g = torch.Generator().manual_seed(5)
    x, y = (m + torch.randn(1_000_000, 3, generator=g) for m in (a, b))
    return ((x * y).sum(1) / 3 + 1).pow(3).mean()


def test_equal_distributions_are_covered_as_theory_says():
    real, made = torch.randn(1500, 2), torch.randn(1500, 2)
    dense, covered = density_coverage(real, made)
    assert dense.mean().item() == pytest.approx(1.0, abs=0.06)
    assert covered.mean().item() == pytest.approx(1 - 2**-5, abs=0.02)  # Naeem et al., lemma 1
    precise, recalled = precision_recall(real, made)
    assert precise.mean() > 0.9
    assert abs(precise.mean() - recalled.mean()) < 0.03


def test_sets_far_apart_share_nothing_and_a_narrow_one_is_precise_without_recall():
    real = torch.randn(300, 2)
    for f in (precision_recall, density_coverage):
        assert [v.sum().item() for v in f(real, real + 100)] == [0, 0]
    narrow = 0.01 * torch.randn(300, 2)
    precise, recalled = precision_recall(real, narrow)
    assert precise.mean() > 0.95
    assert recalled.mean() < 0.1


def test_neighbourhoods_by_hand():
    points = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    torch.testing.assert_close(radii(points, 1), torch.tensor([1.0, 1.0, 2.0, 4.0]))
    torch.testing.assert_close(radii(points, 9), torch.tensor([7.0, 6.0, 4.0, 7.0]))
    inside = torch.tensor([[0.5], [4.5], [100.0]])
    precise, _ = precision_recall(points, inside, neighbours=1)
    assert precise.tolist() == [1, 1, 0]
    dense, covered = density_coverage(points, inside, neighbours=1)
    assert dense.tolist() == [2, 2, 0]
    assert covered.tolist() == [1, 1, 1, 1]
    assert density_coverage(points, inside[::2], neighbours=1)[1].tolist() == [1, 1, 0, 0]


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say():
    hits = 0
    for seed in range(20):
        torch.manual_seed(seed)
        got = compare_features(torch.randn(150, 2), torch.randn(150, 2) * 1.5 + 0.5, seed=seed)
        hits += got.frechet.low <= 2 * 0.25 + 2 * 0.25 <= got.frechet.high
        assert got.kernel.low < got.kernel.value < got.kernel.high
    assert hits >= 15


def test_draws_of_the_model_itself_are_like_its_data_and_shifted_ones_are_not():
    truth = linear_gaussian(4, 2, orthogonal=True, sigma=0.6)
    model, x = linear_vae(truth), truth.sample(400)
    same = sample_quality(model, x, lambda v: v, samples=500)
    assert (same.n, same.samples) == (400, 500)
    assert same.kernel.low < 0 < same.kernel.high
    assert same.coverage.value > 0.9
    other = sample_quality(model, x + 3, lambda v: v)
    assert other.frechet.low > 30 > 1 > same.frechet.low
    again = sample_quality(model, x, lambda v: v, samples=500)
    assert again == same
    # Means lack the noise of each value, 0.36 of its variance.
    assert sample_quality(model, x, lambda v: v, mean=True).frechet.low > same.frechet.high


def test_of_grey_pictures_it_takes_means_and_of_bits_draws():
    for binarize, mean in (("none", True), ("static", False)):
        data = lb.data.load("digits", binarize=binarize)
        model = lb.VAE.for_data(data, latent=2, network={"type": "mlp", "hidden": [8]})
        told, usual = (
            sample_quality(model, data.test, lambda v: v[:, 0, :2].flatten(1), **given)
            for given in ({"mean": mean}, {})
        )
        assert told == usual


@pytest.mark.runs
def test_features_of_a_classifier_tell_digits_apart():
    torch.set_default_dtype(torch.float32)
    data = lb.data.load("digits", binarize="none")
    before = torch.get_rng_state()
    features = classifier_features(data.train, data.valid, epochs=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert features.accuracy > 0.8
    x, _ = next(data.test.batches(50))
    assert features(x).shape == (50, 32)
    got = compare_features(features(x), features(1 - x))
    assert got.frechet.value > compare_features(features(x), features(x)).frechet.value + 1


def test_what_are_no_features_is_refused():
    with pytest.raises(DataError, match=r"\(N, F\) of at least two"):
        frechet_distance(torch.zeros(3), torch.zeros(3))
    with pytest.raises(DataError, match="finite"):
        frechet_distance(torch.full((3, 2), math.nan), torch.zeros(3, 2))
    data = lb.data.load(np.zeros((30, 2), np.float32) + np.arange(30)[:, None] / 30)
    with pytest.raises(ConfigError, match="labelled"):
        classifier_features(data.train, data.valid)
