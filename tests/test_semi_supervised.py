"""M2: the label summed out, checked against the closed form of a linear-Gaussian model of each class."""

from __future__ import annotations

import math

import exact
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import lowerbound as lb
from lowerbound.conditions import Label
from lowerbound.errors import ConfigError, DataError
from lowerbound.objectives import SemiSupervised
from lowerbound.objectives.schedules import Progress
from lowerbound.objectives.semi_supervised import jitter

NOW = Progress(0, 1, 1, 0.0)
FREQUENCY = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)


class Logits(nn.Module):
    """A classifier whose logits are an affine map of x, with weights of the test's choosing."""

    def __init__(self, weight, bias):
        super().__init__()
        self.affine = nn.Linear(*weight.shape[::-1])
        self.affine.weight.data, self.affine.bias.data = weight, bias

    def forward(self, x):
        return self.affine(x)


@pytest.fixture(scope="module")
def known():
    """A class-conditional linear-Gaussian model with exact posteriors, and its log p(x, y), (B, 3)."""
    torch.manual_seed(0)
    truth = exact.conditional_linear_gaussian(5, 2, 3, orthogonal=True)
    label = Label(3).double()
    with torch.no_grad():
        label.table.weight.copy_(torch.eye(3))
    label.frequency = FREQUENCY.clone()
    model = exact.conditional_linear_vae(truth, label)
    x = torch.randn(6, 5, dtype=torch.float64)
    c = torch.eye(3, dtype=torch.float64)
    log_joint = (
        torch.stack([truth.marginal(c[k].expand(6, 3)).log_prob(x) for k in range(3)], 1) + FREQUENCY.log()
    )
    return model, x, log_joint


def with_classifier(model, weight, bias):
    model.classifier = Logits(weight, bias)
    return model


def bound(model, x, y, copies=5000, **options):
    """The objective over many copies of a batch: the reconstruction is of one draw each."""
    torch.manual_seed(0)
    return SemiSupervised(**options)(model, x.repeat(copies, 1), {"label": y.repeat(copies)}, NOW)


def close(found, wanted):
    # Five standard errors of the reconstruction, of which a draw has a spread of about 2.
    torch.testing.assert_close(found, wanted, rtol=0, atol=5 * 2 / math.sqrt(5000 * 6))


