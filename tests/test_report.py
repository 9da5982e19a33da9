import functools
import io
import re

import numpy as np
import pytest
import torch
from matplotlib import rcParams
from PIL import Image
from toys import points_on_grids, with_cells

from lowerbound.data import Standardize, load
from lowerbound.errors import ShapeError
from lowerbound.likelihoods import Bernoulli, Categorical, ContinuousBernoulli, Gaussian
from lowerbound.model import VAE
from lowerbound.nn import MLP
from lowerbound.posteriors import DiagonalGaussian, FullCovarianceGaussian
from lowerbound.priors import GaussianMixture, StandardNormal
from lowerbound.report import charts, image_grid, write_pictures, write_report
from lowerbound.report.grids import SHEET, gap, tile_size
from lowerbound.report.page import numbers_table
from lowerbound.report.views import Examples, _quantiles, views

IMAGE_VIEWS = ["samples", "curves", "reconstructions", "interpolations", "latent", "latent_grid", "kl"]
TABLE_VIEWS = [
    "curves",
    "correlations",
    "reconstructions",
    "odd",
    "latent",
    "kl",
]  # below samples and numbers


def image_views(latent):
    """The views of images, in which the grid of a few dimensions makes place for traversals of more."""
    return [name if latent <= 2 else name.replace("latent_grid", "traversals") for name in IMAGE_VIEWS]


LATENT_MAP = charts.latent_map
NASTY = '<script>alert("$x_")</script>'


def make_history(evaluations=3):
    return [
        {
            **{"step": 10 * k, "epoch": float(k), "examples": 100 * k, "seconds": 1.5 * k, "split": split},
            **{"bound": -9.0 + k, "elbo": -9.5 + k, "reconstruction": -8.0 + k, "kl": 1.5},
            **{"images_per_second": 1e4, "learning_rate": 1e-3 / k},
        }
        for k in range(1, evaluations + 1)
        for split in ("train", "valid")
    ]


NUMBERS = {
    **{"nll": 24.1234, "nll_stderr": 0.0312, "elbo": -24.5, "elbo_stderr": 0.03, "reconstruction": -22.0},
    **{
        "kl": 2.5,
        "kl_per_dimension": [0.001, 2.499],
        "bits_per_dim": 0.54321,
        "units": "nats",
        "samples": 1000,
    },
    **{"n": 180, "split": "test", "binarize": "dynamic", "ess_median": 321.4, "khat_share_bad": 0.125},
    **{"active_units": 1, "latent": 2, "naive_nll": 77.7, "naive_nll_stderr": 0.4, "naive_n": 150},
    **{"warnings": ["k-hat exceeds <0.7>"], "precision": "fp32", "seed": 7, "seconds": 12.3},
}


def make_model(likelihood, latent=2, posterior=DiagonalGaussian, transform=None):
    posterior = posterior(latent)
    return VAE(
        MLP(likelihood.feature_shape, posterior.input_shape, hidden=(8,)),
        posterior,
        StandardNormal(latent),
        MLP((latent,), likelihood.input_shape, hidden=(8,), dropout=0.5),
        likelihood,
        transform,
    )


def images(n=60, channels=1, values="binary", classes=3, height=6, width=5, latent=2):
    """Random images with a model for them."""
    shape = (channels, height, width)
    draw = np.random.default_rng(0)
    labels = draw.integers(0, classes, n) if classes else None
    if values == "binary":
        x, likelihood = draw.integers(0, 2, (n, *shape)).astype(np.uint8), Bernoulli(shape)
    elif values == "categorical":
        x, likelihood = draw.integers(0, 4, (n, *shape)), Categorical(shape, 4)
    elif values == "real":
        x, likelihood = draw.normal(3, 2, (n, *shape)).astype(np.float32), Gaussian(shape)
    else:
        x, likelihood = draw.random((n, *shape), dtype=np.float32), ContinuousBernoulli(shape)
    return load(x, labels=labels, values=values), make_model(likelihood, latent)


def table(n=80, columns=3, values="real", latent=2, names=None, labels=None):
    """A random table with a model for it."""
    draw = np.random.default_rng(0)
    if values == "real":
        x = draw.normal(size=(n, columns)) * 10 ** np.arange(columns)
        data = load(x, labels=labels)
        return data, make_model(Gaussian(columns), latent, transform=Standardize(data.mean, data.std))
    x = draw.integers(0, 3 if values == "categorical" else 2, (n, columns))
    likelihood = Categorical(columns, 3) if values == "categorical" else Bernoulli(columns)
    return load(x, values=values), make_model(likelihood, latent)


def page(path, case, **options):
    data, model = case
    options = {
        "title": "A run",
        "history": make_history(),
        "numbers": NUMBERS,
        "config": {"latent": 2},
    } | options
    return write_report(path / "report.html", model=model, data=data, **options).read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _coarse(monkeypatch):
    """A quarter of the pixels: the tests are quicker."""
    monkeypatch.setattr(charts, "DPI", 96)


@pytest.fixture
def undrawn(monkeypatch):
    """Replace the charts, which take their time, by one pixel, where only the words beside them matter."""
    pixel = image_grid(torch.zeros(1, 1, 1, 1))
    for name in ("curves", "latent_map", "dimension_bars", "panels", "heat_maps", "reconstructions"):
        monkeypatch.setattr(charts, name, lambda *_, **__: pixel)


def examples_of(case, seed=0):
    data, model = case
    with torch.no_grad():
        return Examples(model.eval(), data, seed)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def shape(png):
    """Height and width of a picture."""
    return pixels(png).shape[:2]


