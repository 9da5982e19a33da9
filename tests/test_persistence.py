"""A model on disk comes back to the same numbers; what is damaged, foreign or unfit is refused and never executed."""

import json
import math
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from toys import CELLS, points_on_grids, with_cells

import lowerbound as lb
from lowerbound import persistence
from lowerbound.defaults import recipe
from lowerbound.errors import ConfigError, DataError, LowerboundError, RunError
from lowerbound.evaluation import bound
from lowerbound.objectives import ELBO, ImportanceWeighted, Linear, Switch

SMALL = {"network": {"hidden": [8]}, "latent": 2}
RUN = {"batch_size": 20, "precision": "fp32", "progress": False}


def arrays(n=60):
    return np.random.default_rng(5).standard_normal((n, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def data():
    return lb.data.load(arrays())


@pytest.fixture
def model(data):
    return lb.VAE.for_data(data, **SMALL)


@pytest.fixture
def saved(model, tmp_path):
    return lb.save(model, tmp_path / "run")


def numbers(model):
    x = torch.from_numpy(arrays(5)).to(model.dtype)
    return torch.cat(
        [
            model.log_prob(x, samples=3, seed=1),
            model.sample(2, mean=False, seed=2).flatten(),
            model.encode(x).flatten(),
        ]
    )


def rewrite(folder, change):
    """Change a config.json in place."""
    path = folder / "config.json"
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))


def retensor(folder, change):
    """Change the weights in place."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def digest(folder):
    """All that lies in a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ----------------------------------------------------------------------------------------------- there and back
@pytest.mark.processes
def test_a_new_process_gets_the_same_numbers(data, tmp_path):
    models = {}
    for dtype in ("float32", "float64"):
        models[dtype] = lb.VAE.for_data(data, **SMALL).to(getattr(torch, dtype))
        with torch.no_grad():
            for parameter in models[dtype].parameters():
                parameter.add_(torch.randn_like(parameter))
        lb.save(models[dtype], tmp_path / dtype)
    np.save(tmp_path / "x.npy", arrays(5))
    code = """
import numpy as np, torch, lowerbound as lb
for dtype in ("float32", "float64"):
    model = lb.load(dtype)
    assert not model.training
    x = torch.from_numpy(np.load("x.npy")).to(model.dtype)
    drawn = model.sample(2, mean=False, seed=2).flatten()
    numbers = [model.log_prob(x, samples=3, seed=1), drawn, model.encode(x).flatten()]
    np.save(f"{dtype}.npy", torch.cat(numbers).numpy())
"""
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path, env=environment)
    for dtype, model in models.items():
        there = torch.from_numpy(np.load(tmp_path / f"{dtype}.npy"))
        assert there.dtype == getattr(torch, dtype)
        assert torch.equal(there, numbers(model))


@pytest.mark.parametrize(
    "slots",
    [
        {"posterior": "full_covariance_gaussian"},
        {"likelihood": {"type": "gaussian", "scale": "predicted"}},
        {"likelihood": {"type": "gaussian", "scale": "optimal"}, "transform": "none"},
        {
            "network": {
                "hidden": [6, 6],
                "activation": "gated",
                "residual": True,
                "norm": True,
                "dropout": 0.5,
            }
        },
        {"network": {"hidden": []}},
    ],
)
def test_the_same_numbers_whatever_the_slots(data, tmp_path, slots):
    model = lb.VAE.for_data(data, latent=2, **slots)
    again = lb.load(lb.save(model, tmp_path / "run"))
    assert torch.equal(numbers(again), numbers(model))
    assert again.data_spec == data.spec


def test_a_model_without_data_comes_back_too(tmp_path):
    model = lb.VAE(
        lb.nn.MLP((1, 3, 3), (2, 2), hidden=[4]),
        lb.posteriors.DiagonalGaussian(2),
        lb.priors.StandardNormal(2),
        lb.nn.MLP((2,), (1, 1, 3, 3), hidden=[4]),
        lb.likelihoods.Bernoulli((1, 3, 3)),
    )
    again = lb.load(lb.save(model, tmp_path / "run"))
    assert again.data_spec is None
    assert torch.equal(again.sample(3, seed=1), model.sample(3, seed=1))


