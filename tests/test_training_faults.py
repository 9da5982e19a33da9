"""Training where something is odd: outliers, callbacks that meddle, bad moments to stop, critics, damaged folders."""

import json
import math
import os
import shutil
import signal
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from toys import SHORT, small_model

import lowerbound as lb
from lowerbound.errors import ConfigError, NonFiniteError, RunError
from lowerbound.objectives import ELBO, ImportanceWeighted, Move, Objective, SemiSupervised, Switch
from lowerbound.training import RunFolder, Settings, load_tensors, save_tensors, write_atomically
from lowerbound.training.means import Means
from lowerbound.training.pace import Pace

pytestmark = [pytest.mark.runs, pytest.mark.processes]


@pytest.fixture(scope="module")
def data():
    return lb.data.load("digits")


make_model = partial(small_model, hidden=16)


def load(tmp_path, **arrays):
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


def table(seed=0, **sizes):
    r = np.random.default_rng(seed)
    sizes = {"train": 200, "valid": 1200, "test": 50} | sizes
    return {name: r.normal(size=(n, 4)).astype("f") for name, n in sizes.items()}


def same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def interrupted_in(step):
    """An objective that sends this process the signal of Ctrl-C in one step."""

    class Stop(ELBO):
        def forward(self, model, x, c, progress):
            if progress.step == step:
                os.kill(os.getpid(), signal.SIGINT)
            return super().forward(model, x, c, progress)

    return Stop()


# ------------------------------------------------------------------------------------- bounds that are not finite
def test_an_outlier_in_the_validation_data_is_named_and_no_weights_are_kept_for_it(tmp_path):
    arrays = table()
    arrays["valid"][1100, 2] = 1e25
    d = lb.data.load(load(tmp_path, **arrays))
    with (
        pytest.warns(UserWarning, match=r"bound at step \d+ is -inf.*-inf for example 1100"),
        pytest.raises(NonFiniteError, match="no validation bound of the run was finite"),
    ):
        lb.fit(make_model(d), d, epochs=2, out=tmp_path / "run", **SHORT)
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[1])["bound"] == -math.inf
    assert all(t.isfinite().all() for t in load_tensors(tmp_path / "run" / "model.safetensors")[0].values())


def test_a_bound_that_is_not_finite_once_is_never_the_best(data):
    class Once(ELBO):
        calls = 0

        def validate(self, model, x, c, samples):
            self.calls += 1
            return {
                k: v * math.nan if self.calls == 1 else v
                for k, v in super().validate(model, x, c, samples).items()
            }

    with pytest.warns(UserWarning, match="bound at step 3 is nan"):
        run = lb.fit(make_model(data), data, epochs=4, objective=Once(), **SHORT)
    bounds = [r["bound"] for r in run.history if r["split"] == "valid"]
    assert math.isnan(bounds[0])
    assert run.best["bound"] == max(bounds[1:])


@pytest.mark.filterwarnings("ignore:the validation bound")
def test_a_learning_rate_that_ruins_the_weights_is_no_finished_run(data, tmp_path):
    with pytest.raises(NonFiniteError, match=r"not finite|no validation bound"):
        lb.fit(make_model(data), data, epochs=2, learning_rate=1e30, evaluations=1, out=tmp_path, **SHORT)
    assert all(t.isfinite().all() for t in load_tensors(tmp_path / "model.safetensors")[0].values())


