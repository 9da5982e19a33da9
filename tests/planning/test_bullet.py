import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("pybullet", reason="pip install 'lowerbound[planning]'")

from lowerbound.errors import ConfigError, ShapeError
from lowerbound.planning import bullet
from lowerbound.planning.arm import ArmProblem, Chain, Sphere, wam
from lowerbound.planning.bullet import BulletProblem, BulletRobot, Panda, as_bullet, panda, panda_chain
from lowerbound.planning.scenes import Wam


@pytest.fixture(scope="module")
def chain():
    return wam()


@pytest.fixture(scope="module")
def robot(chain):
    with BulletRobot.of(chain) as robot:
        yield robot


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def margin(problem, q):
    """Distance from contact, by our own spheres in float64: positive apart, negative in collision."""
    chain = problem.chain
    centres = chain.spheres(q, np.float64)
    a, b = chain.pairs.T
    own = np.linalg.norm(centres[:, a] - centres[:, b], axis=-1) - chain.radii[a] - chain.radii[b]
    return np.minimum(problem.clearance(q), own.min(1))


class TestFrames:
    def test_wam(self, chain, robot, rng):
        q = rng.uniform(chain.lower, chain.upper, (200, 7))
        frames = robot.frames(q, [f"link{i}" for i in range(8)])
        np.testing.assert_allclose(chain.frames(q, np.float64), frames, atol=2e-6)  # pybullet's are float32

    def test_wam_spheres(self, chain, robot, rng):
        q = rng.uniform(chain.lower, chain.upper, (50, 7))
        centres = robot.frames(q, [f"sphere{i}" for i in range(len(chain.radii))])[..., :3, 3]
        np.testing.assert_allclose(chain.spheres(q, np.float64), centres, atol=2e-6)

    def test_any_table_on_a_turned_base(self, rng):
        rows = rng.normal(size=(4, 4))
        base = np.eye(4)
        base[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        base[:3, :3] *= np.linalg.det(base[:3, :3])
        base[:3, 3] = 0.3, -0.1, 0.2
        chain = Chain(rows, np.full(4, -3.0), np.full(4, 3.0), [Sphere(4, (0.1, 0.2, 0.3), 0.1)], base=base)
        q = rng.uniform(chain.lower, chain.upper, (30, 4))
        with BulletRobot.of(chain) as robot:
            np.testing.assert_allclose(
                chain.frames(q, np.float64), robot.frames(q, [f"link{i}" for i in range(5)]), atol=5e-6
            )

    def test_panda_against_its_table(self, rng):
        robot = panda()
        q = rng.uniform(robot.lower, robot.upper, (50, 7))
        frames = robot.frames(q, ["panda_link8", "panda_grasptarget"])
        chain = panda_chain()
        np.testing.assert_allclose(chain.frames(q, np.float64)[:, 7], frames[:, 0], atol=2e-6)
        np.testing.assert_allclose(chain.tip(q, np.float64), frames[:, 1, :3, 3], atol=2e-6)


class TestAgreement:
    """Two independent checkers, one answer, unless within a millimetre of contact."""

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["shelf", "table", "cage"])
    def test_states_of_scenes(self, robot, rng, name):
        problem = Wam(scene=name).problem("test", 1)
        other = as_bullet(problem, robot)
        q = problem.uniform(1200, rng)
        # and as many near the ends, where the arm is close to things
        near = np.clip(
            np.stack([problem.start, problem.goal])[rng.integers(2, size=800)]
            + rng.normal(0, 0.15, (800, 7)),
            problem.lower,
            problem.upper,
        )
        q = np.concatenate([q, near])
        sure = np.abs(margin(problem, q)) > 1e-3
        assert sure.mean() > 0.95
        expected = problem.valid(q)
        assert 0.2 < expected.mean() < 0.9
        np.testing.assert_array_equal(other.valid(q)[sure], expected[sure])

    def test_turned_boxes_and_planes(self, chain, robot, rng):
        boxes = np.concatenate(
            [rng.uniform(-1, 1, (8, 3)), rng.uniform(0.02, 0.3, (8, 3)), rng.uniform(-3, 3, (8, 1))], axis=1
        )
        q = rng.uniform(chain.lower, chain.upper, (1000, 7))
        problem = ArmProblem(chain, boxes, q[0], q[1], floor=-0.2, behind=-0.5)
        sure = np.abs(margin(problem, q)) > 1e-3
        np.testing.assert_array_equal(as_bullet(problem, robot).valid(q)[sure], problem.valid(q)[sure])

    def test_self_collision_alone(self, chain, robot, rng):
        problem = ArmProblem(chain, np.zeros((0, 7)), np.zeros(7), np.zeros(7))
        q = problem.uniform(1500, rng)
        sure = np.abs(margin(problem, q)) > 1e-3
        valid = problem.valid(q)
        assert (~valid).sum() > 30
        np.testing.assert_array_equal(as_bullet(problem, robot).valid(q)[sure], valid[sure])

    @pytest.mark.slow
    def test_edges(self, robot, rng):
        problem = Wam(scene="shelf", resolution=0.1).problem("test", 2)
        other = as_bullet(problem, robot)
        q = problem.uniform(150, rng)
        q = np.concatenate([[problem.start, problem.goal] * 10, q[problem.valid(q)]])
        a, b = q[:-20], q[20:]
        sure = []
        for start, end in zip(a, b, strict=True):
            n = int(np.ceil(np.abs(end - start).max() / 0.1))
            line = start + np.arange(n + 1)[:, None] / n * (end - start)
            sure.append(np.abs(margin(problem, line)).min() > 1e-3)
        ours = problem.edges_valid(a, b)
        assert np.sum(sure & ours) > 20
        assert np.sum(sure & ~ours) > 5
        np.testing.assert_array_equal(other.edges_valid(a, b)[sure], ours[sure])

    def test_the_same_condition(self, robot):
        problem = Wam(scene="table").problem("test", 0)
        ours, theirs = problem.condition(), as_bullet(problem, robot).condition()
        for name, value in ours.items():
            np.testing.assert_array_equal(theirs[name], value)


