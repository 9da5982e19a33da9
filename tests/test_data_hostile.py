"""Hostile and damaged files: every reader ends in a value or in our error, soon and in bounded memory."""

import gzip
import importlib
import io
import json
import os
import struct
import tarfile
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import lowerbound as lb
from lowerbound.cli.given import read_given
from lowerbound.data import load
from lowerbound.data import memory as memory_module
from lowerbound.data.arrays import open_npy, read_npz
from lowerbound.data.files import user_path
from lowerbound.data.idx import read_idx
from lowerbound.errors import ConfigError, DataError, brief, listed, suggest
from lowerbound.planning.data import read_meta

X = np.arange(60.0).reshape(30, 2)


def npy(array=X, **how):
    """Return the bytes of a .npy."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), **how)
    return stream.getvalue()


def npy_of(header, values=b"", version=(1, 0)):
    """Return the bytes of a .npy whose header is this text."""
    text = header.encode("latin1") + b"\n"
    return (
        b"\x93NUMPY"
        + bytes(version)
        + struct.pack("<H" if version == (1, 0) else "<I", len(text))
        + text
        + values
    )


def refused(path, content=None, match=None, **options):
    """Check that a source is refused by a bounded message that names it; return the message."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=match) as error:
        load(path, **options)
    assert path.name[:40] in str(error.value)
    assert len(str(error.value)) < 5000
    return str(error.value)


@pytest.fixture
def little_memory(monkeypatch):
    """Say that so many bytes are available."""

    def say(size):
        monkeypatch.setattr(memory_module, "available_memory", lambda: size)

    return say


# .npy


@pytest.mark.parametrize(
    "header",
    [
        "{'descr':'<f4', 'shape':(",
        "{'descr':'<f4', 'fortran_order':False, 'shape':(True, True)}",
        "{'descr':'<f4', 'fortran_order':False, 'shape':(-30, 4)}",
        "{'descr':'<f4', 'fortran_order':False, 'shape':(30, -0x7fffffffffffffff)}",
        "{'descr':'<f4', 'fortran_order':False, 'shape':" + "-" * 9000 + "1}",
        "{'descr':'<f4', 'fortran_order':False, 'shape':" + "(" * 3000,
        "{'descr':'<f4', 'fortran_order':False, 'shape':(" + "9" * 4000 + ",)}",
        "{'descr':'<f4', 'fortran_order':False, 'shape':(" + "1," * 100 + ")}",
        "{'descr':'<U0', 'fortran_order':False, 'shape':(9223372036854775807, 9)}",
        "{'descr':[('a','<f4'),('a','<f4')], 'fortran_order':False, 'shape':(1,)}",
        "{'descr':'nonsense', 'fortran_order':False, 'shape':(1,)}",
        "{'descr':3, 'fortran_order':False, 'shape':(1,)}",
        "{1:2}",
        "[" * 150 + "]" * 150,
        "\x00" * 100,
    ],
    ids=range(15),
)
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.tar"])
def test_headers_of_arrays_of_any_content_are_refused(tmp_path, header, name):
    content = npy_of(header, bytes(480))
    if name == "a.npz":
        content = zipped({"x.npy": content})
    if name == "a.tar":
        content = tar({f"{i}.npy": content for i in range(20)})
    refused(tmp_path / name, content)


def test_what_is_given_on_the_command_line_may_be_any_file(tmp_path):
    model = lb.VAE.for_data(load(X, condition={"map": np.ones((30, 1, 4, 4), np.float32)}), latent=2)
    for content in (npy_of("{'descr':'<f4', 'shape':("), b"", npy(np.array([{}], object), allow_pickle=True)):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.npy cannot be read"):
            read_given(model, [f"map={tmp_path / 'a.npy'}"])
    with pytest.raises(DataError, match="there is no such file"):
        read_given(model, ["map=nowhere.npy"])
    (tmp_path / "a.npy").write_bytes(npy(np.ones((4, 4), np.float32)))
    assert read_given(model, [f"map={tmp_path / 'a.npy'}"])["map"].shape == (1, 1, 4, 4)