@pytest.mark.parametrize("kind", ["elbo", "switch", "semi_supervised"])
def test_the_diagnosis_repeats_the_very_same_draws(data, kind, monkeypatch):
    options = {}
    if kind == "semi_supervised":
        data = lb.data.load("digits", labelled=50, condition="label")
        options, sound = {"classifier": "mlp"}, SemiSupervised()
    else:
        sound = ELBO() if kind == "elbo" else Switch(ELBO(), ImportanceWeighted(5), 0.3)
    passes = []
    forward = lb.VAE.forward

    def spy(self, x, c=None, samples=1, **more):
        out = forward(self, x, c, samples, **more)
        passes.append((x.clone(), out.z.detach().clone()))
        return out

    class Sick(Objective):
        sums_out_labels = True

        def forward(self, model, x, c, progress):
            out = sound(model, x, c, progress)
            if progress.step == 4:
                out.terms["kl"] = out.terms["kl"] * math.nan
                return type(out)(out.loss * math.nan, out.bound, out.terms)
            return out

    monkeypatch.setattr(lb.VAE, "forward", spy)
    more = {"labelled_per_batch": 20} if kind == "semi_supervised" else {}
    with pytest.raises(NonFiniteError, match=r"step 4.*: KL became NaN"):
        lb.fit(make_model(data, **options), data, epochs=4, objective=Sick(), **SHORT, **more)
    (x, z), (x_again, z_again) = passes[-2:]
    assert torch.equal(x, x_again)
    assert torch.equal(z, z_again)


def test_the_weights_are_those_before_the_bad_step(data):
    class Bad(ELBO):
        def forward(self, model, x, c, progress):
            out = super().forward(model, x, c, progress)
            if progress.step == 2:
                return type(out)(out.loss * math.inf, out.bound, out.terms)
            return out

    good, bad = make_model(data), make_model(data)
    # Three steps make an epoch, so the run of two steps ends before the bad one, at the same rate.
    options = {"ema": 0.0, "keep": "last", "schedule": "constant", "warmup": 0.0} | SHORT
    lb.fit(good, data, objective="elbo", epochs=2 / 3, **options)
    with pytest.raises(NonFiniteError, match="step 2"):
        lb.fit(bad, data, epochs=1, objective=Bad(), **options)
    assert same(good, bad)


# ------------------------------------------------------------------------------------------- callbacks
@pytest.mark.usefixtures("one_thread")
def test_training_goes_on_as_if_no_callback_had_been_called():
    data = lb.data.load("digits", binarize="none")

    def look(model, record):
        assert not model.training
        model.train()
        model(
            torch.zeros(9, 1, 8, 8)
        ).log_likelihood.sum().backward()  # writes the variance, leaves gradients
        torch.manual_seed(0)

    runs = [
        lb.fit(make_model(data), data, epochs=4, callback=callback, **SHORT)
        for callback in (None, look, lambda model, record: model.eval())
    ]
    for run in runs[1:]:
        assert same(run.model, runs[0].model)
        assert [r["bound"] for r in run.history] == [r["bound"] for r in runs[0].history]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_model_in_evaluation_mode_and_in_its_own_type(data, error):
    def callback(model, record):
        raise error

    model = make_model(data)
    with pytest.raises(error):
        lb.fit(model, data, epochs=1, callback=callback, precision="bf16", **SHORT)
    assert model.compute_dtype is None
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


# ------------------------------------------------------------------------------- what the folder holds when it ends
def test_interrupted_before_the_first_evaluation_the_folder_holds_the_run_s_model(data, tmp_path):
    run = lb.fit(make_model(data), data, epochs=1, objective=interrupted_in(1), out=tmp_path, **SHORT)
    assert (run.stopped, run.history) == ("interrupted", [])
    assert same(run.model, lb.load(tmp_path))
    assert not same(run.model, make_model(data))


def test_a_checkpoint_before_the_first_evaluation_brings_the_averaged_weights(data, tmp_path):
    class Dies(ELBO):
        def forward(self, model, x, c, progress):
            if progress.step == 2:
                raise MemoryError
            return super().forward(model, x, c, progress)

    with pytest.raises(MemoryError):
        lb.fit(
            make_model(data), data, epochs=1, objective=Dies(), out=tmp_path, checkpoint_seconds=1e-9, **SHORT
        )
    average = load_tensors(tmp_path / "checkpoint" / "state.safetensors")[0]
    kept = load_tensors(tmp_path / "model.safetensors")[0]
    assert all(
        torch.equal(kept[n.removeprefix("ema.")], t) for n, t in average.items() if n.startswith("ema.")
    )


