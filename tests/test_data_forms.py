"""The same data in every form that is read are the same data: schema, examples, splits, and log p(x) of a model."""

import datetime
import io
import json
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

import lowerbound as lb
from lowerbound.data import load, load_like

SPLITS = ("train", "valid", "test")
# A new model has no notion of quality, so its warnings say nothing here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


# ------------------------------------------------------------------------------------------------ tables
@st.composite
def tables(draw):
    """A table of columns of every kind that is modelled, as lists of plain values, None where a cell is empty."""
    rows = draw(st.integers(12, 40))
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    day = datetime.datetime(2020, 1, 1)
    make = {
        "real": lambda: (r.normal(size=rows) * 10.0 ** r.integers(-3, 4)).tolist(),
        "rounded": lambda: (r.normal(size=rows) * 3).round(1).tolist(),
        "offset": lambda: (1.7e9 + 100 * r.random(rows)).round(2).tolist(),
        "whole": lambda: r.integers(-5, 60, rows).tolist(),
        "large": lambda: (10**9 + r.integers(0, 9999, rows)).tolist(),
        "word": lambda: r.choice(["None", "a b", "NA", "größer", "x;y,z"], rows).tolist(),
        "truth": lambda: r.choice([True, False], rows).tolist(),
        "day": lambda: [day + datetime.timedelta(int(d)) for d in r.integers(0, 900, rows)],
        "time": lambda: [day + datetime.timedelta(seconds=int(s)) for s in r.integers(0, 9**8, rows)],
    }
    kinds = ["real", *draw(st.lists(st.sampled_from(sorted(make)), min_size=1, max_size=5))]
    columns = {}
    for i, kind in enumerate(kinds):
        values = make[kind]()
        values[0] = values[0] if kind != "word" else "a b"  # not a column of words for "missing" alone
        if draw(st.booleans()):
            for j in r.choice(np.arange(1, rows), rows // 6, replace=False):
                values[j] = None
        columns[f"{kind} {i}"] = values
    return columns


def objects(columns):
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


def usual(columns):
    return objects(columns).infer_objects()


def nullable(columns):
    return objects(columns).convert_dtypes()


def categorical(columns):
    frame = usual(columns)
    words = [name for name in frame if name.startswith(("word", "truth"))]
    return frame.astype(dict.fromkeys(words, "category"))


def text(columns, separator=",", comma=False):
    """The cells as a program would print them, those with a separator in quotation marks."""

    def cell(value):
        if value is None:
            return ""
        word = repr(value).replace(".", "," if comma else ".") if isinstance(value, float) else str(value)
        return f'"{word}"' if separator in word else word

    lines = [list(columns), *zip(*columns.values(), strict=True)]
    return "".join(separator.join(map(cell, line)) + "\n" for line in lines)


def records(columns):
    plain = {n: [str(v) if isinstance(v, datetime.datetime) else v for v in c] for n, c in columns.items()}
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]


def forms(columns, folder):
    """The source and the options of each form."""
    yield "object", objects(columns), {}
    yield "usual", usual(columns), {}
    yield "nullable", nullable(columns), {}
    yield "categorical", categorical(columns), {}
    written = {
        "comma.csv": text(columns).encode(),
        "semicolon.csv": text(columns, ";").encode(),
        "european.csv": text(columns, ";", comma=True).encode("cp1252"),
        "bar.txt": text(columns, "|").encode("utf-16"),
        "tab.tsv": text(columns, "\t", comma=True).encode("utf-8-sig"),
        "t.json": json.dumps(records(columns)).encode(),
        "t.jsonl": "\n".join(map(json.dumps, records(columns))).encode(),
    }
    for name, content in written.items():
        (folder / name).write_bytes(content)
        yield name, folder / name, {}
        if "json" not in name:
            yield f"{name}, by way of disk", folder / name, {"stream": True}
    pd.DataFrame(usual(columns)).to_csv(folder / "t.csv.gz", index=False)
    yield "t.csv.gz", folder / "t.csv.gz", {}
    table = pa.Table.from_pandas(nullable(columns), preserve_index=False)
    nullable(columns).to_feather(folder / "t.feather")
    yield "t.feather", folder / "t.feather", {}
    pq.write_table(table, folder / "one.parquet")
    pq.write_table(table, folder / "groups.parquet", row_group_size=1)
    (folder / "files").mkdir()
    for i, start in enumerate(range(0, len(table), 5)):
        pq.write_table(table.slice(start, 5), folder / "files" / f"{i}.parquet", row_group_size=1)
    for name in ("one.parquet", "groups.parquet", "files"):
        yield name, folder / name, {"stream": False}
        if name != "one.parquet":
            yield f"{name}, streamed", folder / name, {"stream": True}


def said(spec):
    """The schema without what forms cannot all say: whether whole numbers beside gaps are stored as such."""
    plain = {"form": None, "gap": ""}  # how a file of texts is written
    table = tuple(replace(c, stored=c.stored.replace("integer", "float"), **plain) for c in spec.table)
    return replace(spec, source="", table=table, stored=None, file=None)


def values(split):
    return next(split.batches(len(split)))[0]