class TestRobot:
    @pytest.mark.slow
    def test_problems_take_turns(self, robot, rng):
        problems = [Wam(scene="cage").problem("test", i) for i in range(2)]
        others = [as_bullet(problem, robot) for problem in problems]
        for _ in range(2):
            for problem, other in zip(problems, others, strict=True):
                q = problem.goal + rng.normal(0, 0.1, (100, 7))
                q = q[problem.within(q)]
                sure = np.abs(margin(problem, q)) > 1e-3
                np.testing.assert_array_equal(other.valid(q)[sure], problem.valid(q)[sure])

    def test_close(self, chain):
        module = bullet.pybullet()
        with BulletRobot.of(chain) as robot:
            client = robot.client
            assert module.isConnected(client)
        assert not module.isConnected(client)
        robot.close()  # once more does no harm
        forgotten = BulletRobot.of(chain)
        client = forgotten.client
        del forgotten
        assert not module.isConnected(client)

    def test_limits_and_joints_of_the_file(self):
        robot = panda()
        assert robot.names == tuple(f"panda_joint{i}" for i in range(1, 8))
        np.testing.assert_allclose(robot.lower[[0, 3]], [-2.9671, -3.1416])
        np.testing.assert_allclose(robot.upper[[0, 3]], [2.9671, 0.0])

    def test_links_tested_against_each_other(self):
        robot = panda()
        names = {index: name for name, index in robot.links.items()}
        pairs = {frozenset((names[a], names[b])) for a, b in robot.pairs}
        assert frozenset(("panda_link0", "panda_hand")) in pairs
        for a, b in (
            ("panda_link1", "panda_link2"),
            ("panda_link6", "panda_hand"),
            ("panda_hand", "panda_leftfinger"),
        ):
            assert frozenset((a, b)) not in pairs

    def test_panda_folded_onto_itself(self):
        robot = panda()
        problem = BulletProblem(robot, np.zeros((0, 7)), np.array([0, 0, 0, -1.5, 0, 1.8, 0.0]), robot.lower)
        q = np.array([[0, 0, 0, -1.5, 0, 1.8, 0], [0, -1.7, 0, -3.1, 0, 0.0, 0]])
        np.testing.assert_array_equal(problem.valid(q), [True, False])

    def test_errors(self, robot, tmp_path):
        with pytest.raises(ConfigError, match="no URDF file"):
            BulletRobot(tmp_path / "missing.urdf")
        with pytest.raises(ConfigError, match="cannot read"):
            BulletRobot("<robot")
        with pytest.raises(ConfigError, match="did you mean 'joint1'"):
            BulletRobot(bullet.urdf_of(wam()), joints=["joint11"])
        with pytest.raises(ConfigError, match="no link"):
            robot.link("nose")
        with pytest.raises(ShapeError, match=r"\(7,\)"):
            robot.move(np.zeros(6))
        with pytest.raises(ConfigError, match="resolution"):
            BulletProblem(robot, np.zeros((0, 7)), np.zeros(7), np.zeros(7), resolution=0.0)

    def test_pybullet_missing(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pybullet", None)
        bullet.pybullet.cache_clear()
        try:
            with pytest.raises(ConfigError, match=r"pip install 'lowerbound\[planning\]'"):
                bullet.pybullet()
        finally:
            bullet.pybullet.cache_clear()

    @pytest.mark.processes
    def test_silence(self):
        code = "from lowerbound.planning.bullet import pybullet; pybullet(); print('only this')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("only this\n", "")


class TestPanda:
    @pytest.mark.slow
    def test_problem(self):
        family = Panda(scene="table")
        problem = family.problem("test", 1)
        problem.check()
        assert not problem.edges_valid(problem.start[None], problem.goal[None])[0]
        again = family.problem("test", 1)
        np.testing.assert_array_equal(problem.start, again.start)
        condition = problem.condition()
        assert condition["boxes"].shape == (24, 7)
        assert condition["voxels"].any()

    def test_unknown_scene(self):
        with pytest.raises(ConfigError, match="options: shelf, table"):
            Panda(scene="cage")


def test_drawing(robot):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    problem = as_bullet(Wam(scene="table").problem("test", 0), robot)
    figure = plt.figure()
    axes = figure.add_subplot(projection="3d")
    problem.draw_on(axes, [problem.start, problem.goal])
    assert len(axes.lines) == 2
    assert len(axes.collections) == len(problem.boxes)
    plt.close(figure)