def test_a_module_of_the_users_own_is_passed_to_load(data, tmp_path):
    def net():
        return nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (2, 2)))

    model = lb.VAE.for_data(data, latent=2, encoder=net())
    folder = lb.save(model, tmp_path / "run")
    with pytest.raises(
        ConfigError, match=r"encoder of .* is your own class .*Sequential.*load\(.*, encoder=\.\.\.\)"
    ):
        lb.load(folder)
    assert torch.equal(numbers(lb.load(folder, encoder=net())), numbers(model))
    with pytest.raises(RunError, match=r"lacks the tensor 'encoder.weight'"):
        lb.load(folder, encoder=nn.Linear(4, 4))
    with pytest.raises(ConfigError, match="no part 'encodr'; did you mean 'encoder'"):
        lb.load(folder, encodr=net())
    with pytest.raises(ConfigError, match="takes a built module for encoder; got 'mlp'"):
        lb.load(folder, encoder="mlp")


@pytest.mark.runs
def test_a_run_with_nested_objective_says_so_in_its_config(model, data, tmp_path):
    objective = Switch(ELBO(beta=Linear(length=0.25)), ELBO(samples=2), at=0.5)
    lb.fit(model, data, objective=objective, out=tmp_path / "run", epochs=1, **RUN)
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    built = persistence.build_objective(stored["objective"])
    assert repr(built) == repr(objective)
    assert stored["training"]["epochs"] == 1
    assert stored["data"]["spec"]["event_shape"] == [4]


@pytest.mark.runs
def test_a_run_is_loadable_and_keeps_the_weights_it_returned(model, data, tmp_path):
    run = lb.fit(model, data, out=tmp_path / "run", epochs=2, **RUN)
    assert torch.equal(numbers(lb.load(tmp_path / "run")), numbers(run.model))


def test_the_usual_length_is_50_epochs_or_4000_steps(model, data, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(persistence, "train", lambda *a, **k: asked.update(settings=a[3]))
    lb.fit(model, data, batch_size=20)
    assert asked["settings"].epochs == persistence.default_epochs(48, 20) == 4000 / 3 + 2 / 3
    assert persistence.default_epochs(50_000, 256) == 50
    lb.fit(model, data, minutes=2)
    assert (asked["settings"].epochs, asked["settings"].minutes) == (None, 2)


# -------------------------------------------------------------------------------------------- what load refuses
def test_a_missing_folder_and_one_without_a_config(tmp_path):
    with pytest.raises(
        RunError, match=r"nowhere does not exist; `lowerbound train SOURCE --out .*` makes one"
    ):
        lb.load(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"is not a run's folder: config.json is missing"):
        lb.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "", "[]", "3", "null", "{}", '{"format": "1"}', "\udcff".encode("utf8", "surrogateescape")]
)
def test_a_config_that_is_none(saved, text):
    (saved / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunError, match=r"config.json (is no configuration of a run|describes no model)"):
        lb.load(saved)