def section(text, name):
    found = re.search(rf'<section id="{name}">(.*?)</section>', text, re.DOTALL)
    assert found, f"no section {name}"
    return found[1]


# ---------------------------------------------------------------- the sheet of images
def test_every_pixel_of_every_image_lands_at_its_place():
    count, columns, height, width = 5, 3, 4, 6
    x = torch.rand(count, 3, height, width)
    sheet = pixels(image_grid(x, columns))
    tall, wide = tile_size(height, width)
    edge = gap((tall, wide))
    scale = tall // height
    assert sheet.shape == (edge + 2 * (tall + edge), edge + columns * (wide + edge), 3)
    expected = (x * 255).round().byte().permute(0, 2, 3, 1).numpy().repeat(scale, 1).repeat(scale, 2)
    for k in range(count):
        top, left = edge + k // columns * (tall + edge), edge + k % columns * (wide + edge)
        np.testing.assert_array_equal(sheet[top : top + tall, left : left + wide], expected[k])
        assert (sheet[top - edge : top, left : left + wide] == SHEET).all()
    assert (sheet[edge + tall + edge :, edge + 2 * (wide + edge) :] == SHEET).all()  # no sixth image


def test_a_grey_sheet_clips_and_rounds():
    sheet = pixels(image_grid(torch.tensor([-1.0, 0.0, 0.5, 2.0]).reshape(4, 1, 1, 1), 4))
    tall, wide = tile_size(1, 1)
    edge = gap((tall, wide))
    assert [sheet[edge, edge + k * (wide + edge)] for k in range(4)] == [0, 0, 128, 255]


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((1, 1), (72, 72)),
        ((8, 8), (72, 72)),
        ((28, 28), (84, 84)),
        ((64, 16), (64, 16)),
        ((192, 100), (192, 100)),
        ((400, 200), (192, 96)),
        ((2, 1000), (1, 192)),
    ],
)
def test_small_images_grow_by_whole_factors_and_large_ones_shrink(size, shown):
    assert tile_size(*size) == shown
    edge = gap(shown)
    assert shape(image_grid(torch.rand(2, 1, *size), 2)) == (shown[0] + 2 * edge, 2 * shown[1] + 3 * edge)


def test_row_labels_and_groups_make_room_and_move_no_row_of_a_group():
    x = torch.ones(4, 1, 8, 8)
    plain, labelled = (
        pixels(image_grid(x, 1)),
        pixels(image_grid(x, 1, row_labels=("data", "model"), group=2)),
    )
    edge = gap(tile_size(8, 8))
    assert labelled.shape[0] == plain.shape[0] + 2 * edge
    gutter = labelled.shape[1] - plain.shape[1]
    assert gutter > 30
    assert (labelled[:, :gutter] > SHEET).any()
    np.testing.assert_array_equal(labelled[: 2 * (72 + edge), gutter:], plain[: 2 * (72 + edge)])
    np.testing.assert_array_equal(labelled[-2 * (72 + edge) :, gutter:], plain[-2 * (72 + edge) :])


