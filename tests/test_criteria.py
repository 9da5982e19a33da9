"""Objectives that are no bounds, against closed forms and computations by hand."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from exact import linear_gaussian, linear_vae
from sklearn.datasets import load_digits
from torch import nn

import lowerbound as lb
from lowerbound.errors import ConfigError
from lowerbound.objectives import (
    VAEGAN,
    Adversarial,
    DeepFeatures,
    FeatureDistance,
    Progress,
    Regularised,
    StructuralSimilarity,
    Wasserstein,
)
from lowerbound.objectives.perceptual import ms_ssim
from lowerbound.objectives.regularised import gradient_norm
from lowerbound.priors import Flow

pytestmark = pytest.mark.usefixtures("float64")

START = Progress(total_steps=100)


@pytest.fixture
def model():
    """A linear VAE with an encoder that is off."""
    made = linear_vae(linear_gaussian(4, 2, orthogonal=False, sigma=0.6))
    for parameter in made.encoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made


def run(objective, model, x, seed=1):
    torch.manual_seed(seed)
    return objective(model, x, None, START)


# ------------------------------------------------------------------------------------------ RAE
def test_the_gradient_penalty_of_a_linear_decoder_is_the_norm_of_its_matrix(model):
    wanted = model.decoder.output.weight.square().sum()
    estimates = torch.stack([gradient_norm(model(torch.randn(50, 4))).detach() for _ in range(400)])
    assert abs(estimates.mean() - wanted) < 4 * estimates.std() / math.sqrt(400)
    gradient = torch.autograd.grad(gradient_norm(model(torch.randn(50, 4))), model.decoder.output.weight)[0]
    assert gradient.abs().sum() > 0


def test_the_parts_of_a_regularised_autoencoder_have_their_weights(model):
    x = torch.randn(7, 4)
    torch.manual_seed(1)
    out = model(x)
    norm, fit = out.z.square().sum(-1).mean(), out.log_likelihood.mean()
    weights = sum(p.square().sum() for p in model.decoder.parameters())
    for penalty, added in (("l2", weights), ("none", 0.0)):
        got = run(Regularised(beta=0.3, penalty=penalty, weight=0.01), model, x)
        torch.testing.assert_close(got.loss, -fit + 0.15 * norm + 0.01 * added)
    smooth = run(Regularised(0.3, "gradient", 0.01), model, x)
    torch.testing.assert_close(smooth.loss, -fit + 0.15 * norm + 0.01 * smooth.terms["gradient"])


def test_a_criterion_validates_by_its_own_loss_without_gradients(model):
    x = torch.randn(7, 4)
    objective = Regularised(0.3, "gradient", 0.01)
    with torch.no_grad():
        torch.manual_seed(1)
        judged = objective.validate(model, x, None, 4)
    torch.testing.assert_close(judged["bound"], -run(objective, model, x).loss.detach().expand(7))
    torch.testing.assert_close(judged["criterion"], -judged["bound"])
    assert not any(v.requires_grad for v in judged.values())


# ------------------------------------------------------------------------------------------ AAE, WAE-GAN
class LogRatio(nn.Module):
    """log p(z) / q(z) of two Gaussians N(0, 1) and N(m, 1), times a factor."""

    def __init__(self, m, factor=1.0):
        super().__init__()
        self.m, self.factor = m, factor

    def forward(self, z):
        return self.factor * (0.5 * (z - self.m) ** 2 - 0.5 * z**2)


def test_the_best_critic_has_the_loss_of_the_jensen_shannon_divergence():
    m, n = 1.5, 40_000
    truth = linear_gaussian(3, 1, orthogonal=True, sigma=0.6)
    model = linear_vae(truth)
    with torch.no_grad():  # q(z) = N(m, 1): a posterior that ignores x
        model.encoder.output.weight.zero_()
        model.encoder.output.bias.copy_(torch.tensor([m, 0.0]))
    q = model.infer(torch.zeros(1, 3))
    assert (q.mean.item(), q.stddev.item()) == pytest.approx((m, 1.0), abs=1e-2)
    t = torch.linspace(-12, 14, 20_001)
    p, r = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(m, 1.0)
    middle = torch.log((p.log_prob(t).exp() + r.log_prob(t).exp()) / 2)
    divergence = 0.5 * sum(torch.trapezoid(d.log_prob(t).exp() * (d.log_prob(t) - middle), t) for d in (p, r))
    losses = []
    for factor in (0.0, 0.7, 1.0, 1.4):
        objective = Adversarial(weight=2.0)
        objective.start(model)
        objective.critic = LogRatio(q.mean.item(), factor)
        torch.manual_seed(0)
        mine, critics = objective.moves(model, torch.zeros(n, 3), None, START)
        losses.append(critics.loss.item())
        torch.testing.assert_close(mine.loss, 2 * mine.terms["fooled"] - mine.terms["reconstruction"])
    assert losses[0] == pytest.approx(2 * math.log(2))
    assert losses[2] == pytest.approx(2 * math.log(2) - 2 * divergence.item(), abs=0.01)
    assert min(losses) == losses[2]


# ------------------------------------------------------------------------------------------ VAE-GAN
def test_with_identity_features_the_distance_is_half_the_squared_error_and_the_encoder_plays_no_game(model):
    x = torch.randn(9, 4)
    objective = VAEGAN(weight=1e3, beta=0.5, features=4)
    objective.start(model)
    objective.critic[0] = nn.Identity()
    torch.manual_seed(1)
    out = model(x)
    got = run(objective, model, x)
    error = 0.5 * (x - out.p_x.mean[0]).square().sum(1).mean()
    torch.testing.assert_close(got.terms["features"], error.detach())
    torch.testing.assert_close(got.loss, 0.5 * out.kl().mean() + error + 1e3 * got.terms["fooled"])
    # The game's weight of a thousand is nothing to the encoder, and all to the decoder.
    for part, plays in (("encoder", False), ("decoder", True)):
        parameters = list(getattr(model, part).parameters())
        quiet = VAEGAN(weight=0.0, beta=0.5, features=4)
        quiet.critic = objective.critic
        both = [torch.autograd.grad(run(o, model, x).loss, parameters) for o in (objective, quiet)]
        assert torch.allclose(both[0][0], both[1][0]) != plays


def test_the_critic_learns_data_against_both_kinds_of_decoded(model):
    objective = VAEGAN(features=4)
    objective.start(model)
    x = torch.randn(9, 4)
    torch.manual_seed(1)
    _, critics = objective.moves(model, x, None, START)
    torch.manual_seed(1)
    _, (_, *decoded) = objective.play(model(x))
    d = [torch.sigmoid(objective.critic[1](objective.critic[0](v))) for v in (x, *decoded)]
    by_hand = -d[0].log().mean() - ((1 - d[1]).log().mean() + (1 - d[2]).log().mean()) / 2
    torch.testing.assert_close(critics.loss, by_hand)
    assert not any(v.requires_grad for v in decoded)


# ------------------------------------------------------------------------------------------ pictures
def similarity(x, y, radius=5):
    """Structural similarity and its second factor, mean over one image, by scipy's filter."""

    def local(image):
        filtered = scipy.ndimage.gaussian_filter(image, 1.5, radius=radius)
        return filtered[radius:-radius, radius:-radius]

    mx, my = local(x), local(y)
    vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    second = (2 * cov + 0.03**2) / (vx + vy + 0.03**2)
    return ((2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2) * second).mean(), second.mean()


