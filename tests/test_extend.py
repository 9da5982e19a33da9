"""The files of docs/how-to/extend.md do what the page promises: each is one idea, one file, one line of registration.

For each: its contract, training, resuming bit for bit, saving and loading, evaluation, samples, a condition.
"""

import math
import re
import signal
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import linear_ladder
from scipy import stats
from torch.distributions import Independent, Normal

import lowerbound as lb
from lowerbound.distributions import bounded_exp
from lowerbound.registry import REGISTRY
from lowerbound.testing import (
    check_exact,
    check_likelihood,
    check_objective,
    check_posterior,
    check_prior,
)

pytestmark = pytest.mark.runs

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "extend.md"
FILES = dict(re.findall(r'^```python title="(\w+)\.py"\n(.*?)^```', PAGE.read_text(), re.M | re.S))
SMALL = {"type": "mlp", "hidden": [16]}


@pytest.fixture
def files(monkeypatch):
    """Run a file of the page as a module of its own; what it registers is forgotten after the test."""
    own = {kind: dict(classes) for kind, classes in REGISTRY.items()}

    def run(name):
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(FILES[name], f"{name}.py", "exec"), module.__dict__)
        return module

    yield run
    for kind, classes in own.items():
        REGISTRY[kind].clear()
        REGISTRY[kind].update(classes)


def counts(labels=False):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=400)
    rate = np.exp(rng.normal(size=(400, 1)) + np.linspace(0, 2, 6) + 0.3 * y[:, None])
    x = rng.poisson(rate).astype("f")
    return lb.data.load(x, values="real", **({"condition": {"label": y}} if labels else {}))


def digits(labels=False):
    return lb.data.load("digits", **({"condition": "label"} if labels else {}))


# The data, the choices, whether the bound may be one on log p(x, k(x)).
CASES = {
    "mixture": (digits, {"prior": {"type": "my_mixture", "components": 4}}, "elbo"),
    "vamp": (digits, {"prior": {"type": "my_vamp", "components": 6}}, "elbo"),
    "flow": (
        digits,
        {"posterior": {"type": "flow", "features": 16, "hidden": [16]}},
        {"type": "importance_weighted", "samples": 3, "gradient": "dreg"},
    ),
    "codebook": (digits, {"prior": {"type": "my_codebook", "codes": 8}, "posterior": "nearest"}, "elbo"),
    "ladder": (
        digits,
        {
            "prior": {"type": "my_ladder", "top": 2},
            "posterior": {"type": "my_ladder", "top": 2, "features": 16},
        },
        {"type": "importance_weighted", "samples": 3, "gradient": "dreg", "kept": 2},
    ),
    "counts": (counts, {"likelihood": "my_counts"}, "elbo"),
    "autoregressive": (digits, {"likelihood": {"type": "autoregressive", "hidden": 8}}, "elbo"),
    "factor": (digits, {}, {"type": "factor", "hidden": [16]}),
}


def test_every_file_of_the_page_is_tried():
    assert set(FILES) == set(CASES)


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_at_most_eighty_lines(name):
    assert len(FILES[name].splitlines()) <= 80


# ----------------------------------------------------------------------------------------------- contracts
def test_the_contract_of_the_mixture(files):
    check_prior(lambda: files("mixture").GaussianMixture(2, components=3))


def test_the_contract_of_the_vamp_prior(files):
    module = files("vamp")

    def encode(u):
        flat = u.flatten(-2)
        return Independent(Normal(flat[..., :2], 0.5 + flat[..., 2:].sigmoid(), validate_args=False), 1)

    check_prior(lambda: module.VampPrior(2, (2, 2), components=3), encode=encode)


def test_the_contract_of_the_flow(files):
    module = files("flow")
    check_posterior(lambda: module.FlowPosterior(2, features=5, hidden=(8,)))


def test_the_contracts_of_the_ladder(files):
    module = files("ladder")
    check_prior(lambda: module.LadderPrior(3, top=2, hidden=(5,)))
    check_posterior(
        lambda: module.LadderPosterior(3, top=2, hidden=(5,), features=4),
        prior=lambda: module.LadderPrior(3, top=2, hidden=(5,)),
    )


def test_the_contracts_of_the_codebook(files):
    module = files("codebook")
    book = torch.randn(5, 2)
    check_prior(lambda: module.Codebook(4, codes=5))

    def prior():
        made = module.Codebook(4, codes=5)
        made.book.data.copy_(book)
        return made

    check_posterior(lambda: module.Nearest(4), prior=prior)
    # A place has one of five rows: the probability of a code of two places is 1 / 25.
    p = prior()()
    assert p.log_prob(p.sample((7,))).tolist() == pytest.approx([-2 * math.log(5)] * 7)


def test_the_contract_of_the_counts(files):
    module = files("counts")
    check_likelihood(module.MyCounts, outside=(math.nan, math.inf, -1.0, 0.5))
    likelihood = module.MyCounts(3).double()
    h = torch.tensor([[0.3, 1.0, -0.5], [0.2, -1.0, 2.0]], dtype=torch.float64)
    x = torch.tensor([0.0, 3.0, 7.0], dtype=torch.float64)
    mean, r = h[0].exp(), bounded_exp(h[1])
    truth = stats.nbinom(r, r / (r + mean)).logpmf(x).sum()
    assert likelihood(h).log_prob(x).item() == pytest.approx(truth, abs=1e-9)