def test_column_labels_stand_above_and_are_cut_to_their_tile():
    x = torch.ones(4, 1, 8, 8)
    plain = pixels(image_grid(x, 2))
    labelled = pixels(image_grid(x, 2, column_labels=("a", "a name that is much too long")))
    head = labelled.shape[0] - plain.shape[0]
    assert labelled.shape[1] == plain.shape[1]
    np.testing.assert_array_equal(labelled[head:], plain)
    written = (labelled[:head] > SHEET).any(0)
    assert written[: plain.shape[1] // 2].any()
    assert written[plain.shape[1] // 2 :].sum() > 30
    assert not written[-2:].any()


@pytest.mark.parametrize("wrong", [(0, 1, 8, 8), (2, 8, 8), (2, 2, 8, 8), (2, 4, 8, 8)])
def test_what_are_not_images_is_refused(wrong):
    with pytest.raises(ShapeError, match=r"images \(N, C, H, W\) with C = 1 or 3; got \(" + str(wrong[0])):
        image_grid(torch.zeros(wrong))


# ---------------------------------------------------------------- what is shown
class Probe(torch.nn.Module):
    """Decoder whose logits tell the code: pixel d is bright where z_d is large."""

    def __init__(self, latent):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(latent))

    def forward(self, z):
        return (z @ self.weight).reshape(len(z), 1, 1, 1, -1)


def probed(latent, strength=(3.0, 0.0, 2.0, 1.0), examples=200):
    """Images of one row of pixels, whose posterior means are strength times the pixels."""
    data = load((np.random.default_rng(0).random((examples, 1, latent)) < 0.5).astype(np.uint8))
    posterior = DiagonalGaussian(latent)
    encoder = MLP((1, 1, latent), (2, latent), hidden=())
    with torch.no_grad():
        encoder.output.bias.zero_()
        encoder.output.weight.zero_()
        encoder.output.weight[:latent] = torch.diag(torch.tensor(strength[:latent]))
    decoder = Probe(latent)
    return data, VAE(encoder, posterior, StandardNormal(latent), decoder, Bernoulli((1, 1, latent)))


def tiles(png, rows, columns, size):
    """Cut a sheet without labels into its tiles (rows, columns, H, W), one number per pixel."""
    tall, wide = tile_size(*size)
    edge = gap((tall, wide))
    scale = tall // size[0]
    sheet = pixels(png)
    assert sheet.shape == (edge + rows * (tall + edge), edge + columns * (wide + edge))
    half = scale // 2
    return np.stack(
        [
            [
                sheet[edge + i * (tall + edge) :, edge + j * (wide + edge) :][:tall, :wide][
                    half::scale, half::scale
                ]
                for j in range(columns)
            ]
            for i in range(rows)
        ]
    )


def by_name(case, **options):
    data, model = case
    return {view.name: view for view in views(model, data, make_history(), **options)}


def test_the_latent_grid_of_two_dimensions_is_at_the_priors_quantiles_the_first_rightwards_the_second_up(
    undrawn,
):
    case = probed(2)
    n = examples_of(case).tiles()
    shown = tiles(by_name(case)["latent_grid"].png, n, n, (1, 2)) / 255
    z = torch.distributions.Normal(0, 1).icdf((torch.arange(n) + 0.5) / n)
    bright = torch.sigmoid(z).numpy()
    np.testing.assert_allclose(shown[:, :, 0, 0], np.tile(bright, (n, 1)), atol=0.003)
    np.testing.assert_allclose(shown[:, :, 0, 1], np.tile(bright[::-1, None], (1, n)), atol=0.003)


def test_traversals_move_one_dimension_in_each_row_the_one_of_largest_kl_first(undrawn):
    case = probed(4)
    views = by_name(case)
    assert "latent_grid" not in views
    png, n = pixels(views["traversals"].png), examples_of(case).tiles()
    tall, wide = tile_size(1, 4)
    edge = gap((tall, wide))
    left = png.shape[1] - edge - n * (wide + edge)  # the names of the rows
    z = torch.distributions.Normal(0, 1).icdf((torch.arange(n) + 0.5) / n)
    mean = examples_of(case).means[0]
    for row, moved in enumerate((0, 2, 3, 1)):  # strengths 3, 2, 1, 0
        line = png[edge + row * (tall + edge) + tall // 2, left:]
        places = edge + np.arange(n)[:, None] * (wide + edge) + (np.arange(4) + 0.5) * (wide // 4)
        expected = mean.repeat(n, 1)
        expected[:, moved] = z
        np.testing.assert_allclose(
            line[places.astype(int)] / 255, torch.sigmoid(expected).numpy(), atol=0.003
        )
    assert "4 of 4 dimensions of largest KL" in views["traversals"].caption


def test_traversals_and_bars_are_of_one_kl(undrawn):
    case = probed(4)
    shown = {
        view.name: view for view in views(case[1], case[0], [], {"kl_per_dimension": [0.0, 9.0, 1.0, 2.0]})
    }
    png, n = pixels(shown["traversals"].png), examples_of(case).tiles()
    tall, wide = tile_size(1, 4)
    edge = gap((tall, wide))
    first = png[edge + tall // 2, png.shape[1] - edge - n * (wide + edge) :]
    second = [first[edge + k * (wide + edge) + int(1.5 * (wide // 4))] for k in range(n)]
    assert np.ptp(second) > 128  # z2 moves in the first row


def test_the_latent_grid_of_one_dimension_is_one_row(undrawn):
    case = probed(1)
    n = examples_of(case).tiles()
    shown = tiles(by_name(case)["latent_grid"].png, 1, n, (1, 1))
    assert (np.diff(shown[0, :, 0, 0].astype(int)) > 0).all()


def test_the_kl_of_each_dimension_is_the_mean_over_the_validation_split():
    data, model = probed(4)
    kl = examples_of((data, model)).kl
    x = next(data.valid.batches(1000))[0].flatten(1)
    # q = N(strength · x, 1), so KL = ½ strength² x².
    expected = 0.5 * torch.tensor([3.0, 0.0, 2.0, 1.0]).square() * x.square().mean(0)
    np.testing.assert_allclose(kl, expected, rtol=1e-5)


@pytest.mark.parametrize("count", [3, 17, 40])
def test_reconstructions_stand_below_their_images_in_whole_rows(count, undrawn):
    data, model = probed(3, examples=400)
    data.valid = data.valid.take(count)
    png = by_name((data, model))["reconstructions"].png
    tall, wide = tile_size(1, 3)
    edge, sheet, scale = gap((tall, wide)), pixels(png), tall
    columns = min(count, examples_of((data, model)).tiles())
    left = sheet.shape[1] - columns * (wide + edge)
    means = {True: torch.sigmoid(torch.tensor([3.0, 0.0, 2.0])), False: torch.full((3,), 0.5)}
    shown = count - count % columns
    for k in range(shown):
        top = edge + k // columns * (2 * (tall + edge) + 2 * edge)
        at = slice(left + k % columns * (wide + edge), left + k % columns * (wide + edge) + wide)
        original = sheet[top, at][scale // 2 :: scale]
        below = sheet[top + tall + edge, at][scale // 2 :: scale] / 255
        expected = [means[bool(bit)][d].item() for d, bit in enumerate(original)]
        assert set(original) <= {0, 255}
        np.testing.assert_allclose(below, expected, atol=0.003)
    assert sheet.shape[0] == 2 * edge + shown // columns * (2 * (tall + edge) + 2 * edge) - 3 * edge


def test_interpolations_go_from_the_image_of_the_first_column_to_that_of_the_last(undrawn):
    data, model = probed(3, strength=(3.0, 1.0, 2.0))
    png = by_name((data, model))["interpolations"].png
    columns = examples_of((data, model)).tiles()
    shown = tiles(png, 8, columns, (1, 3)) / 255
    strength = np.array([3.0, 1.0, 2.0])
    for end, decoded in ((0, 1), (-1, -2)):
        assert set(shown[:, end].ravel()) == {0.0, 1.0}
        expected = 1 / (1 + np.exp(-strength * shown[:, end]))
        np.testing.assert_allclose(shown[:, decoded], expected, atol=0.003)


@pytest.mark.parametrize(
    ("values", "low", "high"), [("categorical", 0.0, 3.0), ("real", None, None), ("unit", 0, 1)]
)
def test_values_are_shown_between_their_black_and_their_white(values, low, high):
    data, model = images(values=values)
    examples = examples_of((data, model))
    shown = examples.shown(examples.x)
    if low is None:
        assert (shown.min(), shown.max()) == (0, 1)
        assert "shown as black to white" in examples.scale_note
    else:
        torch.testing.assert_close(shown, (examples.x - low) / (high - low))


def test_the_latent_map_of_two_dimensions_shows_them_and_of_more_their_principal_plane(monkeypatch, undrawn):
    seen = []
    monkeypatch.setattr(charts, "latent_map", lambda *args, **_: seen.append(args))
    two = by_name(probed(2))["latent"]
    four = by_name(probed(4))["latent"]
    (points, axes, labels, _, prior), (plane, plane_axes, *_, no_prior) = seen
    assert set(points[:, 0].round(4)) == {0.0, 3.0}
    assert axes == ["z₁", "z₂"]
    assert labels is None
    np.testing.assert_array_equal(prior, [[0, 0], [1, 1]])
    assert "no labels" in two.caption
    # Independent bits of variance ¼ strength²: 9, 4 and 1 parts of 14, up to what a finite split has.
    shares = [int(re.search(r"\((\d+)%\)", axis)[1]) for axis in plane_axes]
    assert shares == pytest.approx([100 * 9 / 14, 100 * 4 / 14], abs=8)
    assert plane.std(0) == pytest.approx([1.5, 1.0], abs=0.2)
    assert no_prior is None
    assert "first two principal components" in four.caption


def test_a_collapsed_posterior_has_a_map(monkeypatch, undrawn):
    monkeypatch.setattr(charts, "latent_map", LATENT_MAP)
    data, model = probed(4, strength=(0.0, 0.0, 0.0, 0.0))
    assert "0%" in by_name((data, model))["latent"].caption


def test_samples_of_a_table_are_draws_of_x_in_the_units_of_the_data(monkeypatch, undrawn):
    seen = []
    monkeypatch.setattr(charts, "panels", lambda *args, **_: seen.append(args))
    x = 100 + 20 * torch.randn(3000, 1, generator=torch.Generator().manual_seed(0))
    data = load(x)
    model = make_model(Gaussian(1, scale=1.0), transform=Standardize(data.mean, data.std))
    with torch.no_grad():  # p(x | z) = N(0, 1) for every z, in standard units
        for parameter in model.decoder.parameters():
            parameter.zero_()
    view = by_name((data, model))["samples"]
    names, (shown,) = seen[0]
    assert names == ("data", "model")
    assert shown.column.name == "x₁"
    assert "300 validation examples (data) and 1500 draws" in view.caption
    middle = (shown.edges[1:] + shown.edges[:-1]) / 2
    for density in shown.heights:
        share = density * np.diff(shown.edges)
        mean = (share * middle).sum() / share.sum()
        assert mean == pytest.approx(100, abs=5)
        # means alone would have no spread
        assert np.sqrt((share * (middle - mean) ** 2).sum() / share.sum()) == pytest.approx(20, abs=3)


# ---------------------------------------------------------------- conditions
def conditional(latent=2, **options):
    """Random images with a condition, and a model for them that is not trained."""
    draw = np.random.default_rng(0)
    x = draw.integers(0, 2, (90, 1, 6, 5)).astype(np.uint8)
    labels = np.array(["cat", "dog", "eel"])[draw.integers(0, 3, 90)]
    data = load(x, labels=labels, split_by="permutation", **options)  # three pairs of a class in valid
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return data, VAE.for_data(data, latent=latent, network={"hidden": [16]})


def numbered():
    draw = np.random.default_rng(1)
    return {"age": np.arange(90.0), "map": draw.random((90, 4, 4), dtype=np.float32)}


CONDITIONS = {
    "label": (lambda: conditional(condition="label"), ["conditions", "conversions"]),
    "half": (lambda: conditional(observed="half"), ["completions"]),
    "label and random": (
        lambda: conditional(condition="label", observed="random"),
        ["conditions", "conversions", "completions"],
    ),
    "number and image": (lambda: conditional(condition=numbered()), ["conditions"]),
    "image": (lambda: conditional(condition={"map": numbered()["map"]}), []),
    "few labels": (lambda: conditional(condition="label", labelled=6), ["conditions", "conversions"]),
    "one latent": (lambda: conditional(1, condition="label"), ["conditions", "conversions"]),
}


@pytest.mark.parametrize("case", CONDITIONS)
def test_a_conditional_model_has_the_sections_of_its_condition_and_no_others(case, tmp_path, undrawn):
    make, expected = CONDITIONS[case]
    made = make()
    text = page(tmp_path, made, numbers=None)
    before, *rest = expected = [*IMAGE_VIEWS[:2], *expected, *IMAGE_VIEWS[2:]]
    assert re.findall(r'<section id="(\w+)">', text) == [before, "numbers", *rest, "config"]
    assert page(tmp_path, made, numbers=None) == text
    names = [path.stem for path in write_pictures(tmp_path, made[1], made[0], make_history())]
    assert names == [name for name in expected if name != "kl"]


def sheet_of(case, name, rows, columns, head=0):
    """Cut a sheet of binary images, with words above or beside it, into tiles (rows, columns, H, W) in [0, 1]."""
    png = pixels(by_name(case)[name].png)[head:]
    edge = gap(tile_size(6, 5))
    wide = edge + columns * (tile_size(6, 5)[1] + edge)
    assert png.shape[1] >= wide
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(png[:, png.shape[1] - wide :])).save(buffer, "png")
    return tiles(buffer.getvalue(), rows, columns, (6, 5)) / 255


def test_samples_of_a_conditional_model_are_under_the_conditions_of_validation_examples(undrawn):
    _, model = case = conditional(condition="label")
    examples, columns = examples_of(case), examples_of(case).tiles()
    shown = sheet_of(case, "samples", min(columns, 8), columns)
    n = shown.shape[0] * columns
    c = {"label": examples.c["label"][torch.arange(n) % len(examples.x)]}
    truth = model.eval().sample(n, c, seed=0)[:, 0].reshape(*shown.shape)
    np.testing.assert_allclose(shown, truth, atol=0.003)
    assert "under the conditions of 9 validation images" in by_name(case)["samples"].caption


def test_the_noise_of_the_examples_their_order_and_the_codes_are_no_common_numbers():
    data = load(np.full((40, 6, 5), 128, np.uint8), binarize="dynamic")
    examples = examples_of((data, VAE.for_data(data, latent=2)))
    torch.manual_seed(0)
    from_the_stream_of_z, _ = data.valid.batch(torch.arange(len(data.valid)))
    assert 0.3 < (examples.x == from_the_stream_of_z).double().mean() < 0.7
    data = load(np.arange(30 * 40).reshape(40, 6, 5) / 1200, axes="NHW")
    order = examples_of((data, VAE.for_data(data, latent=2))).x
    assert not torch.equal(
        order, data.valid.batch(torch.randperm(len(order), generator=torch.Generator().manual_seed(0)))[0]
    )


def test_rows_of_the_samples_by_condition_are_the_classes(undrawn):
    _, model = case = conditional(condition="label")
    columns = examples_of(case).tiles()
    shown = sheet_of(case, "conditions", 3, columns)
    truth = model.eval().sample(3 * columns, torch.arange(3).repeat_interleave(columns), seed=0)
    np.testing.assert_allclose(shown, truth[:, 0].reshape(*shown.shape), atol=0.003)


def test_samples_by_condition_of_a_number_are_at_its_quantiles_and_say_what_else_is_given(undrawn):
    case = conditional(condition=numbered())
    rows = examples_of(case).rows()
    ages = case[0].valid.condition("age").flatten()
    expected = ages.quantile(torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95]), interpolation="nearest")
    assert torch.equal(rows.c["age"].flatten(), expected)
    assert rows.names[0] == f"age = {expected[0]:g}"
    assert torch.equal(rows.c["map"][0], rows.c["map"][4])
    caption = by_name(case)["conditions"].caption
    assert "the rest of the condition is that of one validation example: its map" in caption


def test_conversions_are_the_models_own(undrawn):
    _, model = case = conditional(condition="label")
    examples = examples_of(case)
    x, c = examples.x[:8], examples.given(slice(8))
    shown = sheet_of(case, "conversions", 8, 4, head=22)
    np.testing.assert_allclose(shown[:, 0], x[:, 0], atol=0.003)
    for k in range(3):
        np.testing.assert_allclose(shown[:, 1 + k], model.eval().convert(x, c, k)[:, 0], atol=0.003)


def test_completions_show_what_was_observed_and_leave_it_as_it_was(undrawn):
    _, model = case = conditional(observed="half")
    columns = examples_of(case).tiles()
    shown = sheet_of(case, "completions", 8, columns, head=22)
    original, observed, mean, *draws = shown.transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(original, examples_of(case).x[:8, 0])
    assert np.allclose(observed[..., 2:], 0.5, atol=0.003)
    for part in (observed, mean, *draws):
        np.testing.assert_array_equal(part[..., :2], original[..., :2])
    x, mask = examples_of(case).x[:8], torch.arange(5) < 2
    truth = model.eval().complete(x, mask.expand(6, 5), len(draws), mean=True, seed=0).x[:, :, 0]
    np.testing.assert_allclose(np.stack(draws), truth, atol=0.003)


def test_interpolations_of_a_model_that_is_told_the_class_stay_in_it(undrawn):
    data, model = case = conditional(condition="label")
    columns = examples_of(case).tiles()
    labels = {
        x.numpy().tobytes(): int(k)
        for x, k in zip(data.valid.batch(torch.arange(9))[0], data.valid.labels, strict=True)
    }
    shown = sheet_of(case, "interpolations", 3, columns)
    for row, k in zip(shown, sorted(set(labels.values())), strict=True):
        ends = [row[at].astype(np.float32).tobytes() for at in (0, -1)]
        assert [labels[end] for end in ends] == [k, k]
    a, b = (torch.from_numpy(shown[:, at]).float().unsqueeze(1) for at in (0, -1))
    way = model.eval().interpolate(a, b, columns - 2, c=torch.arange(3))[:, :, 0].transpose(0, 1)
    np.testing.assert_allclose(shown[:, 1:-1], way, atol=0.003)
    assert "another of the same label" in by_name(case)["interpolations"].caption


def test_the_condition_stands_in_the_formulas(tmp_path, undrawn):
    text = page(tmp_path, conditional(condition="label"), numbers=NUMBERS | {"condition": ["label"]})
    text = re.sub('<span class="formula">(.*?)</span>', r"\1", text)
    assert "A conditional variational autoencoder" in text
    assert "Condition c: label (3 classes)." in text
    assert "<dt>Condition</dt><dd>label</dd>" in text
    assert "log p(x | c), estimated with 1,000 importance samples from q(z | x, c)" in text
    assert "KL(q(z | x, c) ‖ p(z))" in section(text, "kl")  # this prior does not depend on c
    assert "All under the condition of one validation image: label = " in section(text, "latent_grid")
    assert "which the model is conditioned on" in section(text, "latent")
    other = by_name(conditional(condition=numbered()))
    assert "p(z | c)" in other["kl"].caption
    assert "standard deviations of the prior" not in other["latent"].caption


def test_a_table_has_samples_of_each_class(monkeypatch, undrawn):
    pandas = pytest.importorskip("pandas")
    seen = []
    monkeypatch.setattr(charts, "panels", lambda *args, **_: seen.append(args) or b"")
    draw = np.random.default_rng(0)
    frame = pandas.DataFrame(draw.normal(size=(90, 2)), columns=["a", "b"])
    frame["kind"] = np.array(["x", "y", "z"])[draw.integers(0, 3, 90)]
    data = load(frame, condition="kind")
    model = VAE.for_data(data, latent=2)
    view = by_name((data, model))["conditions"]
    names, panels, _ = seen[-1]
    assert names == ["x", "y", "z"]
    truth = model.eval().sample(600, torch.arange(3).repeat_interleave(200), mean=False, seed=0)
    for k, panel in enumerate(panels):
        for part, density in zip(truth[:, k].split(200), panel.heights, strict=True):
            counts, _ = np.histogram(part.double().numpy().round(9), panel.edges)
            np.testing.assert_allclose(density * np.diff(panel.edges), counts / 200, atol=1e-9)
    assert "The colours are classes of kind; seed 0" in view.caption


# ---------------------------------------------------------------- charts
@pytest.mark.slow
@pytest.mark.parametrize(
    ("history", "columns"),
    [
        (make_history(30), 1),
        (make_history(1), 2),
        ([record for record in make_history(4) if record["split"] == "valid"], 1),
        ([{**record, "bound": float("nan")} for record in make_history(4)], 2),
        (
            [
                {key: record[key] for key in ("split", "epoch", "bound")} | {"kl": None}
                for record in make_history(4)
            ],
            1,
        ),
    ],
)
def test_curves_are_drawn_from_whatever_was_recorded(history, columns):
    png = charts.curves(history, columns)
    assert shape(png)[1] == pytest.approx((3.9 * columns + 0.4) * charts.DPI, abs=1)
    assert (pixels(png)[..., :3].std(-1) > 20).any() or all(np.isnan(r["bound"]) for r in history)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 16, 30, 300])
def test_bars_are_sorted_and_grey_at_the_threshold(count):
    kl = np.linspace(0, 1, count + 1)[1:]
    picture = pixels(charts.dimension_bars(kl, threshold=0.5, what="KL, nats"))[..., :3].astype(int)
    blue = picture[..., 2] - picture[..., 0] > 40
    heights = blue.sum(0)
    heights = heights[heights > 0]
    assert len(heights)
    # Bars with the same fill stand side by side from the highest to the lowest.
    assert (np.diff(np.maximum.accumulate(heights[::-1])) >= 0).all()
    assert heights[: len(heights) // 4 + 1].mean() >= heights[-len(heights) // 4 :].mean()


@pytest.mark.parametrize("count", [1, 10, 20, 21])
def test_classes_differ_in_colour_or_shape_up_to_the_most_that_are_drawn(count):
    draw = np.random.default_rng(0)
    labels = np.arange(5 * count) % count
    names = [f"_{k} $" for k in range(count)]
    png = charts.latent_map(draw.normal(size=(5 * count, 2)), ["a", "b"], labels, names)
    wide = shape(png)[1] > 5.0 * charts.DPI
    assert wide == (count <= charts.MOST_CLASSES)  # with a legend
    marks = {tuple(charts._mark(k).values()) for k in range(count)}
    assert len(marks) == min(count, 30)


@pytest.mark.slow
def test_charts_ignore_and_leave_the_users_matplotlib_settings():
    history = make_history()
    before = charts.curves(history)
    old = {key: rcParams[key] for key in ("axes.facecolor", "font.size", "text.usetex")}
    try:
        rcParams.update({"axes.facecolor": "black", "font.size": 30, "text.usetex": True})
        assert charts.curves(history) == before
        assert (rcParams["axes.facecolor"], rcParams["font.size"], rcParams["text.usetex"]) == (
            "black",
            30,
            True,
        )
    finally:
        rcParams.update(old)


# ---------------------------------------------------------------- the page
DRAWN = ("images, 2 latents", "table, 6 columns, 4 latents")  # in make check too
CASES = {
    "images, 2 latents": lambda: images(),
    "images, 5 latents": lambda: images(latent=5),
    "images, 1 latent": lambda: images(latent=1),
    "images, no labels": lambda: images(classes=0),
    "images, many classes": lambda: images(n=120, classes=25),
    "images, few": lambda: images(n=30, classes=0, latent=5),
    "images, colour": lambda: images(channels=3, values="unit"),
    "images, four channels": lambda: images(channels=4, values="real"),
    "images, categorical": lambda: images(values="categorical"),
    "table": lambda: table(),
    "table, 1 column, 1 latent": lambda: table(columns=1, latent=1),
    "table, 6 columns, 4 latents": lambda: table(columns=6, latent=4),
    "table, categorical": lambda: table(values="categorical", columns=2),
    "table, binary": lambda: table(values="binary", columns=2),
}


drawn_once = functools.cache(lambda columns: charts.curves(make_history(), columns))


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in DRAWN else pytest.mark.slow) for case in CASES]
)
def test_a_page_has_all_its_sections_and_needs_nothing_else(case, tmp_path, monkeypatch):
    drawn = {columns: drawn_once(columns) for columns in (1, 2)}  # all cases have one history
    monkeypatch.setattr(charts, "curves", lambda _, columns=2, **__: drawn[columns])
    data, model = CASES[case]()
    text = page(tmp_path, (data, model), numbers=None)
    if data.spec.kind == "image":
        first, *rest = image_views(model.latent_shape[0])
        expected = [first, "numbers", *rest, "config"]
    else:
        expected = ["samples", "numbers", *TABLE_VIEWS, "config"]
        assert section(text, "odd").count("<tr>") == 1 + min(10, len(data.valid))
    if data.spec.event_shape == (1,):
        expected.remove("correlations")
    assert re.findall(r'<section id="(\w+)">', text) == expected
    for name in set(expected) - {"numbers", "odd", "config"}:
        assert re.search(
            r'<img[^>]* src="data:image/png;base64,[^"]{100,}" alt="[^"]+" width=', section(text, name)
        )
        assert len(re.search("<figcaption>(.*?)</figcaption>", section(text, name))[1]) > 40
    # Whatever is loaded lies in the file itself.
    assert all(found.startswith("data:") for found in re.findall(r'(?:src|href|srcset)="([^"]*)"', text))
    assert not re.search(r"url\(|@import|<script|<link rel=\"stylesheet|https?://", text)
    assert "lowerbound evaluate RUN" in section(text, "numbers")


def test_the_numbers_stand_with_their_errors_units_and_protocol():
    numbers = numbers_table(NUMBERS)
    cells = dict(re.findall(r'<th scope="row">(.*?)</th><td class="value">(.*?)</td>', numbers))
    assert cells == {
        "log p(x)": "−24.123 ± 0.031 nats",
        "Bits per dimension": "0.5432",
        "ELBO": "−24.500 ± 0.030 nats",
        "Reconstruction": "−22.00 nats",
        "KL": "2.50 nats",
        "Active units": "1 of 2",
        "Effective samples": "321 of 1,000",
        "k-hat above 0.7": "12.5%",
        "log p(x), naive estimator": "−77.70 ± 0.40 nats",
    }
    assert dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", numbers)) == {
        **{
            "Split": "test",
            "Examples": "180",
            "Examples, naive estimator": "150",
            "Importance samples": "1,000",
        },
        **{"Binarisation": "dynamic", "Seed": "7", "Precision": "fp32", "Unit": "nats", "Time": "12 seconds"},
    }
    assert '<div class="warning"' in numbers
    assert "<li>k-hat exceeds &lt;0.7&gt;</li>" in numbers
    assert "estimated with 1,000 importance samples" in numbers
    assert "For comparison only" in re.search("naive estimator</th>.*?</tr>", numbers)[0]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({}, []),
        ({"nll": None, "warnings": []}, [("log p(x)", "not finite")]),
        ({"nll": float("inf"), "bits_per_dim": None}, [("log p(x)", "not finite")]),
        ({"nll": 3.0}, [("log p(x)", "−3.00 nats")]),
        ({"nll": 3.0, "nll_stderr": float("nan")}, [("log p(x)", "−3.00 nats")]),
        ({"nll": 1234.5, "nll_stderr": 21.0}, [("log p(x)", "−1234 ± 21 nats")]),
        ({"active_units": 3}, [("Active units", "3")]),
        ({"kl": "odd"}, [("KL", "odd")]),
    ],
)
def test_missing_numbers_leave_no_gap(numbers, expected):
    text = numbers_table(numbers)
    assert re.findall(r'<th scope="row">(.*?)</th><td class="value">(.*?)</td>', text) == expected
    assert "warning" not in text