def halved(image):
    return (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4


def test_ms_ssim_is_that_of_another_implementation():
    rng = np.random.default_rng(0)
    x = scipy.ndimage.gaussian_filter(rng.random((2, 24, 24)), (0, 1, 1))
    y = np.clip(x + 0.05 * rng.standard_normal(x.shape), 0, 1)
    for channel in range(2):
        a, b = x[channel], y[channel]
        fine, coarse = similarity(a, b)[1], similarity(halved(a), halved(b))[0]
        w = np.array([0.0448, 0.2856]) / (0.0448 + 0.2856)
        got = ms_ssim(torch.tensor(a).reshape(1, 1, 24, 24), torch.tensor(b).reshape(1, 1, 24, 24))
        assert got.item() == pytest.approx(fine ** w[0] * coarse ** w[1], abs=1e-9)
    both = ms_ssim(torch.tensor(x)[None], torch.tensor(y)[None])
    each = [
        ms_ssim(torch.tensor(x[i]).expand(1, 1, 24, 24), torch.tensor(y[i]).expand(1, 1, 24, 24))
        for i in (0, 1)
    ]
    torch.testing.assert_close(both, sum(each) / 2)


def test_ms_ssim_of_equal_images_is_one_and_of_constant_ones_their_contrast():
    x = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(ms_ssim(x, x), torch.ones(3))
    got = ms_ssim(torch.full((1, 1, 16, 16), 0.2), torch.full((1, 1, 16, 16), 0.6))
    assert got.item() == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4))


