"""Learned samplers: their cells, what they draw, what they refuse, runs on disk, and that training one helps."""

import json

import numpy as np
import pytest
import torch

import lowerbound as lb
from lowerbound.errors import ConfigError, DataError, RunError, ShapeError
from lowerbound.planning import (
    Learned,
    Mixed,
    Uniform,
    family,
    load_data,
    load_sampler,
    make_data,
    measure,
    model_for,
    read_meta,
    success_curve,
    train,
)

PLANE = family("narrow", gap=0.1, walls=1, thickness=0.15, grid=16)
ARM = family("wam", scene="shelf")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two small training sets: one in the plane, one of the arm."""
    folder = tmp_path_factory.mktemp("sets")
    make_data(PLANE, 12, folder / "plane.npz", states=4, workers=1)
    make_data(ARM, 5, folder / "arm.npz", states=4, workers=1)
    return folder


@pytest.fixture(scope="module")
def run(sets):
    """A run of one pass over the set in the plane."""
    train(sets / "plane.npz", sets / "run", epochs=1, progress=False)
    return sets / "run"


def model_of(path, **options):
    torch.manual_seed(0)
    meta = read_meta(path)
    return model_for(load_data(path), meta["lower"], meta["upper"], **options).eval()


def sampler_of(path, **options):
    return Learned(model_of(path, **{"hidden": (8,), **options}))


# ----------------------------------------------------------------------------------------------------- models
def test_in_the_plane_the_cells_tile_the_limits(sets):
    model = model_of(sets / "plane.npz")
    side = np.linspace(-0.75, 0.75, 4)  # the usual map has 4 x 4 places for a grid of 16
    np.testing.assert_allclose(model.decoder.centres[:, 0], np.tile(side, 4), atol=1e-6)
    np.testing.assert_allclose(model.decoder.centres[:, 1], np.repeat(side, 4), atol=1e-6)
    np.testing.assert_array_equal(model.encoder.centres, model.decoder.centres)
    np.testing.assert_allclose(model.decoder.reach, 0.5)
    assert model.likelihood.scale == 0.02
    # Limits 0 and 1 of the states are -1 and 1 within the model.
    np.testing.assert_allclose(model.transform(torch.tensor([[0.0, 1.0]])), [[-1, 1]])


def test_of_an_arm_the_cells_lie_between_start_and_goal_of_each_problem(sets):
    model = model_of(sets / "arm.npz", cells=5, hidden=(8,))
    for parameter in model.decoder.body.parameters():
        torch.nn.init.zeros_(parameter)  # no move from the centres
    problems = list(ARM.problems("tune", 2))
    sampler = Learned(model)
    conditions = [sampler.condition(problem) for problem in problems]
    c = {name: torch.stack([told[name] for told in conditions]) for name in conditions[0]}
    for k in range(5):
        z = torch.zeros(2, model.latent_shape[0])
        z[:, k] = 1
        x = model.decode(z, c).numpy()
        for state, problem in zip(x, problems, strict=True):
            there = problem.start + k / 4 * (problem.goal - problem.start)
            np.testing.assert_allclose(state, there, atol=1e-5)


@pytest.mark.runs
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plane", {"kind": "gaussian"}),
        ("plane", {"width": 0.1, "latent": 1}),
        ("arm", {"kind": "gaussian"}),
        ("arm", {"cells": 3, "condition": {"boxes": {"hidden": [8]}}}),
    ],
)
def test_kinds_of_models_learn_and_draw(sets, name, options):
    model = model_of(sets / f"{name}.npz", hidden=(8,), **options)
    loaded = load_data(sets / f"{name}.npz")
    run = lb.fit(model, loaded, epochs=1, progress=False)
    problem = (PLANE if name == "plane" else ARM).problem("tune", 0)
    assert Learned(run.model).draw(problem, 10, np.random.default_rng(0)).shape == (10, problem.dimensions)


def test_cells_of_the_plane_without_a_map(sets):
    """The grid as one vector: the cells tile the plane all the same, and the vector says how likely each is."""
    vector = {"grid": {"type": "image", "network": "conv"}}
    model = model_of(sets / "plane.npz", cells=16, condition=vector)
    expected = [[-0.75 + 0.5 * (i % 4), -0.75 + 0.5 * (i // 4)] for i in range(16)]
    np.testing.assert_allclose(model.decoder.centres.numpy(), expected, atol=1e-6)
    assert not model.decoder.between
    problem = PLANE.problem("tune", 0)
    states = Learned(model.eval()).draw(problem, 100, np.random.default_rng(0))
    # Untrained, it draws everywhere.
    assert (np.histogram2d(*states.T, bins=2, range=[[0, 1], [0, 1]])[0] > 5).all()


def test_wrong_options_of_a_model(sets):
    with pytest.raises(ConfigError, match="did you mean 'cells'"):
        model_of(sets / "plane.npz", kind="cell")
    with pytest.raises(ConfigError):
        model_of(sets / "plane.npz", condition={"gird": {"features": 3}})
    with pytest.raises(ConfigError, match="a square number; got 12"):
        model_of(sets / "plane.npz", condition={"grid": {"type": "image", "network": "conv"}})
    with pytest.raises(ConfigError, match="start, goal and obstacles"):
        model_for(lb.data.load(np.zeros((9, 2)) + np.arange(9)[:, None]), [0, 0], [1, 1])


# --------------------------------------------------------------------------------------------------- samplers
@pytest.mark.parametrize("name", ["plane", "arm"])
def test_states_are_within_the_limits_unique_and_reproducible(sets, name):
    sampler = sampler_of(sets / f"{name}.npz")
    problem = (PLANE if name == "plane" else ARM).problem("tune", 1)
    a, b, c = (sampler.draw(problem, 200, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (a.shape, a.dtype) == ((200, problem.dimensions), np.float64)
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert problem.within(a).all()
    assert len(np.unique(a, axis=0)) == 200
    assert not np.array_equal(a, a[np.lexsort(a.T[::-1])])  # the first few are no corner of the space
    state = torch.get_rng_state()
    sampler.draw(problem, 3, np.random.default_rng(0))
    assert torch.equal(state, torch.get_rng_state())


def test_states_outside_are_brought_in_and_repeated_ones_replaced(sets):
    sampler = sampler_of(sets / "plane.npz")
    problem = PLANE.problem("tune", 0)
    transform = sampler.model.transform
    with torch.no_grad():
        transform.mean += 5  # decodes far outside of the unit square
    states = sampler.draw(problem, 50, np.random.default_rng(0))
    assert ((states > 0) & (states < 1)).all()  # none on a limit, where an arm at its stops would be
    with torch.no_grad():
        transform.std *= 1e-30  # and now all in one place, 5.5
    states = sampler.draw(problem, 50, np.random.default_rng(0))
    assert problem.within(states).all()
    assert len(np.unique(states, axis=0)) == 50
    assert (states == 0.5).all(1).sum() == 1


def test_states_of_the_plane_are_chosen_among_eight_times_as_many(sets):
    """Those chosen are among the decoded, and leave smaller holes between them than as many that were not chosen."""
    model = sampler_of(sets / "plane.npz").model
    problem, far = PLANE.problem("tune", 2), {}
    for candidates in (None, 8, 1):
        sampler = Learned(model, candidates=candidates)
        assert sampler.candidates == (candidates or 8)
        states = sampler.draw(problem, 40, np.random.default_rng(0))
        # The first number that the generator gives is the seed of the codes.
        many = Learned(model, candidates=1).draw(problem, 320, np.random.default_rng(0))
        if candidates != 1:
            distance = np.linalg.norm(states[:, None] - many, axis=-1)
            assert (distance.min(1) == 0).mean() > 0.8
        far[candidates] = np.linalg.norm(many[:, None] - states, axis=-1).min(1).mean()
    assert far[None] == far[8] < 0.9 * far[1]


def test_wrong_candidates(sets):
    model, arm = sampler_of(sets / "plane.npz").model, sampler_of(sets / "arm.npz").model
    for candidates in (0, -1, 2.0, True, "8"):
        with pytest.raises(ConfigError, match="candidates is a whole number above 0"):
            Learned(model, candidates=candidates)
    with pytest.raises(ConfigError, match=r"two coordinates; this model's have shape \(7,\)"):
        Learned(arm, candidates=2)
    assert (Learned(arm).candidates, Learned(arm, candidates=1).candidates) == (1, 1)


def test_where_sigma_is_predicted_it_is_drawn_from(sets):
    """Two samplers that differ only in σ: fixed, the states of one code coincide; predicted, they spread by σ."""
    problem = ARM.problem("tune", 0)
    spread = {}
    for width in (None, 1e-3):
        model = model_of(sets / "arm.npz", hidden=(8,), width=width, cells=2)
        for parameter in model.decoder.body.parameters():
            torch.nn.init.zeros_(parameter)
        if width is None:
            with torch.no_grad():
                list(model.decoder.body.parameters())[-1].view(2, 7)[1] = np.log(0.1)
        states = Learned(model).draw(problem, 400, np.random.default_rng(0))
        scaled = (states - problem.start) / (problem.upper - problem.lower) * 2
        way = (problem.goal - problem.start) / (problem.upper - problem.lower) * 2
        at_start = scaled[np.linalg.norm(scaled, axis=1) < np.linalg.norm(scaled - way, axis=1)]
        spread[width] = np.sqrt((at_start**2).mean())
    assert spread[None] == pytest.approx(0.1, rel=0.2)


def test_what_does_not_fit_is_said(sets):
    sampler = sampler_of(sets / "plane.npz")
    rng = np.random.default_rng(0)
    with pytest.raises(ShapeError, match="draws states of 2 numbers, but the problem has 7"):
        sampler.draw(ARM.problem("tune", 0), 5, rng)
    with pytest.raises(
        ShapeError, match=r"'grid' of the problem has shape \(3, 32, 32\), but .* \(3, 16, 16\)"
    ):
        sampler.draw(family("narrow", gap=0.1, grid=32).problem("tune", 0), 5, rng)
    problem = PLANE.problem("tune", 0)
    problem.condition = lambda: {"start": problem.start, "goal": problem.goal}
    with pytest.raises(
        ConfigError, match="trained with the condition 'grid', but the problem tells only start, goal"
    ):
        sampler.draw(problem, 5, rng)
    for n in (0, -1, 2.0, True):
        with pytest.raises(ConfigError, match="whole number of states"):
            sampler.draw(PLANE.problem("tune", 0), n, rng)
    with pytest.raises(ConfigError, match="whose condition is the problem"):
        Learned(lb.VAE.for_data(lb.data.load("digits"), latent=2))


# ------------------------------------------------------------------------------------------------------- runs
@pytest.mark.runs
def test_a_run_is_read_as_it_was_written(sets, run):
    sampler, meta = load_sampler(run, name="mine")
    assert sampler.name == "mine"
    assert family("narrow", **{k: v for k, v in meta["family"].items() if k != "family"}) == PLANE
    assert (meta["target"], meta["kind"], meta["n"], meta["obstacles"]) == ("bottleneck", "cells", 12, None)
    problem = PLANE.problem("test", 0)
    again = Learned(lb.load(run)).draw(problem, 20, np.random.default_rng(3))
    np.testing.assert_array_equal(sampler.draw(problem, 20, np.random.default_rng(3)), again)


@pytest.mark.runs
def test_training_is_reproducible_and_leaves_torch_as_it_was(sets, run, tmp_path):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    train(sets / "plane.npz", tmp_path / "a", epochs=1, progress=False)
    assert torch.equal(state, torch.get_rng_state())
    train(sets / "plane.npz", tmp_path / "b", epochs=1, progress=False, seed=1)
    weights = [
        (folder / "model.safetensors").read_bytes() for folder in (run, tmp_path / "a", tmp_path / "b")
    ]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.runs
def test_resume_goes_on_and_refuses_other_data(sets, run, tmp_path):
    make_data(PLANE, 12, tmp_path / "other.npz", states=3, workers=1)
    for arguments, message in (
        ({"target": "path"}, "cannot resume .* with target='path': the run has 'bottleneck'"),
        ({"problems": 6}, "problems=6: the run has None"),
        ({"seed": 1}, "seed=1: the run has 0"),
        ({"kind": "gaussian"}, "kind='gaussian'"),
        ({"data": tmp_path / "other.npz"}, "states=3: the run has 4"),
    ):
        with pytest.raises(RunError, match=message):
            train(**{"data": sets / "plane.npz", "out": run, "resume": True, "progress": False, **arguments})
    with pytest.raises(RunError):
        train(sets / "plane.npz", tmp_path / "new", resume=True, progress=False)
    train(sets / "plane.npz", tmp_path / "a", epochs=2, progress=False, minutes=None)
    train(sets / "plane.npz", tmp_path / "b", epochs=2, progress=False)
    more = train(sets / "plane.npz", tmp_path / "b", epochs=3, resume=True, progress=False)
    assert more.stopped == "finished"
    assert json.loads((tmp_path / "b" / "config.json").read_text())["training"]["epochs"] == 3


@pytest.mark.runs
def test_folders_that_are_no_runs_of_a_sampler(sets, run, tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        load_sampler(tmp_path / "nowhere")
    lb.save(lb.load(run), tmp_path / "model")
    with pytest.raises(RunError, match=r"was not made by `lowerbound plan train`: planning.json is missing"):
        load_sampler(tmp_path / "model")
    with pytest.raises(RunError, match="holds another run"):
        train(sets / "plane.npz", run, epochs=1, progress=False)
    with pytest.raises(DataError, match="there is no file"):
        train(tmp_path / "nothing.npz", tmp_path / "x", progress=False)
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        train(sets / "plane.npz", tmp_path / "x", epoch=1, progress=False)
    assert not (tmp_path / "x").exists()


@pytest.mark.runs
@pytest.mark.slow
def test_a_trained_sampler_solves_more_than_uniform_samples(tmp_path):
    """One gap in a thick wall. In practice 0.26 against 0.74 of the problems at 20 samples."""
    worlds = family("narrow", gap=0.04, walls=1, thickness=0.15, grid=32)
    make_data(worlds, 400, tmp_path / "set.npz", workers=1)
    train(tmp_path / "set.npz", tmp_path / "run", epochs=4, ema=0.97, progress=False)
    sampler, _ = load_sampler(tmp_path / "run")
    solved = {}
    for name, drawn in (("uniform", Uniform()), ("half", Mixed(sampler, 0.5)), ("all", sampler)):
        problems = list(worlds.problems("test", 60))
        solved[name] = success_curve(measure(drawn, problems, [20]))[0]["success"]
    assert solved["half"] > solved["uniform"] + 0.2, solved
    assert solved["all"] > solved["uniform"] + 0.3, solved
