"""Latents of several levels, and maps of codes, in training."""

import math
import signal

import pytest
import torch

import lowerbound as lb
from lowerbound.errors import ConfigError
from lowerbound.training.optimizers import Guard

pytestmark = pytest.mark.runs


def of_digits():
    data = lb.data.load("digits")
    torch.manual_seed(0)
    return data, lb.VAE.for_data(data, latent=4, network={"type": "mlp", "hidden": [16]})


def test_a_step_with_a_gradient_far_beyond_the_usual_is_left_out():
    w = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([w], 0.1, fused=True)
    guard = Guard(torch.device("cpu"), skip=10.0)

    def move(length):
        before = w.detach().clone()
        w.grad = torch.full((3,), length / math.sqrt(3))
        skipped = guard.apply(optimizer, w.sum(), None, (0, 0))
        assert bool(skipped) == torch.equal(w.detach(), before) or not length
        return bool(skipped)

    assert not any(move(length) for length in (0.0, 1.0, 1.3, 0.8, 1.1, 9.0))
    assert move(13.0)
    assert not move(0.9)
    assert sum(move(30.0) for _ in range(200)) < 40  # a new usual is learned
    assert guard.bad() == 0


@pytest.mark.usefixtures("one_thread")
def test_steps_left_out_are_counted_and_a_resumed_run_knows_what_is_usual(tmp_path):
    data, model = of_digits()
    options = {
        "objective": "elbo",
        "epochs": 3,
        "batch_size": 100,
        "evaluations": 3,
        "skip": 1.05,
        "progress": False,
    }
    whole = lb.fit(of_digits()[1], data, out=tmp_path / "a", **options)
    shares = [record["skipped"] for record in whole.history if record["split"] == "train"]
    assert 0 < max(shares) < 1

    def stop(model, record):
        signal.raise_signal(signal.SIGINT)

    lb.fit(of_digits()[1], data, out=tmp_path / "b", callback=stop, **options)
    resumed = lb.fit(model, data, out=tmp_path / "b", resume=True, **options)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key
    with pytest.raises(ConfigError, match=r"training\.skip must be above 1"):
        lb.fit(model, data, skip=0.5, epochs=1)


def test_another_order_is_fitted_to_the_codes_of_a_trained_book():
    data = lb.data.load("digits")
    slots = {
        "network": {"type": "conv", "channels": [8, 8], "hidden": 0},
        "posterior": {"type": "vq", "stride": 4},
        "prior": {"type": "codebook", "codes": 8, "stride": 4},
    }
    torch.manual_seed(0)
    model = lb.VAE.for_data(data, **slots)
    lb.fit(model, data, objective="elbo", epochs=4, batch_size=100, progress=False)
    ordered = lb.ex_post(model, data, {**slots["prior"], "order": 16}, steps=150)
    assert torch.equal(ordered.prior.book, model.prior.book)
    x = next(iter(data.test.batches(50)))[0]
    assert torch.equal(ordered.encode(x), model.encode(x))
    assert ordered.log_prob(x, samples=1).mean() > model.log_prob(x, samples=1).mean() + 0.5
    with pytest.raises(ConfigError, match="codes were made with codes=8"):
        lb.ex_post(model, data, {"type": "codebook", "codes": 9, "stride": 4, "order": 4}, steps=1)


def test_completion_and_the_report_of_levels():
    data = lb.data.load("digits")
    torch.manual_seed(0)
    model = lb.VAE.for_data(
        data,
        latent=8,
        network={"type": "mlp", "hidden": [16]},
        posterior="ladder",
        prior={"type": "ladder", "top": "flow"},
    )
    run = lb.fit(model, data, objective="elbo", epochs=2, batch_size=200, progress=False)
    last = run.history[-1]
    assert last["kl"] == pytest.approx(last["kl_level_1"] + last["kl_level_2"], rel=1e-4)
    x = next(iter(data.test.batches(3)))[0]
    mask = torch.zeros_like(x, dtype=torch.bool)
    mask[..., :4, :] = True
    done = model.complete(x, mask, n=2, seed=0)
    seen = done.x[..., :4, :]
    assert torch.equal(seen, x[..., :4, :].expand_as(seen))
    assert not torch.equal(done.x[0], done.x[1])
