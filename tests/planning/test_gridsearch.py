"""Paths on a grid against a plain search of it, and bottlenecks where the gaps are."""

import heapq

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from lowerbound.errors import ConfigError, ShapeError
from lowerbound.planning.gridsearch import bottlenecks, shortest_path
from lowerbound.planning.planar import NarrowPassage, PlanarProblem


def centre(cell, size):
    return (np.array(cell[::-1]) + 0.5) / size


def plain_search(occupied, weight, first, last):
    """The least cost between two cells (row, column), in units of the square, by a search with a heap."""
    size = len(occupied)
    clearance = distance_transform_edt(~occupied) / size
    best, heap = {first: 0.0}, [(0.0, first)]
    while heap:
        cost, (i, j) = heapq.heappop(heap)
        if (i, j) == last:
            return cost
        for di, dj in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            k, m = i + di, j + dj
            if not (0 <= k < size and 0 <= m < size) or occupied[k, m] or occupied[i, m] or occupied[k, j]:
                continue
            length = np.hypot(di, dj) / size
            step = length * (1 + weight * 0.5 * (1 / clearance[i, j] + 1 / clearance[k, m]))
            if cost + step < best.get((k, m), np.inf):
                best[k, m] = cost + step
                heapq.heappush(heap, (cost + step, (k, m)))
    return np.inf


def cost_of(path, occupied, weight):
    size = len(occupied)
    clearance = distance_transform_edt(~occupied) / size
    column, row = np.rint(path * size - 0.5).astype(int).T
    density = 1 + weight / clearance[row, column]
    return np.sum(np.linalg.norm(np.diff(path, axis=0), axis=1) * (density[1:] + density[:-1]) / 2)


@pytest.mark.parametrize("weight", [0.0, 0.05, 1.0])
def test_the_path_is_the_best(weight):
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(12):
        occupied = rng.random((20, 20)) < 0.3
        first, last = ((int(i), int(j)) for i, j in np.argwhere(~occupied)[rng.integers(200, size=2)])
        expected = plain_search(occupied, weight, first, last)
        path = shortest_path(occupied, centre(first, 20), centre(last, 20), weight)
        if path is None or first == last:
            assert np.isinf(expected) or first == last
            continue
        found += 1
        np.testing.assert_allclose(cost_of(path, occupied, weight), expected, rtol=1e-12)
    assert found >= 5


def test_an_empty_grid_gives_the_octile_distance():
    path = shortest_path(np.zeros((64, 64)), centre((3, 5), 64), centre((40, 12), 64))
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    np.testing.assert_allclose(length * 64, 7 * 2**0.5 + 30)


def test_the_ends_are_the_start_and_the_goal():
    occupied = np.zeros((16, 16))
    occupied[0, 0] = 1  # the start is free, the centre of its cell is not
    start, goal = np.array([0.06, 0.01]), np.array([0.9, 0.71])
    path = shortest_path(occupied, start, goal)
    np.testing.assert_array_equal(path[[0, -1]], [start, goal])
    np.testing.assert_array_equal(shortest_path(occupied, goal, goal + 1e-3), [goal, goal + 1e-3])


@pytest.mark.parametrize("turned", [False, True])
def test_corners_are_not_cut(turned):
    occupied = np.zeros((4, 4))
    occupied[:2, :2] = occupied[2:, 2:] = 1  # two free quarters that touch in a point
    first, last = (0, 3), (3, 0)
    if turned:
        occupied, first, last = occupied[:, ::-1], (0, 0), (3, 3)
    assert shortest_path(occupied, centre(first, 4), centre(last, 4)) is None
    occupied = occupied.copy()
    occupied[1, 1 if not turned else 2] = 0
    assert shortest_path(occupied, centre(first, 4), centre(last, 4)) is not None


def test_a_closed_world_has_no_path():
    occupied = np.zeros((32, 32), dtype=bool)
    occupied[:, 15] = True
    assert shortest_path(occupied, np.array([0.1, 0.5]), np.array([0.9, 0.5])) is None
    assert shortest_path(np.ones((8, 8)), np.array([0.1, 0.5]), np.array([0.9, 0.5])) is None


def test_clearance_keeps_the_path_in_the_middle():
    problem = NarrowPassage(gap=0.12, walls=1, orientation="vertical", thickness=0.2).problem("tune", 0)
    occupied = problem.occupancy(64).astype(bool)
    x0, y0, x1, y1 = problem.gaps[0]
    off = []
    for weight in (0.0, 1.0):
        path = shortest_path(occupied, problem.start, problem.goal, weight)
        inside = path[(path[:, 0] > x0 + 0.03) & (path[:, 0] < x1 - 0.03)]
        off.append(np.abs(inside[:, 1] - (y0 + y1) / 2).max())
    assert off[1] < 1 / 64 < off[0]


