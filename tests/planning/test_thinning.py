"""Few states that stand for many: the curve that orders them, and that they are evenly spread."""

import numpy as np
import pytest
from scipy.spatial import KDTree

from lowerbound.planning.thinning import hilbert, representatives


@pytest.mark.parametrize("side", [2, 4, 8, 32])
def test_the_curve_passes_through_all_squares_each_beside_the_one_before(side):
    centres = (np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) + 0.5) / side
    place = hilbert(centres)
    assert len(np.unique(place)) == side**2
    along = centres[place.argsort()]
    np.testing.assert_allclose(np.abs(np.diff(along, axis=0)).sum(1), 1 / side, rtol=1e-12)
    np.testing.assert_allclose(along[[0, -1]], [[0.5 / side] * 2, [1 - 0.5 / side, 0.5 / side]], rtol=1e-12)


def test_the_curve_has_no_end_at_the_border():
    corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    assert hilbert(corners).argsort().tolist() == [0, 1, 2, 3]
    assert (np.diff(hilbert(corners)) > 0).all()


@pytest.mark.parametrize("n", [1, 7, 40])
def test_representatives_are_rows_and_reproducible(n):
    states = np.random.default_rng(0).random((300, 2))
    a, b = (representatives(states, n, np.random.default_rng(3)) for _ in "ab")
    np.testing.assert_array_equal(a, b)
    assert 0.8 * n <= len(a) <= n
    assert (np.diff(a) > 0).all()
    assert (a >= 0).all()
    assert (a < 300).all()


def test_no_more_states_than_asked_for_are_all_kept():
    states = np.random.default_rng(0).random((5, 2))
    for n in (5, 6, 100):
        assert representatives(states, n, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]


def test_one_of_each_heap_and_it_is_the_one_nearest_to_its_mean():
    rng = np.random.default_rng(0)
    middles = np.array([[0.2, 0.2], [0.2, 0.8], [0.8, 0.8], [0.8, 0.2]])
    states = (middles[:, None] + 0.02 * rng.standard_normal((4, 50, 2))).reshape(-1, 2)
    expected = []
    for heap in range(4):
        of_heap = states[50 * heap : 50 * heap + 50]
        far = np.linalg.norm(of_heap - of_heap.mean(0), axis=1)
        expected.append(50 * heap + int(far.argmin()))
    assert representatives(states, 4, rng).tolist() == expected


def test_on_a_line_they_are_even():
    """Uniform states on a line: the gaps between n representatives vary by far less than those of n of the draws."""
    rng = np.random.default_rng(1)
    x = rng.random(800)
    states = np.stack([x, np.full(800, 0.5)], axis=1)
    kept = np.sort(x[representatives(states, 100, rng)])
    drawn = np.sort(x[:100])
    # The gaps of independent draws are exponential: their deviation is their mean.
    assert np.diff(drawn).std() > 0.7 * np.diff(drawn).mean()
    assert np.diff(kept).std() < 0.35 * np.diff(kept).mean()


def test_they_leave_smaller_holes_than_draws_and_keep_the_shares():
    """Two heaps of states, of which one has nine times the other's."""
    rng = np.random.default_rng(2)
    centre = np.where(rng.random(1600) < 0.9, 0.25, 0.75)[:, None]
    states = centre + 0.1 * (rng.random((1600, 2)) - 0.5)
    sparse, ratio = [], []
    for seed in range(20):
        kept = states[representatives(states, 20, np.random.default_rng(seed))]
        sparse.append((kept[:, 0] > 0.5).sum())
        far, usual = (KDTree(some).query(states)[0].mean() for some in (kept, rng.permutation(states)[:20]))
        ratio.append(far / usual)
    # By the law 2 of 20; the best quantiser of two dimensions would have 5, in proportion to the law's square root.
    assert min(sparse) >= 1
    assert 2 <= np.mean(sparse) <= 5
    assert np.mean(ratio) < 0.8