def test_a_config_of_a_newer_version(saved):
    rewrite(saved, lambda c: c.update(format=persistence.FORMAT + 1, lowerbound="9.9"))
    with pytest.raises(RunError, match=r"written by lowerbound 9.9; this is lowerbound .* upgrade it"):
        lb.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"]["encoder"].update(type="mpl"), "no encoder 'mpl'; did you mean 'mlp'"),
        (
            lambda c: c["model"]["encoder"].update(type="os.system"),
            "no encoder 'os.system'; options: affine_mlp, cells, conv, mlp, parts, resnet",
        ),
        (lambda c: c["model"].update(prior={"type": "builtins.eval"}), "no prior 'builtins.eval'"),
        (lambda c: c["model"]["encoder"].update(hiden=[3]), "no option 'hiden'; did you mean 'hidden'"),
        (lambda c: c["model"]["encoder"].update(hidden="x"), "encoder.hidden must be a list"),
        (lambda c: c["model"].pop("decoder"), "describes no model"),
        (lambda c: c["model"].update(decoder=None), "describes no model"),
        (lambda c: c["model"].update(decoder="mlp"), "describes no model"),
        (lambda c: c.pop("model"), "describes no model"),
        (lambda c: c.update(model=[]), "describes no model"),
        (lambda c: c["model"].pop("latent"), "describes no model"),
        (lambda c: c["model"].update(latent="2"), "describes no model"),
        (lambda c: c["model"].update(latent=-2), "describes no model"),
        (lambda c: c["model"].update(dtype="load"), "describes no model"),
        (lambda c: c.update(data=[1]), "describes no model"),
        (lambda c: c.pop("data"), "describes no model"),
        (lambda c: c["data"].update(spec={}), "the data spec lacks"),
        (lambda c: c["data"]["spec"].update(values="bits"), "values='bits' is not known"),
    ],
)
def test_a_config_that_describes_no_model(saved, change, message):
    rewrite(saved, change)
    with pytest.raises(RunError) as caught:
        lb.load(saved)
    assert message in str(caught.value)
    assert "config.json" in str(caught.value)


DAMAGE = (None, True, 0, -1, 3, 2.5, 10**30, "", "x", [], {}, [1, 2], ["a", None], {"type": "x"}, math.nan)


def places(tree, path=()):
    """Yield the path of every entry of a JSON tree."""
    for key, value in (
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    ):
        yield (*path, key)
        yield from places(value, (*path, key))


def damage(tree, path, how):
    """Return the tree with one entry replaced, or left out, or under another name."""
    tree = json.loads(json.dumps(tree))
    at = tree
    for key in path[:-1]:
        at = at[key]
    if how < len(DAMAGE):
        at[path[-1]] = DAMAGE[how]
    else:
        old = at.pop(path[-1])
        at.append(old) if isinstance(at, list) else at.update({"more": old} if how > len(DAMAGE) else {})
    return tree


@pytest.mark.slow
def test_a_configuration_damaged_anywhere_is_read_or_refused_in_one_way(tmp_path):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((40, 3)).astype(np.float32)
    kinds = {"kind": np.arange(40) % 2, "start": x[:, :2], "grid": rng.random((40, 1, 6, 6))}
    tables = lb.data.load(x, condition=kinds)
    labelled = lb.data.load("digits", condition="label")
    grid = {"grid": {"type": "map", "channels": [2], "blocks": 1, "features": 2}}
    refused = []
    for name, data, condition in (("tables", tables, grid), ("labelled", labelled, {})):
        lb.save(
            lb.VAE.for_data(data, latent=2, network={"hidden": [4]}, condition=condition), tmp_path / name
        )
        path = tmp_path / name / "config.json"
        config = json.loads(path.read_text())
        config["data"]["options"] = json.loads(json.dumps(data.options))
        everywhere = list(places(config))
        for _ in range(150):
            at = everywhere[rng.integers(len(everywhere))]
            path.write_text(json.dumps(damage(config, at, rng.integers(len(DAMAGE) + 2))))
            try:
                lb.load(tmp_path / name)
                if name == "labelled":
                    persistence.open_data(persistence.read_config(tmp_path / name))
            except (RunError, DataError) as error:
                refused.append((at, error))
    assert 20 < len(refused) < 280
    for at, error in refused:
        # Where the name of the source or a shape is damaged, there are other data, or none.
        assert isinstance(error, RunError) or at[0] == "data", at
        assert len(str(error)) < 700, at


@pytest.mark.parametrize("value", ["[" * 100_000, "[" * 9000 + "]" * 9000, "9" * 5000])
def test_a_config_that_is_too_deep_or_too_long(saved, value):
    (saved / "config.json").write_text(f'{{"format": {value}}}')
    with pytest.raises(RunError, match=r"config\.json (is no configuration of a run|has format)") as caught:
        lb.load(saved)
    assert len(str(caught.value)) < 700


