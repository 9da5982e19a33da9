"""Objectives that are no bounds, against closed forms and computations by hand."""

import math

import pytest
import torch
from exact import linear_gaussian, linear_vae
from torch import nn

from lowerbound.errors import ConfigError
from lowerbound.objectives import Progress, Regularised
from lowerbound.objectives.regularised import gradient_norm

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
    assert not any(v.requires_grad for v in judged.values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Regularised(beta=-1.0), "finite beta >= 0"),
        (lambda: Regularised(penalty="l1"), "unknown penalty 'l1'"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