def test_an_array_must_have_the_bytes_that_its_header_announces(tmp_path):
    good = npy()
    refused(tmp_path / "a.npy", good[:-8], r"announces \(30, 2\) float64, 608 bytes, but it has 600")
    refused(tmp_path / "a.npy", good + npy(), "several arrays one after the other")
    refused(tmp_path / "a.npy", good.replace(b"(30, 2)", b"(39, 2)"), "announces")
    (tmp_path / "a.npy").write_bytes(npy(X, version=(2, 0)))
    assert np.array_equal(open_npy(tmp_path / "a.npy"), X)
    (tmp_path / "a.npy").write_bytes(npy(np.asfortranarray(X)))
    assert np.array_equal(open_npy(tmp_path / "a.npy"), X)


def test_names_of_files_do_not_decide_what_they_hold(tmp_path):
    refused(tmp_path / "a.npz", npy(), "begins as a .npy does")
    refused(tmp_path / "a.npy", zipped({"x.npy": npy()}), "cannot be read")
    refused(tmp_path / "a.tar", npy(), "cannot be read as a tar file")
    refused(tmp_path / "a.parquet", npy(), "cannot be read as a table")


# .npz


def zipped(members, method=zipfile.ZIP_DEFLATED):
    """Return the bytes of a zip of these members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def patched(content, local, central, value):
    """Return a zip with bytes at these places of the headers of its first member replaced."""
    content = bytearray(content)
    start = content.index(b"PK\x01\x02") + central
    content[local : local + len(value)] = content[start : start + len(value)] = value
    return bytes(content)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_packed_members_are_refused(tmp_path, method):
    content = zipped({"x.npy": npy(np.random.default_rng(0).normal(size=(300, 2)))}, method)
    for start in range(40, len(content) - 200, len(content) // 7):
        refused(tmp_path / "a.npz", content[:start] + b"\xff" * 20 + content[start + 20 :], r"x\.npy")


def test_members_that_cannot_be_unpacked_are_refused(tmp_path):
    content = zipped({"x.npy": npy()})
    refused(tmp_path / "a.npz", patched(content, 8, 10, b"\x63\x00"), r"x\.npy: That compression method")
    refused(tmp_path / "a.npz", patched(content, 6, 8, b"\x01\x00"), r"x\.npy.*encrypted")
    refused(tmp_path / "a.npz", zipped({"x.npy": b"no array"}), r"x\.npy: the magic string")
    refused(tmp_path / "a.npz", zipped({"x.txt": b"1"}), r"no \.npy: x\.txt")
    refused(tmp_path / "a.npz", zipped({"x.npy": npy()[:-8]}), "announces")
    refused(
        tmp_path / "a.npz",
        zipped({"x.npy": npy(), "y.npy": npy()}).replace(b"y.npy", b"x.npy"),
        "several members of one name",
    )


def test_sizes_that_no_member_can_have_are_refused_before_it_is_unpacked(tmp_path, little_memory):
    content = zipped({"x.npy": npy()})
    refused(
        tmp_path / "a.npz", patched(content, 22, 24, struct.pack("<I", 2**31)), "packed bytes cannot hold"
    )
    refused(tmp_path / "a.npz", zipped({"x.npy": npy_of(str(header((10**10,))))}), "announces")
    little_memory(2**20)
    bomb = zipped({"x.npy": npy(np.zeros((2**18, 1)))})  # of a true 2 MiB
    refused(tmp_path / "a.npz", bomb, r"with x, takes 2 MiB of memory, but 1 MiB are available")


def test_a_copy_of_the_examples_must_fit_beside_them(little_memory):
    little_memory(2**20)
    with pytest.raises(DataError, match=r"copy of the examples of array.* takes 12 MiB"):
        load(np.zeros((3, 2**19)))


def header(shape, descr="<f4"):
    """Return the table in a header."""
    return {"descr": descr, "fortran_order": False, "shape": shape}


def test_only_the_arrays_that_are_asked_for_are_unpacked(tmp_path, little_memory):
    little_memory(2**20)
    path = tmp_path / "a.npz"
    path.write_bytes(
        zipped({"x.npy": npy(), "y.npy": npy(np.arange(30)), "w.npy": npy(np.zeros(2**18)), "bad.npy": b"?"})
    )
    source = read_npz(path)
    assert np.array_equal(source.parts[0], X)
    assert source.labels is not None
    with pytest.raises(DataError, match=r"bad\.npy"):
        read_npz(path, ["bad"])
    with pytest.raises(DataError, match=r"x, y, w, takes 2 MiB"):
        read_npz(path, ["w"])


@pytest.mark.parametrize(
    "content", [b"no zip", zipped({"meta.npy": b"?"}), zipped({"x.npy": npy_of("[" * 900)})]
)
def test_damaged_problems_for_the_planner_are_refused(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="no training set for planning"):
        read_meta(tmp_path / "a.npz")


# IDX


def idx(shape, values=b"", axes=None):
    """Return the bytes of an IDX file."""
    sizes = b"".join(struct.pack(">I", n) for n in shape)
    return bytes([0, 0, 8, len(shape) if axes is None else axes]) + sizes + values


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx([1] * 65, b"a"), "announces 65 axes"),
        (idx([1] * 255, b"a"), "announces 255 axes"),
        (idx([], b"a"), "announces 0 axes"),
        (idx([3], b"abc", axes=9), "announces 9 axes"),
        (idx([2**32 - 1] * 8, b"abc"), "announces"),
        (idx([3], b"abcd"), "announces.*has more"),
        (idx([3], b"ab"), "announces.*has 2"),
    ],
)
def test_idx_of_any_axes_and_sizes_is_refused(tmp_path, packed, content, message):
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def test_of_a_packed_idx_no_more_is_unpacked_than_it_announces(tmp_path, little_memory):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx([3], bytes(2**26)), 1))
    read = []
    original = gzip.GzipFile.read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gzip.GzipFile, "read", lambda self, n=-1: read.append(n) or original(self, n))
        with pytest.raises(DataError, match="has more"):
            read_idx(path)
    assert set(read) <= set(range(9))
    little_memory(2**20)
    path.write_bytes(gzip.compress(idx([2**21], bytes(2**21)), 1))
    with pytest.raises(DataError, match="takes 2 MiB of memory"):
        read_idx(path)


# Labels


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1e300] * 30),
        np.array([-1e19] * 30),
        1e20 + 1e5 * np.arange(30),
        np.array([float(2**53), *range(29)]),
        np.array([2**63, *range(-29, 0)], object),
        np.array([10**400, *range(29)], object),
        np.array(["1", *range(29)], object),
        np.array([True, *range(29)], object),
        np.array([b"a"] * 30, object),
        np.array([1 + 2j] * 30),
        np.array([b"a"] * 30),
        np.array(["2020-01-01"] * 30, "M8[D]"),
        np.array([None, [1], *range(28)], object),
        np.array(["a" * 1001] * 30, object),
        np.array(["a" * 1001] * 30),
    ],
)
def test_labels_never_become_another_class(labels):
    with pytest.raises(DataError, match=r"^labels of array have") as error:
        load(X, labels=labels)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "labels", [np.array([2**63 - 1, -(2**63)] * 15, object), np.array([2**63, 2**64 - 1] * 15)]
)
def test_labels_of_64_bits_keep_their_names(labels):
    assert load(X, labels=labels).spec.classes == tuple(str(label) for label in sorted(labels[:2]))


@pytest.mark.parametrize(
    ("train", "valid", "message"),
    [
        (
            np.arange(30) % 3,
            np.array(["2020-01-01"] * 30, "M8[D]"),
            "parts of unlike types: int64, datetime64",
        ),
        (np.arange(30) % 3, np.array(["1"] * 30), "like 0 and '1'"),
        (np.arange(30) % 2, np.array([True] * 30), "like 0 and True"),
        (np.arange(30) - 5, np.array([2**64 - 1] * 30, np.uint64), "beyond 64 bits"),
        (np.arange(30) + 2**53, np.arange(30) / 1.0, "floats beyond 2"),
        (np.arange(30), np.arange(30) / 2, "like.*0.5"),
    ],
)
def test_labels_of_unlike_types_over_the_parts_are_refused(tmp_path, train, valid, message):
    parts = dict.fromkeys(("train", "valid", "test"), X)
    for what in ("labels", "kind"):
        if what == "kind" and valid.dtype.kind == "f":  # a vector then
            continue
        beside = {f"train_{what}": train, f"valid_{what}": valid, f"test_{what}": train}
        np.savez(tmp_path / "a.npz", **parts, **beside)
        with pytest.raises(DataError, match=message):
            load(tmp_path / "a.npz", condition="label" if what == "labels" else what)


def test_whole_numbers_and_floats_over_the_parts_are_a_vector(tmp_path):
    angle = {"train_angle": np.arange(30), "valid_angle": np.arange(30) / 2, "test_angle": np.arange(30)}
    np.savez(tmp_path / "a.npz", train=X, valid=X, test=X, **angle)
    data = load(tmp_path / "a.npz", condition="angle")
    assert data.valid.batch(torch.arange(3))[1]["angle"].squeeze(1).tolist() == [0, 0.5, 1]


def test_masked_values_are_not_read_from_under_their_mask():
    data = load(np.ma.masked_array(X, X == 7))
    assert data.spec.missing
    assert data.all.batch(torch.arange(30))[0].isnan().sum() == 1
    assert (
        data.notes[0]
        == "1 value is missing, it is at example 3, position (1,); what is missing is not scored"
    )
    assert load(np.ma.masked_array(X, X == -1)).spec.event_shape == (2,)


# Tar shards


def tar(members):
    """Return the bytes of a tar file: contents, or (TarInfo, content), by name."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def shard(beside, kind="cls"):
    """Return the bytes of a shard of 30 small arrays, with these contents beside them."""
    members = {}
    for i in range(30):
        members[f"{i:02}.npy"] = npy(X[i])
        members[f"{i:02}.{kind}"] = beside[i % len(beside)]
    return tar(members)


