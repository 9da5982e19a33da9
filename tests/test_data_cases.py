"""Data as people have them, kind by kind: what went wrong once has its right value here, with its siblings.

A, meaning by the type and not the range. B, text as it stands. C, digits. D, names and not places. E, a run and its
data. F, no picture is lost. G, few examples. H, no density of what repeats. I, rare classes. J, gaps.
"""

import datetime
import decimal
import gzip
import io
import json
import os
import tarfile
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from toys import ended as main
from toys import no_pictures  # noqa: F401

import lowerbound as lb
import lowerbound.report
from lowerbound.data import load, load_like
from lowerbound.data.dataset import without_unseen
from lowerbound.data.identity import difference, fingerprint
from lowerbound.errors import ConfigError, DataError, LowerboundError, SupportError

runs = pytest.mark.runs
SMALL = ["--latent", "2", "--set", "network.hidden=[8]", "--epochs", "1", "--quiet"]
QUICK = ["--samples", "5", "--json", "--quiet"]
# Of the moments of few examples, and of models without training.
pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.usefixtures("no_pictures")]


def values(split):
    return next(split.batches(len(split)))[0]


def first(source, **options):
    """All examples of a source in its order."""
    data = load(source, **options)
    return load_like(source, data.spec).all, data.spec


def small(data, **slots):
    return lb.VAE.for_data(data, latent=2, network={"hidden": [4]}, **slots)


def machine(rows=500):
    r = np.random.default_rng(0)
    z = r.normal(size=rows)
    return pd.DataFrame(
        {
            "temp": 60 + 8 * z + r.normal(size=rows),
            "cur": 20 + 3 * z + 0.3 * r.normal(size=rows),
            "vib": 0.2 + 0.04 * z**2 + 0.01 * r.normal(size=rows),
        }
    ).round(3)


def blobs(count=60):
    """Grey levels 0..255 of a blob somewhere, float64 (N, 8, 8)."""
    r = np.random.default_rng(1)
    y, x = np.mgrid[:8, :8]
    at = r.uniform(2, 6, (2, count, 1, 1))
    return np.floor(255 * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 4))


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


