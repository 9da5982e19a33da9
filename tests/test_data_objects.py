"""Objects in memory as libraries hand them out: each gives what the array or the table in it gives."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler, TensorDataset

import lowerbound as lb
from lowerbound.data import load, load_like
from lowerbound.errors import ConfigError, DataError

R = np.random.default_rng(0)
X, Y = R.normal(size=(30, 4)).astype("f4"), np.arange(30) % 3
PICTURES = R.integers(0, 256, (12, 5, 5, 3), dtype=np.uint8)
FRAME = pd.DataFrame({"a": R.normal(size=30), "n": R.integers(0, 9, 30), "w": R.choice(["x", "y"], 30)})
SPLITS = ("train", "valid", "test")


class Items(Dataset):
    """A map-style data set of what it is given."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Image_:
    """Stands for the feature of Hugging Face."""


Image_.__name__ = "Image"


class ClassLabel:
    def __init__(self, *names):
        self.names = [*names]


class Value:
    pass


class Hub:
    """What a data set of Hugging Face shows of itself: features, names of columns, and rows, here of Arrow."""

    def __init__(self, columns, features):
        self.table, self.features, self.column_names = pa.table(columns), features, list(columns)

    def __len__(self):
        return len(self.table)

    def with_format(self, kind):
        assert kind == "arrow"
        return self

    def __getitem__(self, rows):
        return self.table[rows]


class Bare(Hub):
    """The same without Arrow: rows are dicts."""

    with_format = property()

    def __getitem__(self, i):
        return self.table.slice(i, 1).to_pylist()[0]