def classes_of(tmp_path, *beside):
    (tmp_path / "a.tar").write_bytes(shard(beside))
    return load(tmp_path / "a.tar").spec.classes


def test_classes_of_shards_keep_their_names(tmp_path):
    assert classes_of(tmp_path, b"10", b" 9\n", b"-3") == ("-3", "9", "10")
    assert classes_of(tmp_path, b"--5", b"-5") == ("--5", "-5")
    assert classes_of(tmp_path, b"007", b"7") == ("007", "7")
    assert classes_of(tmp_path, b"a", b"7") == ("7", "a")
    assert classes_of(tmp_path, b"9223372036854775808", b"9223372036854775809", b"1") == (
        "1", "9223372036854775808", "9223372036854775809",
    )  # fmt: skip
    assert classes_of(tmp_path, b"9" * 999, b"1") == ("1", "9" * 999)


def test_classes_of_shards_have_one_meaning_over_the_parts(tmp_path):
    for name, classes in (("train", [b"1", b"a"]), ("valid", [b"1"]), ("test", [b"1"])):
        (tmp_path / f"{name}.tar").write_bytes(shard(classes))
    data = load(tmp_path)
    assert data.spec.classes == ("1", "a")
    assert data.test.labels is not None
    assert set(data.test.labels.tolist()) == {0}


