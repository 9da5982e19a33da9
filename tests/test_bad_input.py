"""Mistakes a user makes, end to end: one clear line that says what was asked, what came and what to do; status 2."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from toys import ended as run

import lowerbound.report

pytestmark = pytest.mark.runs

FAST = ["--epochs", "1", "--out", "new", "--quiet"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with good and bad sources and configurations, and runs that are whole or damaged."""
    here = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(2)
    x = rng.standard_normal((30, 3)).astype(np.float32)
    np.save(here / "good.npy", x)
    np.save(here / "two.npy", x[:2])
    np.save(here / "inf.npy", np.where(np.arange(90).reshape(30, 3) == 50, np.inf, x))
    np.save(here / "wide.npy", np.hstack([x, x]))
    np.save(here / "grey.npy", rng.integers(0, 256, (30, 1, 4, 4)).astype(np.uint8))
    np.save(here / "bits.npy", rng.integers(0, 2, (30, 3)).astype(np.uint8))
    np.save(here / "labels.npy", np.arange(7))
    np.save(here / "objects.npy", np.array([{"a": 1}] * 9, dtype=object), allow_pickle=True)
    (here / "cut.npy").write_bytes((here / "good.npy").read_bytes()[:200])
    (here / "words.csv").write_text("a,b\n1,x\n2,y\n3,z\n4,x\n")
    (here / "ragged.csv").write_text("a,b\n1,2\n3,4,5\n5,6\n7,8\n")
    (here / "constant.csv").write_text("a\n1\n1\n1\n1\n")
    (here / "notes.md").write_text("hello")
    (here / "data.pkl").write_bytes(pickle.dumps(x))
    (here / "empty").mkdir()
    (here / "images").mkdir()
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (5, 5), dtype=np.uint8)).save(here / "images" / f"{i}.png")
    shutil.copytree(here / "images", here / "truncated")
    (here / "truncated" / "3.png").write_bytes((here / "images" / "3.png").read_bytes()[:60])
    (here / "syntax.toml").write_text("[objective\nbeta = 4\n")
    (here / "syntax.json").write_text("{")
    (here / "unknown.toml").write_text("[objectiv]\nbeta = 4\n")
    (here / "option.toml").write_text("[objective]\nbata = 4\n")
    (here / "list.json").write_text("[1, 2]")
    (here / "both.toml").write_text("[training]\nepochs = 1\nminutes = 1\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setattr(lowerbound.report, "write_pictures", lambda *_: [])
        run(
            "train",
            "good.npy",
            "--latent",
            "2",
            "--set",
            "network.hidden=[4]",
            "--epochs",
            "1",
            "--out",
            "run",
            "-q",
        )
        run(
            "train",
            "bits.npy",
            "--latent",
            "2",
            "--set",
            "network.hidden=[4]",
            "--epochs",
            "1",
            "--out",
            "bits",
            "-q",
        )
    for name in (
        "newer",
        "foreign",
        "pickled",
        "torn",
        "weightless",
        "checkpoint",
        "pickledpoint",
        "resumeless",
    ):
        shutil.copytree(here / "run", here / name)
    edit(here / "newer", format=99, lowerbound="1.0")
    edit(
        here / "foreign",
        model={**json.loads((here / "run/config.json").read_text())["model"], "prior": {"type": "os.system"}},
    )
    (here / "pickled" / "model.safetensors").write_bytes(pickle.dumps({"weight": Trap(here / "executed")}))
    torn = (here / "run" / "model.safetensors").read_bytes()
    (here / "torn" / "model.safetensors").write_bytes(torn[: len(torn) // 2])
    (here / "weightless" / "model.safetensors").unlink()
    (here / "checkpoint" / "checkpoint" / "state.safetensors").write_bytes(b"\0" * 100)
    torch.save(
        {"weight": Trap(here / "executed")}, here / "pickledpoint" / "checkpoint" / "state.safetensors"
    )
    shutil.rmtree(here / "resumeless" / "checkpoint")
    return here


class Trap:
    """Its unpickling makes a file."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


TABLE = [
    # the source
    ("train", [], "name the data to train on, for example `lowerbound train digits`"),
    ("train nowhere.npy", FAST,
     "'nowhere.npy' is neither a data set (digits, mnist, fashion-mnist) nor a file or folder"),
    ("train god.npy", FAST, "did you mean", "good.npy"),
    ("train digit", FAST, "did you mean 'digits'"),
    ("train fashion_mnist", FAST, "did you mean 'fashion-mnist'"),
    ("train empty", FAST, "empty", "image"),
    ("train truncated", FAST, "3.png", "on_corrupt"),
    ("train two.npy", FAST, "has 2 examples; train, valid and test need at least one each"),
    ("train inf.npy", FAST, "has 1 values that are infinite", "example 16", "correct them"),
    ("train cut.npy", FAST, "cut.npy"),
    ("train objects.npy", FAST, "objects.npy"),
    ("train ragged.csv", FAST, "line 3 has 3 cells where others have 2", "give every row as many"),
    ("train constant.csv", FAST, "constant.csv has nothing to learn from", "'a' (constant)"),
    ("train notes.md", FAST, "notes.md has no known type; readable are .npy, .npz, .csv"),
    ("train data.pkl", FAST,
     "data.pkl is a pickle, and opening one can run any code; save the array with numpy.savez"),
    ("train good.npy --set data.labels=labels.npy", FAST,
     "labels of good.npy have shape (7,), but there are 30 examples"),
    ("train good.npy --set data.label_column=a", FAST, "--label a is for tables"),
    ("train words.csv --set data.label_column=c", FAST, "words.csv has no column 'c'"),
    ("train good.npy --set data.split=[0.5,0.5,0.5]", FAST, "three positive shares that sum to 1"),
    ("train good.npy --binarize dynamic", FAST, "--binarize dynamic needs grey levels", "scale them to [0, 1]"),
    ("train grey.npy --set data.values=categorical --binarize static", FAST, "gives binary values", "leave one out"),
    ("train good.npy --set data.values=binary", FAST, "--set data.values=binary needs zeros and ones only"),
    # the choices
    ("train digits --preset betavae", FAST, "there is no preset 'betavae'; did you mean 'beta-vae'"),
    ("train digits --latent -3", FAST, "--latent must be at least 1; got -3"),
    ("train digits --latent 2.5", FAST, "--latent", "integer"),
    ("train digits --set latent", FAST,
     "--set needs part.option=value, for example decoder.hidden=400,400; got 'latent'"),
    ("train digits --set training=5", FAST, "--set: training is a table of options; got 5"),
    ("train digits --set data=5", FAST, "--set: data is a table of options; got 5"),
    ("train digits --set =3", FAST, "--set needs part.option=value"),
    ("train digits --set objective..beta=3", FAST, "--set needs part.option=value"),
    ("train digits --set objective.bata=4", FAST, "--set: objective has no option 'bata'; did you mean 'beta'"),
    ("train digits --set objective.beta=four", FAST, "there is no schedule 'four'"),
    ("train digits --set encoder.hidden=(4,4)", FAST, "encoder.hidden must be", "got '(4,4)'"),
    ("train digits --set prior=qqqq", FAST, "there is no prior 'qqqq'", "options: categorical, cell"),
    ("train digits --set encoder=os.system", FAST, "there is no encoder 'os.system'; options: affine_mlp, cells"),
    ("train digits --config nowhere.toml", FAST, "cannot read the configuration nowhere.toml: No such file"),
    ("train digits --config syntax.toml", FAST, "syntax.toml is no valid TOML", "line 1"),
    ("train digits --config syntax.json", FAST, "syntax.json is no valid JSON"),
    ("train digits --config data.pkl", FAST, "data.pkl is no valid TOML"),
    ("train digits --config unknown.toml", FAST,
     "unknown.toml: there is no section 'objectiv'; did you mean 'objective'"),
    ("train digits --config option.toml", FAST, "option.toml: objective has no option 'bata'; did you mean 'beta'"),
    ("train digits --config list.json", FAST, "list.json: a configuration is a table of sections; got [1, 2]"),
    ("train digits --config both.toml --out new", [], "a run's length is either epochs or minutes; got both"),
    ("train digits --epochs 1 --minutes 1 --out new", [], "a run's length is either --epochs or --minutes; got both"),
    ("train digits --epochs 0 --out new", [], "--epochs must be above 0; got 0"),
    ("train digits --epochs many --out new", [], "--epochs", "number"),
    ("train digits --seed -1", FAST, "--seed must be at least 0; got -1"),
    ("train digits --precision fp8", FAST, "there is no precision 'fp8'; did you mean 'fp32'? options: auto, bf16"),
    ("train digits --device gpu", FAST, "there is no device 'gpu'; did you mean 'cuda'?"),
    ("train digits --set training.batch_size=0", FAST, "training.batch_size must be positive; got 0"),
    ("train good.npy --set objective.beta.type=linear --set objective.beta.unit=epochs --set objective.beta.length=5",
     FAST,
     "the schedule takes 5 epochs but the run has only 1", "shorten the schedule or lengthen the run"),
    ("train good.npy --set objective.beta.type=linear --set objective.beta.unit=steps --minutes 1 --out new -q", [],
     "a run limited by minutes has no fixed number"),
    # choices and data together
    ("train good.npy --preset conv", FAST,
     "'conv' needs images (C, H, W), but good.npy has vectors of (3,); use 'mlp'"),
    ("train good.npy --set likelihood=bernoulli", FAST,
     "likelihood 'bernoulli' cannot score the real values of good.npy"),
    ("train grey.npy --set likelihood=bernoulli", FAST, "unless they are binarised (--binarize dynamic)"),
    ("train grey.npy --set likelihood=categorical", FAST,
     "likelihood 'categorical' cannot score the unit values of grey.npy; use"),
    ("train bits.npy --set transform=standardize", FAST, "which likelihood 'bernoulli' cannot score"),
    # the folder of a run
    ("train good.npy --epochs 1 --out run", [], "run holds another run (config.json", "--resume", "--overwrite"),
    ("train good.npy --epochs 1 --out good.npy", [], "good.npy is a file; a run needs a folder"),
    ("train --resume", [], "--resume needs --out"),
    ("train --resume --out nowhere", [], "nowhere does not exist; `lowerbound train SOURCE --out nowhere` makes one"),
    ("train --resume --out empty", [], "empty is not a run's folder: config.json is missing"),
    ("train --resume --out resumeless", [], "resumeless has no checkpoint to resume from"),
    ("train --resume --out checkpoint --epochs 2 -q", [], "state.safetensors is damaged or no safetensors file"),
    ("train --resume --out pickledpoint --epochs 2 -q", [], "pickles are never read"),
    ("train --resume --out newer", [], "newer/config.json has format 99, written by lowerbound 1.0", "upgrade it"),
    ("evaluate nowhere", [], "nowhere does not exist"),
    ("evaluate empty", [], "empty is not a run's folder: config.json is missing"),
    ("evaluate good.npy", [], "good.npy"),
    ("evaluate newer", [], "has format 99, written by lowerbound 1.0; this is lowerbound", "upgrade it"),
    ("evaluate foreign", [], "foreign/config.json", "there is no prior 'os.system'; options: "),
    ("evaluate pickled", [], "damaged or no safetensors file", "pickles are never read"),
    ("evaluate torn", [], "torn/model.safetensors is damaged"),
    ("sample weightless", [], "weightless/model.safetensors does not exist"),
    # what a trained model is asked for
    ("evaluate run -k 0", [], "--samples must be at least 1; got 0"),
    ("evaluate run --limit 0", [], "--limit must be at least 1; got 0"),
    ("evaluate run --split tset", [], "there is no split 'tset'; did you mean 'test'? options: all, test"),
    ("evaluate run --precision fp8", [], "there is no precision 'fp8'; did you mean 'fp32'"),
    ("evaluate run --device gpu", [], "there is no device 'gpu'; did you mean 'cuda'?"),
    ("evaluate run wide.npy", [], "wide.npy has examples of shape (6,), but the model needs (3,)"),
    ("evaluate bits good.npy", [], "was trained on uint8 of zeros and ones", "(x > 0.5)"),
    ("score bits good.npy --out s.csv", [], "was trained on uint8 of zeros and ones"),
    ("score run --samples -1", [], "--samples must be at least 1; got -1"),
    ("sample run -n 0", [], "--number must be at least 1; got 0"),
    ("sample run --temperature -1", [], "--temperature must be at least 0; got -1"),
    ("sample run --out s.png", [], "cannot write s.png: the formats are .csv, .npy"),
    ("sample run --out s", [], "cannot write s: the formats are"),
    ("encode run --out z.parquet", [], "the formats are .csv, .npy"),
    ("reconstruct run -n 99 --out r.csv", [], "the test split has 3 examples; 99 were asked for"),
    ("interpolate run --steps 1", [], "--steps must be at least 2; got 1"),
    ("interpolate run --method sphericall", [], "there is no method 'sphericall'; did you mean 'spherical'"),
    ("report run --out page.pdf", [], "the formats are .html"),
    ("list likelihood", [], "there is nothing called 'likelihood' to list; did you mean 'likelihoods'"),
    ("trian digits", [], "No such command 'trian'", "train"),
    ("train digits --epoch 3", [], "has no option --epoch; did you mean --epochs?", "--epochs"),
    ("evaluate", [], "Missing argument 'RUN'", "`lowerbound evaluate --help`"),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_a_mistake_gets_one_line_with_its_remedy(made, capsys, monkeypatch, row):
    command, more, *parts = row
    monkeypatch.chdir(made)
    monkeypatch.delenv("LOWERBOUND_DATA", raising=False)
    before = sorted(made.rglob("*"))
    arguments = [word.replace("\\", "") for word in command.split()]
    assert run(*arguments, *more) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lowerbound: ")
    for part in parts:
        assert part in err
    assert err.count("\n") == 1 + ("\ntry: lowerbound " in err)  # the command that was meant
    assert len(err) < 700
    assert "Traceback" not in err
    assert sorted(made.rglob("*")) == before
    assert not (made / "executed").exists()