# ------------------------------------------------------------------------------------------------ on the command line
@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with runs of one epoch, and their data."""
    folder = tmp_path_factory.mktemp("made")
    t = machine()
    t.to_csv(folder / "t.csv", index=False)
    t.assign(defect=np.where(t["temp"] > 65, "Scratch", "None")).to_csv(folder / "d.csv", index=False)
    np.save(folder / "bytes.npy", blobs()[:40].astype("u1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for source, more in (("t.csv", []), ("d.csv", ["--condition", "defect"]), ("bytes.npy", [])):
            assert main("train", source, "--out", f"run-{source.split('.')[0]}", *SMALL, *more) == 0
    return folder


@pytest.fixture
def call(capsys, request):
    """Run a command, with the runs of `made` as RUN-NAME; status, standard output and standard error."""

    def run(*arguments):
        made = request.getfixturevalue("made") if "RUN" in str(arguments) else None
        capsys.readouterr()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            status = main(*(str(a).replace("RUN", f"{made}/run") for a in arguments))
        out, err = capsys.readouterr()
        return status, out, err + "".join(f"{w.message}\n" for w in told)

    return run


def scores(call, run, source, *options):
    status, _, err = call("score", run, source, "--out", "s.csv", "--overwrite", *options)
    assert status == 0, err
    return pd.read_csv("s.csv")


# ------------------------------------------------------------------------------------------------ A. meaning
@runs
@pytest.mark.parametrize("form", ["u1", "u2", "i8", "f4 in [0, 1]", "f8 in [0, 1]"])
def test_grey_levels_of_every_type_are_scored_alike(call, made, form):
    g = blobs()[40:]
    np.save("u1.npy", g.astype("u1"))
    np.save("x.npy", (g / 255).astype(form[:2]) if "[" in form else g.astype(form))
    expected = scores(call, "RUN-bytes", "u1.npy")["log_prob"]
    np.testing.assert_allclose(scores(call, "RUN-bytes", "x.npy")["log_prob"], expected, rtol=1e-6)
    if "[" not in form:
        model = lb.load(made / "run-bytes")
        scored = [model.log_prob(x, samples=3, seed=0) for x in (np.load("x.npy"), np.load("u1.npy"))]
        np.testing.assert_allclose(*scored)
        assert scored[0].abs().max() < 1e4


@runs
def test_nearly_black_pictures_are_nearly_black(call, made):
    """Zeros and ones of the bytes are the levels 0 and 1, and no white."""
    x = (blobs()[40:] > 128).astype("u1")
    np.save("x.npy", x)
    model = lb.load(made / "run-bytes")
    data = load_like("x.npy", model.data_spec)
    assert values(data.all).max() < 2 / 256
    expected = model.log_prob(values(data.all), samples=3, seed=0)
    assert torch.equal(model.log_prob(x, samples=3, seed=0), expected)
    assert scores(call, "RUN-bytes", "x.npy")["log_prob"].std() < 0.2 * expected.abs().mean()


@runs
def test_floats_of_grey_levels_are_refused_with_both_readings(call, made):
    np.save("x.npy", blobs()[40:].astype("f4"))
    status, _, err = call("score", "RUN-bytes", "x.npy", "--out", "s.csv")
    assert (status, err.count("\n")) == (2, 1)
    assert "astype('uint8')" in err
    assert "divide by 255" in err
    for use in ("log_prob", "encode", "reconstruct"):
        with pytest.raises(SupportError, match="grey levels"):
            getattr(lb.load(made / "run-bytes"), use)(np.load("x.npy")[:, None])


U = np.random.default_rng(2).random((30, 6, 6)).astype("f4")
K = np.random.default_rng(3).integers(0, 4, (30, 6, 6))
D = np.floor(U * 17).astype("u1")
# What a model was made for, what comes, and what x is then; None if it has no meaning.
MEANINGS = {
    "bytes of floats in [0, 1]": (U, {}, (255 * U).round().astype("u1"), lambda x: x / 255),
    "dark bytes of floats in [0, 1]": (U, {}, (U > 0.5).astype("u1"), lambda x: x / 255),
    "whole numbers of floats in [0, 1]": (U, {}, (255 * U).round().astype("i8"), None),
    "dark bytes scaled": (
        np.uint8(255 * U),
        {"dequantize": False},
        (U > 0.5).astype("u1"),
        lambda x: x / 255,
    ),
    "truths of bytes": (np.uint8(255 * U), {"dequantize": False}, U > 0.5, lambda x: x),
    "negative numbers of bytes": (np.uint8(255 * U), {}, np.int64(255 * U) - 9, None),
    "more than white": (np.uint8(255 * U), {}, np.int64(300 * U), None),
    "bytes of zeros and ones": (U > 0.5, {}, np.uint8(255 * (U > 0.5)), None),
    "grey of zeros and ones": (U > 0.5, {}, U, None),
    "floats of zeros and ones": (U > 0.5, {}, np.float64(U > 0.5), lambda x: x),
    "few categories": (K, {"values": "categorical"}, K.clip(0, 1), lambda x: x),
    "floats of categories": (K, {"values": "categorical"}, K.astype("f4"), lambda x: x),
    "another category": (K, {"values": "categorical"}, K + 1, None),
    "half a category": (K, {"values": "categorical"}, K / 2, None),
    "few levels of reals": (5 * U - 2, {}, np.round(U), lambda x: x),
    "bytes of reals": (5 * U - 2, {}, D, lambda x: x),
    "rows of bytes as reals": (300 * U[:, 0], {}, np.uint8(U[:, 0] > 0.5), lambda x: x),
}


@pytest.mark.parametrize("case", MEANINGS)
def test_a_meaning_goes_by_the_type_and_not_by_the_range(case):
    known, options, came, right = MEANINGS[case]
    spec = load(known, **options).spec
    if right is None:
        with pytest.raises(DataError, match="trained on"):
            load_like(came, spec)
    else:
        x = values(load_like(came, spec).all).numpy().reshape(came.shape)
        np.testing.assert_allclose(x, right(came.astype("f8")), rtol=1e-6)


def test_images_as_conditions_keep_their_white():
    x, pictures = np.arange(60.0).reshape(30, 2), np.uint8(255 * U)
    spec = load(x, condition={"view": pictures}).spec
    dark = (U > 0.5).astype("u1")
    for came, right in ((dark, dark / 255), (dark.astype("i8"), dark / 255), (U, U)):
        found = load_like(x, spec, condition={"view": came}).all.condition("view")
        np.testing.assert_allclose(found.reshape(U.shape), right, rtol=1e-6)


# ------------------------------------------------------------------------------------------------ B. text
def european(t):
    rows = (";".join(f"{v:.3f}".replace(".", ",") for v in row) for row in t.to_numpy())
    return "temp;cur;vib\n" + "\n".join(rows)


@runs
def test_a_european_csv(call):
    (t := machine()).to_csv("t.csv", index=False)
    open("euro.csv", "w").write(european(t))
    x, spec = first("euro.csv")
    assert spec.columns == ("temp", "cur", "vib")
    assert values(x)[0].tolist() == pytest.approx([62.299, 20.732, 0.213])
    status, out, _ = call("inspect", "euro.csv")
    assert status == 0
    assert "decimal comma" in out
    assert "';'" in out
    status, _, err = call("train", "euro.csv", "--out", "run", *SMALL)
    assert status == 0, err
    pd.testing.assert_frame_equal(scores(call, "run", "euro.csv"), scores(call, "run", "t.csv"))


def test_a_header_one_name_short(call):
    rows = machine(50).to_csv(index=False, header=False)
    open("short.csv", "w").write("temp,cur\n" + rows)
    status, _, err = call("inspect", "short.csv")
    assert (status, err.count("\n")) == (2, 1)
    assert "temp|cur" in err
    assert rows.split("\n")[0].replace(",", "|") in err
    with pytest.raises(DataError):
        load("short.csv", columns=["temp", "cur"])


def test_a_comma_at_the_end_of_each_row():
    t = machine(50)
    for head in ("temp,cur,vib\n", "temp,cur,vib,\n"):
        source = head + t.to_csv(index=False, header=False).replace("\n", ",\n")
        x, spec = first(_file("trail.csv", source), columns=["temp", "cur"])
        assert spec.columns == ("temp", "cur")
        np.testing.assert_allclose(values(x), t[["temp", "cur"]], rtol=1e-6)


def _file(name, text):
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)
    return name


@runs
def test_none_is_a_class(call, made, monkeypatch):
    spec = lb.load(made / "run-d").data_spec
    assert spec.conditions[0].classes == ("None", "Scratch")
    assert not spec.conditions[0].missing
    for kind in ("None", "Scratch"):
        status, _, err = call("sample", "RUN-d", "--given", f"defect={kind}", "--out", f"{kind}.csv")
        assert status == 0, err
    status, _, err = call("sample", "RUN-d", "--given", "defect=Nothing", "--out", "s.csv")
    assert status == 2
    assert "None" in err


N = 40
# Texts of one column of 40 cells, and what the column is: its kind, and the values or categories of the first rows.
TEXTS = {
    "words for missing are classes": (["None", "NA", "null", "good"], "category", None),
    "no is a word in Norway": (["NO", "SE", "DK", "FI"], "category", ["NO", "SE", "DK", "FI"]),
    "leading zeros": (["01067", "80331", "10115", "04109"], "category", ["01067", "80331", "10115", "04109"]),
    "yes and no": (["yes", "no"], "category", None),
    "one number is a word": (["1", "2", "3", "many"], "category", ["1", "2", "3", "many"]),
    "decimal commas beside decimal points": (
        ['"1,25"', '"2,5"', '"3,75"'],
        "category",
        ["1,25", "2,5", "3,75"],
    ),
    "marks between thousands": (['"1,234.5"', '"12,345.25"', '"7.5"'], "real", [1234.5, 12345.25, 7.5]),
    "numbers with a plus": (["+1", "-2", "+3"], "integer", [1, -2, 3]),
    "exponents": (["1e3", "2.5e-1", "1E2"], "real", [1000, 0.25, 100]),
    "blanks around": ([" 1.5", "2.5 ", " 3.5 "], "real", [1.5, 2.5, 3.5]),
    "letters beyond ASCII": (["größer", "Ελλάδα", "日本"], "category", ["größer", "Ελλάδα", "日本"]),
    "hexadecimal": (["0x10", "0xff", "0x1"], "category", ["0x10", "0xff", "0x1"]),
    "dates": (["2024-01-31", "2024-02-01", "2024-03-09"], "date", None),
    "dates that may be either": (["01/02/2024", "02/03/2024", "03/04/2024"], "category", None),
    "versions": (["1.2.3", "1.10.0", "2.0.1"], "category", ["1.2.3", "1.10.0", "2.0.1"]),
    "lists with a semicolon": (['"a;b"', '"c;d"', '"e"'], "category", ["a;b", "c;d", "e"]),
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_is_taken_as_it_stands(call, case):
    texts, kind, right = TEXTS[case]
    cells = [texts[i % len(texts)] for i in range(N)]
    y = np.random.default_rng(0).normal(size=N).round(4)
    _file("x.csv", "y,x\n" + "".join(f"{b},{a}\n" for a, b in zip(cells, y, strict=True)))
    data, spec = first("x.csv")
    column = spec.table[1]
    assert column.kind == kind
    x = values(data)[:, 1]
    assert not x.isnan().any()
    if kind in ("category", "date"):
        assert len(set(x.tolist())) == len(texts)
    if right and kind == "category":
        assert [column.categories[int(i)] for i in x[: len(right)]] == right
    elif right:
        assert (x[: len(right)] + column.offset).tolist() == pytest.approx(right)
    status, out, _ = call("inspect", "x.csv", "--json")
    assert status == 0
    assert json.loads(out)["table"][1]["kind"] == kind


@pytest.mark.parametrize(
    ("head", "said"),
    [("a,b,a", "'a'"), ("a,b,c,d", "4 cells and its rows 3"), ("a;b;c", "1 cells and its rows 3")],
    ids=["a name twice", "a name too many", "another separator"],
)
def test_a_header_that_does_not_fit_is_refused(call, head, said):
    _file("x.csv", head + "\n" + "".join(f"{i}.5,{i * i}.25,{-i}.125\n" for i in range(30)))
    with pytest.raises(DataError, match=said):
        load("x.csv")
    status, _, err = call("inspect", "x.csv")
    assert (status, err.count("\n")) == (2, 1)


def test_classes_that_look_like_numbers_are_known_again_as_words():
    known = load(_file("a.csv", "y,x\n" + "".join(f"{i}.25,{'2' if i % 2 else 'two'}\n" for i in range(30))))
    x = values(load_like(_file("b.csv", "y,x\n3.25,2\n4.25,2\n"), known.spec).all)
    assert x[:, 1].tolist() == [known.spec.table[1].categories.index("2")] * 2


# ------------------------------------------------------------------------------------------------ C. digits
def clock():
    r = np.random.default_rng(0)
    return pd.DataFrame({"time": 1.7e9 + np.sort(r.uniform(0, 120, 500)).round(2), "y": r.normal(size=500)})


@pytest.mark.parametrize("form", ["csv", "parquet", "streamed", "json", "frame"])
def test_clock_times_stay_apart(tmp_path, form):
    t = clock()
    path = tmp_path / f"t.{'parquet' if form == 'streamed' else form}"
    if form == "csv":
        t.to_csv(path, index=False)
    elif form == "json":
        t.to_json(path, orient="records", double_precision=15)
    elif form != "frame":
        t.to_parquet(path, row_group_size=20)
    source = t if form == "frame" else path
    data, spec = first(source, **({"stream": True} if form == "streamed" else {}))
    x = values(data)[:, 0]
    assert len(x.unique()) == t["time"].nunique()
    assert float(x.std()) == pytest.approx(t["time"].std(), rel=1e-3)
    back = lb.data.schema.decode(spec.table, values(data).numpy())
    np.testing.assert_allclose(back["time"], t["time"], rtol=0, atol=1e-6)


def test_clock_times_as_condition_are_refused(tmp_path):
    clock().to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=r"condition 'time' .* subtract an offset"):
        load(tmp_path / "t.csv", condition="time")
    clock().assign(time=clock()["time"] - 1.7e9).to_csv(tmp_path / "t.csv", index=False)
    c = load(tmp_path / "t.csv", condition="time").all.condition("time")
    assert len(c.unique()) == clock()["time"].nunique()


@runs
def test_clock_times_are_written_with_their_digits(call):
    clock().to_csv("t.csv", index=False)
    assert call("train", "t.csv", "--out", "run", *SMALL)[0] == 0
    assert call("sample", "run", "-n", "50", "--out", "s.csv")[0] == 0
    drawn = pd.read_csv("s.csv", dtype=str)["time"]
    assert drawn.nunique() > 40
    assert drawn.str.fullmatch(r"1[67]\d{8}\.\d{1,2}").all()


R = np.random.default_rng(7)
LONG = {
    "day as a number": 20240000 + 100 * R.integers(1, 12, 300) + R.integers(1, 28, 300),
    "telephone": 4930_0000_0000 + R.integers(0, 10**8, 300),
    "pressure": (101325 + R.normal(size=300)).round(3),
    "pressure in float32": (1013.25 + 0.1 * R.normal(size=300)).astype("f4"),
    "beyond int64": np.uint64(2**63) + R.integers(0, 10**6, 300).astype("u8"),
    "milliseconds": 1_700_000_000_000 + np.sort(R.integers(0, 10**5, 300)),
    "negative": -1e8 + R.normal(size=300).round(3),
    "instants": pd.to_datetime("2024-05-01") + pd.to_timedelta(np.sort(R.integers(0, 10**8, 300)), "us"),
}


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("case", LONG)
def test_numbers_of_many_digits_stay_apart(tmp_path, case, form):
    t = pd.DataFrame({"x": LONG[case], "y": R.normal(size=300)})
    path = tmp_path / f"t.{form}"
    t.to_csv(path, index=False) if form == "csv" else t.to_parquet(path)
    if case == "beyond int64":
        with pytest.raises(DataError, match=r"column 'x' lies between .* float64"):
            load(path)
        return
    data, spec = first(path)
    if not spec.table[0].is_modelled:
        assert spec.table[0].kind == "identifier"
        return
    assert len(values(data)[:, 0].unique()) >= 0.99 * t["x"].nunique()


@pytest.mark.parametrize("dtype", ["f8", "i8", "u8"])
def test_arrays_that_float32_cannot_hold_are_refused(call, dtype):
    x = np.stack([1.7e9 + R.integers(0, 90, 60), R.integers(0, 9, 60)], 1).astype(dtype)
    np.save("x.npy", x)
    with pytest.raises(DataError, match="float32"):
        load(x)
    status, _, err = call("inspect", "x.npy")
    assert status == 2
    assert "column 0" in err


# ------------------------------------------------------------------------------------------------ D. names
@runs
def test_columns_are_taken_by_name(call, made, tmp_path):
    t, other = machine(), machine()[["vib", "temp", "cur"]]
    model = lb.load(made / "run-t")
    right = model.log_prob(t, samples=3, seed=0)
    assert torch.equal(model.log_prob(other, samples=3, seed=0), right)
    assert torch.equal(model.encode(other), model.encode(t))
    (tmp_path / "f").mkdir()
    other[:250].to_parquet(tmp_path / "f/0.parquet")
    other[250:].to_parquet(tmp_path / "f/1.parquet")
    other.to_csv("o.csv", index=False)
    for source in (other, tmp_path / "f", "o.csv"):
        x = values(load_like(source, model.data_spec).all)
        assert torch.equal(model.log_prob(x, samples=3, seed=0), right)
    t.to_csv("t.csv", index=False)
    pd.testing.assert_frame_equal(scores(call, "RUN-t", "o.csv"), scores(call, "RUN-t", "t.csv"))


@runs
def test_the_runs_own_file_with_its_columns_in_another_order(call):
    machine().to_csv("t.csv", index=False)
    assert call("train", "t.csv", "--out", "run", *SMALL)[0] == 0
    before = json.loads(call("evaluate", "run", *QUICK)[1])["nll"]
    machine()[["vib", "temp", "cur"]].to_csv("t.csv", index=False)
    status, out, err = call("evaluate", "run", *QUICK)
    assert status == 0, err
    assert json.loads(out)["nll"] == before


def test_numbers_as_conditions_are_the_users_own_labels():
    data = load(R.normal(size=(60, 2)), labels=np.tile([1, 2, 3], 20), condition="label")
    model = small(data)
    for own in (np.array([1, 3]), np.array([1.0, 3.0]), [1, 3], ["1", "3"]):
        assert model.read({"label": own}, 2)["label"].tolist() == [0, 2]
    for strange in (np.array([0]), 4, [7]):
        with pytest.raises(ConfigError, match="no class"):
            model.read({"label": strange}, 1)
    assert model.read({"label": torch.tensor([0])}, 1)["label"].tolist() == [0]  # as batches bring them


LABELS = {
    "tens": ([1, 2, 10], ["1", "2", "10"]),
    "from minus one": ([-1, 0, 1], ["-1", "0", "1"]),
    "far apart": ([100, 7, 2024], ["7", "100", "2024"]),
    "words that are numbers": (["10", "9", "1"], None),
    "truths": ([True, False, True], ["False", "True"]),
}


@pytest.mark.parametrize("case", LABELS)
def test_a_label_is_known_by_its_name(case):
    own, names = LABELS[case]
    labels = np.array(own * 20)
    data = load(R.normal(size=(60, 2)), labels=labels, condition="label")
    classes = data.spec.conditions[0].classes
    assert names is None or list(classes) == names
    model = small(data)
    found = model.read({"label": np.array(own)}, len(own))["label"].tolist()
    assert [classes[i] for i in found] == [str(v) for v in own]
    fewer = load_like(R.normal(size=(6, 2)), data.spec, labels=labels[[0] * 6])  # only one of the classes
    assert {classes[i] for i in fewer.all.condition("label").tolist()} == {str(own[0])}


def test_labels_of_a_folder_go_by_the_natural_order_of_names(tmp_path):
    for i in range(12):
        Image.fromarray(np.full((5, 5), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    data = load(tmp_path, labels=np.arange(12) % 4, dequantize=False, condition="label")
    whole = load_like(tmp_path, data.spec, labels=np.arange(12) % 4).all
    assert [round(float(v) * 255 / 20) % 4 for v in values(whole)[:, 0, 0, 0]] == whole.condition(
        "label"
    ).tolist()


def test_numbers_of_a_table_without_its_schema_are_refused():
    t = clock()
    model = small(load(t))
    right = model.log_prob(t, samples=2, seed=0)
    assert right.isfinite().all()
    for x in (t.to_numpy(), torch.from_numpy(t.to_numpy()).float()):
        with pytest.raises(SupportError, match=r"'time' .* pass a DataFrame"):
            model.log_prob(x)
    assert torch.equal(model.log_prob(values(load_like(t, model.data_spec).all), samples=2, seed=0), right)


def test_masks_name_columns_whatever_their_order():
    t = machine(60)
    spec = load(t, observed=["vib", "temp"]).spec
    x, c = next(load_like(t[["cur", "vib", "temp"]], spec).all.batches(60))
    assert c["observed"][0, 1].tolist() == [1, 0, 1]
    np.testing.assert_allclose(x, t, rtol=1e-6)


def test_a_column_that_is_not_there_is_refused():
    machine()[["vib", "temp"]].to_csv("o.csv", index=False)
    with pytest.raises(DataError, match="'cur'"):
        load_like("o.csv", load(machine()).spec)


# ------------------------------------------------------------------------------------------------ E. a run's data
@runs
def test_a_row_in_front_is_said(call, monkeypatch, tmp_path):
    machine().to_csv("t.csv", index=False)
    assert call("train", "t.csv", "--out", "run", *SMALL)[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/t.csv").write_text("temp,cur,vib\n1,2,3\n4,5,6\n")
    assert call("evaluate", "../run", *QUICK)[0] == 0
    monkeypatch.chdir(tmp_path)
    pd.concat([machine(501)[-1:], machine()]).to_csv("t.csv", index=False)
    for command in (["evaluate", "run"], ["train", "--resume", "--out", "run", "--epochs", "2", "--quiet"]):
        status, _, err = call(*command)
        assert status == 2
        assert "501" in err
        assert "500" in err


CHANGED = {
    "nothing": (lambda t: t, False),
    "other rows first": (lambda t: t[::-1], False),
    "columns moved": (lambda t: t[["vib", "cur", "temp"]], False),
    "a column beside": (lambda t: t.assign(new=np.arange(len(t)) ** 1.5), False),
    "the last row away": (lambda t: t[:-1], True),
    "a row twice": (lambda t: pd.concat([t, t[:1]]), True),
    "two cells exchanged": (lambda t: t.assign(cur=[*t["cur"][1::-1], *t["cur"][2:]]), True),
    "a cell empty": (lambda t: t.assign(cur=[np.nan, *t["cur"][1:]]), True),
    "two columns exchanged": (lambda t: t.rename(columns={"temp": "cur", "cur": "temp"}), True),
}


@pytest.mark.parametrize("case", CHANGED)
def test_what_was_learned_from_is_known_again(case):
    change, differs = CHANGED[case]
    t = machine(80)
    data = load(t)
    now = load_like(change(t), data.spec, split=[0.8, 0.1, 0.1])
    found = difference(fingerprint(data), fingerprint(now))
    assert (found is not None) == differs, found


# ------------------------------------------------------------------------------------------------ F. pictures
def test_stacks_give_all_their_pictures_or_none(call, tmp_path):
    (tmp_path / "stack").mkdir()
    frames = [Image.fromarray(np.full((5, 5), i, np.uint8)) for i in range(20)]
    for i in range(5):
        frames[0].save(tmp_path / f"stack/{i}.tiff", save_all=True, append_images=frames[1:])
    status, _, err = call("inspect", "stack")
    assert status == 2
    assert "20" in err
    assert "frames" in err
    status, out, err = call("inspect", "stack", "--set", "data.frames=all")
    assert status == 0
    assert "100 images" in out


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Training", "val", "Testing")])
def test_a_folders_own_split_has_many_spellings(call, tmp_path, names):
    for part in names:
        for kind in ("cat", "dog"):
            (tmp_path / "parts" / part / kind).mkdir(parents=True)
            for i in range(3 if part != names[0] else 6):
                picture = np.random.default_rng([i, len(part), len(kind)]).integers(0, 255, (5, 5), np.uint8)
                Image.fromarray(picture).save(tmp_path / "parts" / part / kind / f"{i}.png")
    data = load(tmp_path / "parts", condition="label")
    assert data.spec.conditions[0].classes == ("cat", "dog")
    assert [len(getattr(data, part)) for part in ("train", "valid", "test")] == [12, 6, 6]
    status, out, _ = call("inspect", "parts")
    assert status == 0
    assert "cat, dog" in out
    assert "12 train, 6 valid, 6 test" in out


def _animated(kind):
    def write(folder):
        frames = [Image.fromarray(np.full((5, 5), 40 * i, np.uint8)) for i in range(4)]
        frames[0].save(folder / f"a.{kind}", save_all=True, append_images=frames[1:])

    return write


# What lies in a folder beside ten pictures, and a word that must be said of it or a count that includes it.
BESIDE = {
    "GIF": (_animated("gif"), "frames"),
    "WebP": (_animated("webp"), "frames"),
    "animated PNG": (_animated("png"), "frames"),
    "jfif": (lambda f: Image.new("L", (5, 5)).save(f / "a.jfif", "jpeg"), 11),
    "tga": (lambda f: Image.new("L", (5, 5)).save(f / "a.tga"), 11),
    "capitals": (lambda f: Image.new("L", (5, 5)).save(f / "a.PNG", "png"), 11),
    "heic": (lambda f: (f / "a.heic").write_bytes(b"x" * 90), "heic"),
    "no picture": (lambda f: (f / "notes.docx").write_bytes(b"x"), "docx"),
    "a table": (lambda f: machine(20).to_parquet(f / "metadata.parquet"), "pass|parquet"),
}


@pytest.mark.parametrize("case", BESIDE)
def test_no_picture_is_lost_without_a_word(tmp_path, case):
    write, right = BESIDE[case]
    for i in range(10):
        Image.fromarray(np.full((5, 5), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    write(tmp_path)
    said = ""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            data = load(tmp_path)
            said = " ".join(data.notes)
        except LowerboundError as error:
            data, said = None, str(error)
    said += " ".join(str(w.message) for w in told)
    if isinstance(right, int):
        assert data is not None, said
        assert len(data.all) == right
    else:
        assert any(word in said for word in right.split("|")), said


def test_colours_under_transparency_are_no_data(tmp_path):
    for i in range(10):
        picture = np.zeros((4, 4, 4), np.uint8)
        picture[..., 0] = 200  # red that nobody sees
        picture[:2, :, 3] = 255 - i
        Image.fromarray(picture, "RGBA").save(tmp_path / f"{i}.png")
    x = values(load(tmp_path, dequantize=False, channels=3).all)
    assert (x[:, :, 2:] == 1).all()  # white
    x = values(load(tmp_path, dequantize=False, channels=3, background="black").all)
    assert (x[:, :, 2:] == 0).all()


# ------------------------------------------------------------------------------------------------ G. few examples
def _tar(folder, x):
    with tarfile.open(folder / "x.tar", "w") as tar:
        for i, picture in enumerate(x):
            member = tarfile.TarInfo(f"{i}.png")
            content = png(picture)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return folder / "x.tar"


def _npy(folder, x):
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


def _npz(folder, x):
    np.savez(folder / "x.npz", x=x)
    return folder / "x.npz"


def _pictures(folder, x):
    (folder / "p").mkdir()
    for i, picture in enumerate(x):
        Image.fromarray(picture).save(folder / "p" / f"{i}.png")
    return folder / "p"


def _picture(folder, x):
    Image.fromarray(x[0]).save(folder / "one.png")
    return folder / "one.png"


def _parquet(folder, x):
    pq.write_table(pa.table({"image": [png(picture) for picture in x]}), folder / "x.parquet")
    return folder / "x.parquet"


@runs
@pytest.mark.parametrize("write", [_npy, _npz, _pictures, _picture, _tar, _parquet])
def test_one_picture_can_be_used(call, tmp_path, write):
    source = write(tmp_path, blobs()[:1].astype("u1"))
    assert len(scores(call, "RUN-bytes", source)) == 1
    for command, out in (("encode", "z.csv"), ("reconstruct", "x.npy.png")):
        status, _, err = call(command, "RUN-bytes", source, "--out", out)
        assert status == 0, err


@runs
@pytest.mark.parametrize("write", ["csv", "json", "parquet", "feather", "tsv"])
@pytest.mark.parametrize("rows", [1, 2])
def test_one_row_can_be_used(call, write, rows):
    t, name = machine()[:rows], f"one.{write}"
    writers = {
        "csv": lambda: t.to_csv(name, index=False),
        "json": lambda: t.to_json(name, orient="records"),
        "parquet": lambda: t.to_parquet(name),
        "feather": lambda: t.to_feather(name),
        "tsv": lambda: t.to_csv(name, index=False, sep="\t"),
    }
    writers[write]()
    found = scores(call, "RUN-t", name)
    assert found["row"].tolist() == list(range(rows))
    assert call("encode", "RUN-t", name, "--out", "z.csv")[0] == 0


@runs
def test_a_condition_that_a_file_has_no_value_of(call):
    machine()[:3].assign(defect="").to_csv("e.csv", index=False)
    status, _, err = call("score", "RUN-d", "e.csv", "--out", "s.csv")
    # Nothing was missing in training, so the model has no notion of it; that is said.
    assert status in (0, 2)
    if status == 2:
        assert "defect" in err
        assert err.count("\n") == 1


# ------------------------------------------------------------------------------------------------ H. no density
@runs
@pytest.mark.parametrize("count", [1, 3])
def test_constant_columns_cost_and_give_nothing(call, count):
    t = machine(200)
    t.to_csv("plain.csv", index=False)
    t.assign(**{f"k{i}": 7.0 for i in range(count)}).to_csv("constant.csv", index=False)
    found = []
    for name in ("plain", "constant"):
        assert call("train", f"{name}.csv", "--out", name, *SMALL)[0] == 0
        found.append(json.loads(call("evaluate", name, *QUICK)[1])["nll"])
    assert found[0] == found[1]
    assert call("sample", "constant", "--out", "s.csv")[0] == 0
    drawn = pd.read_csv("s.csv")
    assert list(drawn) == ["temp", "cur", "vib", *(f"k{i}" for i in range(count))]
    assert (drawn[[f"k{i}" for i in range(count)]] == 7).all(axis=None)


REPEATED = {
    "truths": R.random(300) < 0.3,
    "zeros and ones": (R.random(300) < 0.3).astype(int),
    "two decimals": np.where(R.random(300) < 0.3, 1.5, 2.25),
    "ages": R.integers(18, 90, 300),
    "grades": R.choice([1.0, 1.3, 1.7, 2.0], 300),
    "grades in float32": R.choice([1.0, 1.3, 1.7, 2.0], 300).astype("f4"),
    "prices": R.choice([9.99, 19.99, 4.5, 0.99, 120.0], 300),
    "lengths in float32": (2 * R.normal(size=300)).round(1).astype("f4"),
    "days": pd.to_datetime("2024-01-01") + pd.to_timedelta(R.integers(0, 90, 300), "D"),
    "words": R.choice(["a", "b"], 300),
    "thirds": R.integers(0, 9, 300) / 3,
    "whole numbers with a few others": np.where(R.random(300) < 0.02, R.random(300), R.integers(0, 20, 300)),
}


@pytest.mark.parametrize("case", REPEATED)
def test_what_repeats_has_a_probability(case):
    """However narrow a model becomes, -log p(x) of such columns is never below 0."""
    column = REPEATED[case]
    t = pd.DataFrame({"x": column, "y": R.integers(0, 5, 300)})
    spec = load(t).spec
    kind = spec.table[0]
    repeated = pd.Series(column)[pd.Series(column).duplicated(keep=False)]
    assert (
        kind.kind in ("category", "integer")
        or kind.step
        or kind.cell
        or set(repeated.astype(float)) <= set(kind.spikes)
    )
    model = small(load(t))
    model.eval()
    x = values(load_like(t, spec).all)
    likelihood = model.likelihood_at(torch.zeros(len(x), 2))
    assert (likelihood.log_prob(model.at(None, len(x)).to_model(x)[0]) <= 0).all()


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_a_value_that_many_rows_have_is_one_of_its_own(share):
    x = np.where(R.random(400) < share, 0.0, R.normal(size=400))
    assert load(pd.DataFrame({"x": x, "y": R.normal(size=400)})).spec.table[0].spikes == (0.0,)


@pytest.mark.parametrize("x", [np.full(60, 3.0), np.full(60, 0.1), np.zeros(60)])
def test_a_constant_column_of_an_array_is_said(x):
    data = np.stack([R.normal(size=60), x], 1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        notes = [*load(data).notes]
    assert any("constant" in said for said in [*notes, *(str(w.message) for w in told)])


# ------------------------------------------------------------------------------------------------ I. rare classes
@runs
@pytest.mark.parametrize("seed", range(4))
def test_a_class_of_one_row_stops_nothing(call, seed):
    cls = np.where(np.arange(200) == 3, "only", np.where(np.arange(200) % 2, "a", "b"))
    machine(200).assign(cls=cls).to_csv("c.csv", index=False)
    status, _, err = call("train", "c.csv", "--condition", "cls", "--seed", seed, "--out", "run", *SMALL)
    assert status == 0, err
    assert call("evaluate", "run", *QUICK)[0] == 0


RARE = {
    "a label of an array": lambda n: ({"labels": n, "condition": "label"}, "label"),
    "an array": lambda n: ({"condition": {"kind": n}}, "kind"),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("form", RARE)
def test_each_class_is_in_train(form, numbers, seed):
    names = np.array(["a", "b"] * 30 + ["x", "y", "z"])
    labels = np.unique(names, return_inverse=True)[1] if numbers else names
    options, name = RARE[form](labels)
    data = load(R.normal(size=(63, 2)), seed=seed, **options)
    assert len(set(data.train.condition(name).tolist())) == 5


# ------------------------------------------------------------------------------------------------ J. gaps
def test_a_mask_is_observed():
    v = np.random.default_rng(0).normal(10, 1, (200, 3))
    mask = np.random.default_rng(1).random(v.shape) < 0.2
    masked = np.ma.masked_array(np.where(mask, -999, v), mask)
    data = load(masked)
    assert float(data.mean.mean()) == pytest.approx(10, abs=0.2)
    assert int(values(data.all).isnan().sum()) == mask.sum()


@runs
def test_one_absurd_cell_leaves_the_others(call):
    t = machine()[:5]
    t.loc[2, "temp"] = 1e20
    t.to_csv("extreme.csv", index=False)
    status, _, err = call("complete", "RUN-t", "extreme.csv", "--mask", "temp,cur", "--out", "done.csv")
    assert status == 0, err
    done = pd.read_csv("done.csv")
    assert len(done) == 20
    right = done["temp"] < 1e6
    assert right.sum() == 16
    assert done[right].notna().all(axis=None)


GAPS = {
    "NaN": lambda t, gap: t.mask(gap),
    "None in objects": lambda t, gap: t.astype(object).mask(gap, None),
    "pandas' NA": lambda t, gap: t.convert_dtypes().mask(gap),
    "text": lambda t, gap: t.mask(gap).to_csv(index=False),
    "NA": lambda t, gap: t.mask(gap).to_csv(index=False, na_rep="NA"),
    "a question mark": lambda t, gap: t.mask(gap).to_csv(index=False, na_rep="?"),
    "null": lambda t, gap: json.dumps(json.loads(t.mask(gap).to_json(orient="records"))),
    "array": lambda t, gap: t.mask(gap).to_numpy(),
    "masked array": lambda t, gap: np.ma.masked_array(t.fillna(-999), gap),
    "masked array of whole numbers": lambda t, gap: np.ma.masked_array(t.round().astype(int), gap),
}


@pytest.mark.parametrize("case", GAPS)
def test_gaps_are_seen_in_every_form(case):
    t = machine(120)
    gap = np.random.default_rng(4).random(t.shape) < 0.15
    source = GAPS[case](t, gap)
    if isinstance(source, str):
        source = _file("gaps.json" if source.startswith("[") else "gaps.csv", source)
    data, spec = first(source)
    assert spec.missing
    x = values(data)
    assert (x.isnan().numpy() == gap).all()
    model = small(load(source))
    assert model.log_prob(x, samples=2, seed=0).isfinite().all()


@runs
def test_complete_fills_the_gaps_of_a_file_and_nothing_else(call):
    t = machine()[:30]
    gap = np.random.default_rng(4).random(t.shape) < 0.3
    t.mask(gap).assign(note=[f"n{i}" for i in range(30)]).to_csv("gaps.csv", index=False)
    status, _, err = call("complete", "RUN-t", "gaps.csv", "--out", "filled.csv")
    assert status == 0, err
    filled = pd.read_csv("filled.csv")
    assert filled["note"].tolist() == [f"n{i}" for i in range(30)]
    assert filled.notna().all(axis=None)
    np.testing.assert_allclose(filled[["temp", "cur", "vib"]].to_numpy()[~gap], t.to_numpy()[~gap])


@runs
def test_draws_have_gaps_like_the_data(call):
    t = machine(200).assign(kind=np.where(np.arange(200) % 3, "None", "b"))
    t.mask(np.random.default_rng(4).random(t.shape) < 0.4).to_csv("gaps.csv", index=False)
    assert call("train", "gaps.csv", "--out", "run", *SMALL)[0] == 0
    for out in ("s.csv", "s.parquet", "s.npy"):
        status, _, err = call("sample", "run", "-n", "200", "--out", out)
        assert status == 0, err
    drawn = pd.read_csv("s.csv", keep_default_na=False)
    assert ((drawn == "").mean() > 0.05).all()
    assert set(drawn["kind"]) == {"None", "b", ""}
    pd.testing.assert_frame_equal(pd.read_parquet("s.parquet").isna(), drawn == "")
    for command in ("reconstruct", "interpolate"):
        assert call(command, "run", "gaps.csv", "--out", f"{command}.csv")[0] == 0


@runs
@pytest.mark.parametrize("empty", ["a column", "a row"])
def test_nothing_but_gaps_in_a_column_or_a_row(call, empty):
    t = machine()[:6]
    if empty == "a column":
        t["cur"] = np.nan
    else:
        t.iloc[2] = np.nan
    t.to_csv("gaps.csv", index=False)
    status, _, err = call("score", "RUN-t", "gaps.csv", "--out", "s.csv")
    if empty == "a row":  # nothing was missing in training, so the others are scored
        assert "rows 2, counted from 0" in err
        assert pd.read_csv("s.csv")["log_prob"].isna().tolist() == [False, False, True, False, False, False]
        return
    assert (status, err.count("\n")) == (2, 1)
    assert "lowerbound complete" in err
    status, _, err = call("complete", "RUN-t", "gaps.csv", "--out", "filled.csv")
    assert status == 0, err
    assert pd.read_csv("filled.csv").notna().all(axis=None)


# ------------------------------------------------------------------------------------------------ more
def test_the_folder_of_a_run_is_no_data(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match="the folder of a run"):
        load(tmp_path)


def test_few_rows_and_identifiers_are_said(call):
    t = machine(60).assign(id=np.arange(60))
    t.to_csv("t.csv")
    data = load("t.csv")
    assert data.spec.columns == ("temp", "cur", "vib")
    assert any("id" in note for note in data.notes)
    _file("few.csv", machine(3).to_csv(index=False))
    assert "only 1 examples to train on" in call("inspect", "few.csv")[1]


SAID = {
    "two levels": (np.uint8(255 * (U > 0.5)), "threshold"),
    "sequences": (R.normal(size=(30, 24, 24)), "reshape"),
    "counts": (R.poisson(3, (30, 4)), "whole numbers"),
    "grey levels": (np.uint8(255 * U), None),
    "reals": (R.normal(size=(30, 4)), None),
    "zeros and ones": (U > 0.5, None),
    "black": (np.zeros((30, 5, 5), np.uint8) + np.uint8(7), None),
}


@pytest.mark.parametrize("case", SAID)
def test_what_a_careful_person_would_ask_is_said(call, case):
    x, word = SAID[case]
    np.save("x.npy", x)
    notes = load(x).notes
    assert len(notes) == (word is not None)
    status, out, _ = call("inspect", "x.npy")
    assert status == 0
    assert "note:" in out if word else "note:" not in out
    assert word is None or word in notes[0]
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("shape", [(20, 4, 4, 3), (20, 3, 4, 4)])
def test_channels_of_small_pictures(shape):
    x = R.integers(0, 256, shape, dtype=np.uint8)
    channels = load(x).spec.event_shape[0]
    assert channels == 3


@pytest.mark.parametrize("use", ["for_data", "fit", "encode"])
def test_what_is_no_data_has_an_error_of_ours(use):
    data = load(machine(60))
    model = small(data)
    wrong = {
        "for_data": lambda: lb.VAE.for_data(machine(60).to_numpy()),
        "fit": lambda: lb.fit(model, machine(60)),
        "encode": lambda: model.encode(pd.DataFrame({"a": [1.0]})),
    }
    with pytest.raises(LowerboundError, match="'temp'" if use == "encode" else "lowerbound.data.load"):
        wrong[use]()


def test_all_problems_of_a_file_are_in_one_message(call):
    _file(
        "p.csv",
        "a,b,c\n" + "".join(f"{i}.5,{i}.25,{i}.125\n" for i in range(30)),
    )
    spec = load("p.csv").spec
    _file("q.csv", "a,b,c\nx,1,y\n2,3,z\n")
    with pytest.raises(DataError) as told:
        load_like("q.csv", spec)
    assert "'a'" in str(told.value)
    assert "'c'" in str(told.value)


def test_out_of_range_is_no_error_of_torch():
    spec = load(np.uint8(255 * U)).spec
    with pytest.raises(SupportError):
        small(load(np.uint8(255 * U))).log_prob(torch.full((2, *spec.event_shape), 200.0))
    with pytest.raises(ConfigError):
        load(U, values="categorical")


# ------------------------------------------------------------------------------------------------ smaller faults
@pytest.mark.parametrize("name", ["t.test.gz", "t.dat", "table", "t.test"])
def test_an_unknown_ending_is_read_by_what_is_in_the_file(name):
    text = machine(60).to_csv(index=False).encode()
    open(name, "wb").write(gzip.compress(text) if name.endswith("gz") else text)
    data = load(name)
    assert data.spec.columns == ("temp", "cur", "vib")
    assert "read as a table" in data.notes[0]


@pytest.mark.parametrize(
    "content", [b"\x80\x04\x95" + bytes(99), b"a text of words\n" * 20, b"\x89PNG\r\n\x1a\n" + bytes(50), b""]
)
def test_an_unknown_ending_of_what_is_no_table_is_refused(content):
    open("x.unknown", "wb").write(content)
    with pytest.raises(DataError, match="no known type"):
        load("x.unknown")


def test_quoted_decimal_commas_of_a_file_with_commas():
    text = "a,b\n" + "".join(f'"{i},5","{i % 7},25"\n' for i in range(40))
    x, spec = first(_file("q.csv", text))
    assert [column.kind for column in spec.table] == ["real", "real"]
    offsets = [column.offset for column in spec.table]
    assert np.allclose(values(x)[3].numpy() + offsets, [3.5, 3.25])


def test_numbers_of_categories_get_a_hint():
    t = pd.DataFrame({"w": ["a", "b", "c"] * 20, "y": R.normal(size=60)})
    with pytest.raises(DataError, match="places among them, write the words"):
        load_like(t.assign(w=[0, 1, 2] * 20), load(t).spec)


def test_dates_as_a_condition_are_refused_in_a_sentence(tmp_path):
    t = machine(60).assign(day=pd.date_range("2024-01-01", periods=60))
    t.to_csv("d.csv", index=False)
    t.to_parquet("d.parquet")
    for source in (t, "d.csv", "d.parquet"):
        with pytest.raises(DataError, match="'day' to condition on holds dates; give"):
            load(source, condition="day")


@pytest.mark.parametrize(
    ("shape", "axes", "event"),
    [
        ((20, 6, 5, 3), "NHWC", (3, 6, 5)),
        ((20, 3, 5, 3), "NHWC", (3, 3, 5)),
        ((6, 5, 20), "HWN", (1, 6, 5)),
        ((6, 5, 3, 20), "HWCN", (3, 6, 5)),
        ((4, 20), "DN", (4,)),
        ((20, 2, 6, 5), "NCHW", (2, 6, 5)),
    ],
)
def test_axes_are_what_they_are_said_to_be(shape, axes, event):
    x = R.normal(size=shape)
    np.save("x.npy", x)
    found = {}
    for name, source, more in (
        ("array", x, {}),
        ("file", "x.npy", {}),
        ("stream", "x.npy", {"stream": True}),
    ):
        if name == "stream" and axes[0] != "N":
            continue
        data = load(source, axes=axes, **more)
        assert data.spec.event_shape == event
        assert data.options["axes"] == axes
        found[name] = values(load_like(source, data.spec, axes=axes, **more).all)
    usual = {2: "ND", 3: "NHW", 4: "NCHW"}[x.ndim]
    right = x.transpose([axes.index(letter) for letter in usual]).reshape(20, *event)
    for own in found.values():
        np.testing.assert_allclose(own, right, rtol=1e-6)


@pytest.mark.parametrize(
    ("axes", "said"),
    [("NTF", "no network goes along"), ("NCDHW", "volumes"), ("NXY", "neither"), (3, "neither")],
)
def test_axes_that_nothing_learns_are_refused_with_the_way_on(axes, said):
    with pytest.raises(ConfigError, match=said):
        load(np.zeros((20, 4, 5)), axes=axes)
    with pytest.raises(ConfigError, match="is for arrays"):
        load(machine(60), axes="ND")
    with pytest.raises(DataError, match="do not fit"):
        load(np.zeros((20, 4, 5)), axes="ND")


@pytest.mark.parametrize(
    ("shape", "dtype", "axes", "event"),
    [
        ((20, 3, 7, 4), "u1", "NHWC", (4, 3, 7)),
        ((20, 3, 7, 4), "f4", "NCHW", (3, 7, 4)),
        ((20, 1, 5, 3), "u1", "NCHW", (1, 5, 3)),
        ((20, 3, 3, 3), "u1", "NHWC", (3, 3, 3)),
        ((20, 4, 9, 4), "u1", "NCHW", (4, 9, 4)),
        ((20, 60, 3), "f4", "NHW", (1, 60, 3)),
        ((20, 24, 28), "i8", "NHW", (1, 24, 28)),
    ],
)
def test_unclear_axes_are_refused_until_they_are_said(call, shape, dtype, axes, event):
    """A model that is trained, of today or of older versions, knows them by the shape of its examples."""
    x = R.integers(0, 200, shape).astype(dtype)
    np.save("x.npy", x)
    pq.write_table(pa.table({"x": x.tolist()}), "x.parquet")
    for source, more in ((x, {}), ("x.npy", {}), ("x.npy", {"stream": True}), ("x.parquet", {})):
        if dtype == "u1" and isinstance(source, str) and source == "x.parquet":
            continue  # lists of Python's integers are int64
        with pytest.raises(DataError, match=f"pass axes=.*{axes}|reshape"):
            load(source, **more)
        data = load(source, axes=axes, **more)
        assert data.spec.event_shape == event
        assert load_like(source, data.spec, **more).spec.event_shape == event
    status, _, err = call("inspect", "x.npy")
    assert status == 2
    assert "--set data.axes=" in " ".join(err.split())
    assert call("inspect", "x.npy", "--set", f"data.axes={axes}")[0] == 0


def test_volumes_have_a_way_on():
    with pytest.raises(DataError, match="volumes and sequences can be reshaped"):
        load(R.normal(size=(20, 1, 5, 6, 7)))
    with pytest.raises(DataError, match="5 x 6"):
        load(list(R.normal(size=(20, 5, 6))))
    assert load(R.integers(0, 256, (20, 5, 6), dtype=np.uint8)).spec.event_shape == (1, 5, 6)


def test_classes_that_train_lacks_are_left_out_of_a_split_that_the_source_brings():
    arrays = {p: R.normal(size=(n, 2)) for p, n in (("train", 40), ("valid", 10), ("test", 10))}
    labels = {"train": ["a", "b"] * 20, "valid": ["a"] * 8 + ["z"] * 2, "test": ["b"] * 9 + ["y"]}
    np.savez("own.npz", **arrays, **{f"{p}_labels": np.array(v) for p, v in labels.items()})
    data = load("own.npz", condition="label")
    with pytest.warns(UserWarning, match="2 examples of valid are left out: they have 'z' as 'label'"):
        data = without_unseen(data)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [40, 8, 9]
    assert data.places(data.test).tolist() == list(range(50, 59))
    np.testing.assert_allclose(values(data.test), arrays["test"][:9], rtol=1e-6)


@runs
def test_a_run_on_a_split_with_strange_classes_is_evaluated(call):
    test_classes_that_train_lacks_are_left_out_of_a_split_that_the_source_brings()
    assert call("train", "own.npz", "--condition", "label", "--out", "run", *SMALL)[0] == 0
    status, out, err = call("evaluate", "run", *QUICK)
    assert status == 0, err
    assert json.loads(out)["n"] == 9


@runs
def test_rows_with_gaps_are_listed_and_the_rest_is_scored(call):
    t = machine(30)
    t.loc[[4, 17], "cur"] = np.nan
    t.to_csv("gaps.csv", index=False)
    status, _, err = call("score", "RUN-t", "gaps.csv", "--out", "s.csv")
    assert status == 0, err
    assert "2 of the 30 examples of gaps.csv are left out" in err
    assert "rows 4, 17" in err
    scores = pd.read_csv("s.csv")
    assert scores["row"].tolist() == list(range(30))
    assert np.flatnonzero(scores["log_prob"].isna()).tolist() == [4, 17]
    assert call("encode", "RUN-t", "gaps.csv", "--out", "z.csv")[0] == 0
    codes = pd.read_csv("z.csv", skip_blank_lines=False)
    assert np.flatnonzero(codes.isna().all(axis=1)).tolist() == [4, 17]
    assert json.loads(call("evaluate", "RUN-t", "gaps.csv", *QUICK)[1])["n"] == 28
    assert call("complete", "RUN-t", "gaps.csv", "--out", "f.csv", "-k", "20")[0] == 0
    assert pd.read_csv("f.csv").shape == (30, 3)


@runs
def test_classes_left_out_leave_the_others_with_their_row_numbers(call, made):
    from lowerbound.persistence import open_data, read_config

    machine(10).assign(defect=["None"] * 4 + ["new"] + ["None"] * 5).to_csv("n.csv", index=False)
    data = open_data(read_config(made / "run-d"), "n.csv", unseen="leave out")
    assert data.places(data.all).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]


@runs
def test_every_row_of_a_table_comes_back_and_of_pictures_the_first(call):
    machine(40).to_csv("t.csv", index=False)
    for command in (["reconstruct"], ["complete", "--mask", "temp", "--draws", "1", "-k", "5"]):
        assert call(command[0], "RUN-t", "t.csv", *command[1:], "--out", "r.csv", "--overwrite")[0] == 0
        assert len(pd.read_csv("r.csv")) == 40
    np.save("b.npy", blobs()[:30].astype("u1"))
    status, _, err = call("reconstruct", "RUN-bytes", "b.npy", "--out", "r.npy")
    assert status == 0
    assert "the first 16 of 30 examples" in err
    assert len(np.load("r.npy")) == 16


@runs
def test_the_rows_of_a_parquet_folder_with_parts_come_back_filled(call):
    t = machine(90)
    t.loc[R.random(90) < 0.2, "cur"] = np.nan
    for part, rows in (("train", slice(0, 50)), ("valid", slice(50, 70)), ("test", slice(70, 90))):
        os.makedirs(f"parts/{part}")
        t[rows].to_parquet(f"parts/{part}/0.parquet", index=False)
    assert call("train", "parts", "--out", "run", *SMALL)[0] == 0
    status, _, err = call("complete", "run", "parts", "--out", "f.csv", "-k", "20")
    assert status == 0, err
    filled = pd.read_csv("f.csv")
    assert len(filled) == 90
    np.testing.assert_allclose(filled["temp"], t["temp"])


@runs
def test_scores_and_codes_of_pictures_carry_their_files(call):
    os.makedirs("new/a")
    for name, picture in zip(("a/2.png", "a/10.png", "a/9.png"), blobs()[:3].astype("u1"), strict=True):
        Image.fromarray(picture).save(f"new/{name}")
    for command, out in (("score", "s.csv"), ("encode", "z.csv")):
        status, _, err = call(command, "RUN-bytes", "new", "--out", out)
        assert status == 0, err
        assert pd.read_csv(out)["file"].tolist() == ["a/2.png", "a/9.png", "a/10.png"]


# ------------------------------------------------------------------------------------------------ found by an audit
Y = R.normal(size=60)
I = np.arange(60)  # noqa: E741
COLUMNS = {  # cells, the kind of their column, the smallest value or a word of what is said
    "decimals": ([decimal.Decimal(int(i)) / 8 for i in I], "real", 0.0),
    "decimals and gaps": ([None, *(decimal.Decimal(int(i)) / 8 for i in I[1:])], "real", 0.125),
    "days before 1677": ([datetime.datetime(1600, 1, 1) + datetime.timedelta(int(i)) for i in I], "date", -135140.0),
    "days after 2262": ([datetime.datetime(2600, 1, 1) + datetime.timedelta(int(i)) for i in I], "date", 230103.0),
    "large whole numbers": (np.array([2**64 - 1 - int(i) for i in I], "u8"), None, "hardly tells apart"),
    "numbers and words": ([1, "a"] * 30, None, "int and str"),
    "an infinity": (np.where(I == 3, np.inf, Y), None, "t: column 'a' has an infinite number in row 3"),
    "a zone": (pd.date_range("2020-01-01", periods=60, tz="Europe/Berlin"), "date", "dates in UTC: a"),
}  # fmt: skip


@pytest.mark.parametrize("case", COLUMNS)
@pytest.mark.parametrize("form", ["frame", "parquet", "streamed"])
def test_types_of_databases_are_read_or_refused_for_what_they_are(case, form):
    cells, kind, right = COLUMNS[case]
    source, options = pd.DataFrame({"y": Y, "a": cells}), {}
    if form != "frame":
        if case in ("numbers and words",):
            return  # Arrow has no such columns
        pq.write_table(pa.Table.from_pandas(source), "t.parquet", row_group_size=5)
        source, options = "t.parquet", {"stream": form == "streamed"}
    if kind is None:
        with pytest.raises(DataError, match=right.replace("t:", ".*:")):
            load(source, **options)
        return
    data = load(source, **options)
    column = next(c for c in data.spec.table if c.name == "a")
    assert column.kind == kind
    if isinstance(right, str):
        assert any(right in note for note in data.notes)
    else:
        assert column.low == right
        x = values(data.all)[:, 1].double() + column.offset
        assert x.nan_to_num(-np.inf).max() == pytest.approx(column.high)


WRITTEN = {  # how cells are written, the kind of their column, and a word of what is said
    "blanks between thousands": ([f"{1 + i} {i:03}" for i in range(60)], "integer", "between thousands"),
    "narrow blanks, commas": ([f"{1 + i}\u202f{i:03},5" for i in range(60)], "real", "between thousands"),
    "apostrophes": ([f"{1 + i}'{i:03}.25" for i in range(60)], "real", "between thousands"),
    "telephones": ([f"0{1 + i} {i:03}" for i in range(60)], "identifier", None),
    "short years": (
        [f"{1 + i % 12}/{1 + i % 28}/20" for i in range(60)],
        "identifier",
        "like dates or times",
    ),
    "names of months": ([f"{1 + i % 28} Jan 2020" for i in range(60)], "category", "like dates or times"),
    "times of the day": ([f"{i % 24:02}:{i % 6}5" for i in range(60)], "category", "like dates or times"),
    "Italian numbers of pages": ([f"p. {i % 9}" for i in range(60)], "category", None),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_what_numbers_and_dates_can_look_like_is_read_or_said(case):
    cells, kind, said = WRITTEN[case]
    lines = (f"{y};{cell}\n" for y, cell in zip(Y, cells, strict=True))
    data = load(_file("w.csv", "y;a\n" + "".join(lines)))
    column = next(c for c in data.spec.table if c.name == "a")
    assert column.kind == kind
    notes = " ".join(note for note in data.notes if "'a'" in note)
    assert (said or "") in notes
    assert said or not any(word in notes for word in ("thousands", "dates"))
    if kind in ("integer", "real"):
        decimals = {"narrow blanks, commas": 0.5, "apostrophes": 0.25}.get(case, 0)
        assert values(data.all)[:, 1].double().sum() + 60 * column.offset == pytest.approx(
            sum(1000 * (1 + i) + i + decimals for i in range(60))
        )


def test_a_row_of_units_is_pointed_out():
    lines = "".join(f"{y},{i / 7}\n" for i, y in enumerate(Y))
    with pytest.raises(DataError, match="among its numbers are words, first 'm' in row 0"):
        load(_file("u.csv", "y,a\nm,kg\n" + lines))