class Exported:
    """A DataFrame of another library: nothing but its export."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return {"bytes": file.getvalue(), "path": None}


def pictures(count=12):
    features = {"image": Image_(), "label": ClassLabel("cat", "dog")}
    return Hub(
        {"image": [png(p) for p in PICTURES[:count]], "label": [i % 2 for i in range(count)]}, features
    )


def same(data, expected):
    assert data.spec == expected.spec
    for name in SPLITS:
        own, right = getattr(data, name), getattr(expected, name)
        a, b = (next(split.batches(len(split)))[0] for split in (own, right))
        assert torch.equal(a.nan_to_num(-99), b.nan_to_num(-99))
        assert (own.labels is None) == (right.labels is None)
        assert own.labels is None or torch.equal(own.labels, right.labels)


ARRAYS = {
    "list of arrays": lambda: [*X],
    "list of tensors": lambda: [*torch.from_numpy(X)],
    "list of lists": lambda: X.tolist(),
    "list of tuples": lambda: [tuple(row) for row in X.tolist()],
    "loader of one tensor": lambda: DataLoader(TensorDataset(torch.from_numpy(X)), 7),
    "loader of x alone": lambda: DataLoader(Items([*X]), 7),
    "loader that drops the last": lambda: DataLoader(Items([*X]), 7, drop_last=True),
    "array by its interface": lambda: np.ma.masked_array(X),
}
PAIRS = {
    "pair of arrays": lambda: (X, Y),
    "list of pairs": lambda: [*zip(X, Y, strict=True)],
    "data set of pairs": lambda: Items([*zip(X, Y, strict=True)]),
    "loader of pairs": lambda: DataLoader(Items([*zip(X, Y, strict=True)]), 7),
    "data set of dicts": lambda: Items([{"x": x, "y": y} for x, y in zip(X, Y, strict=True)]),
    "loader of dicts": lambda: DataLoader(Items([{"x": x, "y": y} for x, y in zip(X, Y, strict=True)]), 7),
    "dict of arrays": lambda: {"x": X, "y": Y},
    "lists of Arrow": lambda: Exported(pa.table({"x": [*X], "y": Y})),
}


@pytest.mark.parametrize("form", ARRAYS)
def test_what_holds_an_array_is_read_as_the_array(form):
    data = load(ARRAYS[form]())
    if "lists" in form or "tuples" in form:  # floats of Python are of 64 bits
        same(data, load(X.astype("f8")))
    else:
        same(data, load(X))


@pytest.mark.parametrize("form", PAIRS)
def test_what_holds_pairs_is_read_as_array_and_labels(form):
    named = {"label_column": "y"} if "dict" in form or "Arrow" in form else {}
    same(load(PAIRS[form](), **named), load(X, labels=Y))


TABLES = {
    "series of columns": lambda: {name: FRAME[name].tolist() for name in FRAME},
    "list of records": lambda: FRAME.to_dict("records"),
    "data set of records": lambda: Items(FRAME.to_dict("records")),
    "loader of records": lambda: DataLoader(Items(FRAME.to_dict("records")), 7),
    "table of Arrow": lambda: pa.Table.from_pandas(FRAME),
    "export": lambda: Exported(pa.Table.from_pandas(FRAME)),
    "export of views": lambda: Exported(
        pa.Table.from_pandas(FRAME).cast(
            pa.schema([("a", pa.float64()), ("n", pa.int64()), ("w", pa.string_view())])
        )
    ),
    "export of categories": lambda: Exported(
        pa.table({"a": FRAME["a"], "n": FRAME["n"], "w": pa.array(FRAME["w"]).dictionary_encode()})
    ),
    "Hugging Face": lambda: Hub(
        {name: FRAME[name].tolist() for name in FRAME}, dict.fromkeys(FRAME, Value())
    ),
    "Hugging Face without Arrow": lambda: Bare(
        {name: FRAME[name].tolist() for name in FRAME}, dict.fromkeys(FRAME, Value())
    ),
}


@pytest.mark.parametrize("form", TABLES)
def test_what_holds_a_table_is_read_as_the_table(form):
    same(load(TABLES[form]()), load(FRAME))


@pytest.mark.parametrize("form", TABLES)
def test_a_model_takes_tables_of_every_form(form):
    model = lb.VAE.for_data(load(FRAME), latent=2, network={"hidden": [4]})
    x = TABLES[form]()
    for use in ("encode", "log_prob", "reconstruct"):
        extra = {"seed": 0, "samples": 3} if use == "log_prob" else {}
        assert torch.equal(getattr(model, use)(x, **extra), getattr(model, use)(FRAME, **extra))
    assert lb.evaluate.nll(model, x, samples=3).value == lb.evaluate.nll(model, FRAME, samples=3).value
    observed = torch.ones(30, 3, dtype=torch.bool)
    done = model.complete(x, observed, 1, samples=3, seed=0)
    assert torch.equal(done.x, model.complete(FRAME, observed, 1, samples=3, seed=0).x)


@pytest.mark.parametrize("form", [*ARRAYS, *PAIRS])
def test_a_model_takes_arrays_of_every_form(form):
    model = lb.VAE.for_data(load(X), latent=2, network={"hidden": [4]})
    if form in ("data set of dicts", "loader of dicts", "dict of arrays", "lists of Arrow"):
        return
    torch.testing.assert_close(model.encode({**ARRAYS, **PAIRS}[form]()), model.encode(X))


def test_a_series_is_a_table_of_one_column():
    assert load(FRAME["a"]).spec.columns == ("a",)


def test_a_loader_that_shuffles_is_read_in_order():
    loader = DataLoader(TensorDataset(torch.from_numpy(X)), 7, shuffle=True)
    with pytest.warns(UserWarning, match="shuffles; its data set is read in its own order"):
        data = load(loader)
    same(data, load(X))


@pytest.mark.parametrize("where", ["load", "encode"])
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (object(), "cannot load a object; give a name, a path"),
        (3.5, "cannot load a float"),
        (iter([1]), "cannot load a list_iterator"),
        (DataLoader(Items([*X]), sampler=SubsetRandomSampler([1, 2])), "SubsetRandomSampler does not say"),
        (Items([]), "Items is empty"),
        ([], "list is empty"),
        ([np.ones(2), np.ones(3)], "item 1 has"),
        (load(X).test, "a Split has been read already"),
        ({"a": [1], "b": [1, 2]}, "unlike lengths"),
        (["a", "b"], "<U1|dtype"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_is_no_such_object_gets_a_sentence(source, message, where):
    model = lb.VAE.for_data(load(X), latent=2, network={"hidden": [4]})
    with pytest.raises(DataError, match=message):
        load(source) if where == "load" else model.encode(source)


def test_streams_are_refused_with_the_way_on():
    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield torch.zeros(2)

    class Streamed:
        features, column_names = {"x": Value()}, ["x"]

    for source in (Endless(), DataLoader(Endless()), Streamed()):
        with pytest.raises(DataError, match=r"map-style data set|give its data set"):
            load(source)


# ------------------------------------------------------------------------------------------------ Hugging Face
def test_pictures_of_hugging_face_bring_their_classes():
    data = load(pictures())
    expected = load(PICTURES, labels=["cat", "dog"] * 6)
    same(data, expected)
    assert data.spec.classes == ("cat", "dog")
    dim = load(pictures(), image_size=3, channels=1)
    assert dim.spec.event_shape == (1, 3, 3)


def test_a_class_that_is_not_known_is_missing():
    features = {"x": Value(), "y": Value(), "label": ClassLabel("no", "yes")}
    source = Hub({"x": X[:, 0], "y": X[:, 1], "label": [-1, 0, 1] * 10}, features)
    data = load(source, condition="label")
    assert data.spec.columns == ("x", "y")
    assert data.spec.conditions[0].classes == ("no", "yes")
    assert (
        load_like(source, data.spec, label_column="label").all.condition("label").tolist() == [-1, 0, 1] * 10
    )


def test_a_dict_of_parts_is_a_split_of_its_own():
    parts = {"train": FRAME[:20], "validation": FRAME[20:25], "test": FRAME[25:]}
    for wrap in (
        lambda f: f,
        lambda f: f.to_dict("records"),
        lambda f: Hub({n: f[n].tolist() for n in f}, dict.fromkeys(f, Value())),
    ):
        data = load({name: wrap(part) for name, part in parts.items()})
        assert [len(getattr(data, name)) for name in SPLITS] == [20, 5, 5]
        x = next(data.valid.batches(5))[0]
        np.testing.assert_allclose(x[:, 0] + (data.spec.table[0].offset or 0), FRAME["a"][20:25], rtol=1e-6)
    data = load({"train": (X[:20], Y[:20]), "test": TensorDataset(*map(torch.from_numpy, (X[20:], Y[20:])))})
    assert [len(getattr(data, name)) for name in SPLITS] == [18, 2, 10]
    assert any("no examples of valid, so 2 of the 20 of train" in note for note in data.notes)
    assert torch.equal(next(data.test.batches(10))[0], torch.from_numpy(X[20:]))
    assert data.test.labels.tolist() == Y[20:].tolist()


def test_options_that_mean_nothing_are_refused():
    for source in (X.tolist(), Exported(pa.table({"x": [*X]})), {"x": X}):
        with pytest.raises(ConfigError, match="image_size"):
            load(source, image_size=3)