def test_a_folder_that_was_removed_meanwhile_is_written_again(data, tmp_path):
    out = tmp_path / "run"

    def remove(model, record):
        if record["epoch"] == 2:
            shutil.rmtree(out)

    run = lb.fit(make_model(data), data, epochs=4, out=out, callback=remove, **SHORT)
    assert same(run.model, lb.load(out))
    assert RunFolder(out).history() == run.history


BAD_STARTS = {
    "labelled_per_batch": ({"labelled_per_batch": 5}, "exactly one label"),
    "seed": ({"seed": 2**70}, "training.seed must fit into 64 bits"),
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_a_start_that_is_refused_leaves_the_older_run(data, tmp_path, name):
    bad, message = BAD_STARTS[name]
    lb.fit(make_model(data), data, epochs=1, out=tmp_path, **SHORT)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=message):
        lb.fit(make_model(data), data, epochs=1, out=tmp_path, overwrite=True, **SHORT, **bad)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_disk_that_is_full_leaves_the_older_run(data, tmp_path, monkeypatch):
    lb.fit(make_model(data), data, epochs=1, out=tmp_path, **SHORT)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lowerbound.training.checkpoint.save_file", full)
    with pytest.raises(RunError, match=r"cannot write .*: No space left on device"):
        lb.fit(make_model(data), data, epochs=1, out=tmp_path, overwrite=True, **SHORT)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_a_killed_process_left_half_written_goes(data, tmp_path):
    lb.fit(make_model(data), data, epochs=1, out=tmp_path, **SHORT)
    halves = [tmp_path / ".model.safetensors.77.tmp", tmp_path / "checkpoint" / ".state.safetensors.0f.tmp"]
    for again in ({"resume": True, "epochs": 2}, {"overwrite": True, "epochs": 1}):
        for half in halves:
            half.write_bytes(b"half")
        lb.fit(make_model(data), data, out=tmp_path, **SHORT, **again)
        assert not any(half.exists() for half in halves)