@pytest.mark.parametrize(
    ("kind", "beside", "message"),
    [
        ("cls", b"a" * 50_000, "has 50000 bytes"),
        ("cls", b"9" * 5000, "has 5000 bytes"),
        ("cls", b"a" * 1500, "one of 1500 letters"),
        ("cls", b"\xff\xfe", "no text in UTF-8"),
        ("json", b"[" * 100_000, "cannot be read"),
        ("json", b'{"a": ' + b"9" * 400 + b"}", "no float holds"),
        ("json", b'{"a": ' + b"9" * 5000 + b"}", "cannot be read"),
        ("json", b'{"a": [' + b"1," * 5000 + b"1]}", "no number and no word"),
        ("json", b"\xff", "cannot be read"),
        ("json", b"7", "no table of names"),
    ],
)
def test_what_lies_beside_samples_may_be_anything(tmp_path, kind, beside, message):
    options = {"label_column": "a"} if kind == "json" else {}
    refused(tmp_path / "a.tar", shard([beside], kind), message, **options)


def test_labels_in_json_are_not_cast(tmp_path):
    for first, message in ((b"9223372036854775808", "beyond 64 bits"), (b'"1"', "like"), (b"true", "like")):
        beside = [b'{"a": ' + value + b"}" for value in (first, b"1")]
        (tmp_path / "a.tar").write_bytes(shard(beside, "json"))
        with pytest.raises(DataError, match=message):
            load(tmp_path / "a.tar", label_column="a")