def test_the_verdict_is_on_top(tmp_path, undrawn):
    judged = NUMBERS | {"verdict": "rough", "reason": "k-hat is above 0.7 for <half>"}
    text = page(tmp_path, images(), numbers=judged)
    assert (
        "</span> = −24.123 ± 0.031 nats; <strong>rough</strong>: k-hat is above 0.7 for &lt;half&gt;</p>"
        in text
    )
    assert text.index("<strong>rough") < text.index('class="summary"') < text.index('id="samples"')
    assert 'class="verdict"' not in page(tmp_path, images(), numbers=None)


def test_numbers_it_has_no_words_for_are_shown_by_their_keys():
    text = numbers_table({"nll": 3.0, "ais_steps": 500, "nested": {"a": [1]}})
    assert "<dt>ais_steps</dt><dd>500</dd>" in text
    assert "<dt>nested</dt><dd>{&quot;a&quot;: [1]}</dd>" in text


def test_the_kl_of_the_numbers_goes_before_that_of_the_validation_split(tmp_path, undrawn):
    case = table()
    given = section(page(tmp_path, case), "kl")
    assert "mean over 180 test examples" in given
    assert "together 2.50 nats. 1 of 2 dimensions exceed 0.01 nats" in given
    assert "mean over 8 validation examples" in section(page(tmp_path, case, numbers=None), "kl")