def test_with_known_labels_the_bound_is_log_p_x_y(known):
    model, x, log_joint = known
    y = torch.tensor([0, 1, 2, 2, 1, 0])
    with_classifier(model, torch.randn(3, 5, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    wanted = log_joint.gather(1, y[:, None]).mean()
    close(bound(model, x, y).bound, wanted)


def test_without_labels_the_bound_misses_log_p_x_by_the_classifiers_kl(known):
    model, x, log_joint = known
    weight, bias = torch.randn(3, 5, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    with_classifier(model, weight, bias)
    log_q = (x @ weight.T + bias).log_softmax(1)
    gap = (log_q.exp() * (log_q - log_joint.log_softmax(1))).sum(1)
    wanted = (log_joint.logsumexp(1) - gap).mean()
    assert gap.mean() > 0.1  # so that the test would see a lost entropy or a lost p(y)
    close(bound(model, x, torch.full((6,), -1)).bound, wanted)


@pytest.mark.slow
def test_in_a_mixed_batch_each_example_has_its_own_term(known):
    model, x, _ = known
    with_classifier(model, torch.randn(3, 5, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    y = torch.tensor([0, -1, 2, -1, 1, 0])
    each = [bound(model, x[i : i + 1], y[i : i + 1], copies=30_000).bound for i in range(6)]
    close(bound(model, x, y).bound, torch.stack(each).mean())


def test_the_loss_adds_alpha_times_the_labelled_examples_cross_entropy(known):
    model, x, _ = known
    weight, bias = torch.randn(3, 5, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    with_classifier(model, weight, bias)
    y = torch.tensor([0, -1, 2, -1, -1, 1])
    out = bound(model, x, y, alpha=7.0)
    log_q = (x @ weight.T).log_softmax(1)
    cross_entropy = -(log_q[0, 0] + log_q[2, 2] + log_q[5, 1]) / 3
    torch.testing.assert_close(out.loss, -out.bound + 7 * cross_entropy)
    torch.testing.assert_close(out.terms["reconstruction"] - out.terms["kl"], out.bound.detach())


@pytest.mark.runs
def test_the_bound_teaches_the_classifier_the_posterior_of_the_label(known):
    model, x, log_joint = known
    with_classifier(model, torch.zeros(3, 5, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    optimizer = torch.optim.LBFGS(model.classifier.parameters(), max_iter=50)
    one, unknown = x[:1], torch.tensor([-1])

    def loss():
        optimizer.zero_grad()
        out = bound(model, one, unknown, alpha=0.0)
        out.loss.backward()
        return out.loss

    optimizer.step(loss)
    torch.testing.assert_close(model.predict_proba(one), log_joint[:1].softmax(1), rtol=0, atol=0.03)


def test_beta_weighs_the_kl_and_the_entropy_but_not_the_reported_bound(known):
    model, x, _ = known
    with_classifier(model, torch.randn(3, 5, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    y = torch.full((6,), -1)
    plain = bound(model, x, y)
    half = bound(model, x, y, beta=0.5)
    torch.testing.assert_close(half.bound, plain.bound)
    torch.testing.assert_close(half.loss, 0.5 * plain.terms["kl"] - plain.terms["reconstruction"])


def test_jitter_moves_images_by_at_most_what_it_says():
    torch.manual_seed(0)
    x = torch.zeros(500, 1, 29, 29)
    x[:, :, 14, 14] = 1
    torch.testing.assert_close(jitter(x, 0.0), x)
    moved = jitter(x, 1.0)
    places = torch.arange(29.0) - 14
    mass = moved.sum((1, 2, 3))
    right, down = (moved.sum((1, 2)) @ places) / mass, (moved.sum((1, 3)) @ places) / mass
    # 2 pixels of 28, scaled by up to 1.15 and a little more by shear and rounding to the grid.
    for shift in (right, down):
        assert 2.0 < shift.abs().max() < 3.2
        assert abs(shift.mean()) < 0.2
    assert (moved - x).abs().flatten(1).amax(1).median() > 0.3


def stripes(n=600, seed=0):
    """Two long stripes side by side: of a label or two each, there is no telling which way they run."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    along, across = 10 * torch.rand(n, generator=g) - 5, 0.2 * torch.randn(n, generator=g)
    return torch.stack([along, 2.0 * y - 1 + across], 1), y


@pytest.mark.runs
def test_unlabelled_examples_help_the_classifier():
    x, y = stripes()
    # Four labels that mislead.
    data = lb.data.load(x, labels=y.numpy(), condition="label", labelled=4, seed=2, split_by="permutation")
    test, c = next(data.test.batches(100))
    known = data.train.condition("label") >= 0
    some, _ = data.train.batch(known.nonzero().squeeze(1))
    alone = LogisticRegression(C=100).fit(some, data.train.condition("label")[known])
    assert alone.score(test, c["label"]) < 0.7

    torch.manual_seed(0)
    small = {"type": "mlp", "hidden": [64]}
    model = lb.VAE.for_data(data, latent=1, network=small, classifier=small)
    run = lb.fit(model, data, epochs=60, batch_size=60, labelled_per_batch=4, keep="last", progress=False)
    assert (model.predict_proba(test).argmax(1) == c["label"]).double().mean() > 0.95
    assert run.history[-1]["error"] < 0.05
    assert "cross_entropy" in run.history[-2]


def test_the_evaluation_counts_what_the_classifier_gets_wrong(known):
    model, x, _ = known
    weight = torch.randn(3, 5, dtype=torch.float64)
    with_classifier(model, weight, torch.zeros(3, dtype=torch.float64))
    found = (x @ weight.T).argmax(1)
    y = torch.cat([found[:4], (found[4:] + 1) % 3])
    error = lb.evaluate.classification_error(model, x, c=y)
    assert (error.value, error.n) == (pytest.approx(2 / 6), 6)
    assert error.stderr == pytest.approx(math.sqrt(2 / 6 * 4 / 6 / 6))
    numbers = lb.evaluate.summary(model, x, samples=10, c=y)
    assert (numbers["error"], numbers["error_stderr"]) == (error.value, error.stderr)


@pytest.mark.runs
def test_labelled_examples_are_added_to_every_batch():
    x, y = stripes(300)
    data = lb.data.load(x, labels=y.numpy(), condition="label", labelled=6)
    model = lb.VAE.for_data(data, latent=2, classifier="mlp")
    seen = []

    class Spy(SemiSupervised):
        def __call__(self, model, x, c, progress):
            seen.append(int((c["label"] >= 0).sum()))
            return super().__call__(model, x, c, progress)

    lb.fit(model, data, objective=Spy(), epochs=1, batch_size=50, labelled_per_batch=4, progress=False)
    # Six of the examples of an epoch's batches have a label of their own.
    assert len(seen) == 5
    assert sum(seen) == 5 * 4 + 6


@pytest.mark.runs
def test_a_run_with_a_classifier_is_saved_resumed_and_loaded(tmp_path):
    x, y = stripes(300)
    data = lb.data.load(x, labels=y.numpy(), condition="label", labelled=6)
    torch.manual_seed(0)
    model = lb.VAE.for_data(data, latent=2, classifier="mlp")
    lb.fit(model, data, epochs=2, labelled_per_batch=4, progress=False, out=tmp_path / "run")
    again = lb.load(tmp_path / "run")
    torch.testing.assert_close(again.predict_proba(x[:5]), model.predict_proba(x[:5]), rtol=0, atol=0)
    assert again.label[1].frequency.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (
            lambda d: lb.fit(lb.VAE.for_data(d), d, objective="semi_supervised", epochs=1),
            ConfigError,
            "classifier",
        ),
        (
            lambda d: lb.fit(
                lb.VAE.for_data(d, classifier="mlp"), d, objective=SemiSupervised(augment=1.0), epochs=1
            ),
            ConfigError,
            "images",
        ),
        (lambda d: SemiSupervised(alpha=-1), ConfigError, "alpha >= 0"),
        (lambda d: SemiSupervised(augment=math.inf), ConfigError, "finite augment"),
        (lambda d: lb.VAE.for_data(d, classifier="conv"), ConfigError, "use 'mlp'"),
        (
            lambda d: lb.VAE.for_data(lb.data.load(stripes()[0]), classifier="mlp"),
            ConfigError,
            "exactly one label",
        ),
        (lambda d: lb.data.load(stripes()[0], condition="label", labelled=4), DataError, "label"),
        (
            lambda d: lb.fit(lb.VAE.for_data(d), d, epochs=1, labelled_per_batch=-1),
            ConfigError,
            "labelled_per_batch",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(act, error, message):
    x, y = stripes(60)
    data = lb.data.load(x, labels=y.numpy(), condition="label", labelled=6)
    with pytest.raises(error, match=message):
        act(data)


@pytest.mark.runs
def test_missing_labels_are_no_condition_of_their_own(tmp_path):
    x, y = stripes(300)
    labels = [None if i % 3 else str(int(k)) for i, k in enumerate(y)]  # some are missing in validation too
    data = lb.data.load(x, labels=np.array(labels, dtype=object), condition="label")
    model = lb.VAE.for_data(data, latent=1, classifier="mlp")
    assert lb.fit(model, data, epochs=1, progress=False).best["error"] <= 1
    with pytest.raises(ConfigError, match="only seen it known"):
        model.log_prob(x[:3])