def test_sizes_and_holes_that_a_tar_invents_are_refused(tmp_path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for pax in ({"size": "-5"}, {"size": "x"}, {"GNU.sparse.map": "a,b"}, {"GNU.sparse.map": "0,8,16,8"}):
            stream.seek(0)
            stream.truncate()
            archive.offset = 0
            info = tarfile.TarInfo("a.npy")
            info.size, info.pax_headers = len(npy(X[0])), pax
            archive.addfile(info, io.BytesIO(npy(X[0])))
            refused(tmp_path / "a.tar", stream.getvalue() + bytes(1024))


# Parquet


def table(path, metadata=None, rows=5, **columns):
    pa, pq = pytest.importorskip("pyarrow"), importlib.import_module("pyarrow.parquet")
    made = pa.table(columns or {"a": X[:, 0], "b": X[:, 1]})
    pq.write_table(made.replace_schema_metadata(metadata), path, row_group_size=rows, compression="none")
    return path


@pytest.mark.parametrize("options", [{"label_column": "c"}, {"condition": "c"}])
@pytest.mark.parametrize("stream", [True, False])
def test_a_damaged_column_beside_the_data_is_named(tmp_path, options, stream):
    words = [f"word{i % 3}" for i in range(30)]
    path = table(tmp_path / "a.parquet", a=X[:, 0], c=words)
    content = bytearray(path.read_bytes())
    start = content.index(b"word0") - 40
    content[start : start + 30] = b"\xff" * 30
    refused(path, bytes(content), "cannot be read", stream=stream, **options)


@pytest.mark.parametrize(
    "entry",
    [
        b"no JSON", b"[]", b"3", b"null", b"[" * 100_000, b"\xff\xfe", b'{"index_columns": 3}',
        b'{"index_columns": null}', b"9" * 5000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [True, False])
def test_pandas_metadata_that_cannot_be_understood_are_refused(tmp_path, entry, stream):
    refused(table(tmp_path / "a.parquet", {b"pandas": entry}), None, "'pandas'", stream=stream)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"index_columns": ["nowhere"]},
        {"index_columns": [{"kind": "range", "start": "x"}, None, [3]]},
        {"columns": [{"name": "a", "pandas_type": "?", "numpy_type": "nonsense"}]},
        {"columns": 3, "column_indexes": [3]},
    ],
)
@pytest.mark.parametrize("stream", [None, False])
def test_what_else_pandas_wrote_is_not_asked(tmp_path, entry, stream):
    path = table(tmp_path / "a.parquet", {b"pandas": json.dumps(entry).encode()})
    assert load(path, stream=stream).spec.columns == ("a", "b")


@pytest.mark.parametrize("options", [{"label_column": "c"}, {"condition": "c"}])
@pytest.mark.parametrize("stream", [True, False])
def test_words_that_are_no_text_are_refused(tmp_path, options, stream):
    pa = pytest.importorskip("pyarrow")
    _, ends, content = pa.array([b"\xff\xfe"] * 30, pa.binary()).buffers()
    path = table(tmp_path / "a.parquet", rows=2, a=X[:, 0], c=pa.StringArray.from_buffers(30, ends, content))
    refused(path, None, "cannot be read", stream=stream, **options)


def test_a_row_group_must_have_the_rows_that_it_announces(tmp_path):
    parquet = importlib.import_module("lowerbound.data.parquet")
    path, reading = table(tmp_path / "a.parquet"), parquet.Reading()
    blocks = parquet.ParquetBlocks(
        [path], parquet.PictureForm(), reading, parquet.table_of([path], reading, "")[0]
    )
    blocks.counts[0] += 1
    with pytest.raises(DataError, match="announces 6 rows, but has 5"):
        blocks.read(0)


