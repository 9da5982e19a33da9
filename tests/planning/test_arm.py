import tracemalloc

import numpy as np
import pytest

from lowerbound.errors import ConfigError, ShapeError
from lowerbound.planning.arm import ArmProblem, Chain, Sphere, cover, inner_marks, voxels, wam


@pytest.fixture(scope="module")
def chain():
    return wam()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def configurations(chain, rng, n):
    return rng.uniform(chain.lower, chain.upper, (n, chain.joints))


def about(axis, angle):
    """The rotation about an axis, by Rodrigues' formula, (4, 4)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    out = np.eye(4)
    out[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return out


def along(x, y, z):
    out = np.eye(4)
    out[:3, 3] = x, y, z
    return out


def elementary(rows, base, q):
    """The frames as products of elementary motions, (J + 1, 4, 4)."""
    frames = [base]
    for (alpha, a, d, offset), angle in zip(rows, q, strict=True):
        step = about((0, 0, 1), angle + offset) @ along(0, 0, d) @ along(a, 0, 0) @ about((1, 0, 0), alpha)
        frames.append(frames[-1] @ step)
    return np.array(frames)


def box_distance(points, box):
    """The distance from points (..., 3) to a box, 0 inside, by its corners' frame."""
    turn = about((0, 0, 1), box[6])[:3, :3]
    beyond = np.abs((points - box[:3]) @ turn) - box[3:6]
    return np.linalg.norm(np.maximum(beyond, 0), axis=-1)


def random_boxes(rng, n):
    return np.concatenate(
        [rng.uniform(-1, 1, (n, 3)), rng.uniform(0.02, 0.25, (n, 3)), rng.uniform(-3, 3, (n, 1))], axis=1
    )


class TestFrames:
    def test_any_table_against_elementary_motions(self, rng):
        rows = rng.normal(size=(5, 4))
        base = along(0.1, -0.2, 0.3) @ about((0, 1, 0), 0.7)
        chain = Chain(rows, np.full(5, -3.0), np.full(5, 3.0), base=base)
        q = configurations(chain, rng, 20)
        expected = np.array([elementary(rows, base, each) for each in q])
        np.testing.assert_allclose(chain.frames(q, np.float64), expected, atol=1e-12)
        np.testing.assert_allclose(chain.frames(q), expected, atol=1e-5)

    def test_wam_against_elementary_motions(self, chain, rng):
        q = configurations(chain, rng, 50)
        expected = np.array([elementary(chain.rows, chain.base, each) for each in q])
        np.testing.assert_allclose(chain.frames(q, np.float64), expected, atol=1e-12)
        np.testing.assert_allclose(chain.frames(q), expected, atol=3e-6)

    def test_wam_stretched_and_bent(self, chain):
        q = np.zeros((3, 7))
        q[1, 3] = np.pi / 2  # the elbow
        q[2, [0, 3]] = np.pi / 2
        straight = [0, 0, 0.346 + 0.55 + 0.3 + 0.0609 + 0.15]
        bent = [0.045 + 0.3 + 0.0609 + 0.15, 0, 0.346 + 0.55 + 0.045]
        expected = [straight, bent, [-bent[1], bent[0], bent[2]]]
        np.testing.assert_allclose(chain.tip(q, np.float64), expected, atol=1e-12)

    def test_spheres_ride_on_their_frames(self, chain, rng):
        q = configurations(chain, rng, 1500)  # more than one chunk
        frames = chain.frames(q, np.float64)[:, chain.links]
        expected = np.einsum("nkij,kj->nki", frames[..., :3, :3], chain.centres) + frames[..., :3, 3]
        np.testing.assert_allclose(chain.spheres(q, np.float64), expected, atol=1e-12)
        np.testing.assert_allclose(chain.spheres(q), expected, atol=3e-6)

    def test_nothing_is_beyond_reach(self, chain, rng):
        centres = chain.spheres(configurations(chain, rng, 3000))
        far = np.linalg.norm(centres - chain.shoulder, axis=-1) + chain.radii
        assert far.max() <= chain.reach
        assert far.max() > 0.9 * chain.reach