def in_a_gap(problem, states, margin=0.0):
    low, high = problem.gaps[:, :2] - margin, problem.gaps[:, 2:] + margin
    return ((states[:, None] >= low) & (states[:, None] <= high)).all(axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize("thickness", [(0.05, 0.15), 0.05, 0.15])
def test_bottlenecks_are_in_the_gaps_of_the_path(thickness):
    crossed = found = near = total = 0
    for problem in NarrowPassage(thickness=thickness).problems("tune", 40):
        path = shortest_path(problem.occupancy(64), problem.start, problem.goal)
        states = bottlenecks(problem, path)
        assert problem.free(states).all()
        assert problem.counts.states == problem.counts.edges == 0
        passed = in_a_gap(problem, path).any(axis=0)
        assert passed[0]
        crossed += passed.sum()
        found += (passed & in_a_gap(problem, states).any(axis=0)).sum()
        near += in_a_gap(problem, states, 0.03).any(axis=1).sum()
        total += len(states)
    assert found / crossed > 0.9
    assert near / total > 0.5


def wall_with_a_gap():
    """A wall from x = 0.4 to 0.6 with a gap from y = 0.48 to 0.52."""
    boxes = np.array([[0.4, 0, 0.6, 0.48], [0.4, 0.52, 0.6, 1]])
    return PlanarProblem(boxes, np.array([0.1, 0.5]), np.array([0.9, 0.5]))


def test_the_share_of_a_disc_is_measured_right():
    problem = wall_with_a_gap()
    path = np.stack([np.full(2, 0.5), np.array([0.3, 0.5])])  # in the gap, and in the open
    # a strip of half-width h in a disc of radius R covers (2 / pi) (asin(h / R) + (h / R) sqrt(1 - (h / R)^2))
    h = 0.02 / 0.05
    share = 1 - 2 / np.pi * (np.arcsin(h) + h * np.sqrt(1 - h * h))
    options = {"radius": 0.05, "dilate": 0, "recentre": 0.0}
    assert len(bottlenecks(problem, path, share=share - 0.03, **options)) == 1
    assert len(bottlenecks(problem, path, share=share + 0.03, **options)) == 2  # none: all of the path


def test_neighbours_are_taken_and_states_moved_to_the_middle():
    problem = wall_with_a_gap()
    x = np.linspace(0.1, 0.9, 81)
    path = np.stack([x, np.where((x > 0.35) & (x < 0.65), 0.51, 0.6)], axis=1)
    plain, wider = (bottlenecks(problem, path, dilate=d, recentre=0) for d in (0, 3))
    assert set(map(tuple, plain)) <= set(map(tuple, path))
    assert len(wider) == len(plain) + 6
    inner = plain[(plain[:, 0] > 0.455) & (plain[:, 0] < 0.545)]
    assert len(inner) == 9
    moved = bottlenecks(problem, path, dilate=0)
    moved = moved[(moved[:, 0] > 0.455) & (moved[:, 0] < 0.545)]
    np.testing.assert_allclose(moved[:, 1], 0.5, atol=0.003)


def test_a_border_is_not_a_narrow_place():
    problem = PlanarProblem(np.array([[0.4, 0.4, 0.6, 0.6]]), np.zeros(2), np.ones(2))
    path = np.stack([np.linspace(0, 0.3, 31), np.zeros(31)], axis=1)
    np.testing.assert_array_equal(bottlenecks(problem, path, recentre=0), path)


def test_the_share_is_of_the_part_within_the_limits():
    """Three quarters of the half disc at the border are occupied, less than 0.4 of the whole disc."""
    problem = PlanarProblem(np.array([[0.4, 0.01, 0.6, 0.2]]), np.zeros(2), np.ones(2))
    states = bottlenecks(problem, np.array([[0.5, 0.0], [0.8, 0.0]]), dilate=0, recentre=0)
    np.testing.assert_array_equal(states, [[0.5, 0.0]])


def test_wrong_options_are_refused():
    with pytest.raises(ShapeError, match="G, G"):
        shortest_path(np.zeros((3, 4)), np.zeros(2), np.ones(2))
    with pytest.raises(ConfigError, match="clearance"):
        shortest_path(np.zeros((4, 4)), np.zeros(2), np.ones(2), -1.0)
    with pytest.raises(ConfigError, match="share"):
        bottlenecks(wall_with_a_gap(), np.full((1, 2), 0.5), share=1.0)
