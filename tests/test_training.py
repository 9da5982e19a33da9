"""The loop: it repeats, resumes, stops, survives being killed, and says where a NaN came from."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from toys import SHORT
from toys import small_model as make_model

import lowerbound as lb
from lowerbound.errors import ConfigError, NonFiniteError, RunError
from lowerbound.objectives import ELBO, ImportanceWeighted, Linear, Progress, Switch
from lowerbound.training import RunFolder, Settings, load_tensors
from lowerbound.training.checkpoint import seed_for
from lowerbound.training.devices import choose_compute_dtype, choose_device
from lowerbound.training.ema import MovingAverage
from lowerbound.training.optimizers import make_optimizer

pytestmark = [pytest.mark.runs, pytest.mark.processes]


@pytest.fixture(scope="module")
def data():
    return lb.data.load("digits")


def stop_at(step):
    """A callback that sends this process the signal of Ctrl-C at an evaluation."""

    def callback(model, record):
        if record["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    return callback


def same_weights(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


# ------------------------------------------------------------------------------------------- it trains, and repeats
def test_training_raises_the_validation_bound(data):
    run = lb.fit(make_model(data), data, epochs=40, batch_size=128, progress=False)
    valid = [r["bound"] for r in run.history if r["split"] == "valid"]
    assert run.best["bound"] == max(valid)
    assert valid[-1] > valid[0] + 1.0
    assert run.stopped == "finished"
    assert run.steps == 40 * math.ceil(len(data.train) / 128)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(data, one_thread):
    runs = [lb.fit(make_model(data), data, epochs=2, seed=s, **SHORT) for s in (1, 1, 2)]
    assert same_weights(runs[0].model, runs[1].model)
    assert not same_weights(runs[0].model, runs[2].model)


def test_the_global_generator_is_left_alone(data):
    model = make_model(data)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    lb.fit(model, data, epochs=1, **SHORT)
    assert torch.equal(torch.rand(3), expected)


def test_every_example_is_seen_once_an_epoch(data, monkeypatch):
    seen = []
    batch = type(data.train).batch

    def spy(self, index):
        seen.append(index.clone())
        return batch(self, index)

    monkeypatch.setattr(type(data.train), "batch", spy)
    lb.fit(make_model(data), data, epochs=2, batch_size=100, progress=False)
    epochs = torch.cat(seen).split(len(data.train))
    assert len(epochs) == 2
    for order in epochs:
        assert torch.equal(order.sort().values, torch.arange(len(data.train)))
    assert not torch.equal(epochs[0], epochs[1])


def test_a_last_batch_of_one_example_trains(data):
    n = len(data.train)
    run = lb.fit(make_model(data), data, epochs=1, batch_size=n - 1, progress=False)
    assert run.steps == 2


def test_steps_draw_different_noise():
    seeds = {seed_for(s, rank, step) for s in range(3) for rank in range(4) for step in range(500)}
    assert len(seeds) == 3 * 4 * 500
    assert all(0 <= seed < 2**63 for seed in seeds)


# ---------------------------------------------------------------------------------------------- resuming
def without_timing(history):
    """Return the records without what a clock has measured."""
    timing = ("seconds", "images_per_second")
    return [{k: v for k, v in record.items() if k not in timing} for record in history]


@pytest.mark.parametrize(
    "objective",
    [ELBO(beta=Linear(length=5, unit="epochs")), Switch(ELBO(), ImportanceWeighted(3, "dreg"), 0.5)],
    ids=["elbo", "switch"],
)
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(data, tmp_path, one_thread, objective):
    options = {"objective": objective, "epochs": 8, "weight_decay": 0.01, **SHORT}
    whole = lb.fit(make_model(data), data, out=tmp_path / "whole", **options)
    half = lb.fit(make_model(data), data, out=tmp_path / "parts", callback=stop_at(12), **options)
    assert half.stopped == "interrupted"
    assert half.steps == 12
    other = make_model(data)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)  # the checkpoint decides, not what is passed in
    resumed = lb.fit(other, data, out=tmp_path / "parts", resume=True, **options)
    assert resumed.stopped == "finished"
    assert same_weights(whole.model, resumed.model)
    assert without_timing(resumed.history) == without_timing(whole.history)
    states = [
        load_tensors(tmp_path / name / "checkpoint" / "state.safetensors") for name in ("whole", "parts")
    ]
    assert states[0][0].keys() == states[1][0].keys()
    assert all(torch.equal(v, states[1][0][k]) for k, v in states[0][0].items())


def test_ten_epochs_and_ten_more_equal_twenty_at_a_constant_rate(data, tmp_path, one_thread):
    options = {"schedule": "constant", "warmup": 0.0, "keep": "last", **SHORT}
    whole = lb.fit(make_model(data), data, epochs=20, **options)
    lb.fit(make_model(data), data, epochs=10, out=tmp_path, **options)
    more = lb.fit(make_model(data), data, epochs=20, out=tmp_path, resume=True, **options)
    assert more.steps == whole.steps == 60
    assert same_weights(whole.model, more.model)


@pytest.mark.parametrize("at", [22, 29])
def test_interrupted_within_an_epoch_resumes_there(data, tmp_path, one_thread, monkeypatch, at):
    options = {"epochs": 4, "batch_size": 100, "progress": False}  # 15 steps an epoch
    whole = lb.fit(make_model(data), data, **options)
    count, batch = [0], type(data.train).batch

    def interrupt(self, index):
        count[0] += 1
        if count[0] == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(type(data.train), "batch", interrupt)
        part = lb.fit(make_model(data), data, out=tmp_path, **options)
    assert (part.stopped, part.steps) == ("interrupted", at)
    rest = lb.fit(make_model(data), data, out=tmp_path, resume=True, **options)
    assert same_weights(whole.model, rest.model)
    assert without_timing(rest.history) == without_timing(whole.history)


def test_signals_are_given_back(data):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    lb.fit(make_model(data), data, epochs=1, callback=stop_at(3), **SHORT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_resume_refuses_another_model_or_objective(data, tmp_path):
    lb.fit(make_model(data), data, epochs=1, out=tmp_path, **SHORT)
    with pytest.raises(RunError, match="its model section differs"):
        lb.fit(
            make_model(data, network={"type": "mlp", "hidden": [16]}),
            data,
            epochs=2,
            out=tmp_path,
            resume=True,
        )
    with pytest.raises(RunError, match="its objective section differs"):
        lb.fit(make_model(data), data, epochs=2, out=tmp_path, resume=True, objective=ELBO(beta=2.0))


@pytest.mark.slow
def test_killed_at_any_moment_the_last_checkpoint_loads(tmp_path):
    script = textwrap.dedent(
        f"""
        import torch, lowerbound as lb
        torch.set_num_threads(1)
        data = lb.data.load("digits")
        model = lb.VAE.for_data(data, latent=3, network={{"type": "mlp", "hidden": [512, 512]}})
        lb.fit(model, data, minutes=5, out={str(tmp_path / "run")!r}, checkpoint_seconds=1e-3, progress=False)
        """
    )
    folder = RunFolder(tmp_path / "run")
    steps = []
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    for _ in range(600):
        if folder.metrics.exists():
            break
        time.sleep(0.1)
    for wait in (0.4, 0.31, 0.53):  # at these times a checkpoint is being written nearly always
        time.sleep(wait)
        os.kill(process.pid, signal.SIGSTOP)
        steps.append(load_tensors(folder.checkpoint)[1]["step"])
        os.kill(process.pid, signal.SIGCONT)
    process.kill()
    process.wait()
    tensors, state = load_tensors(folder.checkpoint)
    assert state["step"] >= steps[-1] > 0
    assert all(torch.isfinite(t).all() for t in tensors.values())
    assert lb.load(folder.path).sample(2, seed=0).shape == (2, 1, 8, 8)


# --------------------------------------------------------------------------------------------- what is kept
def test_an_optimal_sigma_is_that_of_the_kept_weights_and_does_not_lag_behind(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 2, generator=generator) @ torch.randn(2, 8, generator=generator) + 0.05
    data = lb.data.load(x.numpy())
    torch.manual_seed(0)
    model = lb.VAE.for_data(
        data,
        latent=2,
        network={"type": "mlp", "hidden": [16]},
        likelihood={"type": "gaussian", "scale": "optimal"},
    )
    lb.fit(model, data, epochs=6, schedule="constant", batch_size=50, out=tmp_path, progress=False)
    u = model.transform(data.train.batch(torch.arange(len(data.train)))[0])
    with torch.no_grad():
        found = [
            model.at().decoded(model.at().infer(model.at().evidence(u), len(u)).z[0]).mean for _ in range(20)
        ]
    truth = torch.stack([(mean - u).square().mean() for mean in found]).mean()
    assert model.likelihood.variance.item() == pytest.approx(truth.item(), rel=0.03)
    assert torch.equal(lb.load(tmp_path).likelihood.variance, model.likelihood.variance)


def test_the_best_validation_weights_are_kept(data, tmp_path):
    kept = {}

    def callback(model, record):
        kept[record["step"]] = {k: v.clone() for k, v in model.state_dict().items()}

    # A learning rate that makes the bound go up and down.
    run = lb.fit(
        make_model(data), data, epochs=12, learning_rate=0.05, out=tmp_path, callback=callback, **SHORT
    )
    bounds = {r["step"]: r["bound"] for r in run.history if r["split"] == "valid"}
    best = max(bounds, key=bounds.get)
    assert run.best["step"] == best
    assert all(torch.equal(v, kept[best][k]) for k, v in run.model.state_dict().items())
    assert all(torch.equal(v, kept[best][k]) for k, v in lb.load(tmp_path).state_dict().items())


def test_early_stopping_waits_for_its_patience(data):
    # With no learning the bound never improves after the first evaluation.
    run = lb.fit(
        make_model(data), data, epochs=50, learning_rate=1e-12, patience=3, ema=0.0, evaluations=50, **SHORT
    )
    assert run.stopped == "early"
    bounds = [r["bound"] for r in run.history if r["split"] == "valid"]
    since = len(bounds) - 1 - int(np.argmax(bounds))
    assert since == 3


def test_the_average_of_the_weights_follows_its_formula():
    layer = nn.Linear(1, 1, bias=False)
    average, expected = MovingAverage(layer, 0.99), layer.weight.item()
    for step in range(1, 400):
        with torch.no_grad():
            layer.weight.fill_(math.sin(step))
        average.update(step)
        if step <= 100 or step % 10 == 0:  # then every tenth step counts, with the decay of ten
            decay = min(0.99, step / (step + 9)) ** (1 if step <= 100 else 10)
            expected = decay * expected + (1 - decay) * math.sin(step)
    assert average.state()["weight"].item() == pytest.approx(expected, rel=1e-5)
    with average.applied():
        assert layer.weight.item() == pytest.approx(expected, rel=1e-5)
    assert layer.weight.item() == pytest.approx(math.sin(399), rel=1e-6)


def test_learning_rate_rises_linearly_and_falls_as_half_a_cosine():
    settings = Settings(epochs=1, learning_rate=2.0, warmup=0.1)
    assert settings.learning_rate_at(0.05) == pytest.approx(1.0)
    assert settings.learning_rate_at(0.1) == pytest.approx(2.0)
    assert settings.learning_rate_at(0.55) == pytest.approx(1.0)
    assert settings.learning_rate_at(0.325) == pytest.approx(1 + math.cos(math.pi / 4))
    assert settings.learning_rate_at(1.0) == pytest.approx(0.0, abs=1e-12)


def test_weight_decay_spares_biases_and_scales(data):
    model = make_model(data, likelihood={"type": "gaussian", "scale": "learned"})
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    # Decay alone: without gradients the optimiser only shrinks.
    optimizer = make_optimizer(
        list(model.parameters()), Settings(epochs=1, learning_rate=0.1, weight_decay=0.5)
    )
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        factor = 0.95 if p.ndim >= 2 else 1.0
        torch.testing.assert_close(p.detach(), factor * before[name])


def test_the_clock_ends_a_run_and_moves_its_schedule(data, tmp_path):
    start = time.monotonic()
    run = lb.fit(make_model(data), data, minutes=0.03, out=tmp_path, evaluations=5, progress=False)
    assert 1.5 < time.monotonic() - start < 15
    rates = [r["learning_rate"] for r in run.history if r["split"] == "valid"]
    assert len(rates) >= 2
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 1e-4


def test_a_schedule_longer_than_the_run_is_refused_before_the_first_step(data, tmp_path):
    with pytest.raises(ConfigError, match="takes 10 epochs but the run has only 5"):
        lb.fit(make_model(data), data, epochs=5, objective=ELBO(beta=Linear(length=10, unit="epochs")))
    with pytest.raises(ConfigError, match="no fixed number"):
        lb.fit(make_model(data), data, minutes=1, objective=ELBO(beta=Linear(length=10, unit="steps")))


# -------------------------------------------------------------------------------------------------- the run folder
def test_metrics_have_a_line_for_each_split_and_evaluation(data, tmp_path):
    run = lb.fit(make_model(data), data, epochs=3, out=tmp_path, **SHORT)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert records == run.history
    assert [(r["split"], r["epoch"]) for r in records] == [
        (s, e) for e in (1.0, 2.0, 3.0) for s in ("train", "valid")
    ]
    wanted = (
        "step examples seconds split elbo reconstruction kl images_per_second learning_rate bound".split()
    )
    assert all(set(wanted) <= set(r) for r in records)
    assert [r["examples"] for r in records if r["split"] == "valid"] == [
        len(data.train) * e for e in (1, 2, 3)
    ]
    for r in records:
        assert r["elbo"] == pytest.approx(r["reconstruction"] - r["kl"])


def test_the_run_is_described_before_its_first_step(data, tmp_path):
    class Stop(Exception):
        pass

    def objective_that_stops(*args):
        assert (tmp_path / "config.json").is_file()
        assert (tmp_path / "checkpoint" / "state.safetensors").is_file()
        raise Stop

    class Objective(ELBO):
        __call__ = objective_that_stops

    with pytest.raises(Stop):
        lb.fit(make_model(data), data, epochs=1, out=tmp_path, objective=Objective(), **SHORT)


def test_another_run_is_neither_mixed_with_nor_lost(data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    lb.fit(make_model(data), data, epochs=1, out=tmp_path, **SHORT)
    weights = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match="holds another run"):
        lb.fit(make_model(data), data, epochs=1, out=tmp_path, **SHORT)
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    lb.fit(make_model(data), data, epochs=1, out=tmp_path, overwrite=True, seed=5, **SHORT)
    assert (tmp_path / "model.safetensors").read_bytes() != weights
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not list(tmp_path.rglob("*.tmp"))


def test_resume_without_a_run_is_refused(data, tmp_path):
    with pytest.raises(RunError, match="no checkpoint to resume from"):
        lb.fit(make_model(data), data, epochs=1, out=tmp_path / "nothing", resume=True)


# ------------------------------------------------------------------------------------------------ NaN and Inf
class Poisoned(nn.Module):
    """A layer that gives NaN from its n-th training pass on."""

    def __init__(self, inner, after):
        super().__init__()
        self.inner, self.after, self.passes = inner, after, 0
        self.in_shape, self.out_shape = inner.in_shape, inner.out_shape
        self.log = nn.Identity()

    def forward(self, x):
        h = self.inner(x)
        if self.training:
            self.passes += 1
            if self.passes > self.after:
                h = h * math.nan
        return self.log(h)


def test_a_nan_is_named_and_the_last_good_state_kept(data, tmp_path):
    model = make_model(data)
    model.decoder = Poisoned(model.decoder, after=4)
    with pytest.raises(NonFiniteError) as caught:
        lb.fit(model, data, objective="elbo", epochs=5, out=tmp_path, **SHORT)
    message = str(caught.value)
    assert "step 4" in message
    assert "log p(x|z)" in message
    assert "decoder.log (Identity)" in message
    assert "training examples (" in message
    tensors, _ = load_tensors(tmp_path / "checkpoint" / "state.safetensors")
    assert all(torch.isfinite(t).all() for t in tensors.values())
    kept, _ = load_tensors(tmp_path / "model.safetensors")
    assert all(torch.isfinite(t).all() for t in kept.values())


def test_a_gradient_that_is_not_finite_is_named(data):
    class Prior(lb.priors.Prior):
        """A mean of sqrt(w) at w = 0: the value is finite, its slope is not."""

        def __init__(self):
            super().__init__(3)
            self.weight = nn.Parameter(torch.zeros(3))

        def forward(self, context=None, encode=None):
            normal = torch.distributions.Normal(self.weight.abs().sqrt(), torch.ones(3))
            return torch.distributions.Independent(normal, 1)

    model = make_model(data)
    model.prior = Prior()
    with pytest.raises(NonFiniteError, match=r"the gradient of prior\.weight is not"):
        lb.fit(model, data, epochs=1, **SHORT)


# ----------------------------------------------------------------------------------------- devices and precision
def test_precision_is_chosen_by_size_and_processor(data, monkeypatch):
    from lowerbound.training import devices

    cpu, small = torch.device("cpu"), make_model(data)
    large = make_model(data, network={"type": "mlp", "hidden": [512, 512]})
    monkeypatch.setattr(devices, "fast_bfloat16", lambda device: True)
    assert choose_compute_dtype("auto", cpu, small) is None
    assert choose_compute_dtype("auto", cpu, large) is torch.bfloat16
    assert choose_compute_dtype("auto", cpu, large.double()) is None
    assert choose_compute_dtype("fp32", cpu, large.float()) is None
    monkeypatch.setattr(devices, "fast_bfloat16", lambda device: False)
    assert choose_compute_dtype("auto", cpu, large) is None
    assert choose_compute_dtype("bf16", cpu, small) is torch.bfloat16


def test_a_device_that_is_not_there_is_refused():
    assert choose_device("cpu").type == "cpu"
    for name in ("quantum", "cuda:99"):
        with pytest.raises(ConfigError, match="cannot be used here"):
            choose_device(name)


def test_bf16_networks_train_to_nearly_the_bound_of_fp32(data):
    bounds = {
        precision: lb.fit(
            make_model(data), data, epochs=20, precision=precision, batch_size=128, progress=False
        ).best
        for precision in ("fp32", "bf16")
    }
    assert bounds["bf16"]["bound"] == pytest.approx(bounds["fp32"]["bound"], abs=0.2)


# --------------------------------------------------------------------------------------------- wrong settings
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1, "minutes": 1}, "either epochs or minutes; got both"),
        ({"epochs": 0}, "training.epochs must be positive"),
        ({"epochs": 1, "batch_size": 0}, "training.batch_size must be positive"),
        ({"epochs": 1, "learning_rate": -1.0}, "training.learning_rate must be positive"),
        ({"epochs": 1, "ema": 1.0}, "training.ema must be at least 0 and below 1"),
        ({"epochs": 1, "learning_rat": 1.0}, "did you mean 'learning_rate'"),
        ({"epochs": "many"}, "training.epochs must be a number"),
        ({"epochs": 1, "optimizer": "sgd"}, "training.optimizer"),
    ],
)
def test_wrong_settings_are_refused(data, options, message):
    with pytest.raises(ConfigError, match=message):
        lb.fit(make_model(data), data, progress=False, **options)


# --------------------------------------------------------------------------------------- the exact optimum
def gaussian_data(n=4000, d=6, k=2, seed=0):
    g = np.random.default_rng(seed)
    w = g.normal(size=(d, k)) * np.array([2.0, 1.0])
    x = g.normal(size=(n, k)) @ w.T + 0.5 * g.normal(size=(n, d)) + g.normal(size=d)
    return x.astype(np.float32)


def ppca_optimum(x, k):
    """Maximum log-likelihood per example of probabilistic PCA (Tipping and Bishop, 1999), by eigenvalues."""
    s = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    d = len(s)
    noise = s[k:].mean()
    return -0.5 * (d * math.log(2 * math.pi) + np.log(s[:k]).sum() + (d - k) * math.log(noise) + d)


@pytest.mark.slow
def test_a_linear_vae_trained_by_fit_reaches_the_maximum_likelihood_of_ppca():
    data = lb.data.load(gaussian_data())
    x = np.concatenate([b.numpy() for b, _ in data.train.batches(1000)])
    optimum = ppca_optimum(x, 2)
    model = lb.VAE.for_data(
        data,
        latent=2,
        network={"type": "mlp", "hidden": []},
        likelihood={"type": "gaussian", "scale": "learned"},
        transform="none",
    )
    lb.fit(model, data, epochs=150, learning_rate=0.02, batch_size=200, keep="last", progress=False)
    result = lb.evaluate.nll(model, data.train, samples=200)
    assert -result.value <= optimum + 4 * 0.01  # nothing beats the maximum, but for Monte Carlo noise
    assert abs(optimum + result.value) < 0.01 * 6

    # The estimate against the closed form of the very model that was trained.
    decoder = dict(model.decoder.named_parameters())
    weight = next(v for v in decoder.values() if v.ndim == 2).detach().double()
    bias = next(v for v in decoder.values() if v.ndim == 1).detach().double()
    noise = model.likelihood_at(torch.zeros(1, 2)).base_dist.scale[0].detach().double()
    covariance = weight @ weight.T + torch.diag(noise**2)
    exact = torch.distributions.MultivariateNormal(bias, covariance).log_prob(torch.from_numpy(x).double())
    error = (result.per_example.double().cpu() - exact).mean()
    spread = (result.per_example.double().cpu() - exact).std() / math.sqrt(len(x))
    assert abs(error) < 3 * spread + 1e-3


def test_one_epoch_of_progress_is_what_objectives_see(data):
    seen = []

    class Spy(ELBO):
        def __call__(self, model, x, c, progress):
            seen.append(progress)
            return super().__call__(model, x, c, progress)

    lb.fit(make_model(data), data, epochs=2, objective=Spy(), **SHORT)
    assert seen == [Progress(i, 3, 6, i / 6) for i in range(6)]


def test_nothing_is_written_without_a_folder(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lb.fit(make_model(data), data, epochs=1, **SHORT)
    assert not list(Path(tmp_path).iterdir())