def test_a_file_that_is_no_run_is_called_a_file(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RunError, match=r"x\.csv is a file, not a run's folder; data are read by"):
        lb.load(tmp_path / "x.csv")


def test_a_path_may_start_at_the_users_home(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    lb.save(model, "~/kept")
    assert (tmp_path / "kept" / "config.json").is_file()
    assert torch.equal(numbers(lb.load("~/kept")), numbers(model))
    assert not (tmp_path / "~").exists()


def test_loading_leaves_the_global_generators_alone(saved):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    lb.load(saved)
    assert torch.equal(torch.rand(3), expected)


NAME = "decoder.output.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(NAME), f"lacks the tensor '{NAME}'"),
        (
            lambda t: t.update(more=torch.zeros(1)),
            "has the tensor 'more', which the model's configuration does not know",
        ),
        (
            lambda t: t.update({NAME: torch.zeros(5)}),
            rf"'{NAME}' as torch.float32 \(5,\), .* torch.float32 \(4,\)",
        ),
        (
            lambda t: t.update({NAME: t[NAME].double()}),
            rf"'{NAME}' as torch.float64 \(4,\), .* torch.float32",
        ),
        (lambda t: t.update({k: v.half() for k, v in t.items()}), "as torch.float16"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named(saved, change, message):
    retensor(saved, change)
    with pytest.raises(RunError, match=message):
        lb.load(saved)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-5], lambda b: b[:20], lambda b: b"", lambda b: b"\xff" * len(b)]
)
def test_damaged_weights(saved, damage):
    path = saved / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError, match=r"model.safetensors is damaged or no safetensors file"):
        lb.load(saved)


def test_missing_weights(saved):
    (saved / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"model.safetensors does not exist"):
        lb.load(saved)


