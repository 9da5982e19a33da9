import numpy as np
import pytest

from lowerbound.errors import ConfigError
from lowerbound.planning.scenes import SCENES, Wam, arm, inside
from lowerbound.planning.solve import connect

NAMES = [*SCENES, "mixed"]


@pytest.fixture(scope="module")
def problems():
    """A few problems of each scene; those of the window take longest."""
    return {name: list(Wam(scene=name).problems("tune", 1 if name == "window" else 3)) for name in NAMES}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
class TestProblems:
    def test_ends_are_free_and_not_joined_by_a_line(self, problems, name):
        for problem in problems[name]:
            problem.check()
            assert not problem.edges_valid(problem.start[None], problem.goal[None])[0]

    def test_has_a_path(self, problems, name):
        for problem in problems[name]:
            path = connect(problem, np.random.default_rng(1), 150_000)
            assert path is not None
            assert problem.edges_valid(path[:-1], path[1:]).all()

    def test_the_condition_holds_all_boxes(self, problems, name):
        for problem in problems[name]:
            condition = problem.condition()
            assert np.isfinite(condition["boxes"]).all(1).sum() == len(problem.boxes)
            assert condition["voxels"].any()

    def test_scenes_differ(self, problems, name):
        boxes = [problem.boxes[0] for problem in problems[name]]
        assert len(np.unique(boxes, axis=0)) == len(boxes)


class TestFamily:
    def test_a_problem_depends_on_split_and_index_only(self):
        family = Wam(scene="table")
        first, again, other = (
            family.problem("train", 4),
            family.problem("train", 4),
            family.problem("test", 4),
        )
        for name in ("boxes", "start", "goal"):
            np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
            assert not np.array_equal(getattr(first, name), getattr(other, name))

    @pytest.mark.slow
    def test_mixed_draws_all_three(self):
        names = {problem.scene for problem in Wam().problems("train", 12)}
        assert names == {"shelf", "table", "cage"}

    def test_no_checks_are_counted_yet(self):
        counts = Wam(scene="table").problem("tune", 0).counts
        assert (counts.states, counts.edges) == (0, 0)

    def test_the_resolution_is_passed_on(self):
        assert Wam(scene="cage", resolution=0.1).problem("train", 0).resolution == 0.1

    def test_to_dict(self):
        assert Wam(scene="shelf").to_dict() == {"family": "wam", "scene": "shelf", "resolution": 0.05}

    def test_unknown_scene(self):
        with pytest.raises(ConfigError, match="did you mean 'shelf'"):
            Wam(scene="shelve")


class TestGeometry:
    @pytest.mark.parametrize("name", list(SCENES))
    def test_where_the_hand_starts_and_ends(self, name):
        for seed in range(20):
            scene = SCENES[name](np.random.default_rng(seed))
            assert scene.boxes.shape[1] == scene.starts.shape[1] == scene.goals.shape[1] == 7
            assert (scene.boxes[:, 3:6] > 0).all()
            assert len(scene.boxes) < 24  # and the pedestal
            assert len(np.unique(scene.boxes[:, 6])) == 1  # all turned as one

    def test_bins_are_empty_and_between_the_boards(self):
        for seed in range(20):
            scene = SCENES["shelf"](np.random.default_rng(seed))
            goal = scene.goals[0]
            assert not inside(goal[None, :3], scene.boxes)[0]
            for direction in ((0, 0, 1), (0, 0, -1), (0, 1, 0), (0, -1, 0), (1, 0, 0)):
                x, y, z = np.array(direction) * 0.5
                cos, sin = np.cos(goal[6]), np.sin(goal[6])
                ray = goal[:3] + np.linspace(0, 1, 400)[:, None] * [cos * x - sin * y, sin * x + cos * y, z]
                assert inside(ray, scene.boxes).any(), direction  # closed but for the front
            x, y = -np.cos(goal[6]), -np.sin(goal[6])
            assert not inside(goal[:3] + np.linspace(0, 0.5, 400)[:, None] * [x, y, 0], scene.boxes).any()

    def test_the_window_is_the_only_way(self):
        for seed in range(20):
            scene = SCENES["window"](np.random.default_rng(seed))
            goal, wall = scene.goals[0], scene.boxes
            # a plane of points through the wall: the free ones form the opening, below the size of the wall
            cos, sin = np.cos(goal[6]), np.sin(goal[6])
            y, z = np.meshgrid(np.linspace(-1, 1, 201), np.linspace(-0.7, 1.5, 221))
            centre = goal[:2] - 0.27 * np.array([cos, sin])
            points = np.stack([centre[0] - sin * y, centre[1] + cos * y, z], -1).reshape(-1, 3)
            free = ~inside(points, wall)
            area = free.mean() * 2 * 2.2
            assert 4 * 0.155**2 < area < 4 * 0.265**2

    def test_inside_turned_boxes(self):
        region = np.array([[1.0, 0.0, 0.0, 0.5, 0.1, 0.1, np.pi / 2]])  # long along y
        points = np.array([[1.0, 0.4, 0.0], [1.4, 0.0, 0.0], [1.0, 0.4, 0.2]])
        np.testing.assert_array_equal(inside(points, region), [True, False, False])

    def test_the_hand_is_where_it_should_be(self):
        for problem in Wam(scene="shelf").problems("train", 3):
            tip = arm().tip(problem.goal[None], np.float64)[0]
            boards = problem.boxes[:-1]
            low, high = (boards[:, 2] - boards[:, 5]).min(), (boards[:, 2] + boards[:, 5]).max()
            assert low < tip[2] < high
