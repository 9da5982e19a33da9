"""The examples run, and the numbers they return bear out what their text claims."""

import importlib
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lowerbound as lb

pytestmark = pytest.mark.pages

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def example(monkeypatch):
    """Give a function that imports an example by name."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


def is_picture(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 2000


def test_quickstart_beats_independent_pixels_and_survives_saving(example, tmp_path):
    numbers = example("quickstart").main(tmp_path, quick=True)
    data = lb.data.load("digits")
    x = torch.cat([x for x, _ in data.test.batches(100)])
    independent = -torch.distributions.Bernoulli(data.mean.clamp(1e-3, 1 - 1e-3)).log_prob(x).sum((1, 2, 3))
    assert numbers["nll"] < independent.mean().item() - 3
    assert -numbers["elbo"] > numbers["nll"]
    assert numbers["nll_after_loading"] == pytest.approx(numbers["nll"], abs=1e-6)
    assert is_picture(tmp_path / "quickstart.png")


def test_each_of_two_parts_says_something_of_the_other(example, tmp_path):
    for numbers in example("parts").main(tmp_path, quick=True).values():
        assert numbers["label_given_image"] > -math.log(10) + 0.5
        assert numbers["wrong"] < 0.6
        assert numbers["image_given_label"] > -27
    assert is_picture(tmp_path / "parts.png")


def test_samples_of_a_run_are_those_of_its_model(example, tmp_path):
    data = lb.data.load("digits")
    lb.fit(lb.VAE.for_data(data, latent=2), data, epochs=1, out=tmp_path / "run", progress=False)
    path = example("mnist_samples").main(tmp_path / "run", tmp_path, columns=4, rows=2)
    assert path.read_bytes() == lb.report.image_grid(lb.load(tmp_path / "run").sample(8, seed=0), 4)


def test_the_moving_picture_goes_round_and_shows_what_was_observed(example, tmp_path, monkeypatch):
    moving = example("moving")
    monkeypatch.setattr(moving, "FRAMES", 4)
    data = lb.data.load("digits", condition="label")
    lb.fit(lb.VAE.for_data(data, latent=2), data, epochs=1, out=tmp_path / "run", progress=False)
    walk = moving.by_class(tmp_path / "run", rows=2)
    assert walk.shape == (4, 2, 10, 8, 8)
    assert walk.std(0).max() > 0.01
    monkeypatch.setattr(moving.lb.data, "load", lambda *_, **__: data)
    filled = moving.completions(tmp_path / "run", rows=2, draws=3, steps=2)
    assert filled.shape == (4, 2, 4, 8, 8)
    assert (
        filled[:, 0, :, :4] == filled[0, 0, 0, :4]
    ).all()  # the upper half of the first is known in every frame
    assert (filled[:, 0, 0, 4:] == 0.5).all()
    assert moving.grid(walk[0]).size == (10 * moving.CELL, 2 * moving.CELL)


def test_gradient_variances_follow_their_closed_forms(example, tmp_path):
    numbers = example("gradient_variance").main(tmp_path, quick=True)
    assert list(numbers) == ["score function", "score function with a baseline", "reparameterised"]
    for rows in numbers.values():
        for row in rows:
            assert row["mean"] == pytest.approx(2 * row["theta"], abs=4 * row["mean_stderr"])
            assert row["variance"] == pytest.approx(row["closed"], abs=4 * row["variance_stderr"])
            # Sharp enough to tell a wrong coefficient.
            assert row["variance_stderr"] < 0.05 * row["closed"]
    for score, baseline, path in zip(*numbers.values(), strict=True):
        assert score["variance"] > baseline["variance"] > 2 * path["variance"]
    assert is_picture(tmp_path / "gradient_variance.png")


def test_naive_estimator_fails_with_the_latent_and_importance_sampling_does_not(example, tmp_path):
    naive_estimator = example("naive_estimator")
    rows = {row["latent"]: row for row in naive_estimator.main(tmp_path, quick=True)}
    assert abs(rows[1]["naive_error"]) < 0.03
    assert rows[32]["naive_error"] < -20
    assert rows[32]["naive_ess"] < 1.5
    errors = [row["naive_error"] for row in rows.values()]
    assert errors[2:] == sorted(errors[2:], reverse=True)
    for latent, row in rows.items():
        assert row["importance_error"] == pytest.approx(0, abs=4 * row["importance_stderr"])
        if latent <= 16:
            share = naive_estimator.SHARE_PER_DIMENSION**latent
            assert row["importance_ess"] == pytest.approx(1000 * share, rel=0.05)
    assert is_picture(tmp_path / "naive_estimator.png")


def test_bounds_in_two_dimensions_stand_where_quadrature_says(example, tmp_path):
    two_dimensions = example("two_dimensions")
    numbers = two_dimensions.main(tmp_path, quick=True)
    assert numbers["grid_error"] < 0.02
    assert numbers["kl"] > 0.02
    gap = numbers["exact"] - numbers["bound_1"]
    assert gap == pytest.approx(numbers["kl"], abs=4 * numbers["bound_1_stderr"])
    bounds = [numbers[f"bound_{k}"] for k in (1, 5, 50)]
    assert bounds == sorted(bounds)
    assert numbers["bound_500"] < numbers["exact"] + 4 * numbers["bound_500_stderr"]
    assert numbers["exact"] - numbers["bound_500"] < 0.1 * gap
    # Below the truth, and above the best model that makes no use of z.
    x = two_dimensions.pinwheel().sample((5000,))
    gaussian = torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T))
    assert gaussian.log_prob(x).mean().item() + 0.2 < numbers["exact"] < numbers["data"]
    assert is_picture(tmp_path / "two_dimensions.png")


def test_quadrature_gives_the_closed_form_of_a_linear_model(example, float64):
    two_dimensions, naive_estimator = example("two_dimensions"), example("naive_estimator")
    model, density = naive_estimator.exact_model(2, dimensions=3)
    x = density.sample((20,))
    log_p, kl = two_dimensions.exact(model.double(), x, step=0.05)
    torch.testing.assert_close(log_p, density.log_prob(x), atol=1e-6, rtol=0)
    wider = naive_estimator.WIDER
    torch.testing.assert_close(kl, torch.full((20,), wider**2 - 1 - 2 * math.log(wider)), atol=1e-6, rtol=0)


def test_blur_is_near_and_sigma_decides_about_the_codes(example, tmp_path):
    numbers = example("blur").main(tmp_path, quick=True)
    distances = numbers["distances"]
    assert distances["blurred"] < distances["shifted by 1 pixel"] < distances["shifted by 2 pixels"]
    assert distances["average of all 2s"] < distances["shifted by 2 pixels"]
    assert distances["blurred nearer"] > 0.95

    one, half, optimal = numbers["scales"]
    nothing_known = math.log2(17)
    assert (one["eigenvalues_above"], one["active_units"]) == (0, 0)
    assert one["kl"] < 0.05
    assert one["kl"] < half["kl"] < optimal["kl"]
    assert optimal["kl"] > 5
    assert one["bits_per_dim"] > half["bits_per_dim"] > nothing_known > optimal["bits_per_dim"]
    assert one["spread"] < 0.01 * optimal["spread"]
    assert is_picture(tmp_path / "blur.png")
    assert is_picture(tmp_path / "blur_samples.png")


def test_gaussian_log_density_of_the_blur_example(example):
    x, mean, sigma = torch.randn(7), torch.randn(7), 0.3
    expected = torch.distributions.Normal(mean, sigma).log_prob(x).sum()
    torch.testing.assert_close(example("blur").log_normal((x - mean).square().sum(), sigma, 7), expected)


RING_BOUNDS = {"ks_radius": 0.2, "ks_angle": 0.05, "mmd2": 0.003}


def test_ring_model_draws_the_ring(example, tmp_path):
    numbers = example("ring").main(tmp_path, quick=True)
    for name, bound in RING_BOUNDS.items():
        assert numbers["model"][name] < bound < numbers["untrained model"][name]
    log_p = numbers["log p(x)"]
    assert log_p["exact"] - 0.5 < log_p["model"] < log_p["exact"] + 0.1
    assert is_picture(tmp_path / "ring.png")


@pytest.mark.parametrize(
    ("wrong", "exceeded"),
    [
        (lambda x: 0.8 * torch.randn_like(x), {"ks_radius", "mmd2"}),
        (lambda x: 1.125 * x / x.norm(dim=1, keepdim=True), {"ks_radius"}),
        (lambda x: x * (2 - 1 / x.norm(dim=1, keepdim=True)), {"ks_radius"}),
        (lambda x: torch.stack([x[:, 0].abs(), x[:, 1]], 1), {"ks_angle", "mmd2"}),
        (lambda x: x + 0.15, {"ks_radius", "ks_angle", "mmd2"}),
        (lambda x: 0.5 * x, {"ks_radius", "mmd2"}),
    ],
    ids=["one Gaussian", "no thickness", "twice the thickness", "half the ring", "shifted", "half the size"],
)
def test_ring_measures_tell_wrong_models(example, wrong, exceeded):
    ring = example("ring")
    numbers = ring.compare(wrong(ring.ring(20_000)), pairs=1000)
    assert exceeded <= {name for name, bound in RING_BOUNDS.items() if numbers[name] > bound}


def test_ring_measures_accept_the_ring(example):
    ring = example("ring")
    numbers = ring.compare(ring.ring(20_000), pairs=1000)
    critical = 1.63 / math.sqrt(20_000)  # Kolmogorov's distribution at 1 %
    assert max(numbers["ks_radius"], numbers["ks_angle"]) < critical
    assert abs(numbers["mmd2"]) < 2 * numbers["mmd2_chance"]


def test_ring_density_integrates_to_one(example):
    side = torch.arange(-1.8, 1.8, 0.01)
    x = torch.cartesian_prod(side, side)
    x = x[x.norm(dim=1) > 1]
    assert example("ring").log_density(x).exp().sum().item() * 0.01**2 == pytest.approx(1, abs=1e-3)


def test_mmd_is_the_mean_over_pairs(example):
    x, y = torch.randn(6, 2), torch.randn(5, 2) + 1
    points = torch.cat([x, y]).double()
    distances = torch.pdist(points)
    both = torch.cat([distances, distances]).square()  # each pair counts in both orders
    width = both.median()

    def kernel(a, b):
        return torch.exp(-(a - b).double().square().sum() / (2 * width))

    xx = sum(kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / 30
    yy = sum(kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / 20
    xy = sum(kernel(a, b) for a in x for b in y) / 30
    assert example("ring").mmd(x, y)[0] == pytest.approx((xx + yy - 2 * xy).item(), rel=1e-6)


def test_classes_are_generated_and_the_sum_over_them_is_the_bayes_sum(example, tmp_path):
    numbers = example("generate_by_class").main(tmp_path, quick=True)
    label = lb.VAE.for_data(lb.data.load("digits", condition="label"), latent=2).condition["label"]
    # Each term of the sum is a class's; the right one alone is -log p(c) below log p(x | c).
    assert 0 < numbers["summed"] - numbers["conditional"] < -label.frequency.log().min().item()
    assert numbers["summed"] < numbers["hidden"]
    assert numbers["right"] > 0.85
    assert is_picture(tmp_path / "generate_by_class.png")


def test_conversion_changes_the_class_and_keeps_the_style(example, tmp_path):
    numbers = example("convert").main(tmp_path, quick=True)
    assert numbers["as_asked"] > 0.9
    assert numbers["class_in_code"] < 0.5 < numbers["class_in_code_untold"]
    assert numbers["lean"] > 0.3
    assert is_picture(tmp_path / "convert.png")


def test_the_lean_of_a_digit_is_the_slope_of_its_stroke(example):
    lines = torch.zeros(3, 1, 8, 8)
    rows = torch.arange(1, 7)
    lines[0, 0, rows, 3] = 1  # upright,
    lines[1, 0, rows, rows] = 1  # a pixel to the right in each row,
    lines[2, 0, rows, 7 - rows] = 0.5  # a pixel to the left, and half as dark
    torch.testing.assert_close(example("convert").lean(lines), torch.tensor([0.0, 1.0, -1.0]))


def test_two_ways_to_complete_bits_agree_and_the_ess_tells_where_one_fails(example, tmp_path):
    numbers = example("complete").main(tmp_path, quick=True)
    data = lb.data.load("digits")
    x, _ = next(data.test.batches(40))
    pixels = torch.distributions.Bernoulli(data.mean.clamp(1e-3, 1 - 1e-3)).log_prob(x)
    independent = -pixels[..., 4:].sum((1, 2, 3)).mean().item()
    for name in ("left half", "a quarter of the pixels"):
        bits, grey = numbers[f"bits, {name}"], numbers[f"grey, {name}"]
        assert bits["trained"] == pytest.approx(bits["search"], abs=1.5)
        assert grey["ess"] < 0.5 * bits["ess"]
    assert numbers["bits, left half"]["trained"] < independent - 1
    assert is_picture(tmp_path / "complete.png")


def test_an_estimator_is_at_least_as_good_a_density_as_factor_analysis(example, tmp_path):
    numbers = example("estimators").main(tmp_path, quick=True)
    assert numbers["VAE"]["log_p"] > numbers["factor analysis"]["log_p"]
    assert numbers["VAE"]["auc"] > 0.8
    assert is_picture(tmp_path / "estimators.png")


def test_a_learned_sampler_finds_the_gaps_where_the_usual_latent_does_not(example, tmp_path):
    numbers = example("planning").main(tmp_path, quick=True)
    uniform, cells, gaussian = (
        numbers[name]
        for name in ("uniform", "learned, cells, half uniform", "learned, gaussian, half uniform")
    )
    # A hundredth of the square is gap.
    assert uniform["in_gaps"] < 0.03
    assert cells["alone_in_gaps"] > 0.2 > gaussian["alone_in_gaps"]
    assert cells["kl"] + 1 < gaussian["kl"]
    assert cells["solved_50"] > uniform["solved_50"] + 0.25
    assert is_picture(tmp_path / "planning_samples.png")
    assert is_picture(tmp_path / "planning_success.png")


def test_an_example_runs_from_the_command_line(tmp_path):
    command = [
        sys.executable,
        str(EXAMPLES / "gradient_variance.py"),
        "--quick",
        "--out",
        str(tmp_path / "new"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "reparameterised" in done.stdout
    assert is_picture(tmp_path / "new" / "gradient_variance.png")


def test_every_family_of_models_has_a_picture(example, tmp_path):
    module = example("families")
    pages = {page.stem for page in (EXAMPLES.parent / "docs" / "models").glob("*.md")}
    assert set(module.FAMILIES) == pages - {"index"}
    assert all(is_picture(path) for path in module.main(tmp_path, epochs=1))