def test_two_writers_with_one_process_number_do_not_meet(tmp_path):
    def write(temporary):
        temporary.write_text("outer")
        write_atomically(tmp_path / "x", lambda inner: inner.write_text("inner"))

    write_atomically(tmp_path / "x", write)
    assert (tmp_path / "x").read_text() == "outer"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_home_folder_is_found(data, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = lb.fit(make_model(data), data, epochs=1, out="~/run", **SHORT)
    assert run.folder == tmp_path / "run"


# ------------------------------------------------------------------------------------- what is refused at the start
def test_what_cannot_be_trained_is_said(data):
    with pytest.raises(ConfigError, match="nothing to train: no parameter"):
        lb.fit(make_model(data).requires_grad_(False), data, epochs=1, **SHORT)
    with pytest.raises(ConfigError, match=r"has torch.float16; call model.float\(\)"):
        lb.fit(make_model(data).half(), data, epochs=1, **SHORT)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_it_trains_also_where_gradients_are_off(data, context):
    model = make_model(data)
    with context():
        run = lb.fit(model, data, epochs=1, **SHORT)
    assert run.steps == 3
    assert not same(model, make_model(data))


def test_a_condition_that_is_missing_far_down_is_refused(tmp_path):
    arrays = table(valid=1300)
    r = np.random.default_rng(0)
    c = {f"{name}_c": r.normal(size=(len(x), 2)).astype("f") for name, x in arrays.items()}
    c["valid_c"][1200] = np.nan
    d = lb.data.load(load(tmp_path, **arrays, **c), condition="c")
    with pytest.raises(ConfigError, match="the condition 'c' is missing"):
        lb.fit(make_model(d), d, epochs=1, **SHORT)


def test_a_class_that_is_not_in_the_training_data_is_left_out_wherever_it_stands(tmp_path):
    arrays = table(valid=1300)
    labels = {f"{name}_labels": np.array(["a", "b"])[np.arange(len(x)) % 2] for name, x in arrays.items()}
    labels["valid_labels"][1200] = "c"
    d = lb.data.load(load(tmp_path, **arrays, **labels), condition="label")
    with pytest.warns(
        UserWarning, match="1 example of valid is left out: it has 'c' as 'label', which none of train has"
    ):
        run = lb.fit(make_model(d), d, epochs=1, **SHORT)
    assert run.stopped == "finished"


@pytest.mark.parametrize(
    "objective", ["elbo", "importance_weighted", Switch(SemiSupervised(), ELBO())], ids=str
)
def test_missing_labels_need_an_objective_that_sums_them_out(objective):
    d = lb.data.load("digits", labelled=100, condition="label")
    model = make_model(d, classifier="mlp")
    with pytest.raises(
        ConfigError, match=r"1337 training examples have no label, .* use objective='semi_supervised'"
    ):
        lb.fit(model, d, epochs=1, objective=objective, **SHORT)
    lb.fit(model, d, epochs=1 / 3, **SHORT)
    known = make_model(d, classifier="mlp", condition={"label": {"dropout": 0.1}})
    lb.fit(known, d, epochs=1 / 3, objective="elbo", **SHORT)


# ------------------------------------------------------------------------------------------------ validation
def test_validation_counts_only_the_labels_that_are_known(tmp_path):
    arrays = table(train=400, valid=400)
    r = np.random.default_rng(0)
    labels = {f"{k}_labels": np.array(["a", "b"])[r.integers(0, 2, len(x))] for k, x in arrays.items()}
    labels["valid_labels"][20:] = ""
    labels["train_labels"][50:] = ""
    d = lb.data.load(load(tmp_path, **arrays, **labels), condition="label")
    model = make_model(d, classifier="mlp")
    run = lb.fit(model, d, epochs=1, batch_size=20, evaluations=1, progress=False)
    x, c = next(iter(d.valid.batches(400)))
    known = c["label"] >= 0
    assert known.sum() == 20
    wrong = (model.classify(x).argmax(1) != c["label"])[known].double().mean().item()
    assert run.history[-1]["error"] == pytest.approx(wrong)


def test_means_are_over_the_examples_that_have_the_number():
    means = Means(torch.device("cpu"))
    means.add_each({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([])})
    means.add_each({"a": torch.tensor([6.0]), "b": torch.tensor([5.0])})
    means.add_each({"a": torch.tensor([100.0])}, counted=False)
    one = type("Fabric", (), {"world_size": 1})()
    assert means.over(one) == {"a": 3.0, "b": 5.0}
    again = Means(torch.device("cpu"))
    again.load(json.loads(json.dumps(means.state())))
    assert again.over(one) == means.over(one)
    again.add({"a": torch.tensor(1.0), "reconstruction": torch.tensor(-2.0), "kl": torch.tensor(3.0)}, 3)
    assert again.over(one) == {"a": 2.0, "b": 5.0, "reconstruction": -2.0, "kl": 3.0, "elbo": -5.0}


# --------------------------------------------------------------------------------------------------- the pace
def evaluations(pace, steps, seconds=None):
    """Return the steps at which a run evaluates."""
    at = []
    for step in range(1, steps + 1):
        if seconds:
            pace.looked(step, step * seconds)
        if pace.evaluation_is_due(step):
            at.append(step)
            pace.evaluated(step, pace.fraction(step))
    return at


def test_long_epochs_are_evaluated_within_and_early_on():
    # Two epochs of 10,000 steps, with a validation set of as many examples as 500 steps.
    at = evaluations(Pace(Settings(epochs=2, evaluations=10), 100, 1_000_000, 50_000, True), 20_000)
    assert at[0] == 200
    assert len(at) == 10
    assert at[1:] == [4000, 6000, 8000, 10_000, 12_000, 14_000, 16_000, 18_000, 20_000]


def test_short_epochs_are_evaluated_at_their_ends_at_most_so_often_in_all():
    at = evaluations(Pace(Settings(epochs=50, evaluations=25), 200, 50_000, 10_000, True), 50 * 250)
    assert at[:3] == [250, 1000, 1500]
    assert all(step % 250 == 0 for step in at)
    assert len(at) == 25
    assert evaluations(Pace(Settings(epochs=3), 500, 1437, 180, True), 9) == [3, 6, 9]
    assert evaluations(Pace(Settings(epochs=3, evaluations=1), 500, 1437, 180, True), 9) == [9]


def test_a_short_run_by_the_clock_is_evaluated_before_its_end():
    at = evaluations(Pace(Settings(minutes=1), 8, 5_000_000, 800, False), 6000, seconds=0.01)
    assert at[0] == 50
    assert 15 <= len(at) <= 25


def test_looks_are_at_every_step_where_they_cost_nothing_and_rarer_where_steps_are_short():
    every = Pace(Settings(epochs=9), 1, 1000, 10, True)
    rare = Pace(Settings(epochs=9), 1, 1000, 10, False)
    looks = {every: [], rare: []}
    for pace, at in looks.items():
        for step in range(1000):
            if pace.look_is_due(step):
                pace.looked(step, 1e-3 * step)
                at.append(step)
    assert len(looks[every]) == 1000
    gaps = np.diff(looks[rare])
    assert gaps[:3].tolist() == [2, 4, 8]
    assert gaps.max() == 64
    rare.looked(1000, 1000.0)  # a step of many seconds
    assert rare.look_is_due(1032)


def test_the_first_step_moves_the_weights(data):
    model = make_model(data)
    before = [p.clone() for p in model.parameters()]
    lb.fit(model, data, epochs=1, batch_size=10**6, progress=False)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


# ---------------------------------------------------------------------------------- an objective with its own player
class Critical(Objective):
    """The evidence lower bound, and a critic that tells codes from draws of the prior; the model pleases it."""

    def __init__(self, weight=0.1):
        super().__init__()
        self.weight = weight

    def start(self, model, data=None):
        self.critic = nn.Sequential(
            nn.Linear(model.latent_shape[0], 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)
        )

    def players(self, model):
        return super().players(model) | {"critic": list(self.critic.parameters())}

    def moves(self, model, x, c, progress):
        out = model(x, c)
        bound = (out.log_likelihood[0] - out.kl()).mean()
        pleased = self.critic(out.z[0]).mean()
        yield Move("model", self.weight * pleased - bound, bound, {"pleased": pleased.detach()})
        assert all(p.grad is None for p in [*model.parameters(), *self.parameters()])
        z = out.z[0].detach()
        loss = (
            nn.functional.softplus(-self.critic(z)).mean()
            + nn.functional.softplus(self.critic(torch.randn_like(z))).mean()
        )
        yield Move("critic", loss, None, {"critic": loss.detach()})


@pytest.mark.usefixtures("one_thread")
def test_a_run_with_a_critic_resumes_bit_for_bit(data, tmp_path):
    options = {"epochs": 4, "clip": 0.5, **SHORT}
    whole = lb.fit(make_model(data), data, objective=Critical(), out=tmp_path / "whole", **options)
    stop = Critical()
    moves = stop.moves

    def interrupting(model, x, c, progress):
        if progress.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return moves(model, x, c, progress)

    stop.moves = interrupting
    part = lb.fit(make_model(data), data, objective=stop, out=tmp_path / "parts", **options)
    assert (part.stopped, part.steps) == ("interrupted", 5)
    rest = lb.fit(
        make_model(data), data, objective=Critical(), out=tmp_path / "parts", resume=True, **options
    )
    assert same(whole.model, rest.model)
    one, two = (
        load_tensors(tmp_path / name / "checkpoint" / "state.safetensors")[0] for name in ("whole", "parts")
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert {
        "objective.critic.0.weight",
        "objective.critic.1.running_mean",
        "optimizer.critic.0.exp_avg",
    } <= one.keys()
    assert {"optimizer.0.exp_avg", "model.decoder.layers.1.weight"} <= one.keys()
    records = [
        [(r["bound"], r.get("pleased"), r.get("critic")) for r in run.history] for run in (whole, rest)
    ]
    assert records[0] == records[1]
    assert records[0][0][2] is not None


@pytest.mark.usefixtures("one_thread")
def test_critics_on_both_sides_of_a_switch_resume_bit_for_bit(data, tmp_path):
    def switch():
        return Switch(Critical(), Critical(), at=0.5)

    def interrupt(model, record):
        os.kill(os.getpid(), signal.SIGINT)

    options = {"epochs": 4, "evaluations": 4, **SHORT}
    whole = lb.fit(make_model(data), data, objective=switch(), out=tmp_path / "whole", **options)
    part = lb.fit(
        make_model(data), data, objective=switch(), out=tmp_path / "parts", callback=interrupt, **options
    )
    assert 0 < part.steps < whole.steps / 2  # the second critic has not moved yet
    rest = lb.fit(make_model(data), data, objective=switch(), out=tmp_path / "parts", resume=True, **options)
    assert same(whole.model, rest.model)
    one, two = (
        load_tensors(tmp_path / name / "checkpoint" / "state.safetensors")[0] for name in ("whole", "parts")
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    for side in ("first", "then"):
        assert {f"objective.{side}.critic.0.weight", f"optimizer.{side}_critic.0.exp_avg"} <= one.keys()


def test_each_move_moves_its_own_player_only(data):
    seen = []

    class Watched(Critical):
        def moves(self, model, x, c, progress):
            for move in super().moves(model, x, c, progress):
                before = [[p.clone() for p in ps] for ps in self.players(model).values()]
                yield move
                after = self.players(model).values()
                moved = [
                    any(not torch.equal(a, b) for a, b in zip(x, y, strict=True))
                    for x, y in zip(before, after, strict=True)
                ]
                seen.append((move.player, moved))

    lb.fit(make_model(data), data, objective=Watched(), epochs=1, **SHORT)
    assert seen == [("model", [True, False]), ("critic", [False, True])] * 3


def test_the_critic_starts_by_the_seed_and_leaves_the_generator(data):
    starts = []

    class Watched(Critical):
        def start(self, model, data=None):
            super().start(model, data)
            starts.append(self.critic[0].weight.detach().clone())

    for outside, seed in ((1, 0), (2, 0), (3, 1)):
        model = make_model(data)
        torch.manual_seed(outside)
        expected = torch.rand(1)
        torch.manual_seed(outside)
        lb.fit(model, data, objective=Watched(), epochs=1 / 3, seed=seed, **SHORT)
        assert torch.equal(torch.rand(1), expected)
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


def test_a_bad_critic_is_named(data):
    class Bad(Critical):
        def moves(self, model, x, c, progress):
            for move in super().moves(model, x, c, progress):
                bad = progress.step == 1 and move.player == "critic"
                yield (
                    move._replace(terms={"critic": move.loss * math.nan}, loss=move.loss * math.nan)
                    if bad
                    else move
                )

    with pytest.raises(NonFiniteError, match=r"step 1.*: critic became NaN"):
        lb.fit(make_model(data), data, objective=Bad(), epochs=1, **SHORT)


@pytest.mark.parametrize(
    ("players", "message"),
    [
        ({"critic": []}, "no parameter of 'critic'"),
        ({"a.b": []}, "a player's name is a word"),
        (None, "did you mean 'model'"),
    ],
)
def test_players_that_cannot_be_are_refused(data, players, message):
    class Odd(ELBO):
        def players(self, model):
            return super().players(model) | (players or {})

        def moves(self, model, x, c, progress):
            for move in super().moves(model, x, c, progress):
                yield move._replace(player="modle") if players is None else move

    with pytest.raises(ConfigError, match=message):
        lb.fit(make_model(data), data, objective=Odd(), epochs=1, **SHORT)


# ------------------------------------------------------------------------------------------------ damaged folders
@pytest.fixture
def done(data, tmp_path):
    lb.fit(make_model(data), data, epochs=2, out=tmp_path / "done", **SHORT)
    return tmp_path / "done"


def resume(data, out, **options):
    return lb.fit(make_model(data), data, out=out, resume=True, **({"epochs": 3} | SHORT | options))


def alter(path, change):
    tensors, state = load_tensors(path)
    tensors, state = change(tensors, state)
    save_tensors(path, tensors, state)


STATES = {
    "a list": lambda s: [1],
    "no step": lambda s: {k: v for k, v in s.items() if k != "step"},
    "half a step": lambda s: s | {"step": 2.5},
    "best in words": lambda s: s | {"best": {"bound": "x"}},
    "interval a number": lambda s: s | {"interval": 3},
    "seconds in words": lambda s: s | {"seconds": "long"},
}


@pytest.mark.parametrize("name", STATES)
def test_a_checkpoint_that_does_not_say_where_the_run_stands(data, done, name):
    alter(done / "checkpoint" / "state.safetensors", lambda t, s: (t, STATES[name](s)))
    with pytest.raises(RunError, match="does not say where the run stands"):
        resume(data, done)


TENSORS = {
    "a moment is lacking": lambda t: {k: v for k, v in t.items() if k != "optimizer.0.exp_avg"},
    "a moment is renamed": lambda t: {k.replace("0.exp_avg_sq", "0.square"): v for k, v in t.items()},
    "a count is no number": lambda t: t | {"optimizer.0.step": torch.zeros(2)},
    "an average of another shape": lambda t: t | {next(k for k in t if k.startswith("ema.")): torch.zeros(1)},
    "no average": lambda t: {k: v for k, v in t.items() if not k.startswith("ema.")},
    "an objective's": lambda t: t | {"objective.critic.weight": torch.zeros(1)},
    "nan": lambda t: t | {k: v * math.nan for k, v in t.items() if k.endswith("encoder.layers.1.weight")},
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_checkpoint_whose_tensors_do_not_fit(data, done, name):
    alter(done / "checkpoint" / "state.safetensors", lambda t, s: (TENSORS[name](t), s))
    with pytest.raises(RunError, match=r"state\.safetensors"):
        resume(data, done)


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(b"no")])
def test_a_run_whose_best_weights_are_lost_goes_on(data, done, harm):
    harm(done / "model.safetensors")
    with pytest.warns(UserWarning, match="its best weights so far are lost"):
        run = resume(data, done)
    assert run.steps == 9
    assert same(run.model, lb.load(done))


def test_weights_that_are_not_numbers_are_refused_by_name(done):
    def ruin(tensors, state):
        tensors["encoder.layers.1.weight"][0, 0] = math.nan
        return tensors, state

    alter(done / "model.safetensors", ruin)
    with pytest.raises(RunError, match=r"NaN or Inf in 'encoder\.layers\.1\.weight'"):
        lb.load(done)


LINES = {
    "no object": "[1]",
    "no step": '{"split": "train", "epoch": 1.0, "seconds": 1.0}',
    "no split": '{"step": 3, "epoch": 1.0, "seconds": 1.0}',
    "words": '{"step": 3, "epoch": 1.0, "seconds": 1.0, "split": "valid", "bound": "high"}',
    "no seconds": '{"step": 3, "epoch": 1.0, "split": "train"}',
    "no bound": '{"step": 3, "epoch": 1.0, "seconds": 1.0, "split": "valid"}',
    "no epoch": '{"step": 3, "epoch": NaN, "seconds": 1.0, "split": "train"}',
    "no float": '{"step": 3, "epoch": 1.0, "seconds": 1.0, "split": "train", "kl": 1' + "0" * 400 + "}",
    "no json": "{",
    "deep": "[" * 100_000,
    "digits": '{"step": ' + "1" * 5000 + "}",
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_of_metrics_that_is_no_record_is_named(data, done, name):
    good = (done / "metrics.jsonl").read_text().splitlines()
    (done / "metrics.jsonl").write_text("\n".join([good[0], LINES[name], *good[1:]]))
    with pytest.raises(RunError, match=r"line 2 of .*metrics.jsonl is no record"):
        RunFolder(done).history()
    (done / "metrics.jsonl").write_bytes(good[0].encode() + b"\n\xff\xfe\n" + good[1].encode())
    with pytest.raises(RunError, match="line 2"):
        RunFolder(done).history()


def test_a_last_line_that_was_cut_off_is_left_out(done):
    history = RunFolder(done).history()
    with (done / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "ep')
    assert RunFolder(done).history() == history


CONFIGS = {
    "model key": (lambda c: c["model"].update(more=1), "in 'more'"),
    "objective key": (lambda c: c["objective"].update(more=1), "in 'more'"),
    "no objective": (lambda c: c.pop("objective"), "no section 'objective'"),
    "no training": (lambda c: c.pop("training"), "does not say how the run was trained"),
    "no clip, another asked for": (lambda c: c["training"].pop("clip"), "the run has 200.0"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_was_edited_is_refused_by_its_reason(data, done, name):
    change, message = CONFIGS[name]
    config = json.loads((done / "config.json").read_text())
    change(config)
    (done / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=message):
        resume(data, done, **({"clip": 1.0} if "clip" in name else {}))


@pytest.mark.parametrize("objective", ["elbo", {"type": "switch", "first": "elbo", "then": "elbo"}])
def test_a_run_from_before_an_option_was_there_had_its_usual_value(data, tmp_path, objective):
    def model():
        torch.manual_seed(0)
        return lb.VAE.for_data(data, latent=4, posterior="vq", prior={"type": "codebook", "codes": 4})

    options = {"objective": objective, "out": tmp_path, "epochs": 1, **SHORT}
    lb.fit(model(), data, **options)
    config = json.loads((tmp_path / "config.json").read_text())
    for slot in ("posterior", "prior"):
        del config["model"][slot]["stride"]
    own = config["objective"]
    for one in (own["first"], own["then"]) if "first" in own else (own,):
        del one["free_bits_of"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert lb.fit(model(), data, **options | {"epochs": 2}, resume=True).steps == 6
    config["model"]["prior"]["codes"] = 5
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match="in 'prior'"):
        lb.fit(model(), data, **options | {"epochs": 3}, resume=True)


def test_a_run_is_not_resumed_to_a_length_that_it_has_passed(data, done):
    before = (done / "config.json").read_bytes()
    with pytest.raises(RunError, match=r"has done 6 steps, but epochs=1 are 3"):
        resume(data, done, epochs=1)
    assert (done / "config.json").read_bytes() == before
    assert resume(data, done, epochs=2).steps == 6


# ------------------------------------------------------------------------------------------------- small things
def test_the_model_knows_the_data_of_its_last_fit(data, tmp_path):
    other = lb.data.load(
        np.random.default_rng(0).integers(0, 2, (100, 1, 8, 8)).astype("u1"), binarize="none"
    )
    model = make_model(data)
    lb.fit(model, data, epochs=1 / 3, **SHORT)
    lb.fit(model, other, epochs=1, **SHORT)
    assert model.data_spec == other.spec


def test_a_run_says_in_a_line_how_it_ended(data, tmp_path):
    run = lb.fit(make_model(data), data, epochs=2, out=tmp_path, **SHORT)
    assert repr(run) == f"Run({tmp_path}, 2 epochs, best {run.best['bound']:.2f})".replace("best -", "best −")
