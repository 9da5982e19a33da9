"""Pictures: PNGs of a sensible size, with a panel for each sampler, that show what they were given."""

import io

import numpy as np
import pytest
from PIL import Image

from lowerbound.planning import (
    NearEnds,
    Uniform,
    connect,
    family,
    problem_picture,
    solution,
    success_picture,
)


def pixels(picture):
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def near(image, colour):
    """How many pixels have about this colour."""
    return int((np.abs(image - colour).max(-1) < 12).sum())


FREE, COLLIDING, PATH = (47, 111, 171), (217, 95, 2), (55, 65, 81)


@pytest.mark.slow
def test_a_problem_in_the_plane():
    problem = family("narrow", gap=0.08).problem("test", 0)
    rng = np.random.default_rng(0)
    drawn = {"uniform": Uniform().draw(problem, 80, rng), "near the ends": NearEnds().draw(problem, 80, rng)}
    one = pixels(problem_picture(problem, {"uniform": drawn["uniform"]}))
    two = pixels(problem_picture(problem, drawn))
    path = pixels(problem_picture(problem, drawn, solution(problem, rng)))
    assert 500 < one.shape[0] < 1000
    assert 500 < one.shape[1] < 1000
    assert 1.8 < two.shape[1] / one.shape[1] < 2.2
    assert near(one, FREE) > 500
    assert near(one, COLLIDING) > 100
    assert near(two, FREE) > near(one, FREE)
    assert near(path, PATH) > near(two, PATH) + 500
    assert problem.counts.states == 0  # looking costs nothing
    for side in (one[0], one[-1], one[:, 0], one[:, -1]):
        assert (side > 250).all()  # nothing is cut off at the border


def test_without_states_in_collision_and_without_free_ones():
    problem = family("narrow", gap=0.08).problem("test", 0)
    states = problem.uniform(200, np.random.default_rng(0))
    free = problem.free(states)
    assert near(pixels(problem_picture(problem, {"a": states[free]})), FREE) > 500
    assert near(pixels(problem_picture(problem, {"a": states[~free]})), COLLIDING) > 500


def test_a_system_with_more_coordinates_is_seen_from_above():
    problem = family("integrator").problem("test", 0)
    image = pixels(problem_picture(problem, {"a": Uniform().draw(problem, 50, np.random.default_rng(0))}))
    assert near(image, FREE) > 300


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wam", "panda"])
def test_arms(name):
    if name == "panda":
        pytest.importorskip("pybullet")
    problem = family(name, scene="shelf", **({"proof": 0} if name == "panda" else {})).problem("test", 1)
    rng = np.random.default_rng(0)
    drawn = {"uniform": Uniform().draw(problem, 40, rng)}
    image = pixels(problem_picture(problem, drawn, None if name == "panda" else connect(problem, rng)))
    assert 600 < image.shape[0] < 1200
    assert 600 < image.shape[1] < 1200
    assert near(image, FREE) > 200
    assert near(image, (44, 160, 44)) > 200  # the arm at the start
    assert near(image, (214, 39, 40)) > 200  # and at the goal
    for side in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (side > 250).all()


@pytest.fixture
def written(monkeypatch):
    """The words of the figures that are drawn, as they are saved."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    words = []
    save = Figure.savefig

    def savefig(figure, *arguments, **options):
        words.extend(text.get_text() for text in figure.findobj(Text))
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return words


@pytest.mark.slow
def test_start_goal_and_what_is_grey_are_named(written):
    rng = np.random.default_rng(0)
    problem = family("narrow", gap=0.08).problem("test", 0)
    problem_picture(problem, {"uniform": problem.uniform(20, rng)}, solution(problem, rng))
    assert {"start", "goal", "state, free", "state in an obstacle", "path"} <= set(written)
    written.clear()
    problem = family("wam", scene="shelf").problem("test", 1)
    problem_picture(problem, {"uniform": problem.uniform(20, rng)}, connect(problem, rng))
    assert {"start", "goal", "arm at the start", "arm at the goal", "arm on the way", "x, m", "z, m"} <= set(
        written
    )


@pytest.mark.slow
def test_success():
    def point(n, success):
        return {"n": n, "success": success, "low": max(0, success - 0.1), "high": min(1, success + 0.1)}

    curves = {
        name: [point(n, n * slope) for n in (25, 50, 100)] for name, slope in (("a", 0.002), ("b", 0.009))
    }
    image = pixels(success_picture(curves))
    assert 500 < image.shape[0] < 900
    assert 800 < image.shape[1] < 1300
    assert near(image, (113, 117, 129)) > 800  # the grey of the first
    assert near(image, (189, 31, 1)) > 1500  # the last stands out
    pixels(success_picture({"one point": [point(50, 1.0)]}))


def test_the_same_picture_twice():
    problem = family("maze").problem("test", 0)
    drawn = {"uniform": problem.uniform(20, np.random.default_rng(0))}
    assert problem_picture(problem, drawn) == problem_picture(problem, drawn)