def as_set(x):
    return sorted(map(repr, x.nan_to_num(1234.5).flatten(1).tolist()))


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
@given(columns=tables())
def test_a_table_is_the_same_in_every_form(columns):
    first = None
    with tempfile.TemporaryDirectory() as place:
        for name, source, options in forms(columns, Path(place)):
            data = load(source, **options)
            if first is None:
                first = data
                whole = load_like(source, data.spec).all
                model = lb.VAE.for_data(data, latent=2, network={"hidden": [4]})
                expected = model.log_prob(values(whole), samples=2, seed=0)
                assert expected.isfinite().all()
            assert said(data.spec) == said(first.spec), name
            assert as_set(values(data.all)) == as_set(values(first.all)), name
            if "streamed" not in name:
                for part in SPLITS:
                    assert as_set(values(getattr(data, part))) == as_set(values(getattr(first, part))), name
            like = values(load_like(source, first.spec, **options).all)
            torch.testing.assert_close(like, values(whole), rtol=0, atol=0, equal_nan=True, msg=name)
            assert torch.equal(model.log_prob(like, samples=2, seed=0), expected), name
            if isinstance(source, pd.DataFrame):
                assert torch.equal(model.log_prob(source, samples=2, seed=0), expected), name


@pytest.mark.slow
@settings(max_examples=20, deadline=None, derandomize=True, phases=[Phase.generate])
@given(columns=tables(), seed=st.integers(0, 99))
def test_order_of_columns_and_rows_and_columns_beside_change_nothing(columns, seed):
    frame = usual(columns)
    data = load(frame)
    r = np.random.default_rng(seed)
    rows, names = r.permutation(len(frame)), r.permutation(list(frame)).tolist()
    other = frame.iloc[rows][names].assign(new=r.normal(size=len(frame)))
    x = values(load_like(frame, data.spec).all)
    y = values(load_like(other, data.spec).all)
    torch.testing.assert_close(y, x[rows], rtol=0, atol=0, equal_nan=True)
    part = load_like(frame.iloc[:1], data.spec)
    torch.testing.assert_close(values(part.all), x[:1], rtol=0, atol=0, equal_nan=True)


# ------------------------------------------------------------------------------------------------ pictures
def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


def picture_forms(bytes_, folder):
    """Source and options of each form of bytes (N, H, W) or (N, H, W, 3)."""
    first = bytes_ if bytes_.ndim == 3 else np.moveaxis(bytes_, 3, 1)
    # Of numbers that are no bytes an array says which axes it has, unless a picture's are the only ones.
    grey = {"axes": "NHW"} if first.ndim == 3 else {}
    yield "uint8", first, {}
    yield "channels last", bytes_, {}
    yield "channels axis", first[:, None] if first.ndim == 3 else first, {}
    yield "int64", first.astype(np.int64), {**grey}
    yield "uint16", first.astype(np.uint16), {}
    yield "tensor", torch.from_numpy(first.copy()), {}
    yield "whole floats of a share", (first / 255).astype(np.float32), {"floats": True, **grey}
    yield "float64", first / 255, {"floats": True, **grey}
    np.save(folder / "x.npy", bytes_)
    yield "npy", folder / "x.npy", {"stream": False}
    yield "npy, streamed", folder / "x.npy", {"stream": True}
    np.save(folder / "fortran.npy", np.asfortranarray(first))
    yield "Fortran's order", folder / "fortran.npy", {"stream": False}
    np.savez_compressed(folder / "x.npz", x=first)
    yield "npz", folder / "x.npz", {}
    (folder / "pictures").mkdir()
    with tarfile.open(folder / "x.tar", "w") as tar:
        for i, picture in enumerate(bytes_):
            content = png(picture)
            (folder / "pictures" / f"{i}.png").write_bytes(content)
            member = tarfile.TarInfo(f"{i:03}.png")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    yield "folder", folder / "pictures", {}
    yield "tar", folder / "x.tar", {"stream": False}
    yield "tar, streamed", folder / "x.tar", {"stream": True}
    contents = [png(picture) for picture in bytes_]
    pq.write_table(pa.table({"image": contents}), folder / "x.parquet", row_group_size=1)
    yield "parquet", folder / "x.parquet", {"stream": False}
    yield "parquet, streamed", folder / "x.parquet", {"stream": True}


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(10, 24),
    height=st.integers(5, 9),
    width=st.integers(5, 9),
    colours=st.booleans(),
    dark=st.booleans(),
)
def test_pictures_are_the_same_in_every_form(seed, count, height, width, colours, dark):
    """Bytes, and floats that are their share of white, mean the same to a model, however dark a batch is."""
    shape = (count, height, width, 3) if colours else (count, height, width)
    r = np.random.default_rng(seed)
    bytes_ = r.integers(0, 256, shape, dtype=np.uint8)
    new = r.integers(0, 2 if dark else 256, shape, dtype=np.uint8)
    data = load(bytes_)
    model = lb.VAE.for_data(data, latent=2, network={"hidden": [4]})
    x = values(load_like(new, data.spec).all)
    chw = new[:, None] if not colours else np.moveaxis(new, 3, 1)
    assert torch.equal((x * 256).floor(), torch.from_numpy(chw.astype(np.float32)))  # x = (v + u) / 256
    expected = model.log_prob(x, samples=2, seed=0)
    with tempfile.TemporaryDirectory() as place:
        for name, source, options in picture_forms(bytes_, Path(place)):
            floats = options.pop("floats", False)
            if not floats:
                spec = load(source, **options).spec
                assert replace(spec, source="", stored="uint8") == replace(data.spec, source=""), name
        for name, source, options in picture_forms(new, _made(Path(place) / "new")):
            options = {name: value for name, value in options.items() if name not in ("floats", "axes")}
            like = load_like(source, data.spec, **options)
            torch.testing.assert_close(values(like.all), x, rtol=0, atol=0, msg=name)
            if not isinstance(source, Path) and getattr(source, "dtype", None) in (np.uint8, np.int64):
                assert torch.equal(model.log_prob(source, samples=2, seed=0), expected), name


def _made(folder):
    folder.mkdir()
    return folder