class TestCover:
    def test_contains_the_capsule_within_the_tolerance(self, rng):
        a, b, radius, tolerance = np.array([0.1, 0.0, -0.2]), np.array([0.1, 0.3, 0.2]), 0.06, 0.013
        spheres = cover(3, a, b, radius, tolerance)
        points = rng.uniform(-0.4, 0.5, (200_000, 3))
        share = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        distance = np.linalg.norm(points - a - share[:, None] * (b - a), axis=1)
        centres = np.array([sphere.centre for sphere in spheres])
        radii = np.array([sphere.radius for sphere in spheres])
        covered = (np.linalg.norm(points[:, None] - centres, axis=-1) <= radii).any(1)
        assert covered[distance <= radius].all()
        assert not covered[distance > radius + tolerance].any()
        assert (distance <= radius).sum() > 500

    def test_no_sphere_too_many(self):
        radius, tolerance, length = 0.05, 0.01, 0.55
        count = len(cover(1, (0, 0, 0), (0, 0, length), radius, tolerance))

        def waist(n):  # radius at which two neighbours of n spheres meet
            return np.sqrt((radius + tolerance) ** 2 - (length / (n - 1) / 2) ** 2)

        assert waist(count) >= radius > waist(count - 1)

    def test_a_point_is_one_sphere(self):
        assert cover(2, (1, 2, 3), (1, 2, 3), 0.1, 0.01) == [Sphere(2, (1.0, 2.0, 3.0), 0.11)]

    @pytest.mark.parametrize(("radius", "tolerance"), [(0.0, 0.1), (0.1, 0.0)])
    def test_bad_sizes(self, radius, tolerance):
        with pytest.raises(ConfigError, match="capsule"):
            cover(1, (0, 0, 0), (0, 0, 1), radius, tolerance)

    def test_wam_links_are_covered(self, chain, rng):
        # the upper arm from the shoulder's ball to the elbow, and the forearm to the wrist, of the stated radii
        q = configurations(chain, rng, 5)
        frames, centres = chain.frames(q, np.float64), chain.spheres(q, np.float64)
        for link, axis, offset, span, radius in (
            (3, 1, (-0.045, 0, 0), (0.1, 0.55), 0.05),
            (4, 2, (0, 0, 0), (0.0, 0.3), 0.055),
            (7, 2, (0, 0, 0), (0.0, 0.145), 0.055),
        ):
            turn = rng.uniform(0, 2 * np.pi, 400)
            local = np.zeros((400, 3))
            others = [i for i in range(3) if i != axis]
            local[:, axis] = rng.uniform(*span, 400)
            local[:, others[0]], local[:, others[1]] = radius * np.cos(turn), radius * np.sin(turn)
            local += offset
            for frame, spheres in zip(frames[:, link], centres, strict=True):
                points = local @ frame[:3, :3].T + frame[:3, 3]
                assert (np.linalg.norm(points[:, None] - spheres, axis=-1) <= chain.radii).any(1).all(), link


class TestSelfCollision:
    def test_pairs(self, chain):
        links = {(int(a), int(b)) for a, b in chain.links[chain.pairs]}
        assert {(0, 4), (0, 7), (1, 7), (3, 5), (3, 7)} <= links
        # neighbours, the ball-like shoulder (joints 1 to 3) and wrist (joints 5 to 7)
        assert not {(0, 1), (0, 3), (1, 2), (1, 3), (2, 3), (3, 4), (4, 5), (4, 7), (5, 7)} & links

    def test_against_every_pair(self, chain, rng):
        q = configurations(chain, rng, 4000)
        centres = chain.spheres(q, np.float64)
        a, b = chain.pairs.T
        gap = np.linalg.norm(centres[:, a] - centres[:, b], axis=-1) - chain.radii[a] - chain.radii[b]
        sure = np.abs(gap).min(1) > 1e-5
        touches = chain.self_collides(chain.place(q))
        np.testing.assert_array_equal(touches[sure], (gap < 0).any(1)[sure])
        assert 0.01 < touches.mean() < 0.2
        assert sure.mean() > 0.99

    def test_limits_of_wrist_and_shoulder_are_free(self, chain):
        q = np.zeros((5, 7))
        q[1, 5], q[2, 5], q[3, 1], q[4, 1] = 1.6, -1.6, 2.0, -2.0
        assert not chain.self_collides(chain.place(q)).any()

    def test_hand_against_the_foot(self, chain):
        q = np.zeros((1, 7))
        q[0, 1], q[0, 3], q[0, 5] = 1.6, 2.8, 1.2
        # the elbow in front, the forearm folded back under the upper arm, towards the column
        assert chain.self_collides(chain.place(q))[0]