def test_a_perceptual_loss_is_kl_and_distance(model):
    class Half(nn.Module):
        def forward(self, x):
            return x[:, :2]

    x = torch.randn(6, 4)
    objective = FeatureDistance(Half(), weight=3.0, beta=0.5)
    torch.manual_seed(1)
    out = model(x)
    error = 0.5 * (x - out.p_x.mean[0])[:, :2].square().sum(1).mean()
    torch.testing.assert_close(run(objective, model, x).loss, 0.5 * out.kl().mean() + 3 * error)
    with pytest.raises(ConfigError, match=r"for images \(C, H, W\)"):
        StructuralSimilarity().check(model, START)


def test_features_are_never_trained(model):
    objective = FeatureDistance(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)))
    objective.train()
    before = objective.features[1].running_mean.clone()
    loss = run(objective, model, torch.randn(6, 4)).loss
    loss.backward()
    assert all(p.grad is None for p in objective.features.parameters())
    torch.testing.assert_close(objective.features[1].running_mean, before)


def test_layers_of_a_classifier_count_by_their_spread():
    data = lb.data.load((load_digits().images / 16).astype("f").reshape(-1, 1, 8, 8), binarize="none")
    model = lb.VAE.for_data(data, latent=2, network={"type": "mlp", "hidden": [4]})
    objective = DeepFeatures(channels=(5, 6), features="random")
    with pytest.raises(ConfigError, match="there are none: load data with labels"):
        DeepFeatures().start(model, data)
    objective.start(model, data)
    x, y = (data.train.batch(torch.arange(n, n + 7))[0].to(model.dtype) for n in (0, 7))
    first = nn.functional.relu(objective.layers[0][0](x)), nn.functional.relu(objective.layers[0][0](y))
    second = [nn.functional.relu(objective.layers[1][0](f)) for f in first]
    assert second[0].shape == (7, 6, 4, 4)
    truth = 0.0
    many = data.train.batch(torch.arange(1000))[0].to(model.dtype)
    for (a, b), layers in ((first, 1), (second, 2)):
        spread = nn.Sequential(*objective.layers[:layers])(many).var(0).mean()
        truth = truth + 64 / 2 * (a - b).square().mean((1, 2, 3)) / spread
    torch.testing.assert_close(objective.distance(x, y), truth)
    assert not objective.distance(x, x).any()
    assert not any(p.requires_grad for p in objective.parameters())


@pytest.mark.runs
def test_the_classifier_behind_features_has_learned_and_missing_labels_are_left_out():
    source = load_digits()
    data = lb.data.load(
        (source.images / 16).astype("f").reshape(-1, 1, 8, 8), binarize="none", labels=source.target
    )
    data.train.labels[::3] = -1
    model = lb.VAE.for_data(data, latent=2, network={"type": "mlp", "hidden": [4]})
    learned, random = (
        DeepFeatures(steps=300, channels=(8, 16)),
        DeepFeatures(features="random", channels=(8, 16)),
    )
    before = torch.get_rng_state()
    for objective in (learned, random):
        objective.start(model, data)
    assert torch.equal(torch.get_rng_state(), before)
    x, y = data.test.labelled(data.test.known)

    def separated(objective):
        f = nn.Sequential(*objective.layers)(x.to(model.dtype)).flatten(1)
        centres = torch.stack([f[y == k].mean(0) for k in range(10)])
        return (torch.cdist(f, centres).argmin(1) == y).float().mean().item()

    assert separated(learned) > separated(random)
    assert separated(learned) > 0.85


def test_a_prior_that_would_learn_nothing_is_refused(model):
    model.prior = Flow(2)
    for objective in (Regularised(), Adversarial(), Wasserstein()):
        with pytest.raises(ConfigError, match=r"prior Flow would learn nothing from .*ex_post"):
            objective.check(model, START)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Regularised(beta=-1.0), "finite beta >= 0"),
        (lambda: Adversarial(weight=-1.0), "finite weight >= 0"),
        (lambda: VAEGAN(network="cnn"), "one of mlp, conv, resnet"),
        (lambda: VAEGAN(features=0), "features >= 1"),
        (lambda: StructuralSimilarity(window=10), "odd window"),
        (lambda: FeatureDistance(nn.Identity(), weight=-1.0), "finite weight >= 0"),
        (lambda: DeepFeatures(features="vgg"), "unknown features 'vgg'"),
        (lambda: DeepFeatures(channels=[]), "channels"),
        (lambda: DeepFeatures(steps=0), "steps >= 1"),
        (lambda: Regularised(penalty="l1"), "unknown penalty 'l1'"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