def test_a_prior_without_quantiles_is_walked_by_those_of_its_draws(tmp_path, undrawn):
    data, model = images(latent=3)
    model.prior = GaussianMixture(3, components=2)
    with torch.no_grad():
        model.prior.numbers.copy_(torch.tensor([[0.0, -5, 0, 0, -2, 0, 0], [0, 5, 0, 0, -2, 0, 0]]))
    text = page(tmp_path, (data, model), numbers=None)
    assert "largest variance of the means" in section(text, "traversals")
    assert "of 3 dimensions are active" in section(text, "kl")
    case = examples_of((data, model))
    n = case.tiles()
    found = _quantiles(case)
    normal = torch.special.ndtri((torch.arange(n) + 0.5) / n)
    torch.testing.assert_close(found[:, 1], normal, rtol=0, atol=0.25)
    assert (found[: n // 2, 0] + 5).abs().max() < 0.6
    assert (found[-(n // 2) :, 0] - 5).abs().max() < 0.6


def test_a_posterior_that_does_not_factorise_has_no_bars_and_the_plane_of_its_moving_means(tmp_path, undrawn):
    data, _ = images()
    model = make_model(Bernoulli((1, 6, 5)), latent=3, posterior=FullCovarianceGaussian)
    text = page(tmp_path, (data, model), numbers=None)
    assert "does not factorise" in section(text, "kl")
    assert "largest variance of the means" in section(text, "traversals")


def test_a_run_without_evaluations_says_so(tmp_path, undrawn):
    text = page(tmp_path, table(), history=[])
    assert "No evaluation was recorded" in section(text, "curves")
    assert "Trained for" not in text


@pytest.mark.slow
def test_names_from_outside_are_escaped_and_drawn_as_they_are(tmp_path):
    pandas = pytest.importorskip("pandas")
    draw = np.random.default_rng(0)
    frame = pandas.DataFrame(draw.normal(size=(90, 2)), columns=[NASTY, r"$\frac{日本$"])
    frame["kind"] = np.array([NASTY, "_hidden", r"$\frac"])[draw.integers(0, 3, 90)]
    data = load(frame, label_column="kind")
    case = data, make_model(Gaussian(2), transform=Standardize(data.mean, data.std))
    numbers = {"nll": 1.0, "split": NASTY, "units": NASTY, "warnings": [NASTY], NASTY: NASTY}
    text = page(tmp_path, case, title=NASTY, numbers=numbers, config={NASTY: NASTY, "other": object})
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 9
    assert (
        f"<h1>{NASTY}</h1>".replace("<script>", "&lt;script&gt;") not in text
    )  # its quotes are escaped as well
    assert "<h1>&lt;script&gt;alert(&quot;$x_&quot;)&lt;/script&gt;</h1>" in text


def test_the_summary_says_what_the_model_and_the_data_are(tmp_path, undrawn):
    data = load("digits")
    text = page(tmp_path, (data, make_model(Bernoulli((1, 8, 8)))), numbers=None)
    text = re.sub('<span class="formula">(.*?)</span>', r"\1", text)
    summary = re.search('<p class="summary">(.*?)</p>', text)[1]
    # (64 · 8 + 8) + (8 · 4 + 4) and (2 · 8 + 8) + (8 · 64 + 64)
    for words in (
        "2 latent dimensions and 1,156 parameters: posterior q(z | x) DiagonalGaussian with encoder MLP",
        "prior p(z) StandardNormal, likelihood p(x | z) Bernoulli with decoder MLP",
        "Data: digits, images of 1 × 8 × 8 binary values (dynamic binarisation)",
        "1,437 training, 180 validation and 180 test examples",
        "Trained for 3 epochs, 30 steps, 4.5 seconds.",
    ):
        assert words in summary
    assert "binarised validation images" in section(text, "reconstructions")
    assert "means p(x = 1 | z), with z from the prior p(z); seed 0" in section(text, "samples")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    case = images()
    first = page(tmp_path, case, seed=3)
    torch.manual_seed(999)
    np.random.seed(999)  # noqa: NPY002
    assert page(tmp_path, case, seed=3) == first
    assert section(page(tmp_path, case, seed=4), "samples") != section(first, "samples")


@pytest.mark.parametrize(("case", "training"), [("digits", True), ("table", False)])
def test_random_numbers_and_the_models_mode_are_left_as_they_were(case, training, tmp_path, undrawn):
    if case == "digits":
        data = load("digits")  # binarised anew at every batch
        model = make_model(Bernoulli((1, 8, 8)), latent=3)
    else:
        data, model = table()
    model.train(training)
    ours, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    page(tmp_path, (data, model), history=[])
    write_pictures(tmp_path, model, data, [])
    assert torch.equal(torch.get_rng_state(), ours)
    np.testing.assert_array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002
    assert all(module.training == training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_pictures_of_a_folder_are_those_of_the_page_and_nothing_else_is_left(tmp_path, undrawn):
    data, model = images()
    paths = write_pictures(tmp_path / "run", model, data, make_history(), seed=1)
    names = [f"{name}.png" for name in IMAGE_VIEWS if name != "kl"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(names)
    wanted = {view.name: view.png for view in views(model, data, make_history(), seed=1)}
    assert all(path.read_bytes() == wanted[path.stem] for path in paths)


@pytest.mark.parametrize("history", [[], make_history()])
def test_a_table_has_no_pictures_of_images(history, tmp_path, undrawn):
    data, model = table()
    names = [path.stem for path in write_pictures(tmp_path, model, data, history)]
    assert names == ["samples", *(["curves"] if history else []), "correlations", "reconstructions", "latent"]


def test_a_model_with_cells_has_the_pictures_that_apply_to_it(tmp_path, undrawn):
    """No conversions, for a cell has no place in the prior, and no KL of each dimension."""
    data = points_on_grids(problems=20)
    grid = {"grid": {"type": "map", "channels": [4, 4]}}
    model = VAE.for_data(data, condition=grid, **with_cells(hidden=[8])).eval()
    written = [path.stem for path in write_pictures(tmp_path / "plane", model, data, [])]
    assert written == ["samples", "correlations", "reconstructions", "latent"]
    x = np.random.default_rng(0).random((60, 6, 6)).astype(np.float32)
    data = load(x, labels=np.arange(60) % 3, condition="label")
    model = VAE.for_data(data, **with_cells(hidden=[8])).eval()
    written = [path.stem for path in write_pictures(tmp_path / "images", model, data, [])]
    assert written == ["samples", "conditions", "reconstructions", "interpolations", "latent"]