class TestValid:
    def test_against_brute_force(self, chain, rng):
        boxes = random_boxes(rng, 6)
        boxes[3, 6] = boxes[2, 6]
        boxes[4, 6] = 0
        q = configurations(chain, rng, 3000)
        problem = ArmProblem(chain, boxes, q[0], q[1], floor=-0.3, behind=-0.6)
        centres = chain.spheres(q, np.float64)[:, chain.moving :]
        radii = chain.radii[chain.moving :]
        gaps = [(box_distance(centres, box) - radii).min(1) for box in boxes]
        gaps += [(centres[..., 2] - radii).min(1) + 0.3, (centres[..., 0] - radii).min(1) + 0.6]
        clearance = np.min(gaps, axis=0)
        np.testing.assert_allclose(problem.clearance(q), clearance, atol=3e-6)
        a, b = chain.pairs.T
        all_centres = chain.spheres(q, np.float64)
        own = np.linalg.norm(all_centres[:, a] - all_centres[:, b], axis=-1) - chain.radii[a] - chain.radii[b]
        free = np.minimum(clearance, own.min(1))
        sure = np.abs(free) > 1e-5
        np.testing.assert_array_equal(problem.valid(q)[sure], (free > 0)[sure])
        assert 0.2 < problem.valid(q).mean() < 0.95
        assert problem.counts.states == 2 * len(q)

    def test_one_by_one_is_the_same(self, chain, rng):
        q = configurations(chain, rng, 40)
        problem = ArmProblem(chain, random_boxes(rng, 5), q[0], q[1])
        np.testing.assert_array_equal(problem.valid(q), [problem.valid(each[None])[0] for each in q])

    def test_distance_to_face_edge_and_corner(self):
        # one joint about z, a sphere of radius 0.1 at distance 1 from it
        chain = Chain([(0, 1.0, 0, 0)], [-3.0], [3.0], [Sphere(1, (0.0, 0.0, 0.0), 0.1)])
        at = np.zeros((1, 1))
        for offset in ([1, 0, 0], [0, 1, 0], [1, 1, 0], [-1, 1, 1]):
            away = np.array(offset, dtype=float)
            for gap, free in ((0.101, True), (0.099, False)):
                nearest = np.array([1.0, 0, 0]) + gap * away / np.linalg.norm(away)
                box = [*(nearest + 0.2 * away), *np.where(away, 0.2, 0.05), 0.0]
                assert ArmProblem(chain, [box], [0.0], [0.0]).valid(at)[0] == free

    def test_yaw_turns_counterclockwise(self):
        chain = Chain([(0, 1.0, 0, 0)], [-3.0], [3.0], [Sphere(1, (0.0, 0.0, 0.0), 0.05)])
        bar = [[0, 0, 0, 2.0, 0.05, 0.1, 0.6]]  # through the axis, at an angle of 0.6
        problem = ArmProblem(chain, bar, [0.0], [0.0])
        np.testing.assert_array_equal(problem.valid(np.array([[0.6], [-0.6], [0.0]])), [False, True, True])

    def test_no_boxes(self, chain):
        problem = ArmProblem(chain, np.zeros((0, 7)), np.zeros(7), np.zeros(7))
        assert problem.valid(np.zeros((1, 7)))[0]
        assert np.isinf(problem.clearance(np.zeros((1, 7)))).all()

    def test_the_foot_may_touch(self, chain):
        pedestal = [[-0.05, 0, -0.1, 0.2, 0.2, 0.11, 0]]
        assert ArmProblem(chain, pedestal, np.zeros(7), np.zeros(7), floor=0.05).valid(np.zeros((1, 7)))[0]


