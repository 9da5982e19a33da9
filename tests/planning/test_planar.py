"""Planar worlds: exact edges, connections by the gaps alone, solvable and reproducible problems."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from lowerbound.errors import ConfigError, ShapeError
from lowerbound.planning.gridsearch import shortest_path
from lowerbound.planning.planar import Forest, Maze, NarrowPassage, PlanarProblem

FAMILIES = [
    NarrowPassage(),
    NarrowPassage(walls=1, gap=0.1, thickness=0.2),
    NarrowPassage(walls=5, orientation="vertical", thickness=(0.02, 0.05)),
    Maze(),
    Maze(cells=9, wall=0.02),
    Forest(),
    Forest(obstacles=120, size=(0.02, 0.1)),
]
every_family = pytest.mark.parametrize("family", FAMILIES, ids=str)


def random_world(rng, count=12):
    corner, side = rng.uniform(-0.1, 1, (count, 2)), rng.uniform(0.01, 0.3, (count, 2))
    return PlanarProblem(np.concatenate([corner, corner + side], axis=1), np.full(2, 0.5), np.full(2, 0.5))


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("boxes", "start", "goal", "gaps")
    )


# ------------------------------------------------------------------------------------------- states and edges
def test_states_against_a_loop():
    rng = np.random.default_rng(0)
    problem = random_world(rng)
    q = problem.uniform(300, rng)
    expected = [not any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in problem.boxes) for x, y in q]
    assert 50 < sum(expected) < 250
    assert problem.valid(q).tolist() == expected
    assert problem.counts.states == 300
    assert not problem.valid(np.array([[-0.01, 0.5], [0.5, 1.01]])).any()


def depth(a, b, boxes):
    """How far segments (E, 2) stay out of boxes (M, 4) in the maximum norm, (E, M); negative inside.

    The distance is convex along a segment, so thirds find its minimum.
    """

    def at(t):
        p = a[:, None] + t[..., None] * (b - a)[:, None]
        return np.maximum(boxes[:, :2] - p, p - boxes[:, 2:]).max(axis=-1)

    low, high = np.zeros((len(a), len(boxes))), np.ones((len(a), len(boxes)))
    for _ in range(120):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        nearer = at(first) < at(second)
        low, high = np.where(nearer, low, first), np.where(nearer, second, high)
    return at((low + high) / 2)


@pytest.mark.slow
def test_edges_against_two_other_ways():
    rng = np.random.default_rng(1)
    problem = random_world(rng)
    q = problem.uniform(4000, rng)
    q = q[problem.valid(q)]
    a = q[: len(q) // 2]
    b = np.where(rng.random((len(a), 1)) < 0.5, q[len(a) : 2 * len(a)], a + rng.normal(0, 0.1, a.shape))
    b = np.clip(b, 0, 1)
    keep = problem.free(b)
    a, b = a[keep], b[keep]
    free = problem.edges_valid(a, b)
    assert 0.2 < free.mean() < 0.9
    assert problem.counts.edges == len(a)

    sampled = np.array(
        [problem.free(p + np.linspace(0, 1, 800)[:, None] * (q - p)).all() for p, q in zip(a, b, strict=True)]
    )
    assert not np.any(free & ~sampled)  # nothing that a sample hits is free
    assert np.mean(free == sampled) > 0.99  # the rest are corners cut between two samples

    nearest = depth(a, b, problem.boxes).min(axis=1)
    clear = np.abs(nearest) > 1e-9
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(free[clear], nearest[clear] > 0)


def test_obstacles_are_closed_for_states_and_edges_alike():
    problem = PlanarProblem(np.array([[0.25, 0.25, 0.75, 0.5]]), np.zeros(2), np.ones(2))
    above = np.nextafter(0.5, 1)
    assert problem.valid(np.array([[0.25, 0.25], [0.5, 0.5], [0.5, above]])).tolist() == [False, False, True]
    segments = [
        ((0.0, 0.5), (1.0, 0.5), False),  # along the upper side
        ((0.0, above), (1.0, above), True),
        ((0.75, 0.0), (0.75, 1.0), False),  # along the right side
        ((np.nextafter(0.75, 1), 0.0), (np.nextafter(0.75, 1), 1.0), True),
        ((0.0, 0.5), (0.5, 0.0), False),  # through the corner (0.25, 0.25)
        ((0.0, 0.5), (0.5, -(2.0**-20)), True),  # just past it
        ((0.5, 0.75), (0.5, 0.5), False),  # ends on the side
        ((0.5, 0.75), (0.5, 0.75), True),  # of length zero
        ((0.5, 0.3), (0.5, 0.3), False),
        ((0.0, 0.0), (0.2, 1.0), True),
        ((0.5, 0.0), (0.5, 1.0), False),  # straight through
        ((0.0, 0.4), (0.2, 0.4), True),  # its line meets the box, it does not
        ((0.5, 0.0), (0.5, 0.2), True),
    ]
    a, b, expected = (np.array(column) for column in zip(*segments, strict=True))
    for first, second in ((a, b), (b, a)):
        assert problem.edges_valid(first, second).tolist() == expected.tolist()
    mirrored = PlanarProblem(problem.boxes[:, [1, 0, 3, 2]], np.zeros(2), np.ones(2))
    assert mirrored.edges_valid(a[:, ::-1], b[:, ::-1]).tolist() == expected.tolist()


def test_many_edges_are_tested_in_parts(monkeypatch):
    rng = np.random.default_rng(2)
    problem = random_world(rng)
    a, b = problem.uniform(100, rng), problem.uniform(100, rng)
    expected = problem.edges_free(a, b)
    monkeypatch.setattr("lowerbound.planning.planar._PAIRS", 50)
    np.testing.assert_array_equal(problem.edges_free(a, b), expected)


def test_a_world_without_obstacles_is_free():
    problem = PlanarProblem(np.zeros((0, 4)), np.zeros(2), np.ones(2))
    assert problem.valid(np.array([[0.5, 0.5]])).all()
    assert problem.edges_valid(np.zeros((3, 2)), np.ones((3, 2))).all()
    assert problem.edges_valid(np.zeros((0, 2)), np.zeros((0, 2))).shape == (0,)
    assert problem.occupancy(8).sum() == 0


# ---------------------------------------------------------------------------------------------------- images
@every_family
def test_occupancy_is_the_validity_of_the_centres(family):
    problem = family.problem("tune", 0)
    size = 50
    y, x = np.mgrid[:size, :size]
    centres = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / size
    occupancy = problem.occupancy(size)
    assert occupancy.dtype == np.uint8
    np.testing.assert_array_equal(occupancy.reshape(-1), ~problem.free(centres))


def test_condition_shows_obstacles_start_and_goal():
    problem = PlanarProblem(
        np.array([[0, 0.5, 0.25, 1.0]]), np.array([0.8, 0.25]), np.array([0.3, 0.7]), grid=40
    )
    condition = problem.condition()
    assert condition["grid"].shape == (3, 40, 40)
    assert condition["grid"].dtype == np.uint8
    assert condition["start"].dtype == condition["goal"].dtype == np.float32
    np.testing.assert_allclose(condition["start"], [0.8, 0.25], rtol=1e-6)
    np.testing.assert_allclose(condition["goal"], [0.3, 0.7], rtol=1e-6)
    obstacles, *bumps = condition["grid"].astype(float)
    assert set(np.unique(obstacles)) == {0, 255}
    assert obstacles[30, 5] == 255  # upper left: row is y
    assert obstacles[5, 30] == 0
    index = (np.arange(40) + 0.5) / 40
    for bump, point in zip(bumps, (problem.start, problem.goal), strict=True):
        assert bump.max() >= 235  # the point is at most half a cell's diagonal off a centre
        bump = bump / bump.sum()
        np.testing.assert_allclose([bump.sum(0) @ index, bump.sum(1) @ index], point, atol=0.005)
        np.testing.assert_allclose(np.sqrt(bump.sum(0) @ (index - point[0]) ** 2), 2 / 40, rtol=0.05)


# --------------------------------------------------------------------------------------------------- families
@every_family
def test_problems_are_reproducible_and_the_splits_differ(family):
    np.random.seed(0)  # noqa: NPY002 - the global state must not matter
    drawn = {(split, i): family.problem(split, i) for split in ("train", "tune", "test") for i in range(4)}
    np.random.seed(1)  # noqa: NPY002
    for (split, i), problem in drawn.items():
        assert same(problem, family.problem(split, i))
    assert same(list(family.problems("test", 2, first=2))[1], drawn["test", 3])
    for one, other in itertools.combinations(drawn.values(), 2):
        assert not np.array_equal(one.boxes, other.boxes)
        assert not np.array_equal(one.start, other.start)


@pytest.mark.slow
@every_family
def test_every_problem_has_a_path(family):
    for problem in family.problems("tune", 12):
        problem.check()
        path = shortest_path(problem.occupancy(256), problem.start, problem.goal)
        assert path is not None
        assert problem.edges_valid(path[:-1], path[1:]).all()


@pytest.mark.parametrize("walls", [1, 3, 5])
@pytest.mark.parametrize("orientation", ["horizontal", "vertical"])
def test_rooms_are_joined_by_the_gaps_and_nothing_else(walls, orientation):
    family = NarrowPassage(walls=walls, orientation=orientation)
    for problem in family.problems("tune", 8):
        assert len(problem.gaps) == walls

        def rooms(closed, problem=problem):
            boxes = np.concatenate([problem.boxes, problem.gaps[closed]])
            return label(PlanarProblem(boxes, problem.start, problem.goal).occupancy(256) == 0)

        assert rooms([])[1] == 1
        assert rooms(list(range(walls)))[1] == walls + 1
        for k in range(walls):
            regions, count = rooms([k])
            assert count == 2
            if k == 0:  # the long wall's gap lies between start and goal
                ends = (np.stack([problem.start, problem.goal]) * 256).astype(int)
                assert regions[ends[0, 1], ends[0, 0]] != regions[ends[1, 1], ends[1, 0]]


def test_gaps_and_walls_have_their_sizes():
    family = NarrowPassage(gap=0.04, thickness=(0.06, 0.09), orientation="horizontal")
    for problem in family.problems("tune", 20):
        sides = problem.gaps[:, 2:] - problem.gaps[:, :2]
        np.testing.assert_allclose([sides[0, 0], sides[1, 1], sides[2, 1]], 0.04)
        thickness = np.array([sides[0, 1], sides[1, 0], sides[2, 0]])
        assert np.all((thickness >= 0.06) & (thickness <= 0.09))
        assert len(set(thickness)) == 3
        shrunk = problem.gaps + np.array([1, 1, -1, -1]) * 1e-9
        assert problem.free(np.concatenate([shrunk[:, :2], shrunk[:, 2:], shrunk[:, [0, 3]]])).all()
        long = problem.gaps[0]
        middle = np.array([long[[0, 2]].mean(), long[[1, 3]].mean()])
        for side in ([0, -0.1], [0, 0.1]):  # nothing stands before the gap
            assert problem.edges_valid(middle[None], middle[None] + side).all()


def test_orientation_turns_the_world():
    for i in range(5):
        flat, upright = (NarrowPassage(orientation=o).problem("tune", i) for o in ("horizontal", "vertical"))
        np.testing.assert_array_equal(flat.boxes[:, [1, 0, 3, 2]], upright.boxes)
        np.testing.assert_array_equal(flat.start[::-1], upright.start)
    both = [NarrowPassage().problem("tune", i) for i in range(40)]
    turned = [same(p, NarrowPassage(orientation="vertical").problem("tune", i)) for i, p in enumerate(both)]
    assert 10 < sum(turned) < 30


def solved(problem, n, rng):
    """Whether a roadmap of n uniform samples, joined within 2.2 sqrt(log n / n), holds a path."""
    q = problem.uniform(n, rng)
    q = np.concatenate([[problem.start, problem.goal], q[problem.valid(q)]])
    pairs = KDTree(q).query_pairs(min(1.5, 2.2 * np.sqrt(np.log(n) / n)), output_type="ndarray")
    i, j = pairs[problem.edges_valid(q[pairs[:, 0]], q[pairs[:, 1]])].T
    _, part = connected_components(
        coo_array((np.ones(len(i)), (i, j)), shape=(len(q), len(q))), directed=False
    )
    return part[0] == part[1]


def test_narrow_passages_are_hard_for_uniform_samples():
    rng = np.random.default_rng(0)
    hard, wide = (
        [solved(p, 100, rng) for p in NarrowPassage(gap=g).problems("tune", 150)] for g in (0.03, 0.1)
    )
    assert 0.4 < np.mean(hard) < 0.75
    assert np.mean(wide) > 0.9


@pytest.mark.parametrize("family", [Maze(), Maze(cells=10, wall=0.02), Maze(cells=2)], ids=str)
def test_a_maze_is_perfect(family):
    n = family.cells
    for problem in family.problems("tune", 6):
        assert len(problem.boxes) == 2 * n * (n - 1) - (n * n - 1)  # a spanning tree of doors
        occupied = np.pad(problem.occupancy(256), 1, constant_values=1)
        assert label(occupied == 0)[1] == 1  # no cell is shut
        assert label(occupied, structure=np.ones((3, 3)))[1] == 1  # no wall stands alone: no way around one


def test_a_mazes_ends_are_far_apart():
    lengths = []
    for problem in Maze().problems("tune", 20):
        path = shortest_path(problem.occupancy(128), problem.start, problem.goal, clearance_weight=0)
        lengths.append(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    assert min(lengths) > 0.8
    assert np.mean(lengths) > 2


def test_a_forests_ends_are_apart_and_its_trees_have_their_size():
    family = Forest(obstacles=25, size=(0.05, 0.1))
    for problem in family.problems("tune", 20):
        assert np.linalg.norm(problem.goal - problem.start) >= 0.5
        sides = problem.boxes[:, 2:] - problem.boxes[:, :2]
        assert sides.shape == (25, 2)
        assert sides.min() >= 0.05 - 1e-12
        assert sides.max() <= 0.1 + 1e-12


def test_options_of_a_file_come_back_as_they_were():
    family = NarrowPassage(thickness=[0.05, 0.1])  # type: ignore[arg-type]
    assert family == NarrowPassage(thickness=(0.05, 0.1))
    assert family.to_dict()["family"] == "narrow"
    assert NarrowPassage(thickness=0.1).thickness == (0.1, 0.1)
    for family in FAMILIES:
        options = family.to_dict()
        assert type(family)(**{k: v for k, v in options.items() if k != "family"}) == family


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NarrowPassage(gap=0), "gap above 0"),
        (lambda: NarrowPassage(gap=0.3), "at most 0.15"),
        (lambda: NarrowPassage(gap=0.01), "grid of at least 100"),
        (lambda: NarrowPassage(thickness=(0.1, 0.05)), "thickness"),
        (lambda: NarrowPassage(thickness=(0.1, 0.3)), "at most 0.2"),
        (lambda: NarrowPassage(walls=2), "1, 3 or 5"),
        (lambda: NarrowPassage(orientation="vertcal"), "did you mean 'vertical'"),  # type: ignore[arg-type]
        (lambda: NarrowPassage(grid=4), "at least 8"),
        (lambda: Maze(cells=1), "at least 2"),
        (lambda: Maze(cells=20, wall=0.04), "corridors"),
        (lambda: Maze(wall=0), "thicker than 0"),
        (lambda: Forest(obstacles=-1), "at least 0"),
        (lambda: Forest(size=(0.001, 0.1)), "size"),
        (lambda: Forest(obstacles=400, size=0.4).problem("tune", 0), "fewer or smaller"),
        (lambda: NarrowPassage().problem("tset", 0), "did you mean 'test'"),  # type: ignore[arg-type]
        (lambda: PlanarProblem([[0.5, 0, 0.4, 1]], np.zeros(2), np.ones(2)), "x0 below x1"),
    ],
)
def test_wrong_options_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_wrong_shapes_are_refused():
    with pytest.raises(ShapeError, match=r"\(M, 4\)"):
        PlanarProblem(np.ones((3, 2)), np.zeros(2), np.ones(2))
    with pytest.raises(ShapeError, match="goal"):
        PlanarProblem(np.zeros((0, 4)), np.zeros(2), np.ones(3))


def test_a_drawing_shows_every_obstacle():
    from matplotlib.figure import Figure

    problem = Maze().problem("tune", 0)
    ax = Figure().subplots()
    problem.draw_on(ax)
    assert len(ax.collections[0].get_paths()) == len(problem.boxes)
    np.testing.assert_allclose([line.get_xydata()[0] for line in ax.lines], [problem.start, problem.goal])
    assert ax.get_xlim() == ax.get_ylim() == (0, 1)
    assert ax.get_xticks().tolist() == ax.get_yticks().tolist() == [0, 0.5, 1]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x, sides of the square", "y")