def test_an_index_of_pandas_is_no_data(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b"], index=pandas.Index(range(7, 37), name="i"))
    frame.to_parquet(tmp_path / "a.parquet")
    for stream in (None, False):
        assert load(tmp_path / "a.parquet", stream=stream).spec.columns == ("a", "b")


def test_many_columns_take_time_in_proportion(tmp_path):
    path = table(tmp_path / "a.parquet", rows=30, **{f"c{i}": X[:, 0] for i in range(1500)})
    schemas = []
    parquet = importlib.import_module("lowerbound.data.parquet")
    original = parquet._open

    class Watched:
        def __init__(self, file):
            self._file = file

        def __getattr__(self, name):
            if name == "schema_arrow":
                schemas.append(name)
            return getattr(self._file, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_open", lambda path: Watched(original(path)))
        reading = parquet.Reading()
        parquet.ParquetBlocks(
            [path], parquet.PictureForm(), reading, parquet.table_of([path], reading, "")[0]
        )
    assert len(schemas) < 10


def test_rows_that_no_memory_holds_are_refused(tmp_path, little_memory):
    path = table(tmp_path / "a.parquet", rows=50_000, a=np.arange(10**6) % 251)
    little_memory(2**20)
    refused(path, None, r"split the 1000000 examples of .* takes 30\.5 MiB of memory, but 1 MiB", stream=True)
    table(path, rows=10**6, a=np.arange(10**6) % 251)
    refused(path, None, r"a block of .*1000000 examples, takes 3\.81 MiB.*row_group_size=1000\)", stream=True)


# Paths


def test_what_is_neither_a_file_nor_a_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.npy", tmp_path / "pipe.csv", Path("/dev/null"), Path("/dev/zero")):
        with pytest.raises(DataError, match="neither a file nor a folder"):
            load(path)
        with pytest.raises(
            (DataError, ConfigError), match=r"neither a file nor a folder|for folders of them"
        ):
            load(X, labels=path)
    with pytest.raises(DataError, match="no such file"):
        open_npy(tmp_path / "pipe.npy")


@pytest.mark.parametrize(
    "name", ["~nobody-of-this-name/x.csv", "n" * 5000, "x/" * 5000 + "a.npy", "a\0b.csv"]
)
def test_names_that_no_file_can_have_are_refused(name):
    for options in ({}, {"labels": name}, {"groups": name}):
        with pytest.raises(
            (DataError, ConfigError), match=r"no path that can be read|for folders of them"
        ) as error:
            load(name if not options else X, **options)
        assert len(str(error.value)) < 1000
    with pytest.raises(DataError, match="no path that can be read"):
        load("mnist", root=name)
    with pytest.raises(DataError):
        user_path(name)


# Messages


def test_messages_are_bounded_and_keep_their_ends():
    message = str(DataError("begin " + "x" * 10**7 + " end"))
    assert len(message) < 4100
    assert message.startswith("begin xx")
    assert message.endswith("xx end")
    assert "9996010 letters left out" in message
    assert str(DataError("short,\n\u00e9")) == "short,\n\u00e9"
    assert str(DataError("a\x1b[31m\0\ud800")) == r"a\x1b[31m\x00\ud800"


def test_lists_and_values_in_messages_are_bounded():
    names = [f"name{i}" for i in range(30_000)]
    assert listed(names) == ", ".join(names[:10]) + " and 29990 more"
    assert listed(["a", 2]) == "a, 2"
    assert len(listed(["x" * 10**6])) < 120
    assert brief("x" * 10**7) == "'" + "x" * 99 + "..."
    assert brief([1, 2]) == "[1, 2]"
    started = time.monotonic()
    assert len(suggest("name" * 10**6, names)) < 1000
    assert len(suggest("nam5", ["x" * 10**6, *names])) < 1000
    assert time.monotonic() - started < 2
    assert suggest("mls", ["mlp", "conv"]) == "did you mean 'mlp'? options: conv, mlp"


def test_a_file_of_many_members_makes_a_short_message(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(zipped({f"array{i}.npy": b"" for i in range(3000)}, zipfile.ZIP_STORED))
    assert len(refused(path, None, "and 2990 more")) < 400
    with pytest.raises(DataError, match="has no array 'z'") as error:
        load(path, condition="z")
    assert len(str(error.value)) < 2000


# A slice of the campaign of benchmarks/reliability/readers.py

CAMPAIGN = ("npy", "npz", "csv", "parquet", "idx", "tar", "folder", "json")


@pytest.fixture
def campaign(monkeypatch):
    """Return the script of the campaign."""
    pytest.importorskip("pyarrow")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks" / "reliability"))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("readers")


@pytest.mark.slow
@pytest.mark.parametrize("reader", CAMPAIGN)
def test_damaged_files_are_read_or_refused(campaign, tmp_path, reader):
    outcomes = [campaign.try_case(reader, number, 0, tmp_path) for number in range(20)]
    assert [outcome for outcome in outcomes if outcome[0] not in ("read", "refused")] == []


@pytest.mark.slow
@pytest.mark.parametrize("reader", CAMPAIGN)
def test_the_files_of_the_campaign_can_be_read_before_they_are_damaged(campaign, tmp_path, reader):
    for i, seed in enumerate(campaign.seeds(reader)):
        (tmp_path / str(i)).mkdir()
        path = campaign.write_source(seed, tmp_path / str(i))
        for options in seed.options:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # what was passed over is told
                campaign.read(path, reader, options)