class TestEdges:
    @pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 50, 64, 65, 130])
    def test_every_mark_once_the_middle_first(self, n):
        marks = inner_marks(n)
        assert sorted(marks) == list(range(1, n))
        if n > 1:
            assert marks[0] == n // 2

    def test_marks_are_ever_finer(self):
        marks = inner_marks(64)
        for level in range(1, 7):  # after 2^level - 1 checks no gap is longer than 64 / 2^level
            seen = np.sort([0, 64, *marks[: 2**level - 1]])
            assert np.diff(seen).max() == 64 >> level

    def test_an_edge_of_very_many_pieces_needs_no_table_of_all_shorter_ones(self, chain):
        tracemalloc.start()
        marks = inner_marks(20_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sorted(marks) == list(range(1, 20_000))
        assert peak < 20_000 * 8 * 16

    def test_against_all_points(self, chain, rng):
        q = configurations(chain, rng, 600)
        problem = ArmProblem(chain, random_boxes(rng, 12), q[0], q[1], resolution=0.07)
        q = q[problem.valid(q)]
        a = q[: len(q) // 2]
        b = q[len(q) // 2 :][: len(a)].copy()
        b[::3] = a[::3] + 0.1 * (b[::3] - a[::3])
        expected = []
        for start, end in zip(a, b, strict=True):
            n = int(np.ceil(np.abs(end - start).max() / 0.07))
            line = start + np.arange(1, n)[:, None] / n * (end - start)
            expected.append(problem.valid(line).all() if n > 1 else True)
        np.testing.assert_array_equal(problem.edges_valid(a, b), expected)
        assert 0.2 < np.mean(expected) < 0.98
        assert problem.counts.edges == len(a)

    def test_a_free_edge_costs_its_inner_points(self, chain, monkeypatch):
        problem = ArmProblem(chain, np.zeros((0, 7)), np.zeros(7), np.zeros(7), resolution=0.05)
        seen = []
        original = problem.free
        monkeypatch.setattr(problem, "free", lambda q: (seen.append(q), original(q))[1])
        a = np.zeros((1, 7))
        b = np.array([[1.0, 0.3, 0.5, 0, 0, 0, 0]])  # no joint moves by more than 1: 20 pieces
        assert problem.edges_valid(a, b)[0]
        states = np.concatenate(seen)
        assert len(states) == 19
        np.testing.assert_allclose(np.sort(states[:, 0]), np.arange(1, 20) / 20)
        seen.clear()
        assert problem.edges_valid(a, a + 0.049)[0]  # within one step: nothing to check
        assert not seen


class TestCondition:
    def test_shapes_and_padding(self, chain, rng):
        boxes = random_boxes(rng, 5)
        start, goal = configurations(chain, rng, 2)
        condition = ArmProblem(chain, boxes, start, goal).condition()
        assert {name: (value.shape, value.dtype.name) for name, value in condition.items()} == {
            "start": ((7,), "float32"),
            "goal": ((7,), "float32"),
            "boxes": ((24, 7), "float32"),
            "voxels": ((20, 20, 20), "uint8"),
        }
        np.testing.assert_array_equal(condition["boxes"][:5], boxes.astype(np.float32))
        assert np.isnan(condition["boxes"][5:]).all()

    def test_too_many_boxes(self, chain, rng):
        problem = ArmProblem(chain, random_boxes(rng, 25), np.zeros(7), np.zeros(7))
        with pytest.raises(ConfigError, match="24 boxes"):
            problem.condition()

    def test_shares_of_cells_and_their_order(self):
        # cells of side 0.1; the box fills cells x 3 and 4, half of cell y 7, three quarters of cell z 11
        low, high = np.zeros(3), np.full(3, 2.0)
        box = np.array([[0.4, 0.725, 1.1375, 0.1, 0.025, 0.0375, 0.0]])
        grid = voxels(box, low, high)
        assert np.argwhere(grid).tolist() == [[11, 7, 3], [11, 7, 4]]
        assert grid[11, 7, 3] == round(255 * 0.5 * 0.75)

    def test_volume_of_a_turned_box(self):
        box = np.array([[0.1, -0.2, 0.3, 0.31, 0.17, 0.23, 0.7]])
        grid = voxels(box, np.full(3, -1.0), np.full(3, 1.0))
        volume = grid.sum() / 255 * 0.1**3
        assert volume == pytest.approx(8 * 0.31 * 0.17 * 0.23, rel=0.01)
        z, y, x = (np.indices(grid.shape) * grid).sum((1, 2, 3)) / grid.sum()
        np.testing.assert_allclose(
            [-0.95 + 0.1 * x, -0.95 + 0.1 * y, -0.95 + 0.1 * z], box[0, :3], atol=0.005
        )

    def test_overlaps_are_full(self):
        box = np.array([[0, 0, 0, 0.5, 0.5, 0.5, 0.0]] * 3)
        assert voxels(box, np.full(3, -1.0), np.full(3, 1.0)).max() == 255

    def test_the_cube_holds_the_reach(self, chain):
        low, high = ArmProblem(chain, np.zeros((0, 7)), np.zeros(7), np.zeros(7)).cube
        np.testing.assert_allclose((low + high) / 2, [0, 0, 0.346])
        np.testing.assert_allclose(high - low, 2 * chain.reach)


class TestErrors:
    def test_shapes(self, chain):
        with pytest.raises(ShapeError, match=r"\(J, 4\)"):
            Chain(np.zeros((2, 3)), [-1, -1], [1, 1])
        with pytest.raises(ShapeError, match="limits"):
            Chain(np.zeros((2, 4)), [-1], [1])
        with pytest.raises(ShapeError, match=r"\(N, 7\)"):
            chain.frames(np.zeros(7))
        with pytest.raises(ShapeError, match=r"\(M, 7\)"):
            ArmProblem(chain, np.ones((2, 6)), np.zeros(7), np.zeros(7))

    def test_values(self, chain):
        with pytest.raises(ConfigError, match="links"):
            Chain(np.zeros((2, 4)), [-1, -1], [1, 1], [Sphere(3, (0, 0, 0), 0.1)])
        with pytest.raises(ConfigError, match="half extents"):
            ArmProblem(chain, np.zeros((1, 7)), np.zeros(7), np.zeros(7))
        with pytest.raises(ConfigError, match="resolution"):
            ArmProblem(chain, np.ones((1, 7)), np.zeros(7), np.zeros(7), resolution=0)
        with pytest.raises(ConfigError, match="outside the limits"):
            ArmProblem(chain, np.ones((1, 7)), np.full(7, 4.0), np.zeros(7))


def test_drawing(chain, rng):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    problem = ArmProblem(chain, random_boxes(rng, 3), np.zeros(7), np.full(7, 0.5))
    figure = plt.figure()
    axes = figure.add_subplot(projection="3d")
    problem.draw_on(axes, [problem.start, problem.goal], ["tab:blue", "tab:red"], spheres=True)
    assert [line.get_color() for line in axes.lines] == ["tab:blue", "tab:red"]
    assert len(axes.collections) == 3 + 2 * len(chain.radii)
    x, y, z = axes.lines[0].get_data_3d()
    np.testing.assert_allclose([x[-1], y[-1], z[-1]], chain.tip(np.zeros((1, 7)))[0], atol=1e-5)
    figure.canvas.draw()
    plt.close(figure)