class Trap:
    """Its unpickling makes a file."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


def _use(folder, name, model, data):
    """Do what reads the file of this name."""
    if name.startswith("checkpoint"):
        lb.fit(model, data, out=folder, resume=True, epochs=2, progress=False)
    else:
        lb.load(folder)


@pytest.mark.runs
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "checkpoint/state.safetensors"])
@pytest.mark.parametrize(
    ("write", "read"),
    [(pickle.dump, pickle.load), (torch.save, lambda file: torch.load(file, weights_only=False))],
    ids=["pickle", "torch"],
)
def test_a_pickle_is_refused_and_never_executed(data, model, write, read, name, tmp_path):
    lb.fit(model, data, out=tmp_path / "run", epochs=1, **RUN)
    target = tmp_path / "executed"
    with (tmp_path / "run" / name).open("wb") as file:
        write({"weight": Trap(target)}, file)
    before = digest(tmp_path / "run")
    with pytest.raises(RunError, match=r"no safetensors file|no configuration"):
        _use(tmp_path / "run", name, model, data)
    assert not target.exists()
    assert digest(tmp_path / "run") == before
    with (tmp_path / "run" / name).open("rb") as file:
        read(file)["weight"].close()
    assert target.exists()  # the trap works: what was refused would have run


def test_an_unknown_device_is_refused(saved):
    with pytest.raises(ConfigError, match="device 'gpu' cannot be used here"):
        lb.load(saved, device="gpu")


# --------------------------------------------------------------------------------------------- what is not lost
def test_save_and_fit_do_not_replace_another_run_unasked(model, data, saved):
    before = digest(saved)
    with pytest.raises(RunError, match="holds another run"):
        lb.save(model, saved)
    with pytest.raises(RunError, match="holds another run"):
        lb.fit(model, data, out=saved, epochs=1, **RUN)
    assert digest(saved) == before
    lb.save(model, saved, overwrite=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 1, "learning_rat": 1},
        {"epochs": 1, "learning_rate": -1},
        {"epochs": 1, "minutes": 1},
        {"epochs": 1, "objective": "elboo"},
        {"epochs": 1, "objective": ELBO(beta=Linear(length=2, unit="epochs"))},
        {"epochs": 1, "device": "gpu"},
        {"epochs": 1, "resume": True},
    ],
)
def test_overwriting_with_a_wrong_option_leaves_the_old_run_whole(model, data, saved, wrong):
    before = digest(saved)
    with pytest.raises(LowerboundError):
        lb.fit(model, data, out=saved, overwrite=True, **RUN | wrong)
    assert digest(saved) == before


def test_overwriting_with_data_that_do_not_fit_leaves_the_old_run_whole(model, saved):
    before = digest(saved)
    with pytest.raises(LowerboundError, match=r"has event shape|needs x"):
        lb.fit(model, lb.data.load(arrays()[:, :3]), out=saved, overwrite=True, epochs=1, **RUN)
    assert digest(saved) == before


def test_overwriting_with_a_network_that_does_not_fit_leaves_the_old_run_whole(data, saved):
    before = digest(saved)
    flat = lb.VAE.for_data(data, latent=2, encoder=nn.Linear(4, 4))
    with pytest.raises(LowerboundError, match="needs \\(2, 2\\) per example"):
        lb.fit(flat, data, out=saved, overwrite=True, epochs=1, **RUN)
    assert digest(saved) == before


def test_the_trial_before_a_run_changes_neither_the_model_nor_the_random_numbers(data, monkeypatch):
    model = lb.VAE.for_data(data, latent=2, likelihood={"type": "gaussian", "scale": "optimal"})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    monkeypatch.setattr(persistence, "train", lambda *a, **k: None)
    lb.fit(model, data, epochs=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training


def test_saving_a_model_that_cannot_be_described_leaves_the_old_run_whole(model, saved):
    before = digest(saved)
    model.encoder.hidden = nn.Linear(1, 1)
    with pytest.raises(ConfigError, match="encoder MLP does not keep its argument 'hidden'"):
        lb.save(model, saved, overwrite=True)
    assert digest(saved) == before


# ------------------------------------------------------------------------------------------------------ resuming
@pytest.fixture
def half(data, tmp_path):
    """A run of two epochs."""
    torch.manual_seed(1)
    lb.fit(lb.VAE.for_data(data, **SMALL), data, out=tmp_path / "half", epochs=2, learning_rate=1e-3, **RUN)
    return tmp_path / "half"


@pytest.mark.runs
def test_resuming_takes_the_settings_of_the_run(half, data, model):
    run = lb.fit(model, data, out=half, resume=True, epochs=3, progress=False)
    assert run.steps == 9  # three epochs of the stored batch size
    stored = json.loads((half / "config.json").read_text())["training"]
    assert (stored["epochs"], stored["minutes"]) == (3, None)
    assert (stored["learning_rate"], stored["batch_size"]) == (1e-3, 20)


@pytest.mark.runs
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"learning_rate": 1e-2}, "with learning_rate=0.01: the run has 0.001"),
        ({"batch_size": 10}, "with batch_size=10: the run has 20"),
        ({"seed": 3}, "with seed=3: the run has 0"),
        ({"clip": None}, "with clip=None: the run has 200.0"),
        (
            {"objective": ELBO(beta=2.0)},
            "its objective section differs from the one asked for, in 'beta': 1.0 there, 2.0 here",
        ),
        ({"overwrite": True}, "excludes overwrite"),
    ],
)
def test_resuming_refuses_changed_choices(half, data, model, asked, message):
    before = digest(half)
    with pytest.raises(RunError) as caught:
        lb.fit(model, data, out=half, resume=True, progress=False, **asked)
    assert message in str(caught.value)
    assert digest(half) == before


@pytest.mark.runs
def test_resuming_refuses_another_model_and_other_data(half, data, model):
    with pytest.raises(RunError, match=r"its model section differs .* in 'encoder'"):
        lb.fit(
            lb.VAE.for_data(data, latent=2, encoder={"hidden": [9]}),
            data,
            out=half,
            resume=True,
            progress=False,
        )
    other = lb.data.load(arrays(), seed=1)
    with pytest.raises(RunError, match=r"its data section differs .* in 'options'"):
        lb.fit(model, other, out=half, resume=True, progress=False)


def test_resuming_without_a_run_is_refused(model, data, saved):
    with pytest.raises(RunError, match="resume needs out="):
        lb.fit(model, data, resume=True)
    with pytest.raises(RunError, match="no checkpoint to resume from"):
        lb.fit(model, data, resume=True, out=saved / "nowhere")


# ----------------------------------------------------------------------------------------------------- open_data
@pytest.fixture
def table(tmp_path):
    """A run on a table whose labels stand in a column, and the table's folder."""
    x = arrays()
    lines = [f"{a},{b},{c},{'odd' if i % 2 else 'even'}" for i, (a, b, c, _) in enumerate(x)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,kind", *lines]))
    data = lb.data.load(tmp_path / "t.csv", label_column="kind")
    lb.fit(lb.VAE.for_data(data, **SMALL), data, out=tmp_path / "run", epochs=1, **RUN)
    return tmp_path


@pytest.mark.runs
def test_the_runs_own_data_come_back(table):
    config = persistence.read_config(table / "run")
    data = persistence.open_data(config)
    assert data.spec == lb.data.load(table / "t.csv", label_column="kind").spec


@pytest.mark.runs
def test_another_table_is_read_by_the_names_of_the_columns(table):
    (table / "other.csv").write_text("c,more,a,b\n" + "\n".join(f"{i}3,9,{i}1,{i}2" for i in range(1, 5)))
    data = persistence.open_data(persistence.read_config(table / "run"), str(table / "other.csv"))
    assert data.spec.columns == ("a", "b", "c")
    x, _ = next(data.train.batches(9))
    assert (x[:, 1] - x[:, 0] == 1).all()
    assert (x[:, 2] - x[:, 0] == 2).all()
    (table / "fewer.csv").write_text("c,a\n1,2\n3,4\n5,6")
    with pytest.raises(LowerboundError, match="no column 'b'"):
        persistence.open_data(persistence.read_config(table / "run"), str(table / "fewer.csv"))


@pytest.mark.runs
def test_data_that_only_the_caller_has_or_of_another_shape_are_refused(half, table):
    with pytest.raises(DataError, match="array in memory, which only you have; name a SOURCE"):
        persistence.open_data(persistence.read_config(half))
    np.save(table / "wide.npy", arrays().repeat(2, axis=1))
    with pytest.raises(DataError, match=r"shape \(8,\), but the model needs \(4,\)"):
        persistence.open_data(persistence.read_config(half), str(table / "wide.npy"))


def test_a_saved_model_remembers_the_binarisation(tmp_path):
    bits = lb.data.load("digits", binarize="static")
    lb.save(lb.VAE.for_data(bits, **SMALL), tmp_path / "run")
    assert persistence.open_data(persistence.read_config(tmp_path / "run")).spec.binarize == "static"


def test_only_one_of_several_processes_touches_the_folder(model, data, saved, monkeypatch):
    before = digest(saved)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(persistence, "train", lambda *a, **k: None)
    lb.fit(model, data, out=saved, overwrite=True, epochs=1, **RUN)
    assert digest(saved) == before


@pytest.mark.runs
def test_a_run_of_format_1_is_read_and_resumed(model, data, tmp_path):
    lb.fit(model, data, out=tmp_path / "run", epochs=1, **RUN)
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    old = json.loads(json.dumps(config)) | {"format": 1}
    del old["model"]["condition"], old["model"]["classifier"], old["training"]["labelled_per_batch"]
    del old["data"]["spec"]["conditions"]
    for name in ("condition", "observed", "labelled"):
        del old["data"]["options"][name]
    for side in ("encoder", "decoder"):
        del old["model"][side]["injection"]
    path.write_text(json.dumps(old))
    assert persistence.read_config(tmp_path / "run") == config
    again = lb.load(tmp_path / "run")
    assert lb.fit(again, data, out=tmp_path / "run", resume=True, epochs=2, **RUN).history[-1]["epoch"] == 2
    path.write_text(json.dumps(old | {"model": None}))
    with pytest.raises(RunError, match="is no configuration of a run"):
        persistence.read_config(tmp_path / "run")


# ------------------------------------------------------------------------------------------ a latent with cells
def cell_model(data):
    torch.manual_seed(1)
    return lb.VAE.for_data(
        data,
        likelihood={"type": "gaussian", "scale": 0.05},
        condition={"grid": {"type": "map", "features": 4, "channels": [8, 8], "blocks": 1}},
        **with_cells(hidden=[32]),
    )


def everything(model, data):
    x, c = next(data.test.batches(40))
    one = {name: value[0] for name, value in c.items()}
    return torch.cat(
        [
            model.log_prob(x, c, samples=3, seed=1),
            model.encode(x, c).flatten(),
            model.sample(9, one, seed=2, mean=False).flatten(),
            model.sample(9, one, seed=2, spread=True).flatten(),
            model.prior_at(c).probs.flatten().detach(),
        ]
    )


@pytest.mark.runs
def test_a_run_from_before_there_was_streaming_is_read_whole_and_resumed(tmp_path, monkeypatch):
    path = tmp_path / "data.npy"
    np.save(path, arrays())
    data = lb.data.load(path, stream=False)
    lb.fit(lb.VAE.for_data(data, **SMALL), data, epochs=1, out=tmp_path / "run", **RUN)

    def forget(stored):
        for option in ("stream", "memory"):
            del stored["data"]["options"][option]

    rewrite(tmp_path / "run", forget)
    # What would be streamed by itself today was not then, and has other splits.
    monkeypatch.setattr("lowerbound.data.files.available_memory", lambda: 0)
    config = persistence.read_config(tmp_path / "run")
    again = persistence.open_data(config)
    assert torch.equal(again.train.batch(torch.arange(9))[0], data.train.batch(torch.arange(9))[0])
    more = lb.fit(
        lb.VAE.for_data(data, **SMALL), data, epochs=2, out=tmp_path / "run", resume=True, progress=False
    )
    assert more.stopped == "finished"


def test_a_model_with_cells_comes_back_with_its_centres(tmp_path):
    data = points_on_grids()
    model = cell_model(data)
    model.decoder.reach.mul_(1.5)
    lb.nn.cells.place_cells(model.encoder, model.decoder, torch.randn(CELLS, 2), model.decoder.reach)
    again = lb.load(lb.save(model, tmp_path / "run"))
    assert torch.equal(again.encoder.centres, model.encoder.centres)
    assert torch.equal(again.decoder.reach, model.decoder.reach)
    assert torch.equal(everything(again, data), everything(model, data))
    assert again.data_spec == data.spec
    assert again.condition.names == ("start", "grid")


def test_without_a_map_and_without_data_too(tmp_path):
    model = lb.VAE(
        lb.nn.CellEncoder((2,), (2, 7), cells=5, hidden=(4,)),
        lb.posteriors.CellGaussian(7, cells=5),
        lb.priors.CellPrior(7, cells=5),
        lb.nn.CellDecoder((7,), (1, 2), cells=5, hidden=(4,), features=3),
        lb.likelihoods.Gaussian(2, scale=0.1),
    )
    lb.nn.cells.place_cells(model.encoder, model.decoder, torch.randn(5, 2), torch.ones(2))
    again = lb.load(lb.save(model, tmp_path / "run"))
    assert torch.equal(again.sample(9, seed=1), model.sample(9, seed=1))
    x = torch.randn(9, 2)
    assert torch.equal(again.log_prob(x, samples=2, seed=1), model.log_prob(x, samples=2, seed=1))


@pytest.mark.runs
def test_a_model_of_a_set_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    sets = rng.standard_normal((6, 4, 3))
    sets[0] = np.nan
    condition = {"boxes": lb.data.Shared(sets, np.arange(60) % 6, "set")}
    data = lb.data.load(arrays(), condition=condition)
    model = lb.VAE.for_data(data, latent=2, condition={"boxes": {"size": 4, "hidden": [5]}})
    assert model.condition["boxes"].missing
    lb.fit(model, data, epochs=1, progress=False)
    again = lb.load(lb.save(model, tmp_path / "run"))
    for boxes in (sets[3], sets[3, :2], None):
        given = {"boxes": boxes}
        assert torch.equal(again.sample(5, given, seed=1), model.sample(5, given, seed=1))


@pytest.mark.runs
def test_training_a_model_with_cells_and_resuming_it(tmp_path):
    """The grid says where x lies: the prior learns it, worth the logarithm of the number of places."""
    data = points_on_grids(problems=120)
    model = cell_model(data)
    before = bound(model, data.test)
    settings = {"batch_size": 64, "learning_rate": 3e-3, "precision": "fp32", "progress": False}
    whole = lb.fit(cell_model(data), data, epochs=8, objective="elbo", out=tmp_path / "whole", **settings)
    after = bound(whole.model, data.test)
    assert after.elbo > before.elbo + 1
    # A flat prior pays log 6 nats for the cell.
    x, c = next(data.test.batches(1000))
    k = whole.model.infer(x, c).mean[:, :CELLS].argmax(1)
    paid = [
        -m.prior_at(c).log_probs.detach().gather(1, k[:, None]).mean().item() for m in (model, whole.model)
    ]
    assert paid[0] > 1.2
    assert paid[1] < 0.4
    assert after.kl > 0.5  # of which the rest is that of the Gaussian part
    given = {name: value[0] for name, value in c.items()}
    drawn = whole.model.sample(200, given, spread=True, seed=0)
    place = given["grid"].reshape(2, 4, 3, 4).amax((1, 3)).flatten().argmax().item()
    low = torch.tensor([-3.0 + 2 * (place % 3), 10.0 + place // 3])
    inside = ((drawn > low - 0.1) & (drawn < low + torch.tensor([2.0, 1.0]) + 0.1)).all(1)
    assert inside.double().mean() > 0.7  # a sixth by chance

    def stop(model, record):
        if record["step"] >= 90:
            os.kill(os.getpid(), signal.SIGINT)

    settings |= {"epochs": 8, "objective": "elbo", "out": tmp_path / "parts"}
    half = lb.fit(cell_model(data), data, callback=stop, **settings)
    assert 90 <= half.steps < whole.steps
    run = lb.fit(cell_model(data), data, resume=True, **settings)
    assert run.steps == whole.steps
    assert torch.equal(everything(run.model, data), everything(whole.model, data))
    assert torch.equal(everything(lb.load(tmp_path / "whole"), data), everything(whole.model, data))
    other = lb.VAE.for_data(data, likelihood={"type": "gaussian", "scale": 0.05}, **with_cells(hidden=[32]))
    with pytest.raises(RunError, match=r"its model section differs .* in 'condition'"):
        lb.fit(other, data, out=tmp_path / "parts", resume=True, progress=False)


@pytest.mark.runs
def test_fit_without_an_objective_takes_what_suits_the_data_and_resumes_with_it(tmp_path):
    rows = pd.DataFrame(np.random.default_rng(0).choice(list("abc"), (80, 6)), columns=list("uvwxyz"))
    data = lb.data.load(rows)
    model = lb.VAE.for_data(data, latent=2, network={"type": "mlp", "hidden": [8]})
    expected, settings = recipe(data, model, {})
    lb.fit(model, data, epochs=1, out=tmp_path, progress=False)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert type(expected) is ImportanceWeighted
    assert stored["objective"]["type"] == "importance_weighted"
    assert stored["objective"]["samples"] == expected.samples
    assert stored["training"]["batch_size"] == settings["batch_size"] == 32
    assert lb.fit(model, data, epochs=2, out=tmp_path, resume=True, progress=False).epochs == 2