def test_the_contract_of_the_autoregressive_likelihood(files):
    module = files("autoregressive")
    check_likelihood(lambda shape: module.Autoregressive(shape, hidden=4), outside=(math.nan, -1.0, 0.5))
    # Over all bits of four places the probabilities add up to one, and draws have them.
    torch.manual_seed(0)
    likelihood = module.Autoregressive(4, hidden=3).double()
    p = likelihood(2 * torch.randn(3, dtype=torch.float64))
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 4)
    probability = p.log_prob(bits).exp().detach()
    assert probability.sum().item() == pytest.approx(1, abs=1e-12)
    drawn = (p.sample((20_000,)) @ torch.tensor([8.0, 4.0, 2.0, 1.0]).double()).long()
    share = torch.bincount(drawn, minlength=16) / 20_000
    assert ((share - probability).abs() < 5 * (probability / 20_000).sqrt() + 1e-3).all()


def test_the_contract_of_the_objective_with_a_critic(files):
    check_objective(files("factor").FactorVAE)


# ----------------------------------------------------------------------------- what everything else does
def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def interrupt(model, record):
    signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", CASES)
def test_it_trains_resumes_saves_loads_evaluates_and_samples(files, tmp_path, name):
    files(name)
    load, slots, objective = CASES[name]
    data = load()
    options = {"objective": objective, "epochs": 3, "batch_size": 100, "evaluations": 3, "progress": False}

    def fresh():
        torch.manual_seed(0)
        return lb.VAE.for_data(data, **{"latent": 4, "network": SMALL, **slots})

    before = state_of(fresh())
    whole = lb.fit(fresh(), data, out=tmp_path / "whole", **options)
    assert whole.stopped == "finished"
    assert any(not torch.equal(value, before[key]) for key, value in whole.model.state_dict().items())
    assert whole.history[-1]["bound"] > whole.history[1]["bound"] - 1

    cut = lb.fit(fresh(), data, out=tmp_path / "cut", callback=interrupt, **options)
    assert cut.stopped == "interrupted"
    assert cut.steps < whole.steps
    resumed = lb.fit(fresh(), data, out=tmp_path / "cut", resume=True, **options)
    assert resumed.steps == whole.steps
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key

    again = lb.load(tmp_path / "whole")
    x, _ = next(iter(data.test.batches(8)))
    assert torch.equal(again.log_prob(x, samples=5, seed=1), whole.model.log_prob(x, samples=5, seed=1))
    found = lb.evaluate.summary(again, data.test, samples=20, limit=40, progress=False)
    assert math.isfinite(found["nll"])
    assert found["nll"] < -found["elbo"] + 1
    assert again.sample(5, seed=0).shape == (5, *data.spec.event_shape)
    assert again.reconstruct(x).shape == x.shape
    assert again.decode(again.encode(x)).shape == x.shape
    assert again.interpolate(x[:1], x[1:2], steps=3).shape == (3, 1, *data.spec.event_shape)


@pytest.mark.parametrize("name", CASES)
def test_it_takes_a_condition(files, name):
    files(name)
    load, slots, objective = CASES[name]
    data = load(labels=True)
    model = lb.VAE.for_data(data, **{"latent": 4, "network": SMALL, **slots})
    lb.fit(model, data, objective=objective, epochs=1, batch_size=200, progress=False)
    x, c = next(iter(data.test.batches(6)))
    assert model.log_prob(x, c, samples=4).isfinite().all()
    assert model.sample(3, c=1, seed=0).shape == model.sample(3, c=[0, 1, 2], seed=0).shape
    together, alone = model.under(c).prior(), model.under({"label": c["label"][:1]}).prior()
    if name == "vamp":  # its pseudo-inputs are read under the condition
        z = torch.randn(1, 1, 4)
        torch.testing.assert_close(together.log_prob(z.expand(1, 6, 4))[:, :1], alone.log_prob(z))


# ------------------------------------------------------------------------------- exactness of a ladder
@pytest.fixture
def ladder():
    """A linear ladder with its exact posterior, observations, and their log p(x)."""
    model, marginal = linear_ladder()
    x = torch.randn(5, 6).double()
    return model, x, marginal.log_prob(x)


def test_a_linear_ladder_with_its_exact_posterior_has_constant_weights_and_no_gradient(ladder):
    model, x, truth = ladder
    check_exact(model, x, truth)
    found = lb.evaluate.nll(model, x, samples=50)
    torch.testing.assert_close(found.per_example, truth, rtol=0, atol=1e-9)
    assert found.ess.min().item() == pytest.approx(50)
    torch.testing.assert_close(model.log_prob(x, samples=3), truth, rtol=0, atol=1e-9)


def test_the_exactness_check_notices_what_is_not_exact(ladder):
    model, x, truth = ladder
    with pytest.raises(AssertionError, match="every weight is log p"):
        check_exact(model, x, truth + 0.1)
    model.posterior.gain.data *= 1.1
    with pytest.raises(AssertionError, match="every weight is log p"):
        check_exact(model, x, truth)


def test_a_gradient_through_the_parameters_of_log_q_would_show(ladder, monkeypatch):
    model, x, truth = ladder
    from lowerbound import walk

    monkeypatch.setattr(walk, "with_fixed", lambda parts, call: call())
    with pytest.raises(AssertionError, match="'stl' with 1 samples: the gradient of posterior"):
        check_exact(model, x, truth)
